"""Hundreds of identical calls at once, at the two workers of a real gateway, are one call upstream, paid once and booked for each."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from neuroroute.store.postgres import Database
from tests.chaos.load import answering, configured
from tests.serve.gateway import Gateway
from tests.support.upstream import Upstream

CALLS = 500


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_identical_calls_at_two_processes_are_one_upstream(tmp_path: Path, database_url: str, redis_url: str, stream: bool) -> None:
    async with Upstream(answering(delay_s=1.0, pieces=5, pause_s=0.1)) as up:
        settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "WORKERS": "2",
            "NEUROROUTE_CONFIG": configured(tmp_path, up),
            "RATE_LIMIT_MAX": "0",
        }
        async with Gateway(tmp_path, **settings) as gateway, Database(database_url) as database:
            await gateway.until(lambda: len(gateway.workers()) == 2, "two workers")
            states: Counter[str] = Counter()
            texts: set[str] = set()
            body = {"model": "m", "messages": [{"role": "user", "content": "the same"}], "seed": 7, "stream": stream}

            async def ask(session: aiohttp.ClientSession) -> None:
                async with session.post(gateway.url + "/v1/chat/completions", json=body, headers=gateway.headers) as response:
                    assert response.status == 200
                    states[response.headers["x-neuroroute-cache"]] += 1
                    texts.add(await response.text())

            connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a connection each: both workers get some
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
                await asyncio.gather(*(ask(session) for _ in range(CALLS)))
            assert len(up.seen) == 1
            assert len(texts) == 1 and states["miss"] == 1 and set(states) <= {"miss", "joined", "hit"}
            for _ in range(100):
                [row] = await database.fetch("SELECT count(*) AS n, count(*) FILTER (WHERE attempts > 0) AS asked FROM usage_records")
                if row["n"] >= CALLS:
                    break
                await asyncio.sleep(0.1)
            assert (row["n"], row["asked"]) == (CALLS, 1)
