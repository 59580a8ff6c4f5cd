"""Workers and whole gateways are killed under load, with outages of the database between: every call is on record once, and right."""

import asyncio
import os
import random
import signal
from pathlib import Path

from neuroroute.store.postgres import Database
from tests.chaos.load import FULL, Load, answering, booked, configured, gone
from tests.serve.gateway import Gateway
from tests.support.relay import Relay
from tests.support.upstream import Upstream

ROUNDS, KILLS_A_ROUND = (10, 4) if FULL else (1, 1)


async def test_kills_and_outages_lose_and_double_nothing(tmp_path: Path, database: Database, database_url: str) -> None:
    rng, kills, outages, port = random.Random(11), 0, 0, 0
    async with Upstream(answering()) as up, Relay.to(database_url) as relay:
        config = configured(tmp_path, up)
        load = Load(lambda: f"http://127.0.0.1:{port}")
        for turn in range(ROUNDS):
            folder = tmp_path / f"{turn}"
            folder.mkdir()
            settings = {
                "NEUROROUTE_DATA_DIR": str(tmp_path / "data"),
                "DATABASE_URL": relay.url,
                "WORKERS": "2",
                "NEUROROUTE_CONFIG": config,
                "RATE_LIMIT_MAX": "0",
            }
            async with Gateway(folder, **settings) as gateway:
                port = gateway.port
                if not turn:
                    load.start(12)
                await gateway.until(lambda: len(gateway.workers()) == 2, "both workers")
                for _ in range(KILLS_A_ROUND):
                    await asyncio.sleep(rng.uniform(0.2, 0.6))
                    if workers := gateway.workers():
                        os.kill(rng.choice(workers), signal.SIGKILL)
                        kills += 1
                    await asyncio.sleep(rng.uniform(0.2, 0.6))
                if turn % 2:
                    relay.hang()
                else:
                    await relay.refuse()
                outages += 1
                await asyncio.sleep(rng.uniform(0.5, 1.0))
                left = gateway.workers()
                os.kill(gateway.process.pid, signal.SIGKILL)
                kills += 1
                for pid in left[: turn % 3]:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                await relay.restore()
                await gone(left)
        (tmp_path / "last").mkdir()
        async with Gateway(tmp_path / "last", **settings) as gateway:
            port = gateway.port
            await asyncio.sleep(1.0)
            await load.stop()
            figures = await booked(database, up, load, tmp_path)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
    print(f"\nkills {kills}, outages {outages}: {figures}")
    assert (figures["lost"], figures["doubled"], figures["wrong"]) == (0, 0, 0), figures
    assert figures["whole"] > (2000 if FULL else 20), figures
    assert figures["interrupted"] > 0
    assert list((tmp_path / "data" / "journal").glob("*.seg")) == []
    if FULL:
        assert kills >= 50 and outages >= 10
