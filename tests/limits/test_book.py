"""The book in a process's memory answers as the script in Redis does."""

import random
import time
from collections.abc import AsyncIterator

import pytest

from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.limits.book import LeaseBook
from neuroroute.limits.leases import LEASE_SCRIPT
from neuroroute.store.kv_redis import RedisKV

DAY_MS = 86_400_000


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisKV]:
    made = RedisKV(redis_url, timeout_s=5.0)
    yield made
    await made.close()


class Holder:
    """What one process knows of each counter: enough to make true reports."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[str, tuple[int, int]] = {}

    def question(self, rng: random.Random, names: list[str], limit: int, marker: int) -> tuple[list[str | int], dict[str, int]]:
        args: list[str | int] = [self.name, marker, 5000, 2000]
        kept: dict[str, int] = {}
        for name in names:
            bucket, held = self.held.get(name, (0, 0))
            spent = rng.randint(0, held) if held and rng.random() < 0.8 else rng.randint(-3, 3)
            kept[name] = rng.randint(0, max(held - max(spent, 0), 0))
            need = rng.choice([0, 1, 3, 10])
            args += [limit, DAY_MS, DAY_MS // 10, bucket, held, spent, kept[name], need, min(need, 2) or 1, rng.choice([0, 8, 40])]
        return args, kept


@pytest.mark.parametrize("seed", range(8))
async def test_any_sequence_of_reports_is_answered_alike(store: RedisKV, seed: int) -> None:
    rng, book = random.Random(seed), LeaseBook()
    holders, counters, limit = [Holder(f"w{i}") for i in range(3)], [f"c{i}" for i in range(3)], 100
    marker = there = here = 0
    for _ in range(60):
        holder = rng.choice(holders)
        names = rng.sample(counters, rng.randint(1, 3))
        args, kept = holder.question(rng, names, limit, marker)
        theirs = await store.run(LEASE_SCRIPT, ["{l}marker", "{l}holders", *["{l}" + name for name in names]], [args[0], there, *args[2:]])
        ours = book.answer(names, [args[0], here, *args[2:]], int(time.time() * 1000))
        there, here = theirs[0], ours[0]
        marker = there
        assert ours[1] == theirs[1]
        for place, name in enumerate(names):
            mine, other = ours[2 + 4 * place : 6 + 4 * place], theirs[2 + 4 * place : 6 + 4 * place]
            assert mine[:3] == other[:3]
            assert abs(mine[3] - other[3]) < 1000
            holder.held[name] = (mine[0], kept[name] + mine[1])


@pytest.mark.parametrize(("limit", "granted"), [(100, 25), (3, 1), (1, 1)])
async def test_a_lost_store_grants_a_quarter_at_first_in_both(store: RedisKV, limit: int, granted: int) -> None:
    question: list[str | int] = ["w", 12345, 5000, 2000, limit, 60_000, 6000, 0, 0, 0, 0, 80, 1, 0]
    theirs = await store.run(LEASE_SCRIPT, ["{l}marker", "{l}holders", "{l}c"], question)
    ours = LeaseBook().answer(["c"], question, int(time.time() * 1000))
    assert ours[3] == theirs[3] == granted
    assert ours[5] == pytest.approx(theirs[5], abs=50)
    assert 1 <= ours[5] <= 2000 or limit == granted  # nothing is left to wait for but the window


def test_units_leave_the_window_when_it_is_over() -> None:
    book = LeaseBook()
    now_ms = 1_000_000
    first = book.answer(["c"], ["w", 0, 5000, 2000, 10, 1000, 100, 0, 0, 0, 0, 10, 1, 0], now_ms)
    assert first[3] == 10
    again = ["w", first[0], 5000, 2000, 10, 1000, 100, first[2], 10, 10, 0, 1, 1, 0]
    refused = book.answer(["c"], again, now_ms + 50)
    assert (refused[3], refused[5]) == (0, 1010 - 50 + 50)
    later = ["w", first[0], 5000, 2000, 10, 1000, 100, 0, 0, 0, 0, 1, 1, 0]
    assert book.answer(["c"], later, now_ms + 50 + 900)[3] == 0
    assert book.answer(["c"], later, now_ms + 50 + refused[5])[3] == 1


def test_idle_counters_are_dropped() -> None:
    book = LeaseBook()
    for i in range(100):
        book.answer([f"c{i}"], ["w", 0, 5000, 2000, 10, 1000, 100, 0, 0, 0, 0, 1, 1, 0], 1_000_000)
    assert len(book) == 100
    book.answer(["last"], ["w", 0, 5000, 2000, 10, 1000, 100, 0, 0, 0, 0, 1, 1, 0], 1_020_000)
    assert len(book) == 1


def test_a_book_survives_json() -> None:
    book = LeaseBook()
    first = book.answer(["c"], ["w", 0, 5000, 2000, 10, 60_000, 6000, 0, 0, 0, 0, 7, 1, 0], 1_000_000)
    again = LeaseBook.of(loads(dumps(book.as_data())))
    question: list[str | int] = ["w", first[0], 5000, 2000, 10, 60_000, 6000, 0, 0, 0, 0, 4, 4, 0]
    assert again.answer(["c"], question, 1_000_100) == book.answer(["c"], question, 1_000_100)
    with pytest.raises((KeyError, TypeError, ValueError)):
        LeaseBook.of({"marker": 1})
