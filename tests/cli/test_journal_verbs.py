"""`neuroroute journal`: what a killed process left is shown, checked and brought to the database."""

import os
import subprocess
import sys
from pathlib import Path

from neuroroute.accounting.journal import Journal
from neuroroute.accounting.ledger import Ledger
from neuroroute.accounting.records import USAGE
from neuroroute.core import jsonbytes
from neuroroute.store.postgres import Database
from neuroroute.store.usage import UsageRecord
from tests.accounting.test_journal import abandon, note, record


def run(folder: Path, url: str, *words: str) -> tuple[int, list[dict[str, object]]]:
    given = {
        "PATH": os.environ["PATH"],
        "NEUROROUTE_DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "neuroroute", "journal", *words, "--json"], cwd=folder, env=given, capture_output=True, check=False
    )
    return done.returncode, jsonbytes.loads(done.stdout) if done.stdout else []


async def nothing(rows: object) -> None: ...


async def test_what_was_left_is_shown_checked_and_brought_in(tmp_path: Path, database: Database, database_url: str) -> None:
    journal = Journal(tmp_path / "journal")
    journal.start()
    ledger: Ledger[UsageRecord] = Ledger(nothing, journal=journal, codec=USAGE)
    done, running = record(), record()
    for one in (done, running):
        note(ledger, one)
    ledger.settle(done)
    assert run(tmp_path, database_url, "status")[1][0]["state"] == "in use"
    abandon(journal)
    code, [shown] = run(tmp_path, database_url, "verify")
    assert (code, shown["state"], shown["finished"], shown["interrupted"]) == (0, "left behind", 1, 1)
    code, [found] = run(tmp_path, database_url, "replay")
    assert (code, found) == (
        0,
        {"journals": 1, "finished": 1, "interrupted": 1, "unreadable": 0, "torn_bytes": 0, "corrupt_bytes": 0, "rejected": 0},
    )
    rows = {row["request_id"]: row["status"] for row in await database.fetch("SELECT request_id, status FROM usage_records")}
    assert rows == {done.request_id: "ok", running.request_id: "interrupted"}
    assert run(tmp_path, database_url, "status") == (0, [])


async def test_damage_is_told_by_the_exit_status(tmp_path: Path, database_url: str) -> None:
    journal = Journal(tmp_path / "journal")
    journal.start()
    ledger: Ledger[UsageRecord] = Ledger(nothing, journal=journal, codec=USAGE)
    made = [record() for _ in range(3)]
    for one in made:
        ledger.settle(one)
    abandon(journal)
    first = min((tmp_path / "journal").glob("*.seg"))
    data = bytearray(first.read_bytes())
    data[data.index(made[1].request_id.encode())] ^= 0xFF
    first.write_bytes(data)
    code, [shown] = run(tmp_path, database_url, "verify")
    assert code == 1 and shown["finished"] == 2 and int(str(shown["corrupt_bytes"])) > 100

    assert not (tmp_path / "journal" / "quarantine").exists(), "to look changes nothing"
    code, [found] = run(tmp_path, database_url, "replay")
    assert code == 0 and found["corrupt_bytes"] == shown["corrupt_bytes"] and (tmp_path / "journal" / "quarantine" / first.name).exists()


async def test_rubbish_is_no_torn_end_and_is_kept(tmp_path: Path, database_url: str) -> None:
    journal = Journal(tmp_path / "journal")
    journal.start()
    abandon(journal)
    first = min((tmp_path / "journal").glob("*.seg"))
    first.write_bytes(os.urandom(100_000))
    code, [shown] = run(tmp_path, database_url, "verify")
    assert (code, shown["torn_bytes"]) == (1, 0)
    assert run(tmp_path, database_url, "replay")[0] == 0 and (tmp_path / "journal" / "quarantine" / first.name).exists()


async def test_segments_whose_lock_somebody_removed_are_taken_over_unless_they_are_held(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    journal, lives = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    journal.start()
    ledger: Ledger[UsageRecord] = Ledger(nothing, journal=journal, codec=USAGE)
    one = record()
    ledger.settle(one)
    for segment in list(journal._segments):
        segment.close()
    abandon(journal)
    lives.start()
    for lock in (tmp_path / "journal").glob("*.lock"):
        lock.unlink()
    code, [found] = run(tmp_path, database_url, "replay")
    assert code == 0 and (found["journals"], found["finished"]) == (1, 1)
    [segment, _] = sorted((tmp_path / "journal").glob("*.seg"))
    assert segment.name.startswith(lives.owner), "what a process holds is left alone"
    assert await database.fetch("SELECT FROM usage_records WHERE request_id = $1", one.request_id)
    lives.close()
