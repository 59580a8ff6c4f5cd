"""
The key-value store in a Redis that may be a cluster: each key goes to the node that has its slot.

A server that is no cluster costs nothing more: commands go to it until it says MOVED. Then the map of slots is read, and read again when a node
moves a slot or is away. Each node has its own lines and fails alone (see `kv_redis`).
"""

import binascii
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from neuroroute.core.clock import monotonic_s
from neuroroute.core.tasks import spawn
from neuroroute.store.kv import Arg, KVAway
from neuroroute.store.kv_redis import TIMEOUT_S, Moved, RedisKV

SLOTS: Final = 16384
CLUSTER: Final = "+cluster"
_HOPS: Final = 3
_READ_EVERY_S: Final = 0.5
Result = TypeVar("Result")
Address = tuple[str, int]


def slot_of(key: str) -> int:
    """Of the part in the first braces that hold something, else of the whole key. Source: Redis cluster specification, key distribution."""
    start = key.find("{")
    if start >= 0 and (end := key.find("}", start + 1)) > start + 1:
        key = key[start + 1 : end]
    return binascii.crc_hqx(key.encode(), 0) % SLOTS


class RedisStore:
    """
    url: as for RedisKV; redis+cluster://host:port,host:port also asks for the map of slots at once, from the first of these that answers.
    """

    def __init__(self, url: str, *, prefix: str = "nr:", timeout_s: float = TIMEOUT_S) -> None:
        self._prefix, self._timeout_s = prefix, timeout_s
        parts = urlsplit(url)
        self._user, _, hosts = parts.netloc.rpartition("@")
        self._scheme, self._rest = parts.scheme.removesuffix(CLUSTER), parts
        if parts.scheme == self._scheme:
            self._seeds = [self._made(url)]
        else:
            places = [parts._replace(scheme=self._scheme, netloc=self._netloc(host), path="") for host in hosts.split(",")]
            self._seeds = [self._made(urlunsplit(place)) for place in places]
        self._nodes: dict[Address, RedisKV] = {}
        self._owners: list[Address | None] | None = [None] * SLOTS if parts.scheme.endswith(CLUSTER) else None  # None: no cluster so far
        self._reading = False
        self._read_at_s = 0.0

    def _made(self, url: str) -> RedisKV:
        return RedisKV(url, prefix=self._prefix, timeout_s=self._timeout_s)

    def _netloc(self, host: str) -> str:
        return f"{self._user}@{host}" if self._user else host

    @property
    def is_cluster(self) -> bool:
        return self._owners is not None

    @property
    def failures(self) -> int:
        return sum(node.failures for node in (*self._seeds, *self._nodes.values()))

    @property
    def away(self) -> bool:
        """Whether calls to a node that has keys fail at once for now."""
        return any(node.away for node in (self._nodes.values() if self._nodes else self._seeds))

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_shared_store_failures", (), self.failures)]

    async def get(self, key: str) -> bytes | None:
        return await self._at(key, lambda node, asking: node.get(key, asking=asking))

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._at(key, lambda node, asking: node.set(key, value, ttl_s, asking=asking))

    async def append(self, key: str, value: bytes, ttl_s: float) -> int:
        return await self._at(key, lambda node, asking: node.append(key, value, ttl_s, asking=asking))

    async def get_from(self, key: str, start: int) -> bytes:
        return await self._at(key, lambda node, asking: node.get_from(key, start, asking=asking))

    async def delete(self, *keys: str) -> int:
        return sum([await self._at(key, lambda node, asking, key=key: node.delete(key, asking=asking)) for key in keys])  # type: ignore[misc]

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Arg]) -> list[int]:
        return await self._at(keys[0], lambda node, asking: node.run(script, keys, args, asking=asking))

    async def ping(self) -> None:
        """Returns when all nodes answer that have slots."""
        if self._owners is None:
            return await self._seeds[0].ping()
        if not self._nodes:
            await self._read_map()
        for node in list(self._nodes.values()):
            await node.ping()

    async def close(self) -> None:
        for node in (*self._seeds, *self._nodes.values()):
            await node.close()

    async def _at(self, key: str, work: Callable[[RedisKV, bool], Awaitable[Result]]) -> Result:
        """What `work` gives at the node of a key; a slot on its way is followed. Raises KVAway."""
        if self._owners is None:
            try:
                return await work(self._seeds[0], False)
            except Moved as moved:
                self._owners = [None] * SLOTS
                self._owners[moved.slot] = moved.address
        slot = slot_of(self._prefix + key)
        if self._owners[slot] is None:
            await self._read_map()
        address, asking = self._owners[slot], False
        for _ in range(_HOPS):
            if address is None:
                break
            try:
                return await work(self._node(address), asking)
            except Moved as moved:
                address, asking = moved.address, moved.ask
                if not asking:
                    self._owners[slot] = address
                    self._read_soon()
            except KVAway:
                self._read_soon()
                raise
        raise KVAway("no node of the cluster has the slot")

    def _node(self, address: Address) -> RedisKV:
        node = self._nodes.get(address)
        if node is None:
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            place = self._netloc(f"{host}:{address[1]}")
            node = self._nodes[address] = self._made(urlunsplit(self._rest._replace(scheme=self._scheme, netloc=place, path="")))
        return node

    def _read_soon(self) -> None:
        """Read the map of slots beside the calls, unless that has just been done."""
        if not self._reading and monotonic_s() - self._read_at_s >= _READ_EVERY_S:
            spawn(self._read_quietly(), name="redis cluster map")

    async def _read_quietly(self) -> None:
        try:
            await self._read_map()
        except KVAway:
            return

    async def _read_map(self) -> None:
        """From the first node that answers. Raises KVAway where none does."""
        self._reading, self._read_at_s = True, monotonic_s()
        try:
            for node in (*self._nodes.values(), *self._seeds):
                try:
                    ranges = await node.cluster_slots()
                except KVAway:
                    continue
                owners: list[Address | None] = [None] * SLOTS
                for first, last, address in ranges:
                    owners[first : last + 1] = [address] * (last + 1 - first)
                self._owners = owners
                await self._forget({address for _, _, address in ranges})
                return
        finally:
            self._reading = False
        raise KVAway("no node of the cluster answers")

    async def _forget(self, masters: Collection[Address]) -> None:
        for address in [address for address in self._nodes if address not in masters]:
            await self._nodes.pop(address).close()
        for address in masters:
            self._node(address)
