"""A cluster of three real servers that speak Redis' protocol, each with a third of the slots."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from neuroroute.store.kv_cluster import SLOTS
from tests.support.services import answers, free_port, redis_binary

NODES = 3


@dataclass
class Cluster:
    ports: list[int]
    processes: list["subprocess.Popen[bytes]"]

    @property
    def url(self) -> str:
        """As for a single server: that it is a cluster is to be noticed."""
        return f"redis://127.0.0.1:{self.ports[0]}/0"

    @property
    def cluster_url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def tell(self, node: int, *command: Any) -> Any:
        """What one node answers."""
        with contextlib.closing(redis.Redis(port=self.ports[node], socket_timeout=5)) as client:
            return client.execute_command(*command)

    def id_of(self, node: int) -> str:
        return str(self.tell(node, "CLUSTER", "MYID").decode())

    def sizes(self) -> list[int]:
        """Keys at each node."""
        return [int(self.tell(node, "DBSIZE")) for node in range(NODES)]

    def sent_on(self) -> list[int]:
        """How often each node answered that the key is elsewhere."""
        return [int(self.tell(node, "INFO", "errorstats").get("errorstat_MOVED", {}).get("count", 0)) for node in range(NODES)]

    def owner(self, slot: int) -> int:
        """The node that has the slot when the cluster is fresh."""
        return next(node for node in range(NODES) if slot < SLOTS * (node + 1) // NODES)


@contextlib.contextmanager
def redis_cluster() -> Iterator[Cluster]:
    binary = redis_binary()
    assert binary is not None
    with tempfile.TemporaryDirectory(prefix="nr-cluster-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster([free_port() for _ in range(NODES)], [])
        buses = [free_port() for _ in range(NODES)]
        try:
            for port, bus in zip(cluster.ports, buses, strict=True):
                cluster.processes.append(
                    subprocess.Popen(
                        [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder,
                         "--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-config-file", f"{folder}/{port}.conf",
                         "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "2000"],
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )
                )  # fmt: skip
            _until(lambda: all(answers(port) for port in cluster.ports))
            for node in range(NODES):
                cluster.tell(node, "CLUSTER", "ADDSLOTSRANGE", SLOTS * node // NODES, SLOTS * (node + 1) // NODES - 1)
                cluster.tell(node, "CLUSTER", "SET-CONFIG-EPOCH", node + 1)
            for node in range(1, NODES):
                cluster.tell(0, "CLUSTER", "MEET", "127.0.0.1", cluster.ports[node], buses[node])
            _until(lambda: all(_is_whole(cluster, node) for node in range(NODES)))
            yield cluster
        finally:
            for process in cluster.processes:
                process.kill()
                process.wait(10)


def _is_whole(cluster: Cluster, node: int) -> bool:
    told = cluster.tell(node, "CLUSTER", "INFO")
    text = told.decode() if isinstance(told, bytes) else "\n".join(f"{name}:{value}" for name, value in told.items())
    return "cluster_state:ok" in text and f"cluster_slots_assigned:{SLOTS}" in text and len(cluster.tell(node, "CLUSTER", "SLOTS")) == NODES


def _until(true: Any, limit_s: float = 30.0) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s, "the cluster does not come up"
        time.sleep(0.05)
