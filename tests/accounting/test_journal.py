"""What a killed process leaves, and what becomes of it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from neuroroute.accounting.journal import Journal, JournalFull, Orphan, orphans
from neuroroute.accounting.ledger import Ledger
from neuroroute.accounting.records import USAGE
from neuroroute.accounting.recovery import Recovery, status
from neuroroute.core.clock import utcnow
from neuroroute.core.errors import Unavailable
from neuroroute.core.ids import new_id
from neuroroute.store.postgres import Database, DatabaseAway
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord, Written

SMALL = 2 << 20


def record(**more: object) -> UsageRecord:
    made = UsageRecord(new_id("req"), utcnow(), "key_1", "usr_1", "auto", model="m", prompt_tokens=3, cost_nanousd=7, tags={"team": "a"})
    return replace(made, **more)  # type: ignore[arg-type]


def note(ledger: Ledger[UsageRecord], begun: UsageRecord) -> None:
    ledger.open(begun.request_id, USAGE.encode(begun))


class Table:
    def __init__(self) -> None:
        self.rows: dict[str, UsageRecord] = {}
        self.away = False

    async def insert(self, rows: Sequence[UsageRecord | Written]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise DatabaseAway
        for row in rows:
            whole = UsageRecord.of_json(row.text) if isinstance(row, Written) else row
            self.rows.setdefault(whole.request_id, whole)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path, segment_bytes=SMALL)
    made.start()
    yield made
    made.close()


@pytest.fixture
def table() -> Table:
    return Table()


def abandon(journal: Journal) -> None:
    """What a kill does to the lock; the maps stay."""
    os.close(journal._lock_fd)
    journal._lock_fd = -1


@pytest.fixture
async def ledger(journal: Journal, table: Table) -> AsyncIterator[Ledger[UsageRecord]]:
    yield Ledger(table.insert, journal=journal, codec=USAGE)


def test_records_survive_the_codec() -> None:
    for made in (record(), record(ttft_ms=1.5, decision={"a": [1]}, client_request_id="x\u00e9", difficulty=None)):
        assert USAGE.decode(USAGE.encode(made)) == made
    assert USAGE.decode(USAGE.encode(record())[:-1] + b',"of_another_version":1}').model == "m"


async def test_a_call_leaves_nothing_behind_once_it_is_in_the_table(
    ledger: Ledger[UsageRecord], journal: Journal, table: Table, tmp_path: Path
) -> None:
    for _ in range(20):
        made = record()
        note(ledger, made)
        ledger.settle(made)
    assert await ledger.close() == 0
    assert len(table.rows) == 20
    journal.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_was_not_written_is_taken_over(ledger: Ledger[UsageRecord], journal: Journal, table: Table, tmp_path: Path) -> None:
    done, running, written = record(status="cut"), record(prompt_tokens=55), record()
    for made in (written, done, running):
        note(ledger, made)
    ledger.settle(written)
    await ledger.flush()
    ledger.settle(done)
    recovery = Recovery(tmp_path, table.insert, USAGE)
    assert await recovery.recover() == 0
    abandon(journal)
    assert await recovery.recover() == 1
    assert table.rows[written.request_id] == written
    assert table.rows[done.request_id] == done
    assert table.rows[running.request_id] == replace(running, status="interrupted", http_status=500, error_code="interrupted")
    assert recovery.found.interrupted == 1
    assert list(tmp_path.iterdir()) == []


async def test_while_the_database_is_away_journals_stay(
    ledger: Ledger[UsageRecord], journal: Journal, table: Table, tmp_path: Path
) -> None:
    ledger.settle(record())
    abandon(journal)
    table.away = True
    recovery = Recovery(tmp_path, table.insert, USAGE)
    with pytest.raises(DatabaseAway):
        await recovery.recover()
    assert len(list(tmp_path.glob("*.seg"))) == 2
    table.away = False
    assert await recovery.recover() == 1
    assert len(table.rows) == 1


async def test_only_one_takes_over(ledger: Ledger[UsageRecord], journal: Journal, tmp_path: Path) -> None:
    ledger.settle(record())
    assert list(orphans(tmp_path)) == []
    abandon(journal)
    mine = list(orphans(tmp_path))
    assert len(mine) == 1
    assert list(orphans(tmp_path)) == []
    mine[0].release()
    theirs = list(orphans(tmp_path))
    assert len(theirs) == 1
    theirs[0].delete()
    assert list(orphans(tmp_path)) == []


async def test_a_record_that_can_not_be_stored_is_kept_for_a_person(journal: Journal, database: Database, tmp_path: Path) -> None:
    ledger: Ledger[UsageRecord] = Ledger(Usage(database).insert_many, journal=journal, codec=USAGE)
    bad = record(created_at="some day")
    ledger.settle(bad)
    ledger.settle(record())
    assert await ledger.close() == 0
    assert bad.request_id in (tmp_path / "quarantine" / "rejected.jsonl").read_text()
    journal.close()
    assert list(tmp_path.glob("*.seg")) == []


async def test_a_long_outage_waits_on_the_disk(journal: Journal, table: Table, tmp_path: Path) -> None:
    table.away = True
    ledger: Ledger[UsageRecord] = Ledger(table.insert, journal=journal, codec=USAGE, max_in_memory=0)
    made = [record() for _ in range(9000)]
    for number, one in enumerate(made):
        note(ledger, one)
        ledger.settle(one)
        if number % 500 == 0:
            await journal.tend()
    assert ledger.lost == 0
    assert len(list(tmp_path.glob("*.seg"))) > 3
    table.away = False
    assert await ledger.close() == 0
    assert list(table.rows.values()) == made
    await journal.tend()
    assert len(list(tmp_path.glob("*.seg"))) == 2


async def test_a_journal_at_its_bound_refuses_new_calls_and_takes_running_ones(tmp_path: Path, table: Table) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL, max_bytes=2 * SMALL)
    journal.start()
    table.away = True
    ledger: Ledger[UsageRecord] = Ledger(table.insert, journal=journal, codec=USAGE)
    running: list[UsageRecord] = []
    with pytest.raises(Unavailable) as refused:
        while True:
            running.append(record())
            note(ledger, running[-1])
            if len(running) > 50:
                ledger.settle(running.pop(0))
            await asyncio.sleep(0)
    assert refused.value.retry_after_s
    running.pop()
    for one in running:
        ledger.settle(one)
    assert (ledger.unjournaled, ledger.lost) == (0, 0)
    table.away = False
    assert await ledger.close() == 0
    await journal.tend()
    assert not journal.full
    note(ledger, record())
    journal.close()


async def test_a_disk_without_space_is_known_before_a_call(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL // 2, hard))
    journal = Journal(tmp_path, segment_bytes=SMALL)
    try:
        journal.start()
        assert journal.full and list(tmp_path.glob("*.seg")) == []
        with pytest.raises(JournalFull):
            journal.append_open(b"{}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    await journal.tend()
    assert not journal.full
    journal.append_open(b"{}")
    journal.close()


def test_a_folder_that_can_not_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        Journal(tmp_path / "file" / "journal").start()


async def test_damage_is_kept_and_costs_only_what_it_hit(
    ledger: Ledger[UsageRecord], journal: Journal, table: Table, tmp_path: Path
) -> None:
    made = [record() for _ in range(10)]
    for one in made:
        ledger.settle(one)
    abandon(journal)
    first = min(tmp_path.glob("*.seg"))
    data = bytearray(first.read_bytes())
    data[data.index(made[4].request_id.encode())] ^= 0xFF
    first.write_bytes(data)
    recovery = Recovery(tmp_path, table.insert, USAGE)
    await recovery.recover()
    assert set(table.rows) == {one.request_id for one in made} - {made[4].request_id}
    assert recovery.found.corrupt_bytes > 100
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


async def test_status_tells_the_living_from_the_dead(ledger: Ledger[UsageRecord], journal: Journal, tmp_path: Path) -> None:
    note(ledger, record())
    ledger.settle(record())
    (alive,) = status(tmp_path, USAGE)
    assert (alive.owner, alive.alive, alive.found) == (journal.owner, True, None)
    abandon(journal)
    (dead,) = status(tmp_path, USAGE)
    assert dead.found is not None
    assert (dead.alive, dead.found.finished, dead.found.interrupted) == (False, 1, 1)
    assert isinstance(next(orphans(tmp_path)), Orphan)


def test_the_journal_reports_when_not_even_the_reserve_is_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL, max_bytes=2 * SMALL)
    journal.start()
    with pytest.raises(JournalFull):
        for _ in range(10):
            journal.append_close(bytes(1 << 20))
    journal.close()


WRITER = """
import asyncio, os, sys
from pathlib import Path
from neuroroute.accounting.journal import Journal
from neuroroute.accounting.ledger import Ledger
from neuroroute.accounting.records import USAGE
from neuroroute.accounting.recovery import Recovery
from neuroroute.core.clock import utcnow
from neuroroute.core.ids import new_id
from neuroroute.core.tasks import Tasks
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageRecord

async def call(ledger, seen):
    while True:
        record = UsageRecord(new_id("req"), utcnow(), "key_1", "usr_1", "auto", cost_nanousd=7)
        ledger.open(record.request_id, USAGE.encode(record))
        os.write(seen, b"o " + record.request_id.encode() + b"\\n")   # the provider is asked
        await asyncio.sleep(0.003)
        ledger.settle(record)
        os.write(seen, b"c " + record.request_id.encode() + b"\\n")   # the client has its last byte
        await asyncio.sleep(0)

async def main(folder, url, seen):
    seen = os.open(seen, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    journal = Journal(Path(folder))
    journal.start()
    async with Database(url) as database:
        usage = Usage(database)
        ledger = Ledger(usage.insert_many, journal=journal, codec=USAGE, every_s=0.02)
        recovery = Recovery(Path(folder), usage.insert_many, USAGE)
        tasks = Tasks()
        for name, work in (("ledger", ledger.run), ("journal", journal.run), ("recovery", recovery.run)):
            tasks.keep(name, work)
        print("ready", flush=True)
        await asyncio.gather(*[call(ledger, seen) for _ in range(20)])

asyncio.run(main(*sys.argv[1:]))
"""


async def test_no_kill_loses_or_doubles_a_call(tmp_path: Path, database: Database, database_url: str) -> None:
    seen, folder = tmp_path / "seen", tmp_path / "journal"
    for turn in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), database_url, str(seen)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert await asyncio.to_thread(writer.stdout.readline) == b"ready\n"
        await asyncio.sleep(0.1 + 0.05 * turn)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    usage = Usage(database)
    recovery = Recovery(folder, usage.insert_many, USAGE)
    await recovery.recover()
    lines = [line.split() for line in seen.read_text().splitlines()]
    begun = {name for kind, name in lines if kind == "o"}
    finished = {name for kind, name in lines if kind == "c"}
    assert len(finished) > 100
    rows = {row["request_id"]: row["status"] for row in await database.fetch("SELECT request_id, status FROM usage_records")}
    # A kill between the journal and the line of `seen` leaves at most the calls of one process unseen: they are on record all the same.
    assert begun <= set(rows)
    assert len(set(rows) - begun) <= 6
    assert all(rows[name] == "ok" for name in finished)
    assert all(rows[name] in ("ok", "interrupted") for name in begun)
    assert (await usage.totals(UsageFilter())).calls == len(rows)
    assert list(folder.glob("*.seg")) == []


async def test_a_journaled_call_costs_microseconds(ledger: Ledger[UsageRecord]) -> None:
    made = [record() for _ in range(1500)]
    began = time.process_time()
    for one in made:
        note(ledger, one)
        ledger.settle(one)
    assert (time.process_time() - began) / len(made) < 100e-6
