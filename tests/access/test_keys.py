"""Making, rotating and revoking keys; the first admin."""

import asyncio
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from neuroroute.access.keys import Actor, create_key, digest_secret, ensure_admin, revoke_key, rotate_key
from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.ids import key_digest, well_formed
from neuroroute.core.types import Role
from neuroroute.store.api_keys import ApiKeys
from neuroroute.store.audit import AuditLog
from neuroroute.store.postgres import Database, Duplicate
from neuroroute.store.users import Users


async def opens(database: Database, secret: str) -> Role | None:
    """The role behind a key."""
    access = await ApiKeys(database).access_by_digest(key_digest(secret, await digest_secret(database)))
    return None if access is None else access.role


async def test_every_change_is_in_the_audit_log_and_no_secret_is(database: Database) -> None:
    owner = await Users(database).create("Ada")
    actor = Actor("key_admin", "usr_admin", "10.0.0.1", "req_1")
    made = await create_key(database, owner.id, "ci", actor=actor)
    assert well_formed(made.secret) and made.secret not in repr(made)
    rotated = await rotate_key(database, made.key.id, overlap=timedelta(hours=1), actor=actor)
    assert await opens(database, made.secret) and await opens(database, rotated.secret)
    await revoke_key(database, made.key.id, actor=actor)
    await revoke_key(database, made.key.id, actor=actor)
    assert await opens(database, made.secret) is None and await opens(database, rotated.secret) is None
    entries, _ = await AuditLog(database).page(target=made.key.id)
    assert [entry.action for entry in reversed(entries)] == ["api_key.create", "api_key.rotate", "api_key.revoke"]
    assert all(entry.actor_user_id == "usr_admin" and entry.address == "10.0.0.1" for entry in entries)
    assert made.secret not in repr(entries) and rotated.secret not in repr(entries)
    dump = str([tuple(row) for row in await database.fetch("SELECT * FROM api_keys")])
    assert made.secret not in dump and rotated.secret not in dump


async def test_what_is_not_there_is_told(database: Database) -> None:
    for work in (create_key(database, "usr_none", "x"), rotate_key(database, "key_none"), revoke_key(database, "key_none")):
        with pytest.raises(NotFound):
            await work
    with pytest.raises(BadRequest):
        await rotate_key(database, "key_none", overlap=timedelta(days=31))
    assert (await AuditLog(database).page())[1] == 0


async def test_a_chosen_secret_is_taken_once(database: Database) -> None:
    owner = await Users(database).create("Ada")
    await create_key(database, owner.id, "own", secret="my own secret")
    assert await opens(database, "my own secret") is Role.USER
    with pytest.raises(Duplicate):
        await create_key(database, owner.id, "again", secret="my own secret")


async def test_first_start_makes_an_admin_and_a_file(database: Database, tmp_path: Path) -> None:
    made = await ensure_admin(database, tmp_path / "data")
    assert made.fresh and made.secret is not None and made.secret not in repr(made)
    assert made.path.read_text() == made.secret + "\n" and stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert await opens(database, made.secret) is Role.ADMIN
    again = await ensure_admin(database, tmp_path / "data")
    assert (again.fresh, again.secret) == (False, None)
    assert (await Users(database).page())[1] == 1 and (await ApiKeys(database).page())[1] == 1


async def test_many_first_starts_make_one_admin(database: Database, tmp_path: Path) -> None:
    done = await asyncio.gather(*(ensure_admin(database, tmp_path) for _ in range(6)))
    assert sum(made.fresh for made in done) == 1
    assert (await Users(database).page())[1] == 1
    assert await opens(database, (tmp_path / "admin.key").read_text().strip()) is Role.ADMIN


async def test_a_given_admin_key_works_now_and_later(database: Database, tmp_path: Path) -> None:
    first = await ensure_admin(database, tmp_path, "correct horse")
    assert first.fresh and first.path.read_text().strip() == "correct horse"
    assert await opens(database, "correct horse") is Role.ADMIN
    assert not (await ensure_admin(database, tmp_path, "correct horse")).fresh
    later = await ensure_admin(database, tmp_path, "battery staple")
    assert not later.fresh and await opens(database, "battery staple") is Role.ADMIN
    assert await opens(database, "correct horse") is Role.ADMIN and first.path.read_text().strip() == "correct horse"
    assert (await Users(database).page())[1] == 1 and (await ApiKeys(database).page())[1] == 2
    with pytest.raises(BadRequest):
        await ensure_admin(database, tmp_path, "short")


async def test_a_revoked_admin_key_stays_revoked(database: Database, tmp_path: Path) -> None:
    await ensure_admin(database, tmp_path, "correct horse")
    key = (await ApiKeys(database).page())[0][0]
    await revoke_key(database, key.id)
    await ensure_admin(database, tmp_path, "correct horse")
    assert await opens(database, "correct horse") is None
