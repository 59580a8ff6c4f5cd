"""Workers of one machine that share limits without Redis."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neuroroute.limits.leases import Leases
from neuroroute.limits.neighbours import Neighbours
from neuroroute.limits.rate import Check, Limiter
from neuroroute.store.kv import KVAway
from tests.limits.test_shared import fullest, greed, take

WINDOW_S = 1.0


@contextlib.asynccontextmanager
async def workers(folder: Path, number: int) -> AsyncIterator[tuple[list[Limiter], list[Neighbours]]]:
    stores = [Neighbours(folder) for _ in range(number)]
    made = [Limiter(Leases(store)) for store in stores]
    tasks = [asyncio.ensure_future(limiter.run()) for limiter in made]
    for limiter in made:
        assert limiter.leases is not None
        await limiter.leases.beat()
    try:
        yield made, stores
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for store in stores:
            await store.close()


async def test_workers_of_one_machine_keep_one_limit(tmp_path: Path) -> None:
    async with workers(tmp_path / "limits", 4) as (limiters, stores):
        assert [store.keeps_book for store in stores] == [True, False, False, False]
        times = await greed(limiters, Check("key", "k", 100, WINDOW_S), 3.2 * WINDOW_S)
    assert fullest(times, WINDOW_S) <= 100
    assert len(times) >= 0.93 * 3 * 100


async def test_when_the_keeper_leaves_another_goes_on_with_its_book(tmp_path: Path) -> None:
    check = Check("key", "k", 50, 60.0)
    async with workers(tmp_path / "limits", 3) as (limiters, stores):
        while (await take(limiters[1], check)).admitted:
            pass
        for limiter in limiters:
            assert limiter.leases is not None
            await limiter.leases.beat()
        await stores[0].close()
        async with asyncio.timeout(5):
            while not any(store.keeps_book for store in stores[1:]) or any(limiter.away for limiter in limiters[1:]):
                await asyncio.sleep(0.02)
        assert not (await take(limiters[2], check)).admitted
        assert not (await take(limiters[1], check)).admitted


async def test_a_worker_that_has_left_asks_nobody(tmp_path: Path) -> None:
    store = Neighbours(tmp_path)
    await store.run("", ["m", "h"], ["w", 0, 5000, 2000])
    await store.close()
    assert not store.keeps_book
    with pytest.raises(KVAway):
        await store.run("", ["m", "h"], ["w", 0, 5000, 2000])


async def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    one, other = Neighbours(folder), Neighbours(folder)
    first = await one.run("", ["m", "h"], ["a", 0, 5000, 2000])
    assert await other.run("", ["m", "h"], ["b", 0, 5000, 2000]) == [first[0], 2]
    await other.close()
    await one.close()


KEEPER = """
import asyncio, sys
from pathlib import Path
from neuroroute.limits.neighbours import Neighbours

async def main():
    store = Neighbours(Path(sys.argv[1]))
    await store.run("", ["m", "h"], ["keeper", 0, 5000, 2000])
    assert store.keeps_book
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_when_the_keeper_is_killed_limits_hold_and_another_takes_over(tmp_path: Path) -> None:
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, str(tmp_path)], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    assert await asyncio.to_thread(keeper.stdout.readline) == b"ready\n"
    window_s, limit = 3.0, 200
    check = Check("key", "k", limit, window_s)
    async with workers(tmp_path, 3) as (limiters, stores):
        assert not any(store.keeps_book for store in stores)
        times = await greed(limiters, check, 0.5 * window_s, 0.005)
        keeper.kill()
        keeper.wait()
        keeper.stdout.close()
        times += await greed(limiters, check, 1.2 * window_s, 0.005)
        assert sum(store.keeps_book for store in stores) == 1
        assert not any(limiter.away for limiter in limiters)
    assert fullest(times, window_s) <= 1.25 * limit
    assert len(times) >= limit
