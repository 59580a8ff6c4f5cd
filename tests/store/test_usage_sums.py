"""Sums that are kept as rows arrive say what the single calls say, for any span and filter."""

import asyncio
import random
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

from neuroroute.store import usage, usage_sums
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageFilter, UsageSums
from tests.store.test_usage import NOON, record


async def plain(database: Database, by: str | None, filters: UsageFilter) -> list[UsageSums]:
    """The same sums, made from single calls alone."""
    where = usage._where(filters)
    sql = where.into(usage.TOTALS if by is None else usage.GROUPED[by])  # type: ignore[index]
    return [UsageSums(**dict(row)) for row in await database.fetch(sql, *where.args)]


def even(sums: list[UsageSums]) -> list[Any]:
    rounded = [{name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(one).items()} for one in sums]
    return sorted(rounded, key=lambda one: str(one["name"]))


async def fill(database: Database, count: int, seed: int = 4) -> None:
    rng, rows = random.Random(seed), []
    for _ in range(count):
        rows.append(
            record(
                rng.randrange(-5 * 1440, 0), key_id=f"key_{rng.randrange(4)}", user_id=f"usr_{rng.randrange(2)}",
                model=rng.choice(["a", "b", None]), provider=rng.choice(["p", "q"]), label=rng.choice(["code", "math", None]),
                status=rng.choice(["ok", "ok", "error"]), cost_nanousd=rng.choice([None, 5, 7]), cache=rng.choice(["miss", "hit"]),
                latency_ms=rng.choice([None, 100.0, 250.0]), tags=rng.choice([{}, {"team": "x"}, {"team": "y", "env": "z"}]),
            )
        )  # fmt: skip
    for at in range(0, count, 100):
        await Usage(database).insert_many(rows[at : at + 100])


SPANS = [
    (None, None),
    (NOON - timedelta(days=3, minutes=77), None),
    (NOON - timedelta(days=4, hours=7, minutes=3), NOON - timedelta(hours=9, minutes=41)),
    (NOON - timedelta(hours=5, minutes=30), NOON - timedelta(hours=2, minutes=10)),
    (NOON - timedelta(minutes=50), NOON - timedelta(minutes=45)),
    (NOON - timedelta(days=2, hours=12), NOON - timedelta(days=1, hours=12)),
    (NOON + timedelta(days=1), NOON + timedelta(days=2)),
]
FILTERS: list[dict[str, Any]] = [
    {}, {"key_id": "key_1"}, {"user_id": "usr_1"}, {"model": "a"}, {"provider": "q"}, {"label": "math"}, {"tag": ("team", "y")},
    {"user_id": "usr_0", "model": "b"}, {"key_id": "key_2", "provider": "p"}, {"status": "error"}, {"model": "a", "label": "code"},
]  # fmt: skip


async def test_every_sum_is_that_of_its_single_calls(database: Database) -> None:
    await fill(database, 1200)
    asked = 0
    for since, until in SPANS:
        for given in FILTERS:
            filters = UsageFilter(since=since, until=until, **given)
            for by in (None, "hour", "day", "model", "key", "user", "label"):
                found = [await Usage(database).totals(filters)] if by is None else await Usage(database).grouped(by, filters)  # type: ignore[arg-type]
                assert even(found) == even(await plain(database, by, filters)), (by, filters)
                asked += 1
    assert asked == len(SPANS) * len(FILTERS) * 7


async def test_a_row_that_comes_twice_is_summed_once(database: Database) -> None:
    row = record()
    for _ in range(3):
        await Usage(database).insert_many([row, record(1)])
    assert (await Usage(database).totals(UsageFilter())).calls == 4


async def test_dashboards_read_no_single_calls(database: Database) -> None:
    await fill(database, 300)
    spans = [(NOON - timedelta(days=3), NOON), (None, None)]
    for by in (None, "day", "model", "key", "user", "label"):
        for given in ({}, {"user_id": "usr_1"}):
            for since, until in spans:
                until = until.replace(hour=0) if until else None

                dimensions = {"user": "usr_1"} if given else {}
                found = usage_sums.query(by, dimensions, None, since.replace(hour=0) if since else None, until)
                assert found is not None and "usage_records" not in found[0]


def test_hours_are_kept_of_one_thing_at_a_time() -> None:
    for given in FILTERS:
        filters = UsageFilter(since=NOON - timedelta(days=3, minutes=-NOON.minute), until=NOON.replace(minute=0), **given)
        found = usage_sums.query(
            None, {name: value for name, value in usage._dimensions(filters) if value}, filters.tag, filters.since, filters.until
        )
        if filters.status is None and found is not None:
            assert Usage.hours_are_kept(filters) is ("usage_records" not in found[0]), given


@pytest.mark.parametrize("kind", ["key", "tag"])
async def test_writers_at_once_lose_nothing(database: Database, kind: str) -> None:

    rng = random.Random(1)
    batches = [
        [record(n, key_id=f"key_{rng.randrange(6)}", tags={"t": f"{rng.randrange(6)}"}, cost_nanousd=3) for n in range(40)]
        for _ in range(24)
    ]
    await asyncio.gather(*(Usage(database).insert_many(batch) for batch in batches))
    found = await database.fetchval("SELECT sum(cost_nanousd) FROM usage_daily WHERE part = $1", kind)
    assert found == 24 * 40 * 3
