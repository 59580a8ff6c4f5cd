"""Migrations: in order, once, in company, and never a changed past."""

import asyncio
from pathlib import Path

import pytest

from neuroroute.store import migrate
from neuroroute.store.migrate import MigrationFailed
from neuroroute.store.postgres import Database


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "0001_pre_first.sql").write_text("CREATE TABLE first (n int); INSERT INTO first VALUES (1);")
    (tmp_path / "0002_post_second.sql").write_text("ALTER TABLE first ADD COLUMN m int;")
    (tmp_path / "0003_pre_third.sql").write_text("UPDATE first SET n = n + 1;")
    return tmp_path


async def test_each_runs_once_in_order(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        assert [entry.applied_at for entry in await migrate.status(database, files)] == [None] * 3
        assert await migrate.run(database, files) == ["0001_pre_first", "0002_post_second", "0003_pre_third"]
        assert await migrate.run(database, files) == []
        assert await database.fetchval("SELECT n FROM first") == 2
        assert all(entry.applied_at is not None for entry in await migrate.status(database, files))


async def test_pre_stops_before_the_first_post(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        await migrate.run(database, files)
        (files / "0004_pre_more.sql").write_text("SELECT 1;")
        (files / "0005_post_last.sql").write_text("SELECT 1;")
        assert await migrate.run(database, files, phase="pre") == ["0004_pre_more"]
        assert await migrate.run(database, files, phase="pre") == []
        assert await migrate.run(database, files) == ["0005_post_last"]


async def test_pre_runs_all_where_no_old_code_can_be(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        assert await migrate.run(database, files, phase="pre") == ["0001_pre_first", "0002_post_second", "0003_pre_third"]


async def test_pre_behind_a_post_is_refused_before_anything_runs(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        await migrate.run(database, files)
        for name in ("0004_pre_more", "0005_post_between", "0006_pre_skipped"):
            (files / f"{name}.sql").write_text("SELECT 1;")
        with pytest.raises(MigrationFailed, match=r"0006_pre_skipped .* waits behind 0005_post_between"):
            await migrate.run(database, files, phase="pre")
        assert next(entry.name for entry in await migrate.status(database, files) if entry.applied_at is None) == "0004_pre_more"


async def test_changed_past_is_refused(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        await migrate.run(database, files)
        (files / "0001_pre_first.sql").write_text("CREATE TABLE first (n bigint);")
        with pytest.raises(MigrationFailed, match="0001_pre_first was changed after it ran"):
            await migrate.run(database, files)


async def test_line_ends_are_not_a_change(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        (files / "0004_pre_lines.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
        await migrate.run(database, files)
        (files / "0004_pre_lines.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
        assert await migrate.run(database, files) == []


async def test_failed_migration_changes_nothing_and_can_be_mended(empty_database_url: str, files: Path) -> None:
    (files / "0004_pre_bad.sql").write_text("CREATE TABLE half (n int); SELECT nonsense;")
    async with Database(empty_database_url) as database:
        with pytest.raises(MigrationFailed, match=r"0004_pre_bad .*nonsense"):
            await migrate.run(database, files)
        assert not await database.fetchval("SELECT to_regclass('half') IS NOT NULL")
        (files / "0004_pre_bad.sql").write_text("CREATE TABLE half (n int);")
        assert await migrate.run(database, files) == ["0004_pre_bad"]


async def test_many_processes_at_once(empty_database_url: str, files: Path) -> None:
    (files / "0004_pre_slow.sql").write_text("SELECT pg_sleep(0.3); CREATE TABLE slow (n int);")
    pools = [Database(empty_database_url) for _ in range(5)]
    try:
        done = await asyncio.gather(*(migrate.run(pool, files) for pool in pools))
    finally:
        await asyncio.gather(*(pool.close() for pool in pools))
    assert sorted(name for names in done for name in names) == [entry.name for entry in migrate.files(files)]


async def test_waiting_for_the_lock_holds_no_snapshot(empty_database_url: str, files: Path) -> None:
    """The owner of the lock may CREATE INDEX CONCURRENTLY, which waits for all old snapshots."""
    async with Database(empty_database_url) as owner, Database(empty_database_url) as other:
        await migrate.run(owner, files)
        (files / "0004_pre_more.sql").write_text("SELECT 1;")
        assert await owner.fetchval("SELECT pg_try_advisory_lock($1)", migrate.LOCK)  # held by the pool's one connection
        waiting = asyncio.ensure_future(migrate.run(other, files))
        await asyncio.sleep(0.2)
        await owner.script("CREATE INDEX CONCURRENTLY first_n ON first (n)", timeout_s=5)
        assert not waiting.done()
        assert await owner.fetchval("SELECT pg_advisory_unlock($1)", migrate.LOCK)
        assert await waiting == ["0004_pre_more"]


async def test_database_of_a_newer_version_still_serves(empty_database_url: str, files: Path) -> None:
    async with Database(empty_database_url) as database:
        await migrate.run(database, files)
        (files / "0003_pre_third.sql").unlink()
        assert await migrate.run(database, files) == []
        assert [entry.name for entry in await migrate.status(database, files)][-1] == "0003_pre_third"


@pytest.mark.parametrize("name", ["4_pre_short.sql", "0004_mid_phase.sql", "0004_pre_Upper.sql", "0003_pre_twice.sql"])
def test_bad_names_are_told(files: Path, name: str) -> None:
    (files / name).write_text("SELECT 1;")
    with pytest.raises(MigrationFailed, match=name[:4]):
        migrate.files(files)


def test_create_takes_the_next_number(files: Path) -> None:
    path = migrate.create("Add the Roll-ups", "post", files)
    assert path.name == "0004_post_add_the_roll_ups.sql"
    assert [entry.name for entry in migrate.files(files)][-1] == path.stem
    with pytest.raises(MigrationFailed):
        migrate.create("x", "during", files)


async def test_numbers_may_be_left_out_and_filled_later(empty_database_url: str, files: Path) -> None:
    (files / "0007_pre_far.sql").write_text("CREATE TABLE far (n int);")
    fresh = migrate.create("next", "pre", files)
    assert fresh.name == "0008_pre_next.sql"
    fresh.unlink()
    async with Database(empty_database_url) as database:
        await migrate.run(database, files)
        (files / "0005_pre_between.sql").write_text("CREATE TABLE between_ (n int);")
        assert await migrate.run(database, files) == ["0005_pre_between"]


def test_the_products_own_are_found() -> None:
    assert migrate.files()[0].name == "0001_pre_initial"
