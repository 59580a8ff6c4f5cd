"""Percentiles from the histograms that are kept say what the single calls say, within the width of a bucket."""

import random
from datetime import timedelta
from typing import Any

import pytest

from neuroroute.store import usage_times
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
