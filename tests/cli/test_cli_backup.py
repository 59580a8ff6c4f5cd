"""Backup and restore: all that a gateway knows, in another database, where its keys work."""

import asyncio
import json
import os
import stat
import zipfile
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from neuroroute.core.clock import utcnow
from neuroroute.store import backup as files
from neuroroute.store import migrate
from neuroroute.store.config import ConfigVersions
from neuroroute.store.postgres import Database
from neuroroute.store.provider_keys import ProviderKeys
from tests.cli.shell import Shell
from tests.support.gateway import gateway


async def _lived_in(database_url: str) -> str:
    """A key of a gateway that served some calls."""
    async with gateway(database_url) as gw:
        made = await gw.new_key(name="kept", budget={"usd": 5, "period": "month"}, tags={"team": "search"})
        for _ in range(3):
            async with gw.chat("demo-small", key=made["key"]) as answer:
                assert answer.status == 200
        [row, *_] = await gw.rows(3)
        async with gw.post("/v1/feedback", {"request_id": row.request_id, "score": 1}, key=made["key"]) as answer:
            assert answer.status in (200, 201), await answer.text()
        await ProviderKeys(gw.database).put("extra", b"sealed")
        await ConfigVersions(gw.database).add({"cache": {"ttl_s": 7}}, after=0, author="usr_x")
        return str(made["key"])


async def _contents(url: str) -> dict[str, list[str]]:
    """Every row of every table as text, in some order."""
    connection = await asyncpg.connect(url)
    names = [row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
    found = {name: sorted(str(row[0]) for row in await connection.fetch(f'SELECT t::text FROM "{name}" t')) for name in names}  # noqa: S608
    await connection.close()
    return {name: rows for name, rows in found.items() if name not in files.LEFT_OUT}


async def test_a_backup_restores_every_row_and_its_keys_work(tmp_path, database_url, empty_database_url):
    key = await _lived_in(database_url)
    before = Shell(tmp_path, DATABASE_URL=database_url).json("backup", "all.backup")
    path = tmp_path / "all.backup"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and before["sealed_provider_keys"] == 1 and before["bytes"] == path.stat().st_size
    assert {table["table"]: table["rows"] for table in before["tables"]}["usage_records"] == 3
    assert not [left for left in os.listdir(tmp_path) if left.startswith(".all")]
    after = Shell(tmp_path, DATABASE_URL=empty_database_url).json("restore", "all.backup")
    assert after["rows"] == before["rows"] > 10
    old, new = await _contents(database_url), await _contents(empty_database_url)
    assert new == old and new["usage_daily"] and new["audit_log"] and new["feedback"] and new["server_secrets"]
    async with gateway(empty_database_url, admin=False) as gw:
        async with gw.chat("demo-small", key=key) as answer:
            assert answer.status == 200
        await gw.rows(4)  # the triggers are back: sums go on
    sums = await _contents(empty_database_url)
    assert any(row.startswith("(all,") and ",4," in row for row in sums["usage_daily"])


async def test_only_an_empty_database_takes_a_backup_unless_forced(tmp_path, database_url, postgres_server):
    await _lived_in(database_url)
    Shell(tmp_path, DATABASE_URL=database_url).run("backup", "a.backup")
    assert "there already" in Shell(tmp_path, DATABASE_URL=database_url).run("backup", "a.backup", status=2)
    other = postgres_server.copy()
    shell = Shell(tmp_path, DATABASE_URL=other)
    shell.run("users", "create", "Somebody")
    refused = shell.run("restore", "a.backup", status=2)
    assert "not empty" in refused and "users" in refused and [user["name"] for user in shell.json("users", "list")] == ["Somebody"]
    shell.run("restore", "a.backup", "--force")
    assert await _contents(other) == await _contents(database_url)
    postgres_server.drop(other)


async def test_a_damaged_or_newer_backup_is_refused_and_changes_nothing(tmp_path, database_url, postgres_server):
    await _lived_in(database_url)
    Shell(tmp_path, DATABASE_URL=database_url).run("backup", "good.backup")
    other = postgres_server.copy()
    shell = Shell(tmp_path, DATABASE_URL=other)
    (tmp_path / "cut.backup").write_bytes((tmp_path / "good.backup").read_bytes()[:-100])
    assert "no backup of NeuroRoute, or is cut off" in shell.run("restore", "cut.backup", status=2)
    _changed(tmp_path, "hurt.backup", "tables/users", lambda raw: raw.replace(b"somebody", b"anybody!").replace(b"admin", b"bdmin", 1))
    assert "damaged: users" in shell.run("restore", "hurt.backup", status=2)

    def newer(raw: bytes) -> bytes:
        manifest = json.loads(raw)
        manifest["migrations"].append(["9999_pre_of_tomorrow", "0" * 64])
        return json.dumps(manifest).encode()

    _changed(tmp_path, "new.backup", files.MANIFEST, newer)
    assert "newer schema (9999_pre_of_tomorrow)" in shell.run("restore", "new.backup", status=2)
    assert "can not be read" in shell.run("restore", "none.backup", status=2)
    assert all(not rows for rows in (await _contents(other)).values())
    postgres_server.drop(other)


def _changed(folder: Path, name: str, entry: str, change) -> None:
    with zipfile.ZipFile(folder / "good.backup") as old, zipfile.ZipFile(folder / name, "w") as new:
        for one in old.namelist():
            raw = old.read(one)
            new.writestr(one, change(raw) if one == entry else raw)


async def test_a_backup_of_an_older_schema_is_brought_up_to_date(tmp_path, empty_database_url, postgres_server):
    """Here: one written before the last migration ran."""
    names = [migration.name for migration in migrate.files()]
    async with Database(empty_database_url) as database:
        await migrate.run(database, only=names[:-1])
        made = await files.backup(database, tmp_path / "old.backup")
    assert len(made.migrations) == len(names) - 1
    other = postgres_server.copy(migrated=False)
    async with Database(other) as database:
        await files.restore(database, tmp_path / "old.backup")
        assert all(one.applied_at is not None for one in await migrate.status(database))
    migrated = postgres_server.copy()
    async with Database(migrated) as database:
        with pytest.raises(files.BackupFaulty, match="older schema"):
            await files.restore(database, tmp_path / "old.backup", force=True)
    for url in (other, migrated):
        postgres_server.drop(url)


async def test_a_backup_is_of_one_moment(tmp_path, database_url):
    """Rows that come while it is written are in all tables or in none."""
    await _lived_in(database_url)
    writer = await asyncpg.connect(database_url)
    async with Database(database_url) as database:

        async def write() -> None:
            for number in range(200):
                await writer.execute(
                    "INSERT INTO users (id, name, role, status, limits, created_at, updated_at) VALUES ($1, 'x', 'user', 'active', '{}', now(), now())",
                    f"usr_{number}",
                )
                await writer.execute(
                    "INSERT INTO sessions (digest, key_id, key_digest, created_at, expires_at) SELECT $1, id, $1, now(), $2 FROM api_keys LIMIT 1",
                    f"{number}".encode(), utcnow() + timedelta(days=1),
                )  # fmt: skip

        writing = asyncio.ensure_future(write())
        rows = []
        while not writing.done():
            made = await files.backup(database, tmp_path / f"{len(rows)}.backup")
            counts = {table.name: table.rows for table in made.tables}
            rows.append((counts["users"], counts["sessions"]))
        await writing
    await writer.close()
    base = rows[0][0] - rows[0][1]
    assert len(rows) > 2 and all(users - sessions - base in (-1, 0, 1) for users, sessions in rows), rows
