"""Two levels of kept answers."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from neuroroute.caching.entry import COMPRESS_FROM_BYTES, Entry, pack, unpack
from neuroroute.caching.responses import ResponseCache
from neuroroute.core.types import Usage
from neuroroute.store.kv_redis import RedisKV
from tests.support.relay import Relay

STREAM = (
    b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"\xc3\xa9"}}]}\n\ndata: {"usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n'
)


def key(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def entry(body: bytes = b'{"id":"x"}', **more: object) -> Entry:
    return Entry(body, model="m", provider="p", finish_reason="stop", usage=Usage(3, 4, 1, 0, 2, "provider"), cost_nanousd=70, **more)  # type: ignore[arg-type]


@pytest.fixture
async def relay(redis_url: str) -> AsyncIterator[Relay]:
    async with Relay.to(redis_url) as made:
        yield made


def over(url: str, max_bytes: int = 1 << 20) -> ResponseCache:
    return ResponseCache(max_bytes, RedisKV(url, timeout_s=0.2))


async def close(*caches: ResponseCache) -> None:
    for cache in caches:
        assert cache._shared is not None
        await cache._shared.close()


def test_what_is_kept_is_found_as_it_was() -> None:
    cache = ResponseCache(1 << 20)
    assert cache.look(key(1)) is None
    cache.keep(key(1), entry(STREAM, stream=True, content_type="text/event-stream"), 60)
    found = cache.look(key(1))
    assert found is not None
    assert found.body == STREAM
    assert found.stream
    assert found.usage == Usage(3, 4, 1, 0, 2, "provider")
    assert cache.look(key(2)) is None
    assert (cache.counts.hits, cache.counts.misses) == (1, 2)


async def test_answers_end_with_their_time() -> None:
    cache = ResponseCache(1 << 20)
    cache.keep(key(1), entry(), 0.02)
    assert cache.look(key(1)) is not None
    await asyncio.sleep(0.03)
    assert cache.look(key(1)) is None
    assert cache.held_bytes == 0


SIZES: dict[str, Callable[[random.Random], int]] = {
    "tiny": lambda dice: dice.randrange(40),
    "small": lambda dice: dice.randrange(200, 6000),
    "all": lambda dice: int(10 ** dice.uniform(0.5, 5.5)),
    "large": lambda dice: dice.randrange(20_000, 400_000),
}


def fill(cache: ResponseCache, sizes: str, *, read_back: bool, at: Callable[[], int]) -> int:
    """Keep four times what it can hold, each with its own tags and numbers; the most that `at` said meanwhile."""
    dice, kept_bytes, i, most = random.Random(sizes), 0, 0, 0
    while kept_bytes < 4 * cache._near.max_bytes:
        i += 1
        size = SIZES[sizes](dice)
        kept_bytes += size + 2000
        tags = (f"model:m{i}", f"key:key_{i}", f"user:usr_{i}", *[f"tag:{n}={i}-\u6771\u4eac{'x' * (i % 99)}" for n in range(i % 16)])
        usage = Usage(1000 + i, 2000 + i, 3000 + i, 4000 + i, 5000 + i, "provider")
        made = Entry(
            os.urandom(size), model=f"m{i}", provider=f"p{i}", origin=f"https://o{i}", usage=usage, cost_nanousd=9**9 + i, tags=tags
        )
        cache.keep(key(i), unpack(pack(made)) or made if read_back else made, 600)
        if i % 20 == 0:
            most = max(most, at())
    return most


@pytest.mark.parametrize("read_back", [False, True], ids=["made-here", "from-the-shared-store"])
@pytest.mark.parametrize("sizes", SIZES)
def test_memory_stays_within_its_bound(sizes: str, read_back: bool) -> None:
    """Everything that the entries keep alive, as Python's allocator counts it."""
    bound = 3 << 20
    cache = ResponseCache(bound)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    most = fill(cache, sizes, read_back=read_back, at=lambda: tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert bound * 0.4 <= most <= bound * 1.1, most / bound
    assert cache.evicted > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("sizes", SIZES)
def test_the_process_grows_by_no_more_than_its_bound(sizes: str) -> None:
    """In a process of its own, as the operating system counts it: what the allocator wastes between entries is in."""
    found = subprocess.run(
        [sys.executable, "-c", f"from tests.caching.test_kept_answers import grown; print(grown({sizes!r}, {32 << 20}))"],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert 0.4 <= int(found.stdout) / (32 << 20) <= 1.1, int(found.stdout) / (32 << 20)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def grown(sizes: str, bound: int) -> int:
    fill(ResponseCache(1 << 20), sizes, read_back=True, at=lambda: 0)
    before = resident_bytes()
    return fill(ResponseCache(bound), sizes, read_back=False, at=resident_bytes) - before


def test_what_waits_for_the_shared_store_is_within_the_bound_too() -> None:
    bound = 8 << 20
    cache = ResponseCache(bound, RedisKV("redis://127.0.0.1:1", timeout_s=0.1))  # nobody takes anything away
    for i in range(500):
        cache.keep(key(i), entry(os.urandom(50_000)), 60)
        assert cache.held_bytes <= bound
    assert cache.counts.unsent > 0 and cache.look(key(499)) is not None


def test_one_huge_answer_does_not_push_out_all_others() -> None:
    cache = ResponseCache(1 << 20)
    cache.keep(key(1), entry(), 60)
    cache.keep(key(2), entry(bytes(1 << 19)), 60)
    assert cache.look(key(1)) is not None
    assert cache.look(key(2)) is None


@pytest.mark.parametrize(
    "made",
    [
        entry(),
        entry(STREAM * 100, stream=True, content_type="text/event-stream", tags=("model:m", "tag:team=a\u00e9")),
        entry(os.urandom(5000)),
        Entry(b""),
    ],
)
def test_entries_survive_packing(made: Entry) -> None:
    assert unpack(pack(made)) == made


def test_text_is_packed_smaller_and_noise_is_not() -> None:
    assert len(pack(entry(STREAM * 100))) < len(STREAM) * 20
    noise = entry(os.urandom(COMPRESS_FROM_BYTES))
    assert noise.body in pack(noise)


def test_damage_is_a_miss() -> None:
    data = pack(entry(STREAM * 20))
    assert unpack(b"") is None
    assert unpack(b"NRC2" + data[4:]) is None
    for at in range(4, len(data), 7):
        found = unpack(data[:at])
        assert found is None or found.body != entry(STREAM * 20).body
    assert unpack(data[:9] + b"\xff" * (len(data) - 9)) is None


async def test_another_worker_finds_it_behind(relay: Relay) -> None:
    one, other = over(relay.url), over(relay.url)
    one.keep(key(1), entry(STREAM * 50, stream=True, latency_s=1.5), 60)
    assert other.has_behind
    assert other.look(key(1)) is None
    await one.flush()
    found = await other.look_behind(key(1))
    assert found is not None
    assert (found.body, found.stream, found.cost_nanousd, found.latency_s) == (STREAM * 50, True, 70, 1.5)
    assert other.look(key(1)) == found
    assert await other.look_behind(key(2)) is None
    await close(one, other)


async def test_what_is_kept_here_while_it_is_asked_for_behind_is_found(relay: Relay) -> None:
    cache = over(relay.url)
    asking = asyncio.ensure_future(cache.look_behind(key(1)))
    await asyncio.sleep(0)
    cache.keep(key(1), entry(), 60)  # a call that asked the same has just ended
    assert not asking.done()
    assert await asking is cache.peek(key(1)) is not None
    await close(cache)


async def test_the_time_of_an_answer_is_one_for_both_levels(relay: Relay) -> None:
    one, other = over(relay.url), over(relay.url)
    one.keep(key(1), entry(), 0.3)
    await one.flush()
    await asyncio.sleep(0.15)
    assert await other.look_behind(key(1)) is not None
    await asyncio.sleep(0.2)
    assert other.look(key(1)) is None
    assert await other.look_behind(key(1)) is None
    await close(one, other)


async def test_a_store_that_is_away_is_a_miss_and_nothing_waits(relay: Relay) -> None:
    cache = over(relay.url)
    cache.keep(key(1), entry(), 60)
    relay.hang()
    assert cache.look(key(1)) is not None
    async with asyncio.timeout(2):
        assert await cache.look_behind(key(2)) is None
        await cache.flush()
        assert await cache.look_behind(key(2)) is None
    await relay.restore()
    await close(cache)


async def test_drops_by_tag_reach_other_workers_and_the_store_behind(relay: Relay) -> None:
    one, other = over(relay.url), over(relay.url)
    for i, model in enumerate(("a", "a", "b")):
        one.keep(key(i), entry(tags=(f"model:{model}", f"key:{i}")), 60)
    await one.flush()
    for i in range(3):
        assert await other.look_behind(key(i)) is not None
    await asyncio.sleep(0.002)
    assert one.drop("model:a") == 2
    await one.flush()
    await other.flush()
    assert [other.look(key(i)) is not None for i in range(3)] == [False, False, True]
    fresh = over(relay.url)
    await fresh.flush()
    assert [await fresh.look_behind(key(i)) is not None for i in range(3)] == [False, False, True]
    await asyncio.sleep(0.002)
    other.keep(key(0), entry(tags=("model:a",)), 60)
    await other.flush()
    assert await fresh.look_behind(key(0)) is not None
    assert other.drop() == 2
    await close(one, other, fresh)


async def test_drops_of_two_workers_at_once_are_both_kept(relay: Relay) -> None:
    one, other = over(relay.url), over(relay.url)
    one.keep(key(1), entry(tags=("model:a",)), 60)
    other.keep(key(2), entry(tags=("model:b",)), 60)
    await asyncio.gather(one.flush(), other.flush())
    await asyncio.sleep(0.002)
    one.drop("model:b")
    other.drop("model:a")
    for _ in range(3):
        await asyncio.gather(one.flush(), other.flush())
    assert one.look(key(1)) is None
    assert other.look(key(2)) is None
    await close(one, other)


async def test_the_task_brings_answers_to_the_store_by_itself(relay: Relay) -> None:
    one, other = over(relay.url), over(relay.url)
    task = asyncio.ensure_future(one.run())
    one.keep(key(1), entry(), 60)
    async with asyncio.timeout(3):
        while await other.look_behind(key(1)) is None:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await close(one, other)
