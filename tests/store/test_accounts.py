"""Users and their keys."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.core.errors import Conflict, NotFound
from neuroroute.core.types import Limits, Role
from neuroroute.store.api_keys import ApiKeys
from neuroroute.store.columns import Budget
from neuroroute.store.postgres import Database, Duplicate, StillReferenced
from neuroroute.store.users import LastAdmin, Users


async def test_users_come_back_as_they_went(database: Database) -> None:
    users = Users(database)
    made = await users.create("Ada", email=" Ada@Example.org ", limits=Limits(10, None, 0), budget=Budget(2.5, "month"))
    assert made.email == "ada@example.org" and made.id.startswith("usr_")
    assert await users.get(made.id) == made == await users.by_email("ADA@example.org")
    changed = await users.update(replace(made, name="Ada L.", role=Role.VIEWER, budget=None, status="disabled"))
    assert await users.get(made.id) == changed and changed.updated_at > made.updated_at
    assert await users.get("usr_none") is None
    with pytest.raises(Duplicate):
        await users.create("Other", email="ADA@example.org")
    await users.delete(made.id)
    with pytest.raises(NotFound):
        await users.update(changed)
    with pytest.raises(NotFound):
        await users.delete(made.id)


async def test_pages_are_newest_first_and_filtered(database: Database) -> None:
    users = Users(database)
    made = [await users.create(f"user {n}", email=f"u{n}@x_y.org", role=Role.VIEWER if n % 2 else Role.USER) for n in range(7)]
    page, total = await users.page(page=2, limit=3)
    assert [user.name for user in page] == ["user 3", "user 2", "user 1"] and total == 7
    assert (await users.page(role="viewer"))[1] == 3
    assert [user.id for user in (await users.page(search="R 5"))[0]] == [made[5].id]
    assert (await users.page(search="x_y"))[1] == 7 and (await users.page(search="xzy"))[1] == 0, "_ is a character, not a pattern"
    assert (await users.page(search="%"))[1] == 0
    assert (await users.page(status="disabled")) == ([], 0)


async def test_the_last_active_admin_stays(database: Database) -> None:
    users = Users(database)
    first = await users.create("one", role=Role.ADMIN)
    second = await users.create("two", role=Role.ADMIN)
    await users.create("three", role=Role.USER)
    second = await users.update(replace(second, status="disabled"))
    for change in ({"role": Role.USER}, {"status": "disabled"}):
        with pytest.raises(LastAdmin):
            await users.update(replace(first, **change))
    with pytest.raises(LastAdmin):
        await users.delete(first.id)
    await users.update(replace(first, name="still admin"))
    await users.delete(second.id)  # a disabled admin is not the last active one
    third = await users.create("four", role=Role.ADMIN)
    await users.update(replace(first, role=Role.USER))
    assert (found := await users.first_admin()) is not None and found.id == third.id


async def test_admins_who_remove_each_other_at_the_same_time_leave_one(database: Database) -> None:
    users = Users(database)
    for _ in range(15):
        admins = [await users.create(f"admin {n}", role=Role.ADMIN) for n in range(3)]
        async with database.transaction() as gate:  # all three wait here, and go on at the same moment
            await gate.execute("LOCK TABLE users IN EXCLUSIVE MODE")
            works = [
                asyncio.ensure_future(users.update(replace(admins[0], role=Role.USER))),
                asyncio.ensure_future(users.delete(admins[1].id)),
                asyncio.ensure_future(users.update(replace(admins[2], status="disabled"))),
            ]
            async with asyncio.timeout(5):
                while await gate.fetchval("SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted") < 3:
                    await asyncio.sleep(0.005)
        done = await asyncio.gather(*works, return_exceptions=True)
        assert [type(error) for error in done if isinstance(error, Exception)] == [LastAdmin]
        _, total = await users.page(role="admin", status="active")
        assert total == 1
        await database.execute("DELETE FROM users")


async def test_keys_come_back_as_they_went(database: Database) -> None:
    owner = await Users(database).create("Ada")
    keys = ApiKeys(database)
    later = utcnow() + timedelta(days=1)
    made = await keys.create(
        owner.id, "ci", digest=b"d1", display="nr_abc...", allowed_models=["auto", "gpt-4o"], limits=Limits(1, 2, 3), budget=Budget(1, "day"),
        expires_at=later, tags={"team": "search"},
    )  # fmt: skip
    assert await keys.get(made.id) == made
    changed = await keys.update(replace(made, name="CI", allowed_models=None, tags={}))
    assert await keys.get(made.id) == changed
    with pytest.raises(Duplicate):
        await keys.create(owner.id, "same", digest=b"d1", display="")
    with pytest.raises(StillReferenced):
        await keys.create("usr_none", "lost", digest=b"d2", display="")
    assert await keys.has_digest(b"d1") and not await keys.has_digest(b"d2")
    with pytest.raises(NotFound):
        await keys.update(replace(made, id="key_none"))


async def test_access_is_what_is_usable_now(database: Database) -> None:
    users, keys = Users(database), ApiKeys(database)
    owner = await users.create("Ada", limits=Limits(5))
    keys_made = [await keys.create(owner.id, f"k{n}", digest=bytes([n]), display="", allowed_models=["a"] if n else None) for n in range(5)]
    made = sorted(keys_made, key=lambda key: key.id)
    assert [access.key_id for access in await keys.access_page(limit=3)] == [key.id for key in made[:3]]
    assert [access.key_id for access in await keys.access_page(made[2].id)] == [key.id for key in made[3:]]
    made = list(keys_made)
    one = (await keys.access_of(made[1].id))[0]
    assert (one.digest, one.user_limits, one.allowed_models, one.role) == (b"\x01", Limits(5), frozenset({"a"}), Role.USER)
    assert await keys.access_by_digest(b"\x01") == one
    assert await keys.revoke(made[1].id) and not await keys.revoke(made[1].id)
    assert await keys.access_of(made[1].id) == [] and await keys.access_by_digest(b"\x01") is None
    assert len(await keys.access_of(owner.id)) == 4
    await users.update(replace(owner, status="disabled"))
    assert await keys.access_of(owner.id) == [] and await keys.access_page() == []
    await users.delete(owner.id)
    assert await keys.page() == ([], 0)


async def test_rotation_keeps_one_key_before_for_its_time(database: Database) -> None:
    owner = await Users(database).create("Ada")
    keys = ApiKeys(database)
    made = await keys.create(owner.id, "k", digest=b"one", display="1")
    await keys.rotate(made.id, digest=b"two", display="2", previous_until=utcnow() + timedelta(hours=1))
    assert await keys.access_by_digest(b"one") and await keys.access_by_digest(b"two")
    rotated = await keys.rotate(made.id, digest=b"three", display="3", previous_until=utcnow() - timedelta(seconds=1))
    assert rotated.display == "3"
    assert await keys.access_by_digest(b"one") is None, "the one before the last ends at once"
    assert await keys.access_by_digest(b"two") is None, "its time is over"
    assert await keys.access_by_digest(b"three")
    await keys.revoke(made.id)
    with pytest.raises(NotFound):
        await keys.rotate(made.id, digest=b"four", display="4", previous_until=None)


async def test_key_pages_and_last_use(database: Database) -> None:
    users, keys = Users(database), ApiKeys(database)
    owner, other = await users.create("Ada"), await users.create("Bob")
    made = [
        await keys.create(
            (owner if n < 3 else other).id, f"key {n}", digest=bytes([n]), display=f"nr_{n}", tags={"env": "prod" if n % 2 else "dev"}
        )
        for n in range(5)
    ]
    await keys.revoke(made[0].id)
    assert [key.name for key in (await keys.page(limit=2))[0]] == ["key 4", "key 3"]
    assert (await keys.page(user_id=owner.id))[1] == 3
    assert (await keys.page(user_id=owner.id, status="active"))[1] == 2
    assert (await keys.page(tag=("env", "prod")))[1] == 2
    assert (await keys.page(search="nr_4"))[1] == 1
    now = utcnow()
    await keys.used([made[1].id, made[2].id], now)
    await keys.used([made[1].id], now - timedelta(hours=1))
    assert {key.name: key.last_used_at for key in (await keys.page())[0]}["key 1"] == now, "the last use never goes back"
    assert await keys.delete(made[1].id) and not await keys.delete(made[1].id)


def test_last_admin_is_a_conflict() -> None:
    assert issubclass(LastAdmin, Conflict) and LastAdmin().status == 409
