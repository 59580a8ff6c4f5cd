"""Every settled record reaches the table once, whatever the database does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from neuroroute.accounting.ledger import Ledger
from neuroroute.core.clock import utcnow
from neuroroute.core.ids import new_id
from neuroroute.store.postgres import Database, DatabaseAway, DatabaseFault
from neuroroute.store.usage import BadRows, Usage, UsageFilter, UsageRecord
from tests.support.relay import Relay


def record(**more: object) -> UsageRecord:
    made = UsageRecord(new_id("req"), utcnow(), "key_1", "usr_1", "auto", model="m", provider="p", prompt_tokens=3, cost_nanousd=7)
    return replace(made, **more)  # type: ignore[arg-type]


class Table:
    """A table in memory that fails as it is told; a substitute for the seam `insert`."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.batches: list[int] = []
        self.away = False
        self.broken = False
        self.poison: set[str] = set()

    async def insert(self, rows: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise DatabaseAway
        if self.broken or any(row in self.poison for row in rows):
            raise DatabaseFault("no")
        self.batches.append(len(rows))
        self.rows += [row for row in rows if row not in self.rows]


@contextlib.asynccontextmanager
async def running(ledger: Ledger[str]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(ledger.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drained(ledger: Ledger[str], left: int = 0) -> None:
    async with asyncio.timeout(5):
        while len(ledger) > left:
            await asyncio.sleep(0.005)


async def test_records_arrive_in_order_and_in_batches() -> None:
    table = Table()
    ledger: Ledger[str] = Ledger(table.insert, every_s=0.02, batch_rows=100)
    async with running(ledger):
        for i in range(1000):
            ledger.settle(f"r{i}")
        await drained(ledger)
    assert table.rows == [f"r{i}" for i in range(1000)]
    assert max(table.batches) == 100
    assert (ledger.written, ledger.settled, ledger.lost) == (1000, 1000, 0)


async def test_an_outage_loses_nothing_and_keeps_the_order() -> None:
    table = Table()
    table.away = True
    ledger: Ledger[str] = Ledger(table.insert, every_s=0.01)
    async with running(ledger):
        for i in range(50):
            ledger.settle(f"a{i}")
        await asyncio.sleep(0.1)
        assert ledger.away
        for i in range(50):
            ledger.settle(f"b{i}")
        table.away = False
        await drained(ledger)
    assert table.rows == [f"a{i}" for i in range(50)] + [f"b{i}" for i in range(50)]
    assert ledger.retries > 0
    assert not ledger.away


async def test_a_poisoned_record_holds_nobody_back() -> None:
    table = Table()
    table.poison = {"r13", "r77"}
    ledger: Ledger[str] = Ledger(table.insert, every_s=0.01)
    async with running(ledger):
        for i in range(100):
            ledger.settle(f"r{i}")
        await drained(ledger)
    assert table.rows == [f"r{i}" for i in range(100) if i not in (13, 77)]
    assert sorted(ledger.rejected) == ["r13", "r77"]


async def test_a_poisoned_record_that_stands_alone_is_set_aside_once_others_pass() -> None:
    table = Table()
    table.poison = {"bad"}
    ledger: Ledger[str] = Ledger(table.insert, every_s=0.01)
    async with running(ledger):
        ledger.settle("bad")
        await asyncio.sleep(0.05)
        ledger.settle("good")
        await drained(ledger)
    assert table.rows == ["good"]
    assert ledger.rejected == ["bad"]


async def test_a_table_that_takes_nothing_is_no_fault_of_the_records() -> None:
    table = Table()
    table.broken = True
    ledger: Ledger[str] = Ledger(table.insert, every_s=0.01)
    async with running(ledger):
        for i in range(20):
            ledger.settle(f"r{i}")
        await asyncio.sleep(0.3)
        assert ledger.rejected == []
        table.broken = False
        await drained(ledger)
    assert len(table.rows) == 20


async def test_a_flush_that_is_cancelled_loses_nothing() -> None:
    for turn in range(30):
        table = Table()
        ledger: Ledger[str] = Ledger(table.insert, batch_rows=10)
        for i in range(40):
            ledger.settle(f"r{i}")
        task = asyncio.ensure_future(ledger.flush())
        for _ in range(turn % 10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await ledger.close() == 0
        assert table.rows == [f"r{i}" for i in range(40)]


async def test_closing_has_a_deadline_and_says_what_is_left() -> None:
    table = Table()
    table.away = True
    ledger: Ledger[str] = Ledger(table.insert)
    for i in range(5):
        ledger.settle(f"r{i}")
    began = asyncio.get_running_loop().time()
    assert await ledger.close(0.1) == 5
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_memory_is_bounded_and_losses_are_counted() -> None:
    table = Table()
    table.away = True
    ledger: Ledger[str] = Ledger(table.insert, max_in_memory=10)
    for i in range(15):
        ledger.settle(f"r{i}")
    assert len(ledger) == 10
    assert ledger.lost == 5


@pytest.fixture
def usage(database: Database) -> Usage:
    return Usage(database)


async def test_real_records_reach_postgres_once(usage: Usage) -> None:
    ledger: Ledger[UsageRecord] = Ledger(usage.insert_many, batch_rows=50)
    made = [record() for _ in range(120)]
    for one in made:
        ledger.settle(one)
    for one in made[:10]:
        ledger.settle(one)
    assert await ledger.close() == 0
    totals = await usage.totals(UsageFilter())
    assert (totals.calls, totals.cost_nanousd) == (120, 840)


async def test_an_impossible_record_is_set_aside_by_postgres(usage: Usage) -> None:
    ledger: Ledger[UsageRecord] = Ledger(usage.insert_many)
    bad = record(created_at="some day")
    for one in [record(), bad, record(requested_model="a\x00b\ud800")]:
        ledger.settle(one)
    assert await ledger.close() == 0
    assert (await usage.totals(UsageFilter())).calls == 2
    assert ledger.rejected == [bad]
    with pytest.raises(BadRows):
        await usage.insert_many([bad])


async def test_a_hung_postgres_loses_nothing(database_url: str) -> None:
    async with Relay.to(database_url) as relay, Database(relay.url) as database:
        usage = Usage(database)

        async def insert(rows: Sequence[UsageRecord]) -> int:
            return await usage.insert_many(rows, timeout_s=0.2)

        ledger: Ledger[UsageRecord] = Ledger(insert, every_s=0.02)
        ledger.settle(record())
        await ledger.flush()
        relay.hang()
        task = asyncio.ensure_future(ledger.run())
        for _ in range(30):
            ledger.settle(record())
        await asyncio.sleep(0.5)
        assert len(ledger) == 30
        await relay.refuse()
        await relay.restore()
        await asyncio.sleep(0.3)
        await relay.restore()
        async with asyncio.timeout(10):
            while len(ledger):
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await usage.totals(UsageFilter())).calls == 31
