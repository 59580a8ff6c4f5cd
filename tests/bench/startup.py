"""
Times a gateway's start: from launch to its first successful chat completion.

    python -m tests.bench.startup [--runs 5]                                  # NeuroRoute with its demo provider, on a database that is there
    python -m tests.bench.startup --target URL --key K --model M -- COMMAND ARG...

Prints JSON: medians of the start time, of the CPU time that the start took, of memory (proportional set size of the process tree) and of the
CPU use while idle. The command must stay in the foreground; it is ended after each run.
"""

import argparse
import compileall
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import neuroroute
from tests.bench.gateway import KEY
from tests.bench.machine import cpu_seconds, free_port, memory_mb, process_tree
from tests.support.services import Postgres

POLL_S = 0.02


def answers(url: str, key: str, model: str) -> bool:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    try:
        request = urllib.request.Request(url.rstrip("/") + "/chat/completions", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def one_start(command: list[str], target: str, key: str, model: str, environ: dict[str, str], limit_s: float) -> dict[str, float]:
    began_s = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    try:
        while not answers(target, key, model):
            if process.poll() is not None:
                raise SystemExit(f"the command ended with status {process.returncode}")
            if time.monotonic() - began_s > limit_s:
                raise SystemExit(f"no answer within {limit_s} s")
            time.sleep(POLL_S)
        took_s = time.monotonic() - began_s
        tree = process_tree(process.pid)
        start_cpu_s = cpu_seconds(tree)
        time.sleep(3)
        idle_from_s, idle_since_s = cpu_seconds(tree), time.monotonic()
        time.sleep(5)
        idle = (cpu_seconds(tree) - idle_from_s) / (time.monotonic() - idle_since_s)
        memory = memory_mb(process_tree(process.pid))
        return {"start_s": took_s, "start_cpu_s": start_cpu_s, "memory_idle_mb": memory, "idle_cpu_percent": idle * 100}
    finally:
        tree = process_tree(process.pid)
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--target")
    p.add_argument("--key", default=KEY)
    p.add_argument("--model", default="demo-small")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--limit", type=float, default=90)
    p.add_argument("command", nargs="*")
    args = p.parse_args()
    compileall.compile_dir(Path(neuroroute.__file__).parent, quiet=1)  # as an installation does
    with contextlib.ExitStack() as stack:
        environ = dict(os.environ)
        if args.command:
            command, target = args.command, args.target
        else:
            postgres = Postgres(f"start{os.getpid()}")
            stack.callback(postgres.close)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nr-start-"))
            port = free_port()
            environ |= {"DATABASE_URL": postgres.copy(), "NEUROROUTE_ADMIN_KEY": KEY, "NEUROROUTE_DATA_DIR": folder, "LOG_LEVEL": "warn"}
            command = [
                sys.executable,
                "-m",
                "neuroroute",
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                str(args.workers),
            ]
            target = f"http://127.0.0.1:{port}/v1"
        runs = [one_start(command, target, args.key, args.model, environ, args.limit) for _ in range(args.runs)]
    print(json.dumps({name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}))


if __name__ == "__main__":
    main()
