"""Calls at once, counted over all processes: with Redis, and with the book that one worker keeps for its neighbours."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neuroroute.core.ids import new_id
from neuroroute.limits.concurrency import Cap, Concurrency, Slot
from neuroroute.limits.neighbours import Neighbours
from neuroroute.limits.places import BEAT_S, PLACE_LEASE_S, Places, SharedPlaces
from neuroroute.limits.queue import Full, Queue, Turn
from neuroroute.limits.rate import Limiter
from neuroroute.store.kv_redis import RedisKV
from tests.support.relay import Relay

WAIT_S = 1.0


@pytest.fixture(params=["redis", "neighbours"])
async def workers(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> AsyncIterator[list[Concurrency]]:
    """Four, as if each were a process."""
    stores = [
        RedisKV(redis_url, timeout_s=WAIT_S) if request.param == "redis" else Neighbours(tmp_path, timeout_s=WAIT_S) for _ in range(4)
    ]
    made = [Concurrency(SharedPlaces(store, new_id("wrk"), wait_s=WAIT_S)) for store in stores]
    tasks = [asyncio.ensure_future(one.shared.run()) for one in made if one.shared is not None]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for store in reversed(stores):
        await store.close()


async def take(worker: Concurrency, *caps: Cap) -> Slot | Cap:
    return worker.take(caps) or await worker.ask(caps)


@pytest.mark.parametrize("limit", [3, 40])
async def test_all_workers_together_keep_a_cap_and_use_it(workers: list[Concurrency], limit: int) -> None:
    cap, running, most, served = Cap("key", f"k{limit}", limit), [0], [0], [0]

    async def client(number: int) -> None:
        rng = random.Random(number)
        for _ in range(25):
            slot = await take(workers[number % 4], cap)
            if isinstance(slot, Slot):
                running[0] += 1
                served[0] += 1
                most[0] = max(most[0], running[0])
                await asyncio.sleep(rng.uniform(0.005, 0.02))
                running[0] -= 1
                slot.release()
            else:
                assert slot is cap
            await asyncio.sleep(rng.uniform(0.0, 0.02))

    await asyncio.gather(*(client(number) for number in range(60)))
    assert most[0] <= limit, "never more than the cap"
    contacts = [(worker.shared.away, worker.shared.trips, worker.shared.held) for worker in workers if worker.shared is not None]
    assert most[0] >= 0.9 * limit and served[0] > 50, (served, contacts)


async def test_a_refusal_takes_nothing_and_what_is_left_can_be_had_elsewhere_at_once(workers: list[Concurrency]) -> None:
    first, second = workers[:2]
    key, user = Cap("key", "k", 1), Cap("user", "u", 5)
    held = await take(first, user, key)
    assert isinstance(held, Slot)
    assert await take(second, user, key) is key and second.running("user", "u") == 0
    assert await take(first, user, key) is key
    held.release()
    held.release()
    await asyncio.sleep(0.2)
    again = await take(second, user, key)
    assert isinstance(again, Slot)
    again.release()


async def test_most_calls_of_a_large_cap_ask_nobody(workers: list[Concurrency]) -> None:
    worker, cap = workers[0], Cap("user", "large", 400)
    assert worker.shared is not None
    slots = [await take(worker, cap) for _ in range(10)]
    trips = worker.shared.trips
    for _ in range(200):
        slots.append(await take(worker, cap))
        slot = slots.pop(0)
        assert isinstance(slot, Slot)
        slot.release()
    assert worker.shared.trips - trips <= 0.2 * 200


async def test_what_a_dead_worker_held_is_free_in_seconds_and_what_runs_long_stays(workers: list[Concurrency]) -> None:
    living, dead, other = workers[:3]
    cap = Cap("key", "d", 2)
    assert isinstance(await take(living, cap), Slot) and isinstance(await take(dead, cap), Slot)
    assert dead.shared is not None
    dead.shared._places.clear()  # it says nothing any more, like a process that was killed
    assert await take(other, cap) is cap
    await asyncio.sleep(PLACE_LEASE_S + 1.0 + 2 * BEAT_S)
    assert isinstance(await take(other, cap), Slot)
    assert await take(other, cap) is cap, "the one that lives has its place still"


async def test_a_providers_queue_waits_for_places_that_others_hold(workers: list[Concurrency]) -> None:
    queues = [Queue(Limiter(), (), worker.shared.of("provider:p", 2)) for worker in workers if worker.shared is not None]
    turns = [await queue.enter("a", 0, 2.0) for queue in queues[:2]]
    assert all(isinstance(turn, Turn) for turn in turns)
    assert isinstance(await queues[2].enter("a", 0, 0.3), Full)
    waiting = asyncio.ensure_future(queues[3].enter("b", 0, 3.0))
    await asyncio.sleep(0.2)
    assert not waiting.done() and isinstance(turns[0], Turn)
    turns[0].end(0)
    assert isinstance(await waiting, Turn)


async def test_without_the_store_each_has_its_part_and_it_comes_back_alone(redis_url: str) -> None:
    async with Relay.to(redis_url) as relay:
        store = RedisKV(relay.url, timeout_s=0.05)
        shared = SharedPlaces(store, new_id("wrk"), holders=2)
        worker, cap = Concurrency(shared), Cap("key", "k", 10)
        await relay.refuse()
        slots = [await take(worker, cap) for _ in range(7)]
        assert sum(isinstance(slot, Slot) for slot in slots) == 5 and shared.away
        for slot in slots:
            if isinstance(slot, Slot):
                slot.release()
        await relay.restore()
        beating = asyncio.ensure_future(shared.run())
        async with asyncio.timeout(10):
            while shared.away:
                await asyncio.sleep(0.05)
        slots = [await take(worker, cap) for _ in range(11)]
        assert sum(isinstance(slot, Slot) for slot in slots) == 10
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await store.close()


def test_places_of_one_process_are_counted_here() -> None:
    places = Places(2)
    places.running = 2
    assert places.full
    places.leave()
    assert not places.full and not Places().full
