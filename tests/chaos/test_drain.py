"""Streams that are being answered when the gateway is told to go, or its workers are replaced: none is cut."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.load import FULL, Load, answering, configured
from tests.serve.gateway import Gateway
from tests.support.upstream import Upstream

STREAMS = 300 if FULL else 60


@pytest.mark.parametrize("how", ["SIGTERM", "rolling restart"] if FULL else ["SIGTERM"])
async def test_no_live_stream_is_cut(tmp_path: Path, database_url: str, how: str) -> None:
    async with Upstream(answering(pieces=20, pause_s=0.2 if FULL else 0.1)) as up:
        settings = {"DATABASE_URL": database_url, "WORKERS": "2", "NEUROROUTE_CONFIG": configured(tmp_path, up), "RATE_LIMIT_MAX": "0"}
        async with Gateway(tmp_path, **settings) as gateway:
            load = Load(lambda: gateway.url)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)) as session:
                streams = [asyncio.create_task(load.call(session, n, stream=True)) for n in range(STREAMS)]
                await up.arrived(STREAMS, within_s=30)
                before = set(gateway.workers())
                gateway.signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGUSR2)
                assert await asyncio.gather(*streams) == [200] * STREAMS
                assert len(load.whole) == STREAMS
                if how == "SIGTERM":
                    assert await gateway.ended(40) == 0
                else:
                    await gateway.until(lambda: not before & set(gateway.workers()), "new workers", 60)
                    assert await load.call(session, STREAMS + 1) == 200
