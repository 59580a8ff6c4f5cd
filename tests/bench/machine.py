"""What the machine knows of a process: CPU time and memory of its tree, from /proc; and the two C tools, compiled on first use."""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(tempfile.gettempdir()) / f"neuroroute-bench-{os.getuid()}"


def process_tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    tree, todo = [], [root]
    while todo:
        pid = todo.pop()
        tree.append(pid)
        todo += children.get(pid, [])
    return tree


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time (user + system) of all threads of these processes, to the nanosecond."""
    total = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def memory_mb(pids: Iterable[int]) -> float:
    """Proportional set size, so that pages shared by workers count once."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def pin(pids: Iterable[int], cpu: int) -> None:
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {cpu})


def build(name: str) -> str:
    """Compile one of the C tools, when its source is newer than the binary."""
    source, binary = HERE / f"{name}.c", BUILD / name
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(mode=0o700, exist_ok=True)
        subprocess.run(["cc", "-O2", "-o", str(binary), str(source)], check=True)
    return str(binary)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def answers(port: int, path: str) -> bool:
    """Whether GET `path` gives 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def running(command: list[str], port: int, ready: str, *, cpu: int | None = None, environ: dict[str, str] | None = None) -> Iterator[int]:
    """A process that answers GET `ready` on `port`; gives its pid. It is ended with the block. What it said is shown when it does not start."""
    pinned = command if cpu is None else ["taskset", "-c", str(cpu), *command]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ)
        try:
            deadline_s = time.monotonic() + 60
            while not answers(port, ready):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    said.seek(0)
                    raise SystemExit(f"{command[:4]} does not start:\n{said.read().decode(errors='replace')[-4000:]}")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
