"""Sessions of the pages: found by their token alone, for their time, as long as their key has a row."""

from datetime import timedelta

from neuroroute.access.keys import create_key
from neuroroute.store.api_keys import ApiKeys
from neuroroute.store.postgres import Database
from neuroroute.store.sessions import Sessions
from neuroroute.store.users import Users

HOUR = timedelta(hours=1)


async def test_a_session_is_found_by_its_token_until_its_end(database: Database) -> None:
    key = (await create_key(database, (await Users(database).create("Ada")).id, "k")).key
    sessions = Sessions(database)
    made = await sessions.create("token-one", key_id=key.id, key_digest=b"digest", lasts=HOUR)
    assert await sessions.get("token-one") == made and made.expires_at - made.created_at == HOUR
    assert await sessions.get("token-two") is None and await sessions.get("\ud800") is None
    assert await sessions.delete("token-one") and not await sessions.delete("token-one")
    assert await sessions.get("token-one") is None


async def test_what_is_over_is_not_found_and_goes_when_the_next_begins(database: Database) -> None:
    key = (await create_key(database, (await Users(database).create("Ada")).id, "k")).key
    sessions = Sessions(database)
    await sessions.create("old", key_id=key.id, key_digest=b"digest", lasts=-HOUR)
    assert await sessions.get("old") is None
    await sessions.create("new", key_id=key.id, key_digest=b"digest", lasts=HOUR)
    assert await database.fetchval("SELECT count(*) FROM sessions") == 1


async def test_tokens_are_not_stored_and_sessions_go_with_the_row_of_their_key(database: Database) -> None:
    key = (await create_key(database, (await Users(database).create("Ada")).id, "k")).key
    await Sessions(database).create("token", key_id=key.id, key_digest=b"digest", lasts=HOUR)
    assert b"token" not in await database.fetchval("SELECT digest FROM sessions")
    assert await ApiKeys(database).delete(key.id)
    assert await Sessions(database).get("token") is None
