"""The small tables: sealed keys, configuration versions, audit log, feedback, secrets."""

import asyncio
from datetime import timedelta

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.store.audit import AuditLog
from neuroroute.store.config import ConfigChanged, ConfigVersions
from neuroroute.store.feedback import Feedback
from neuroroute.store.postgres import BadValue, Database
from neuroroute.store.provider_keys import ProviderKeys
from neuroroute.store.secrets import Secrets


async def test_sealed_keys_are_put_swapped_and_deleted(database: Database) -> None:
    keys = ProviderKeys(database)
    await keys.put("work", b"\x00\x01")
    await keys.put("work", b"\x02")
    assert await keys.all() == {"work": b"\x02"}
    assert not await keys.swap("work", b"\x01", b"\x03") and await keys.swap("work", b"\x02", b"\x03")
    assert await keys.delete("work") and not await keys.delete("work")


async def test_configuration_versions_follow_each_other(database: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    ready = asyncio.Event()
    database.listen("neuroroute_config", heard.put_nowait, ready.set)
    versions = ConfigVersions(database)
    assert await versions.current() is None
    first = await versions.add({"routing": {"policy": "best"}}, after=0, author="usr_1", comment="why")
    assert await versions.current() == first == await versions.get(1)
    done = await asyncio.gather(*(versions.add({"n": n}, after=1, author="usr_1") for n in range(4)), return_exceptions=True)
    assert sum(isinstance(error, ConfigChanged) for error in done) == 3, "of those who start from the same version one wins"
    assert [version.version for version in (await versions.page())[0]] == [2, 1]
    async with asyncio.timeout(5):
        await ready.wait()
        await versions.add({}, after=2, author="usr_1")
        while await heard.get() != "3":
            pass


async def test_audit_log_is_written_with_the_change_or_not_at_all(database: Database) -> None:
    log = AuditLog(database)
    await log.add("user.create", "usr_1", actor_user_id="usr_0", after={"name": "a\0b"}, address="10.0.0.1")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as change:
            await AuditLog(change).add("user.delete", "usr_1")
            raise ZeroDivisionError
    await log.add("api_key.create", "key_1", actor_user_id="usr_0", before=None, after={"n": 1})
    entries, total = await log.page()
    assert [entry.action for entry in entries] == ["api_key.create", "user.create"] and total == 2
    assert entries[1].after == {"name": "ab"} and entries[1].before is None and entries[1].actor_user_id == "usr_0"
    assert (await log.page(target="usr_1"))[1] == 1 and (await log.page(action="api_key.create"))[1] == 1
    assert (await log.page(actor_user_id="usr_0"))[1] == 2 and (await log.page(until=utcnow() - timedelta(hours=1)))[1] == 0


async def test_feedback_of_a_key_on_a_call_is_replaced(database: Database) -> None:
    feedback = Feedback(database)
    await feedback.put("req_1", key_id="key_1", user_id="usr_1", score=-1, comment="bad")
    last = await feedback.put("req_1", key_id="key_1", user_id="usr_1", score=0.5, correct_model="gpt-4o")
    await feedback.put("req_1", key_id="key_2", user_id="usr_2", score=1)
    rows, total = await feedback.page(user_id="usr_1")
    assert rows == [last] and total == 1 and last.comment is None and last.score == 0.5
    assert (await feedback.page(request_id="req_1"))[1] == 2
    with pytest.raises(BadValue):
        await feedback.put("req_2", key_id="key_1", user_id="usr_1", score=1.5)


async def test_all_replicas_get_the_same_secret(database: Database, database_url: str) -> None:
    async with Database(database_url) as other:
        found = await asyncio.gather(*(Secrets(pool).get_or_make("s") for pool in (database, other) for _ in range(5)))
    assert len(set(found)) == 1 and len(found[0]) == 32
    assert await Secrets(database).get_or_make("t", 16) != found[0]
