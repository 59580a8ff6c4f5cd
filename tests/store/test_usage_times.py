"""Percentiles from the histograms that are kept say what the single calls say, within the width of a bucket."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.store import migrate, usage_times
from neuroroute.store.postgres import Database
from neuroroute.store.usage import EXACT_CALLS, Usage, UsageFilter
from tests.store.test_usage import NOON, record

MANY = EXACT_CALLS + 1
SHARES = (0.5, 0.95, 0.99)
SPANS = [
    (None, None),
    (NOON - timedelta(days=4, hours=7, minutes=3), NOON - timedelta(hours=9, minutes=41)),
    (NOON - timedelta(hours=15, minutes=30), NOON - timedelta(hours=2, minutes=10)),
    (NOON - timedelta(days=2, hours=12), NOON - timedelta(days=1, hours=12)),
]
FILTERS: list[dict[str, Any]] = [{}, {"key_id": "key_1"}, {"user_id": "usr_1"}, {"model": "a"}, {"label": "math"}, {"tag": ("team", "y")}]


async def fill(database: Database, count: int) -> None:
    rng = random.Random(5)
    for _ in range(0, count, 500):
        rows = [
            record(
                rng.randrange(-5 * 1440, 0), key_id=f"key_{rng.randrange(3)}", user_id=f"usr_{rng.randrange(2)}", model=rng.choice(["a", None]),
                label=rng.choice(["code", "math"]), tags=rng.choice([{}, {"team": "x"}, {"team": "y"}]),
                latency_ms=rng.choice([None, rng.lognormvariate(6, 1)]), ttft_ms=rng.lognormvariate(4, 1), overhead_ms=rng.lognormvariate(0, 0.5),
            )
            for _ in range(500)
        ]  # fmt: skip
        await Usage(database).insert_many(rows)


async def test_percentiles_of_many_calls_are_right_within_a_bucket(database: Database) -> None:
    await fill(database, 4000)
    usage = Usage(database)
    for since, until in SPANS:
        for given in FILTERS:
            filters = UsageFilter(since=since, until=until, **given)
            kept = await usage.percentiles(filters, MANY, SHARES)
            least = await usage.percentiles(filters, 1, [share - 0.008 for share in SHARES])
            most = await usage.percentiles(filters, 1, [share + 0.008 for share in SHARES])
            for metric in usage_times.METRICS:
                for low, found, high in zip(least[metric], kept[metric], most[metric], strict=True):
                    assert low is not None and found is not None and high is not None
                    assert low / 1.1 <= found <= high * 1.1, (since, given, metric)


def test_long_spans_read_no_single_calls() -> None:
    for given, tag in (
        ({}, None),
        ({"key": "k"}, None),
        ({"user": "u"}, None),
        ({"model": "m"}, None),
        ({"label": "l"}, None),
        ({}, ("t", "v")),
    ):
        found = usage_times.query(given, tag, NOON.replace(hour=0) - timedelta(days=90), NOON.replace(hour=0))
        assert found is not None and "usage_records" not in found[0]


def test_where_no_histograms_are_kept_nothing_is_made_up() -> None:
    assert usage_times.query({"user": "u", "model": "m"}, None, None, None) is None
    assert usage_times.query({"provider": "p"}, None, None, None) is None
    assert usage_times.at_shares([], SHARES) == [None, None, None]
    assert usage_times.at_shares([(0, 10)], (0.0, 1.0)) == [1.0, pytest.approx(1.1)]


@pytest.mark.parametrize("ms", [0.0, -1.0, 1e-9, 1e30, float("inf")])
async def test_odd_times_break_nothing(database: Database, ms: float) -> None:
    assert await database.fetchval("SELECT time_bucket($1)", ms) in (-49, 217)


KEPT = "SELECT metric, bucket, sum(calls)::bigint AS calls FROM usage_times WHERE part = $1 AND a = $2 AND b = $3 AND span = $4 GROUP BY 1, 2 ORDER BY 1, 2"
PLAIN = """
SELECT metric, time_bucket(ms) AS bucket, count(*) AS calls FROM usage_records
CROSS JOIN LATERAL (VALUES ('latency', latency_ms), ('ttft', ttft_ms), ('overhead', overhead_ms)) AS taken (metric, ms)
WHERE ms IS NOT NULL AND CASE $1::text
    WHEN 'all' THEN true WHEN 'tag' THEN tags ->> $2::text = $3::text WHEN 'key' THEN key_id = $2 WHEN 'user' THEN user_id = $2
    WHEN 'model' THEN coalesce(model, '') = $2 WHEN 'label' THEN coalesce(label, '') = $2 END
GROUP BY 1, 2 ORDER BY 1, 2
"""


async def same(database: Database) -> int:
    """How many calls all histograms have, each of which is compared with the single calls."""
    counted = 0
    for part, a, b in await database.fetch("SELECT DISTINCT part, a, b FROM usage_times"):
        for span in ("day", "hour") if part == "all" else ("day",):
            kept = await database.fetch(KEPT, part, a, b, span)
            plain = await database.fetch(PLAIN, part, a, b)
            assert [tuple(row) for row in kept] == [tuple(row) for row in plain], (part, a, b, span)
            counted += sum(row["calls"] for row in kept)
    return counted


async def test_histograms_are_those_of_their_calls_whoever_writes_them(database: Database) -> None:
    """Writers at once, rows that come twice, times beyond the ends of what a histogram holds already."""
    rng = random.Random(8)
    rows = [
        record(
            rng.randrange(-3 * 1440, 0), key_id=f"key_{rng.randrange(3)}", user_id=f"usr_{rng.randrange(2)}", model=rng.choice("ab"),
            label=rng.choice(["code", "math"]), tags=rng.choice([{}, {"team": "x"}, {"team": "y", "env": "z"}]),
            latency_ms=rng.choice([None, 10 ** rng.uniform(-3, 8)]), ttft_ms=rng.choice([None, 5.0]), overhead_ms=None,
        )
        for _ in range(400)
    ]  # fmt: skip
    batches = [rng.sample(rows, 60) for _ in range(20)] + [rows[at : at + 40] for at in range(0, 400, 40)]
    await asyncio.gather(*(Usage(database).insert_many(batch) for batch in batches))
    assert await database.fetchval("SELECT count(*) FROM usage_records") == len(rows)
    assert await same(database) > 4 * len(rows)


async def test_what_is_on_record_moves_into_arrays_while_calls_go_on(empty_database_url: str) -> None:
    known = [migration.name for migration in migrate.files()]
    async with Database(empty_database_url) as database:
        await migrate.run(database, only=[name for name in known if name < "0021"])
        await fill(database, 1000)
        now = [record(rng, latency_ms=float(rng), created_at=utcnow()) for rng in range(1, 200)]
        await Usage(database).insert_many(now)
        newer = [name for name in known if name >= "0021"]
        for name in newer:
            late = [[record(created_at=utcnow() - timedelta(hours=n), key_id="late") for n in range(30)] for _ in range(4)]
            more = [Usage(database).insert_many(rows) for rows in late]
            await asyncio.gather(migrate.run(database, only=[name]), *more)
            await same(database)
        assert (await Usage(database).totals(UsageFilter(key_id="late"))).calls == 4 * 30 * len(newer)
