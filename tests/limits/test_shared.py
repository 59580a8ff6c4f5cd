"""Limits that several processes share, over a real server. Each Limiter stands for a worker."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from neuroroute.limits.leases import LISTEN_S, Leases
from neuroroute.limits.rate import Check, Limiter, Unit, Verdict
from neuroroute.store.kv_redis import RedisKV
from tests.support.relay import Relay

WINDOW_S = 1.0


@pytest.fixture
async def relay(redis_url: str) -> AsyncIterator[Relay]:
    async with Relay.to(redis_url) as made:
        yield made


@contextlib.asynccontextmanager
async def workers(url: str, number: int, timeout_s: float = LISTEN_S, *, holders: int = 1) -> AsyncIterator[list[Limiter]]:
    stores = [RedisKV(url, timeout_s=timeout_s) for _ in range(number)]
    made = [Limiter(Leases(store, holders=holders)) for store in stores]
    tasks = [asyncio.ensure_future(limiter.run()) for limiter in made]
    for limiter in made:
        assert limiter.leases is not None
        await limiter.leases.beat()
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for store in stores:
            await store.close()


async def take(limiter: Limiter, *checks: Check, tokens: int = 0) -> Verdict:
    return limiter.try_admit(checks, tokens) or await limiter.admit(checks, tokens)


async def greed(limiters: list[Limiter], check: Check, seconds: float, pause_s: float = 0.002) -> list[float]:
    """Every worker asks all the time; when it was let in."""
    admitted: list[float] = []
    until_s = time.monotonic() + seconds

    async def ask(limiter: Limiter) -> None:
        while time.monotonic() < until_s:
            if (await take(limiter, check)).admitted:
                admitted.append(time.monotonic())
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))

    await asyncio.gather(*[ask(limiter) for limiter in limiters])
    return sorted(admitted)


def fullest(times: list[float], window_s: float) -> int:
    """The most events in any sliding window."""
    most = first = 0
    for last, at_s in enumerate(times):
        while times[first] <= at_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("limit", [20, 300])
async def test_eight_workers_keep_one_limit_in_every_sliding_window(relay: Relay, limit: int) -> None:
    async with workers(relay.url, 8) as limiters:
        times = await greed(limiters, Check("key", "k", limit, WINDOW_S), 3.2 * WINDOW_S)
    assert fullest(times, WINDOW_S) <= limit
    assert len(times) >= 0.93 * 3 * limit


async def test_a_warm_call_seldom_pays_a_round_trip(relay: Relay) -> None:
    async with workers(relay.url, 4) as limiters:
        check = Check("key", "k", 10_000, 60.0)
        await asyncio.gather(*[take(limiter, check) for limiter in limiters])
        before = sum(limiter.leases.trips for limiter in limiters if limiter.leases)
        waited = calls = 0
        for _ in range(500):
            for limiter in limiters:
                calls += 1
                if limiter.try_admit((check,)) is None:
                    waited += 1
                    assert (await limiter.admit((check,))).admitted
            await asyncio.sleep(0.0005)
        trips = sum(limiter.leases.trips for limiter in limiters if limiter.leases) - before
    assert trips / calls <= 0.2
    assert waited / calls <= 0.05


@pytest.mark.parametrize(
    ("limit", "number", "times", "bar"), [(10, 1, 1.5, 0.2), (60, 1, 0.9, 0.2), (300, 4, 0.9, 0.2), (300, 4, 1.5, 0.3)]
)
async def test_calls_at_any_rate_pay_few_round_trips(redis_url: str, limit: int, number: int, times: float, bar: float) -> None:
    window_s, rng = 6.0, random.Random(f"{limit} {number} {times}")  # a tenth of a minute, and so are the beats
    check = Check("key", "k", limit, window_s)
    async with workers(redis_url, number, holders=number) as limiters:
        calls = admitted = 0
        until_s = time.monotonic() + 1.6 * window_s
        while time.monotonic() < until_s:
            await asyncio.sleep(rng.expovariate(limit * times / window_s))
            verdict = await take(rng.choice(limiters), check)
            calls, admitted = calls + 1, admitted + verdict.admitted
        trips = sum(limiter.leases.trips_of_calls for limiter in limiters if limiter.leases)
    assert trips <= bar * calls + number  # the first call of a worker has to ask
    assert admitted >= 0.9 * min(calls, limit)


async def test_callers_that_are_refused_do_not_ask_in_turns(redis_url: str) -> None:
    check = Check("key", "k", 5, 60.0)
    async with workers(redis_url, 2, holders=2) as limiters:

        async def ask(n: int) -> bool:
            await asyncio.sleep(n * 0.0005)
            return (await take(limiters[n % 2], check)).admitted

        assert sum(await asyncio.gather(*[ask(n) for n in range(400)])) == 5
        assert sum(limiter.leases.trips_of_calls for limiter in limiters if limiter.leases) < 20


async def test_refusals_cost_few_round_trips(relay: Relay) -> None:
    async with workers(relay.url, 1) as (limiter,):
        check = Check("key", "k", 5, 60.0)
        verdicts = [await take(limiter, check) for _ in range(300)]
        assert sum(verdict.admitted for verdict in verdicts) == 5
        assert limiter.leases is not None
        assert limiter.leases.trips < 20
        refused = verdicts[-1]
        assert refused.refused_by is check
        assert refused.retry_after_s == pytest.approx(60, abs=7)
        assert refused.headers()["x-ratelimit-remaining-requests"] == "0"


async def test_retry_after_is_true_across_workers(relay: Relay) -> None:
    async with workers(relay.url, 2) as (one, other):
        check = Check("key", "k", 10, 1.0)
        while (await take(one, check)).admitted:
            pass
        await asyncio.sleep(0.15)
        refused = await take(other, check)
        assert not refused.admitted
        assert refused.retry_after_s is not None
        assert refused.retry_after_s <= 1.15
        await asyncio.sleep(refused.retry_after_s + 0.03)
        assert (await take(other, check)).admitted


async def test_all_limits_of_a_call_or_none(relay: Relay) -> None:
    async with workers(relay.url, 2) as (one, _):
        wide, narrow = Check("user", "u", 50, 60.0), Check("key", "k", 1, 60.0)
        assert (await take(one, wide, narrow)).admitted
        for _ in range(20):
            verdict = await take(one, wide, narrow)
            assert not verdict.admitted
            assert verdict.refused_by is narrow
        admitted = 0
        while admitted < 60 and (await take(one, wide)).admitted:
            admitted += 1
        assert admitted == 49


async def test_tokens_are_corrected_in_the_common_store(relay: Relay) -> None:
    async with workers(relay.url, 2) as (one, other):
        check = Check("key", "k", 1000, 60.0, unit=Unit.TOKENS)
        first = await take(one, check, tokens=900)
        assert first.admitted
        assert not (await take(other, check, tokens=500)).admitted
        assert one.leases is not None
        await one.leases.beat()
        first.correct(100)
        one.leases.shares[check.counter].fetched_s = 0.0
        await one.leases.beat()
        await asyncio.sleep(3.1)  # a refusal is remembered for half a lease
        second = await take(other, check, tokens=500)
        assert second.admitted
        second.correct(950)
        assert other.leases is not None
        await other.leases.beat()
        await asyncio.sleep(0.1)
        assert not (await take(one, check, tokens=200)).admitted


async def test_more_tokens_than_the_limit_holds_are_never_admitted(relay: Relay) -> None:
    async with workers(relay.url, 1) as (limiter,):
        refused = await take(limiter, Check("key", "k", 100, unit=Unit.TOKENS), tokens=101)
        assert not refused.admitted
        assert refused.retry_after_s is None


@pytest.mark.parametrize("how", ["refused", "hung"])
async def test_without_the_store_limits_hold_and_it_comes_back_by_itself(relay: Relay, how: str) -> None:
    limit = 100
    check = Check("key", "k", limit, WINDOW_S)
    async with workers(relay.url, 4) as limiters:
        times = await greed(limiters, check, 1.2 * WINDOW_S)
        if how == "hung":
            relay.hang()
        else:
            await relay.refuse()
        times += await greed(limiters, check, 2 * WINDOW_S)
        assert all(limiter.away for limiter in limiters)
        during = len([at_s for at_s in times if at_s > time.monotonic() - WINDOW_S])
        await relay.restore()
        async with asyncio.timeout(5):
            while any(limiter.away for limiter in limiters):
                await asyncio.sleep(0.01)
        times += await greed(limiters, check, 2 * WINDOW_S)
    assert fullest(times, WINDOW_S) <= 1.25 * limit
    assert during >= 0.5 * limit


async def test_one_worker_may_hold_all_of_a_limit_when_the_store_goes_away(relay: Relay) -> None:
    limit = 100
    check = Check("key", "k", limit, WINDOW_S)
    async with workers(relay.url, 4) as limiters:
        times = await greed(limiters[:1], check, WINDOW_S)
        await relay.refuse()
        times += await greed(limiters, check, 4 * WINDOW_S)
    assert fullest(times, WINDOW_S) <= 1.25 * limit


async def test_a_flushed_store_learns_again_what_was_let_in(relay: Relay, redis_url: str) -> None:
    import redis.asyncio

    limit, window_s = 200, 4.0
    check = Check("key", "k", limit, window_s)
    async with workers(relay.url, 4) as limiters:
        times = await greed(limiters, check, 0.4 * window_s, 0.005)
        client = redis.asyncio.Redis.from_url(redis_url)
        await client.flushall()
        await client.aclose()
        times += await greed(limiters, check, 1.2 * window_s, 0.005)
    assert fullest(times, window_s) <= 1.25 * limit
    assert len(times) >= limit


async def test_no_call_waits_longer_than_its_time_for_a_hung_store(relay: Relay) -> None:
    async with workers(relay.url, 2) as limiters:
        check = Check("key", "k", 100_000, 60.0)
        await asyncio.gather(*[take(limiter, check) for limiter in limiters])
        relay.hang()
        waits = []
        for i in range(400):
            began = time.perf_counter()
            assert (await take(limiters[i % 2], Check("key", f"k{i % 40}", 1000, 60.0))).admitted
            waits.append(time.perf_counter() - began)
        assert max(waits) < 0.2
        assert sorted(waits)[len(waits) * 9 // 10] < 0.02


async def test_late_answers_let_nobody_through_twice(redis_url: str) -> None:
    limit, check = 300, Check("key", "late", 300, 60.0)
    async with contextlib.AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(Relay.to(redis_url)) for _ in range(4)]
        limiters = [(await stack.enter_async_context(workers(each.url, 1, LISTEN_S, holders=4)))[0] for each in relays]
        waits: list[float] = []
        admitted = late = 0

        async def ask(limiter: Limiter) -> None:
            nonlocal admitted, late
            assert limiter.leases is not None
            until_s = time.monotonic() + 2.5
            while time.monotonic() < until_s:
                began_s = time.monotonic()
                verdict = await take(limiter, check)
                admitted += verdict.admitted
                waits.append(time.monotonic() - began_s)
                late += limiter.leases.late
                await asyncio.sleep(random.uniform(0.01, 0.03))

        async def delay() -> None:  # half of the workers, half of the time
            while True:
                for each in relays[:2]:
                    each.delay_s = random.choice((0.0, 0.08))
                await asyncio.sleep(0.1)

        delaying = asyncio.ensure_future(delay())
        await asyncio.gather(*[ask(limiter) for limiter in limiters for _ in range(5)])
        delaying.cancel()
        assert not any(limiter.away for limiter in limiters)
        assert [each.accepted for each in relays] == [1] * 4, "a late answer costs no connection"
    assert late > 0
    assert limit * 0.95 <= admitted <= limit * 1.02
    assert sorted(waits)[len(waits) * 99 // 100] < 0.1
    assert max(waits) < 0.3  # a stall of this process, which all workers share, is no wait for the store


async def test_a_late_answer_is_booked(relay: Relay) -> None:
    check = Check("key", "booked", 100, 60.0)
    async with workers(relay.url, 2, LISTEN_S, holders=2) as (slow, other):
        relay.delay_s = 0.15
        began_s = time.monotonic()
        assert (await take(slow, check)).admitted
        assert time.monotonic() - began_s < 0.12
        assert slow.leases is not None
        assert slow.leases.late
        assert slow.try_admit((check,)) is not None, "nobody waits for the same answer again"
        async with asyncio.timeout(2):
            while slow.leases.shares[check.counter].left <= 0:
                await asyncio.sleep(0.01)
        relay.delay_s = 0.0
        trips = slow.leases.trips
        assert (await take(slow, check)).admitted
        assert slow.leases.trips == trips, "from the lease that came late"
        await asyncio.sleep(0.3)
        taken = 3
        for limiter in (other, slow):
            while (await take(limiter, check)).admitted:
                taken += 1
        assert taken == 100


async def test_counters_that_nobody_uses_are_dropped(relay: Relay) -> None:
    async with workers(relay.url, 1) as (limiter,):
        for i in range(50):
            await take(limiter, Check("key", f"k{i}", 10, 0.2))
        assert len(limiter) == 50
        async with asyncio.timeout(5):
            while len(limiter):
                await asyncio.sleep(0.05)


async def test_without_the_store_from_the_start_every_worker_takes_its_part(relay: Relay) -> None:
    await relay.refuse()
    store = RedisKV(relay.url)
    limiter = Limiter(Leases(store, holders=4))
    check, tokens = Check("key", "k", 100, 60.0), Check("key", "k", 1000, 60.0, unit=Unit.TOKENS)
    verdicts = [await take(limiter, check) for _ in range(60)]
    assert sum(verdict.admitted for verdict in verdicts) == 25
    assert verdicts[-1].retry_after_s == pytest.approx(60, abs=1)
    refused = await take(limiter, tokens, tokens=900)
    assert not refused.admitted
    assert refused.retry_after_s is not None
    assert (await take(limiter, tokens, tokens=200)).admitted
    await store.close()
