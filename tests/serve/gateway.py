"""A gateway as a process of its own, as people run it."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import aiohttp

ADMIN_KEY = "nr_admin_of_this_test"


class Gateway:
    """
    `async with Gateway(folder, DATABASE_URL=...) as gateway`: started, ready; ended by its pid at the end.

    out: all that it wrote, standard error included.
    """

    def __init__(self, folder: Path, *arguments: str, ready: bool = True, **variables: str) -> None:
        self.out_file = folder / "gateway.out"
        self._arguments, self._ready = arguments, ready
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
        self.environment = {
            **kept, "PORT": "0", "HOST": "127.0.0.1", "NEUROROUTE_DATA_DIR": str(folder / "data"), "NEUROROUTE_ADMIN_KEY": ADMIN_KEY,
            "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1", **variables,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes]
        self.port = 0

    async def __aenter__(self) -> Self:
        with self.out_file.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neuroroute", "serve", *self._arguments],
                cwd=self.out_file.parent, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        if self._ready:
            await self.until(lambda: "is ready" in self.out, "the banner")
            self.port = int(re.findall(r"API: +http://[^:]+:(\d+)/", self.out)[-1])
            await self.until(self.serves, "readiness")
        return self

    async def __aexit__(self, *_: object) -> None:
        for pid in [*self.children(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    @property
    def out(self) -> str:
        return self.out_file.read_text() if self.out_file.exists() else ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {ADMIN_KEY}"}

    async def until(self, true, what: str, limit_s: float = 40.0) -> None:
        end_s = time.monotonic() + limit_s
        while True:
            found = true()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            assert self.process.poll() is None or what == "the end", f"the gateway ended with {self.process.returncode}:\n{self.out}"
            assert time.monotonic() < end_s, f"{what} did not come within {limit_s} s:\n{self.out}"
            await asyncio.sleep(0.02)

    async def readiness(self) -> int:
        """The status of /health/ready, 0 where nobody listens."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health/ready") as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0

    async def serves(self) -> bool:
        return await self.readiness() == 200

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, limit_s: float = 20.0) -> int:
        await self.until(lambda: self.process.poll() is not None, "the end", limit_s)
        return self.process.returncode

    def children(self) -> list[int]:
        """The processes below it that live: the nursery, its workers, and the embedded database."""
        found, todo = list[int](), [self.process.pid]
        while todo:
            pid = todo.pop()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                found += below
                todo += below
        return found

    def workers(self) -> list[int]:
        return self._named("nr-worker-")

    def nurseries(self) -> list[int]:
        return self._named("nr-nursery")

    def _named(self, beginning: str) -> list[int]:
        found = []
        for pid in self.children():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().startswith(beginning):
                    found.append(pid)
        return sorted(found)
