"""One run of the load generator against one side, and the figures of it."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from tests.bench.machine import build, cpu_seconds, memory_mb, process_tree

Figures = dict[str, float]


@dataclass
class Side:
    """One gateway (or the mock itself): where it is and whose CPU time counts. aux: helpers measured apart, by name."""

    name: str
    url: str
    key: str = "none"
    model: str = "mock-1"
    pid: int | None = None
    aux: dict[str, int] = field(default_factory=dict)
    headers: list[str] = field(default_factory=list)

    def pids(self) -> list[int]:
        """The gateway's own processes: the helpers that it started count apart."""
        if self.pid is None:
            return []
        apart = {pid for root in self.aux.values() for pid in process_tree(root)}
        return [pid for pid in process_tree(self.pid) if pid not in apart]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: the gateway's under "", each helper's under its name."""
        return {"": cpu_seconds(self.pids())} | {f"_{name}": cpu_seconds(process_tree(pid)) for name, pid in self.aux.items()}

    def memory(self) -> float:
        return memory_mb(self.pids())


@dataclass
class Load:
    """conns at once, for `seconds` or so many `requests`; rate: a second, 0 = as fast as answers come."""

    bodies: list[dict[str, Any]]
    conns: int = 32
    seconds: float = 0
    requests: int = 0
    rate: float = 0


@dataclass
class Bench:
    """load_cpu: where the load generator runs. settle_s: how long after a run deferred work (batched books) still counts."""

    load_cpu: int | None
    settle_s: float = 1.0

    def start(self, side: Side, load: Load) -> tuple["subprocess.Popen[str]", str]:
        url = urllib.parse.urlsplit(side.url)
        with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
            for body in load.bodies:
                file.write(json.dumps({**body, "model": body.get("model") or side.model}, separators=(",", ":")) + "\n")
        command = [
            build("loadgen"), "--host", url.hostname or "127.0.0.1", "--port", str(url.port or 80),
            "--path", url.path.rstrip("/") + "/chat/completions", "--body-file", file.name,
            "--header", f"Authorization: Bearer {side.key}", "--conns", str(load.conns),
        ]  # fmt: skip
        for header in side.headers:
            command += ["--header", header]
        for option in ("seconds", "requests", "rate"):
            if getattr(load, option):
                command += [f"--{option}", str(getattr(load, option))]
        if self.load_cpu is not None:
            command = ["taskset", "-c", str(self.load_cpu), *command]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True), file.name

    def finish(self, process: "subprocess.Popen[str]", bodies: str) -> dict[str, Any]:
        out, _ = process.communicate()
        os.unlink(bodies)
        result: dict[str, Any] = json.loads(out)
        return result

    def run(self, side: Side, load: Load) -> Figures:
        """Run a load and flatten what matters, CPU per request included."""
        before = side.cpu()
        result = self.finish(*self.start(side, load))
        time.sleep(self.settle_s)
        after = side.cpu()
        return self.figures(result, {name: after[name] - before[name] for name in before})

    @staticmethod
    def figures(result: dict[str, Any], cpu: dict[str, float]) -> Figures:
        ok = result["ok"]
        if result["first_error"]:
            print(f"  first error: {result['first_error']}", file=sys.stderr)
        out: Figures = {"ok": ok, "errors": result["failed"] + result["bad_status"] + result["incomplete"], "rps": result["rps"]}
        for name, used in cpu.items():
            out[f"cpu{name}_us_per_request"] = used / max(ok, 1) * 1e6
        for series in ("latency_us", "ttft_us", "gap_us", "transit_us", "first_transit_us"):
            if result[series]:
                for quantile in ("p50", "p99"):
                    out[f"{series.removesuffix('_us')}_{quantile}_us"] = result[series][quantile]
        if result["chunks"]:
            out["chunks_per_s"] = result["chunks_per_s"]
            out["cpu_us_per_chunk_gross"] = cpu[""] / result["chunks"] * 1e6
        return out
