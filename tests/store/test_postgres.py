"""The pool: away, hung, cut, cancelled, overfull; and what its errors are called."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from neuroroute.core.errors import Unavailable
from neuroroute.store.postgres import BadValue, Database, DatabaseAway, DatabaseFault, Duplicate, StillReferenced
from tests.support.relay import Relay


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[Relay]:
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query).get("host", [""])[0]
    made = Relay(path=f"{folder}/.s.PGSQL.5432") if folder else Relay(host=parts.hostname or "127.0.0.1", to_port=parts.port or 5432)
    async with made as running:
        yield running


@pytest.fixture
async def far(database_url: str, relay: Relay) -> AsyncIterator[Database]:
    """A pool of 3 that reaches the server through the relay; statements have 0.4 s."""
    parts = urlsplit(database_url)
    url = f"postgresql://{parts.username or 'neuroroute'}:{parts.password or ''}@127.0.0.1:{relay.port}{parts.path}?sslmode=disable"
    async with Database(url, pool_min=1, pool_max=3, connect_timeout_s=0.4, statement_timeout_s=0.4) as pool:
        yield pool


async def works(database: Database, within_s: float = 3.0) -> None:
    """Returns when a statement succeeds again."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                assert await database.fetchval("SELECT 1") == 1
                return
            except DatabaseAway:
                await asyncio.sleep(0.02)


async def test_values_come_back_as_they_went(database: Database) -> None:
    value = {"a": [1, 2.5, None, "ä€"], "b": {"c": True}}
    assert await database.fetchval("SELECT $1::jsonb", value) == value
    assert await database.fetchval("SELECT $1::jsonb ->> 'b'", value) == '{"c": true}'
    assert await database.fetchval("SELECT $1::jsonb[]", [value, None]) == [value, None]
    row = await database.fetchrow("SELECT 1 AS one, 'x' AS two")
    assert row is not None and dict(row) == {"one": 1, "two": "x"}
    assert await database.fetchrow("SELECT 1 WHERE false") is None


async def test_execute_counts_rows(database: Database) -> None:
    await database.script("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (0);")
    assert await database.execute("INSERT INTO t SELECT generate_series(1, 5)") == 5
    assert await database.execute("UPDATE t SET n = n + 10 WHERE n > 3") == 2
    assert await database.execute("DELETE FROM t WHERE n > 100") == 0


async def test_errors_have_names(database: Database) -> None:
    await database.script("CREATE TABLE t (n int PRIMARY KEY, m int REFERENCES t, s text CHECK (s <> 'bad'), r smallint)")
    await database.execute("INSERT INTO t (n) VALUES (1)")
    with pytest.raises(Duplicate) as duplicate:
        await database.execute("INSERT INTO t (n) VALUES (1)")
    assert duplicate.value.constraint == "t_pkey"
    with pytest.raises(StillReferenced):
        await database.execute("INSERT INTO t (n, m) VALUES (2, 99)")
    for sql, value in [
        ("INSERT INTO t (n, s) VALUES (3, $1)", "bad"),
        ("INSERT INTO t (n, s) VALUES (3, $1)", "a\0b"),
        ("INSERT INTO t (n, s) VALUES (3, $1)", "a\ud800b"),
        ("INSERT INTO t (n, r) VALUES (3, $1)", 99_999),
        ("INSERT INTO t (n) VALUES ($1)", 2**70),
        ("INSERT INTO t (n) VALUES ($1)", "text"),
        ("INSERT INTO t (n) VALUES ($1)", None),
        ("SELECT $1::jsonb", {"a": "\0"}),
    ]:
        with pytest.raises(BadValue):
            await database.execute(sql, value)
    for sql in ("SELECT nonsense", "SELEC 1"):
        with pytest.raises(DatabaseFault):
            await database.execute(sql)
    with pytest.raises(DatabaseFault):
        await database.execute("SELECT $1::int")  # an argument is missing
    assert await database.fetchval("SELECT count(*) FROM t") == 1
    assert database.stats.open == 1, "none of these costs a connection"


async def test_messages_tell_nothing_of_the_inside(far: Database, relay: Relay) -> None:
    await relay.refuse()
    with pytest.raises(Unavailable) as away:
        await far.fetchval("SELECT 1")
    assert away.value.status == 503 and away.value.retry_after_s == 2
    assert "127.0.0.1" not in away.value.message and str(relay.port) not in away.value.message


async def test_starts_while_the_database_is_away_and_recovers_alone(far: Database, relay: Relay) -> None:
    await relay.refuse()
    for _ in range(3):
        with pytest.raises(DatabaseAway):
            await far.fetchval("SELECT 1")
    assert far.away and far.stats.failures == 3
    await relay.restore()
    await works(far)
    assert not far.away


async def test_while_it_is_away_callers_do_not_queue(far: Database, relay: Relay) -> None:
    """Refused or hung: after the first to notice, the others are turned away at once."""
    await works(far)
    relay.hang()
    relay.cut()
    with pytest.raises(DatabaseAway):
        await far.fetchval("SELECT 1")
    began = time.monotonic()
    done = await asyncio.gather(*(far.fetchval("SELECT 1") for _ in range(200)), return_exceptions=True)
    took = time.monotonic() - began
    assert all(isinstance(error, DatabaseAway) for error in done)
    assert took < 0.9, took  # one of them may be the one that tries: 0.4 s
    await relay.restore()
    await works(far)


async def test_hung_server_costs_a_caller_its_deadline_and_no_more(far: Database, relay: Relay) -> None:
    await works(far)
    relay.hang()
    began = time.monotonic()
    with pytest.raises(DatabaseAway):
        await far.fetchval("SELECT 1")
    assert 0.3 < time.monotonic() - began < 0.9
    with pytest.raises(DatabaseAway):
        await far.fetchval("SELECT 1", timeout_s=0.1)
    assert time.monotonic() - began < 1.4
    await relay.restore()
    await works(far)
    assert await far.fetchval("SELECT 7") == 7


async def test_cut_connections_are_replaced(far: Database, relay: Relay) -> None:
    await asyncio.gather(*(far.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)))
    assert far.stats.open == 3
    relay.cut()
    await works(far)


async def test_a_cancelled_statement_never_answers_the_next_one(database: Database) -> None:
    """Cancelled at every moment of its life."""
    for step in range(60):
        task = asyncio.ensure_future(database.fetchval("SELECT 'wrong' FROM pg_sleep(0.002)"))
        await asyncio.sleep(step * 0.0001)
        task.cancel()
        answers = await asyncio.gather(*(database.fetchval("SELECT $1::int", n) for n in range(4)))
        assert answers == [0, 1, 2, 3]
        await asyncio.gather(task, return_exceptions=True)
    assert database.stats.open <= 10


async def test_a_cancelled_transaction_leaves_nothing(database: Database) -> None:
    await database.script("CREATE TABLE t (n int)")

    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await database.fetchval("SELECT count(*) FROM t") == 0


async def test_transactions_commit_or_leave_nothing(database: Database) -> None:
    await database.script("CREATE TABLE t (n int PRIMARY KEY)")
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO t VALUES (1)")
        assert await database.fetchval("SELECT count(*) FROM t") == 0
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (2)")
            raise ZeroDivisionError
    with pytest.raises(Duplicate):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (3)")
            await transaction.execute("INSERT INTO t VALUES (1)")
    assert [row["n"] for row in await database.fetch("SELECT n FROM t")] == [1]
    assert database.stats.idle == database.stats.open, "all connections came back"


async def test_a_swallowed_error_does_not_pass_for_a_commit(database: Database) -> None:
    await database.script("CREATE TABLE t (n int PRIMARY KEY)")
    with pytest.raises(DatabaseFault):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(Duplicate):
                await transaction.execute("INSERT INTO t VALUES (1)")
    assert await database.fetchval("SELECT count(*) FROM t") == 0


async def test_warm_opens_the_minimum(database_url: str, far: Database, relay: Relay) -> None:
    async with Database(database_url, pool_min=3) as pool:
        assert await pool.warm() and pool.stats.idle == 3
    await relay.refuse()
    assert not await far.warm()


async def test_server_that_goes_in_a_transaction_is_told_as_away(far: Database, relay: Relay) -> None:
    with pytest.raises(DatabaseAway):
        async with far.transaction() as transaction:
            await transaction.execute("SELECT 1")
            relay.cut()
            await asyncio.sleep(0.05)
            await transaction.execute("SELECT 1")
    await works(far)


async def test_the_pool_has_a_bound_and_waiting_has_a_deadline(far: Database) -> None:
    slow = [asyncio.ensure_future(far.fetchval("SELECT pg_sleep(1)", timeout_s=5)) for _ in range(3)]
    await asyncio.sleep(0.2)
    waiting = asyncio.ensure_future(far.fetchval("SELECT 1"))
    await asyncio.sleep(0.05)
    assert (far.stats.open, far.stats.waiting, far.stats.limit) == (3, 1, 3)
    with pytest.raises(DatabaseAway):
        await waiting
    await asyncio.gather(*slow)
    await works(far)
    assert far.stats.waiting == 0


async def test_a_query_ends_at_the_server_when_its_caller_gave_up(database: Database) -> None:
    with pytest.raises(DatabaseAway):
        await database.fetchval("SELECT 'long' FROM pg_sleep(30)", timeout_s=0.2)
    async with asyncio.timeout(5):
        while await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT ''long''%' AND state = 'active'"):
            await asyncio.sleep(0.1)


async def test_slow_statements_are_logged_without_their_arguments(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "neuroroute")
    async with Database(database_url, slow_query_ms=30) as database:
        await database.fetchval("SELECT pg_sleep(0.05), $1::text", "private")
        await database.fetchval("SELECT 1")
        assert database.stats.slow_queries == 1
    assert "pg_sleep" in caplog.text and "private" not in caplog.text


async def test_notifications_arrive_and_survive_a_lost_connection(far: Database, database: Database, relay: Relay) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    ready = asyncio.Event()
    far.listen("news", heard.put_nowait, ready.set)
    async with asyncio.timeout(5):
        await ready.wait()
        await database.notify("news", "one")
        assert await heard.get() == "one"
        ready.clear()
        await relay.refuse()
        await database.notify("news", "lost")
        await relay.restore()
        await ready.wait()  # says: read again what you have
        await database.notify("news", "two")
        assert await heard.get() == "two"


async def test_a_feed_that_hangs_is_made_again(far: Database, relay: Relay, database: Database) -> None:
    ready = asyncio.Event()
    far.listen("news", lambda _: None, ready.set)
    async with asyncio.timeout(15):
        await ready.wait()
        ready.clear()
        before = relay.accepted
        relay.hang()
        while relay.accepted == before:  # the heartbeat notices, though the connection is open
            await asyncio.sleep(0.05)
        await relay.restore()
        await ready.wait()


async def test_channels_can_be_added_and_removed(database: Database) -> None:
    first: asyncio.Queue[str] = asyncio.Queue()
    second: asyncio.Queue[str] = asyncio.Queue()
    ready = asyncio.Event()
    database.listen("one", first.put_nowait)
    stop = database.listen("two", second.put_nowait, ready.set)
    async with asyncio.timeout(5):
        await ready.wait()
        await database.notify("two", "a")
        assert await second.get() == "a"
        stop()
        await database.notify("two", "b")
        await database.notify("one", "c")
        assert await first.get() == "c"
    assert second.empty()


async def test_close_leaves_no_connection(database_url: str, database: Database) -> None:
    async with Database(database_url) as other:
        ready = asyncio.Event()
        other.listen("news", lambda _: None, ready.set)
        await asyncio.gather(ready.wait(), *(other.fetchval("SELECT pg_sleep(0.05)") for _ in range(5)))
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with asyncio.timeout(5):
        while await database.fetchval(sql):
            await asyncio.sleep(0.02)
    with pytest.raises(DatabaseAway):
        await other.fetchval("SELECT 1")
