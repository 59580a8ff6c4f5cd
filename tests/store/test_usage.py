"""Usage rows: every honest one is stored, whatever comes with it; lists and sums are right."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neuroroute.core.ids import new_id
from neuroroute.store.postgres import Database
from neuroroute.store.usage import BadRows, Usage, UsageFilter, UsageRecord

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def record(n: int = 0, **changes: Any) -> UsageRecord:
    made = UsageRecord(
        request_id=new_id("req"), created_at=NOON + timedelta(minutes=n), key_id="key_1", user_id="usr_1", requested_model="auto",
        client_request_id="mine", dialect="messages", endpoint="/v1/messages", stream=True, model="gpt-4o", provider="openai", label="code",
        difficulty=0.25, language="en", policy="balanced", prompt_tokens=100, completion_tokens=50, cached_tokens=20, cache_write_tokens=5,
        reasoning_tokens=10, tokens_source="provider", cost_nanousd=1_000, baseline_cost_nanousd=3_000, cache="miss", attempts=2, status="ok",
        http_status=200, error_code=None, latency_ms=500.0, ttft_ms=125.0, overhead_ms=2.5, tags={"team": "search"}, decision={"chosen": ["a", 1]},
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


async def test_rows_come_back_as_they_went(database: Database) -> None:
    usage = Usage(database)
    full = record()
    bare = UsageRecord(new_id("req"), NOON, "key_1", "usr_1", "")
    assert await usage.insert_many([full, bare]) == 2
    assert await usage.get(full.request_id) == full and await usage.get(bare.request_id) == bare
    assert await usage.get("req_none") is None


async def test_the_same_row_twice_is_one_row(database: Database) -> None:
    usage = Usage(database)
    first = record()
    assert await usage.insert_many([first, record(), first]) == 2
    assert await usage.insert_many([dataclasses.replace(first, prompt_tokens=9), record()]) == 1
    assert (await usage.get(first.request_id)) == first, "what is on the books stays"
    assert await usage.insert_many([]) == 0


async def test_a_clients_own_id_collides_with_nobody(database: Database) -> None:
    usage = Usage(database)
    await usage.insert_many([record(client_request_id="same"), record(client_request_id="same")])
    assert (await usage.page(UsageFilter(client_request_id="same")))[1] == 2


@pytest.mark.parametrize(
    "poison",
    [
        {"requested_model": "a\0b"},
        {"requested_model": "\ud800"},
        {"model": "m" * 100_000},
        {"client_request_id": "\0\udfff" * 500},
        {"tags": {"a\0": "b\0", "c": "\ud83d"}},
        {"decision": {"deep": {"nan": float("nan"), "inf": [float("inf")], "big": 2**80}, "text": "\0"}},
        {"prompt_tokens": 2**70, "completion_tokens": -5},
        {"cost_nanousd": 2**64, "baseline_cost_nanousd": -1},
        {"latency_ms": float("inf"), "ttft_ms": float("nan"), "overhead_ms": 1e300},
        {"attempts": 99_999, "http_status": -1},
        {"decision": {"x": eval("[" * 60 + "]" * 60)}},
    ],
)
async def test_odd_values_are_made_fit_and_kept(database: Database, poison: dict[str, Any]) -> None:
    usage = Usage(database)
    odd = record(**poison)
    assert await usage.insert_many([record(), odd, record()]) == 3
    kept = await usage.get(odd.request_id)
    assert kept is not None and kept.prompt_tokens >= 0 and "\0" not in kept.requested_model


async def test_a_row_that_can_not_be_stored_holds_nobody_back(database: Database) -> None:
    usage = Usage(database)
    good = [record(n) for n in range(40)]
    bad = [record(key_id=None), record(created_at="some day"), record(prompt_tokens="many")]
    rows = [*good[:7], bad[0], *good[7:20], bad[1], bad[2], *good[20:]]
    with pytest.raises(BadRows) as found:
        await usage.insert_many(rows)
    assert [row.request_id for row, _ in found.value.rejected] == [row.request_id for row in bad]
    assert (await usage.page(UsageFilter()))[1] == 40


async def test_pages_are_newest_first_and_filtered(database: Database) -> None:
    usage = Usage(database)
    rows = [
        record(n, key_id=f"key_{n % 2}", user_id=f"usr_{n % 3}", model=f"m{n % 2}", label="math" if n == 4 else "code", status="error" if n == 5 else "ok",
               tags={"team": "a"} if n < 2 else {}, provider="p" if n == 6 else "q")
        for n in range(10)
    ]  # fmt: skip
    await usage.insert_many(rows)
    newest = list(reversed(rows))
    assert await usage.page(UsageFilter(), page=2, limit=4) == (newest[4:8], 10)
    for filters, count in [
        (UsageFilter(key_id="key_1"), 5),
        (UsageFilter(user_id="usr_2"), 3),
        (UsageFilter(model="m0"), 5),
        (UsageFilter(label="math"), 1),
        (UsageFilter(status="error"), 1),
        (UsageFilter(status="ok"), 9),
        (UsageFilter(provider="p"), 1),
        (UsageFilter(tag=("team", "a")), 2),
        (UsageFilter(tag=("team", "b")), 0),
        (UsageFilter(since=NOON + timedelta(minutes=3), until=NOON + timedelta(minutes=7)), 4),
        (UsageFilter(key_id="key_1", user_id="usr_1", model="m1"), 2),
    ]:
        found, total = await usage.page(filters)
        assert (len(found), total) == (count, count), filters


async def test_sums_are_exact(database: Database) -> None:
    usage = Usage(database)
    await usage.insert_many(
        [
            record(0, latency_ms=100.0),
            record(30, latency_ms=300.0, cost_nanousd=None, model="house", cache="hit", label=None),
            record(60, status="error", cost_nanousd=0, baseline_cost_nanousd=None, prompt_tokens=0, completion_tokens=0, latency_ms=200.0),
            record(60 * 24, status="client_gone", cost_nanousd=2**52, baseline_cost_nanousd=2**53, latency_ms=None),
        ]
    )
    total = await usage.totals(UsageFilter())
    assert (total.calls, total.errors, total.cached_calls, total.unpriced_calls) == (4, 1, 1, 1)
    assert (total.prompt_tokens, total.completion_tokens, total.cached_tokens) == (300, 150, 80)
    assert total.cost_nanousd == 1_000 + 2**52 and total.saved_nanousd == 2_000 + 2**52
    assert total.latency_ms == 200.0
    assert await usage.spent_nanousd(UsageFilter(model="gpt-4o")) == 1_000 + 2**52
    hours = await usage.grouped("hour", UsageFilter(until=NOON + timedelta(hours=3)))
    assert [(row.name, row.calls) for row in hours] == [(NOON, 2), (NOON + timedelta(hours=1), 1)]
    days = await usage.grouped("day", UsageFilter())
    assert [(row.name, row.calls) for row in days] == [(NOON.replace(hour=0), 3), (NOON.replace(hour=0) + timedelta(days=1), 1)]
    assert [(row.name, row.calls) for row in await usage.grouped("model", UsageFilter())] == [("gpt-4o", 3), ("house", 1)]
    assert {row.name: row.calls for row in await usage.grouped("label", UsageFilter())} == {"code": 3, None: 1}
    assert [row.name for row in await usage.grouped("key", UsageFilter())] == ["key_1"]
    assert [row.name for row in await usage.grouped("user", UsageFilter())] == ["usr_1"]
    assert (await usage.percentiles(UsageFilter(), 3, (0.0, 0.5, 1.0)))["latency"] == [100.0, 200.0, 300.0]


async def test_sums_of_nothing(database: Database) -> None:
    usage = Usage(database)
    total = await usage.totals(UsageFilter(model="none"))
    assert (total.calls, total.cost_nanousd, total.latency_ms) == (0, 0, None)
    assert await usage.grouped("day", UsageFilter()) == []
    assert (await usage.percentiles(UsageFilter(), 0))["latency"] == [None, None, None]


async def test_days_are_utc_days_whatever_the_server_thinks(database: Database) -> None:
    usage = Usage(database)
    await usage.insert_many(
        [record(created_at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC)), record(created_at=datetime(2026, 3, 2, 0, 30, tzinfo=UTC))]
    )
    async with database.transaction() as transaction:
        await transaction.execute("SET LOCAL timezone = 'Asia/Tokyo'")
        days = await Usage(transaction).grouped("day", UsageFilter())
    assert [row.name for row in days] == [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)]


async def test_batches_from_many_workers_at_once(database: Database) -> None:
    usage = Usage(database)
    shared = [record(n) for n in range(200)]
    inserted = await asyncio.gather(*(usage.insert_many(shared) for _ in range(4)))
    assert sum(inserted) == 200 == (await usage.page(UsageFilter()))[1]


async def test_totals_beyond_the_bound_are_estimates(database: Database) -> None:
    await database.script(
        "INSERT INTO usage_records SELECT 'req_' || n, NULL, now(), 'k', 'u', 'chat', NULL, false, 'm', 'm', 'p', NULL, NULL, NULL, NULL, "
        "1, 1, 0, 0, 0, 'none', NULL, NULL, 'miss', 1, 'ok', 200, NULL, NULL, NULL, NULL, '{}', NULL FROM generate_series(1, 100500) n; "
        "ANALYZE usage_records"
    )
    rows, total = await Usage(database).page(UsageFilter(), limit=3)
    assert len(rows) == 3 and 95_000 < total < 106_000
    assert (await Usage(database).page(UsageFilter(key_id="other")))[1] == 0
