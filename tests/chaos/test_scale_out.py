"""
Three replicas of two workers each, as processes, on one PostgreSQL and one Redis: what must hold for one gateway holds for all of them together.

A new connection for each call, so that all six workers are asked.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.load import FULL, configured
from tests.serve.gateway import Gateway
from tests.support.upstream import Seen, Step, Upstream, whole

REPLICAS = 3
LIMIT = 900 if FULL else 240
BUDGET_CALLS = 60 if FULL else 20
CALL_USD = 2000e-6  # what an answer below costs at 1 and 2 USD per million tokens
CONFIG_S, REVOKED_S = 5.0, 2.0


class Replicas:
    def __init__(self, gateways: list[Gateway], up: Upstream, folder: Path, session: aiohttp.ClientSession) -> None:
        self.gateways, self.up, self.folder, self.session = gateways, up, folder, session
        self._n = 0

    async def ask(self, at: int, key: str | None = None, model: str = "m", text: str | None = None, **more: Any) -> tuple[int, str, str]:
        """(status, answer, state of the cache) of a call at one replica; without `text` one that nobody made before."""
        self._n += 1
        gateway = self.gateways[at % len(self.gateways)]
        headers = gateway.headers if key is None else {"Authorization": f"Bearer {key}"}
        body = {"model": model, "messages": [{"role": "user", "content": text or f"question {self._n}"}], **more}
        async with self.session.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers.get("x-neuroroute-cache", "")

    async def many(self, count: int, key: str) -> Counter[int]:
        return Counter(status for status, _, _ in await asyncio.gather(*(self.ask(at, key) for at in range(count))))

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        async with self.session.request(method, self.gateways[0].url + path, json=body, headers=self.gateways[0].headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None

    async def key(self, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.admin("POST", "/admin/api-keys", {"name": "scale-out", **fields})
        for at in range(12):  # known to all workers
            while (await self.ask(at, made["key"], model="none-such"))[0] == 401:
                await asyncio.sleep(0.05)
        return made

    async def all_say(self, true: Any, within_s: float, **asked: Any) -> float:
        """Seconds until twelve calls at each replica in a row, over all its workers, are as they should be."""
        began_s = time.monotonic()
        while True:
            since_s = time.monotonic() - began_s
            answers = await asyncio.gather(*(self.ask(at, **asked) for at in range(12 * REPLICAS)))
            if all(true(answer) for answer in answers):
                return since_s
            assert since_s < within_s, Counter(status for status, _, _ in answers)
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(folder: Path, database_url: str, redis_url: str) -> AsyncIterator[Replicas]:
    count = 0

    def answer(seen: Seen) -> Step:
        nonlocal count
        count += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": f"answer {count}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        return whole(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}, delay_s=0.01
        )

    async with Upstream(answer) as up, contextlib.AsyncExitStack() as stack:
        settings = {
            "DATABASE_URL": database_url, "REDIS_URL": redis_url, "WORKERS": "2", "NEUROROUTE_CONFIG": configured(folder, up),
            "RATE_LIMIT_MAX": "0", "ADMIN_RATE_LIMIT_MAX": "0",
        }  # fmt: skip
        gateways = []
        for name in range(REPLICAS):
            home = folder / f"replica-{name}"
            home.mkdir()
            gateways.append(await stack.enter_async_context(Gateway(home, **settings)))
        for gateway in gateways:
            await gateway.until(lambda gateway=gateway: len(gateway.workers()) == 2, "two workers")
        connector = aiohttp.TCPConnector(limit=60, force_close=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)))
        yield Replicas(gateways, up, folder, session)


@pytest.mark.parametrize("together", ["limits and budgets", "what changes"])
async def test_three_replicas_are_one_gateway(tmp_path: Path, database_url: str, redis_url: str, together: str) -> None:
    async with running(tmp_path, database_url, redis_url) as replicas:
        if together == "limits and budgets":
            await _limit(replicas)
            await _budget(replicas)
        else:
            await _cache(replicas)
            await _config(replicas)
            await _revocation(replicas)


async def _limit(replicas: Replicas) -> None:
    fresh = await replicas.key(limits={"requests_per_minute": LIMIT})
    before = 12  # the calls that found out whether all workers know the key count too
    statuses = await replicas.many(LIMIT * 9 // 8, fresh["key"])
    await asyncio.sleep(4.0)  # what lies unused in one worker goes back to all, and refusals are asked again
    statuses += await replicas.many(LIMIT // 4, fresh["key"])
    print(f"\nlimit: {statuses[200]} of {LIMIT}, {before} before")
    assert set(statuses) == {200, 429}
    assert (0.95 if FULL else 0.8) * LIMIT - before <= statuses[200] <= 1.02 * LIMIT


async def _budget(replicas: Replicas) -> None:
    made = await replicas.key(budget={"usd": BUDGET_CALLS * CALL_USD + CALL_USD / 2, "period": "month"})
    asked = len(replicas.up.seen)
    statuses = await replicas.many(200, made["key"])
    await asyncio.sleep(1.0)
    statuses += await replicas.many(40, made["key"])
    print(f"\nbudget: {statuses[200]} of {BUDGET_CALLS + 0.5} calls")
    assert set(statuses) == {200, 429} and statuses[200] == len(replicas.up.seen) - asked
    assert BUDGET_CALLS - 1 <= statuses[200] <= BUDGET_CALLS + 1  # overspent by one call's price at most, however late the books answer


async def _cache(replicas: Replicas) -> None:
    asked = {"text": "what is kept", "temperature": 0}
    _, first, state = await replicas.ask(0, **asked)
    assert state == "miss"
    took_s = await replicas.all_say(lambda answer: answer[2] == "hit", 2.0, **asked)
    await replicas.admin("DELETE", "/admin/cache")
    gone_s = await replicas.all_say(lambda answer: answer[0] == 200 and _said(answer[1]) != _said(first), 3.0, **asked)
    print(f"\ncache: everywhere after {took_s:.2f} s, gone everywhere after {gone_s:.2f} s")


def _said(answer: str) -> str:
    return answer.partition('"content":')[2][:20]


async def _config(replicas: Replicas) -> None:
    assert (await replicas.ask(0, model="fresh"))[0] == 404
    configured(replicas.folder, replicas.up, aliases={"fresh": ["m"]})
    took_s = await replicas.all_say(lambda answer: answer[0] == 200, CONFIG_S, model="fresh")
    print(f"\nconfiguration: everywhere after {took_s:.2f} s")


async def _revocation(replicas: Replicas) -> None:
    made = await replicas.key()
    asked = {"key": made["key"], "text": "cached for this key", "temperature": 0}
    await replicas.all_say(lambda answer: answer[0] == 200, 2.0, **asked)
    await replicas.admin("DELETE", f"/admin/api-keys/{made['id']}")
    took_s = await replicas.all_say(lambda answer: answer[0] == 401, REVOKED_S, **asked)
    print(f"\nrevocation: everywhere after {took_s:.2f} s")
