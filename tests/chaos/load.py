"""Load for a gateway that is being broken, and the three views of it: what clients saw, what the provider saw, what the table says."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from neuroroute.store.postgres import Database
from tests.serve.gateway import ADMIN_KEY
from tests.support.gateway import model, provider
from tests.support.upstream import Seen, Step, Upstream, sse, whole

FULL = bool(os.environ.get("NEUROROUTE_CHAOS"))
"""Whether every figure is to be reached; else a short form of each test runs."""


def usage_of(n: int) -> dict[str, int]:
    return {"prompt_tokens": n % 900 + 1, "completion_tokens": n % 70 + 1, "total_tokens": n % 900 + n % 70 + 2}


def answering(delay_s: float = 0.01, pieces: int = 3, pause_s: float = 0.01) -> Callable[[Seen], Step]:
    """A provider whose usage tells which call it answered."""

    def answer(seen: Seen) -> Step:
        body = seen.json
        n = body["seed"]
        head = {"id": f"c{n}", "created": 1, "model": "m"}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": f"answer {n}"}, "finish_reason": "stop"}
            return whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage_of(n)}, delay_s=delay_s)
        chunk = {**head, "object": "chat.completion.chunk"}
        events: list[object] = []
        for at in range(pieces):
            events += [{**chunk, "choices": [{"index": 0, "delta": {"content": f"{at} "}, "finish_reason": None}]}, pause_s]
        events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events.append({**chunk, "choices": [], "usage": usage_of(n)})
        return sse(*events, delay_s=delay_s)

    return answer


def configured(folder: Path, up: Upstream, **more: Any) -> str:
    """Where the configuration file of a gateway before this provider is."""
    path = folder / "neuroroute.yaml"
    path.write_text(yaml.safe_dump({"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", max_output_tokens=500)}, **more}))
    return str(path)


@dataclass
class Load:
    """Calls without end, each with a number of its own. statuses: of those that were answered, 0 = the connection broke; whole: those that ended well."""

    url: Callable[[], str]
    key: str = ADMIN_KEY
    statuses: Counter[int] = field(default_factory=Counter)
    whole: set[int] = field(default_factory=set)
    slowest_s: float = 0.0
    _n: int = 0
    _going: bool = True
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, clients: int) -> None:
        self._tasks = [asyncio.create_task(self._client(at)) for at in range(clients)]

    async def stop(self) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)

    async def _client(self, at: int) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            while self._going:
                self._n += 1
                await self.call(session, self._n, stream=self._n % 3 == 0)

    async def call(self, session: aiohttp.ClientSession, n: int, *, stream: bool = False) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": f"question {n}"}], "seed": n, "stream": stream}
        headers = {"Authorization": f"Bearer {self.key}", "X-Request-ID": f"load-{n}"}
        began_s = asyncio.get_running_loop().time()
        status = 0
        try:
            async with session.post(self.url() + "/v1/chat/completions", json=body, headers=headers) as response:
                text = await response.text()
                status = response.status
                if status == 200 and (text.endswith("data: [DONE]\n\n") if stream else f"answer {n}" in text):
                    self.whole.add(n)
                elif status == 200:
                    status = 0
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.05)
        self.statuses[status] += 1
        self.slowest_s = max(self.slowest_s, asyncio.get_running_loop().time() - began_s)
        return status


async def booked(database: Database, up: Upstream, load: Load, folder: Path, within_s: float = 30.0) -> dict[str, int]:
    """Wait until nothing is under way, then compare the views. Gives the figures; lost, doubled and wrong must be 0."""
    asked = {seen.json["seed"] for seen in up.seen if seen.body}
    until_s = asyncio.get_running_loop().time() + within_s
    while True:
        rows = await database.fetch(
            "SELECT client_request_id, status, prompt_tokens, completion_tokens, tokens_source FROM usage_records WHERE client_request_id LIKE 'load-%'"
        )
        found: dict[int, list[Any]] = {}
        for row in rows:
            found.setdefault(int(row["client_request_id"][5:]), []).append(row)
        lost = (asked | load.whole) - set(found)
        if not lost or asyncio.get_running_loop().time() > until_s:
            break
        await asyncio.sleep(0.2)
    wrong = [
        n
        for n in load.whole & set(found)
        for row in found[n]
        if (row["status"], row["prompt_tokens"], row["completion_tokens"], row["tokens_source"])
        != ("ok", usage_of(n)["prompt_tokens"], usage_of(n)["completion_tokens"], "provider")
    ]
    statuses = Counter(row["status"] for row in rows)
    return {
        "asked": len(asked), "whole": len(load.whole), "rows": len(rows), "lost": len(lost), "doubled": sum(len(r) > 1 for r in found.values()),
        "wrong": len(wrong), "interrupted": statuses["interrupted"], **{f"status {s}": c for s, c in sorted(load.statuses.items())},
    }  # fmt: skip


async def gone(pids: list[int], within_s: float = 30.0) -> None:
    """Wait until these processes have ended."""
    until_s = asyncio.get_running_loop().time() + within_s
    while any(Path(f"/proc/{pid}").exists() and _lives(pid) for pid in pids):
        assert asyncio.get_running_loop().time() < until_s, f"{pids} do not end"
        await asyncio.sleep(0.05)


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False
