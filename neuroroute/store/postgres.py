"""
PostgreSQL: the only door to asyncpg.

`Database` is a pool that never blocks a start and never hangs a caller: connections are made when they are needed, each statement has a deadline
(waiting for a connection included), and while the server is away callers are refused at once, except one at a time that tries again.
A connection on which anything was cancelled or ran out of time is thrown away: its next user would read the last one's answer.

Errors that leave this module:

* DatabaseAway       503: refused, hung, full, shutting down, read-only; nothing is known of the statement's fate
* Duplicate          409: a unique constraint; `constraint` names it
* StillReferenced    409: a foreign key
* BadValue           400: a value that Postgres can not hold (NUL byte, out of range, check constraint)
* DatabaseFault      500: our own mistake (syntax, schema)
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, LiteralString, Protocol, Self, TypeAlias, TypeVar

import asyncpg

from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import BadRequest, Conflict, InternalError, Unavailable
from neuroroute.core.tasks import cancel, spawn

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

Row: TypeAlias = asyncpg.Record
Result = TypeVar("Result")
IDLE_MAX_S: Final = 300.0  # a connection above the minimum that nobody used for so long is closed
PAUSES_S: Final = (0.05, 1.0)  # between attempts to reach a server that is away: the first, the longest
SLOW_CONNECT_S: Final = 0.25
HEARTBEAT_S: Final = 2.0
_log = logging.getLogger("neuroroute.postgres")

SET_UP: Final = (
    "SET client_connection_check_interval = '1s'",  # a client that went away stops its query within a second, where the platform can tell
    "SET jit = off",  # planning a compilation costs more than our statements
)


class DatabaseAway(Unavailable):
    """The database can not be reached, or did not answer in time."""

    def __init__(self, message: str = "The database can not be reached at the moment.", *, retry_after_s: float = 2.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class Duplicate(Conflict):
    """Another row has this value already."""

    def __init__(self, constraint: str) -> None:
        super().__init__("This exists already.")
        self.constraint = constraint


class StillReferenced(Conflict):
    """Other rows point here, or the row that this one points to does not exist."""

    def __init__(self, constraint: str) -> None:
        super().__init__("This belongs to something that does not exist, or is still in use.")
        self.constraint = constraint


class BadValue(BadRequest): ...


class DatabaseFault(InternalError): ...


class Queries(Protocol):
    """What runs statements: the pool, or one transaction. SQL is a constant; `args` are its $1, $2, ..."""

    async def fetch(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> list[Row]: ...

    async def fetchrow(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> Row | None: ...

    async def fetchval(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> Any: ...

    async def execute(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> int:
        """Returns the number of rows that the statement touched."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """For metrics. `waiting`: callers that wait for a connection; `failures`: statements and connects that ended in DatabaseAway."""

    open: int
    idle: int
    limit: int
    waiting: int
    away: bool
    slow_queries: int
    failures: int


class Database:
    """
    A pool of connections to one server. Opening it touches nothing; `async with Database(...)` closes it at the end.

    statement_timeout_s: for a statement that names none, waiting for a connection included.
    slow_query_ms: statements that take longer are logged; 0 = never.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_min: int = 2,
        pool_max: int = 10,
        connect_timeout_s: float = 2.0,
        statement_timeout_s: float = 2.0,
        slow_query_ms: float = 500.0,
    ) -> None:
        self._url = url
        self._min, self._max = pool_min, pool_max
        self._connect_timeout_s, self._statement_timeout_s, self._slow_s = connect_timeout_s, statement_timeout_s, slow_query_ms / 1000
        self._slots = asyncio.Semaphore(pool_max)
        self._idle: list[tuple[Connection, float]] = []  # the last used at the end
        self._open = self._waiting = self._slow_queries = self._failures = 0
        self._away = self._silent = self._trying = self._closed = False
        self._pause_s = self._try_again_at_s = 0.0
        self._feed: Feed | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def fetch(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> list[Row]:
        return await self._run(lambda connection: connection.fetch(sql, *args), sql, timeout_s)

    async def fetchrow(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> Row | None:
        return await self._run(lambda connection: connection.fetchrow(sql, *args), sql, timeout_s)

    async def fetchval(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> Any:
        return await self._run(lambda connection: connection.fetchval(sql, *args), sql, timeout_s)

    async def execute(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> int:
        return _touched(await self._run(lambda connection: connection.execute(sql, *args), sql, timeout_s))

    async def script(self, sql: str, *, timeout_s: float = 60.0) -> None:
        """Run several statements without arguments, as one transaction."""
        await self._run(lambda connection: connection.execute(sql), "script", timeout_s)

    @contextlib.asynccontextmanager
    async def transaction(self, *, timeout_s: float | None = None) -> AsyncIterator["Transaction"]:
        """
        All or nothing. Committed where the block ends well; else rolled back.

        timeout_s: for each statement in it, and for begin and commit.
        """
        limit_s = self._statement_timeout_s if timeout_s is None else timeout_s
        with _border():
            async with asyncio.timeout(limit_s):
                connection = await self._take()
        transaction = Transaction(connection, limit_s, self)
        clean = False
        try:
            await transaction.execute("BEGIN")
            try:
                yield transaction
            except BaseException as error:
                if not isinstance(error, asyncio.CancelledError | DatabaseAway) and not connection.is_closed():
                    with contextlib.suppress(DatabaseAway):  # then the server rolls back by itself
                        await transaction.execute("ROLLBACK")
                        clean = True
                raise
            await transaction.commit()
            clean = True
        finally:
            self._give(connection, clean)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Tell all listeners on `channel`, in every process. Payload: < 8,000 bytes."""
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    def listen(self, channel: str, callback: Callable[[str], None], on_ready: Callable[[], None] | None = None) -> Callable[[], None]:
        """
        Call `callback(payload)` for each notification on `channel`, until the function that comes back is called.

        on_ready: called each time the channel begins to be heard, the first time and after each loss of the connection: what happened before
        was missed, so caches read everything again.
        """
        if self._feed is None:
            self._feed = Feed(self._connect)
        return self._feed.add(channel, callback, on_ready)

    async def warm(self) -> bool:
        """Open the minimum of connections, so that nobody waits for them later. False: the server is away."""
        done = await asyncio.gather(*(self.fetchval("SELECT 1") for _ in range(max(self._min, 1))), return_exceptions=True)
        return not any(isinstance(error, BaseException) for error in done)

    @property
    def stats(self) -> PoolStats:
        return PoolStats(self._open, len(self._idle), self._max, self._waiting, self.away, self._slow_queries, self._failures)

    @property
    def away(self) -> bool:
        """Whether the last attempt to reach the server failed, or the last statement got no answer."""
        return self._away or self._silent

    async def close(self) -> None:
        """Close all connections; statements that still run fail."""
        self._closed = True
        if self._feed is not None:
            await self._feed.close()
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            self._open -= 1
            try:
                await connection.close(timeout=1)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                connection.terminate()

    async def _run(self, work: Callable[["Connection"], Awaitable[Result]], sql: str, timeout_s: float | None) -> Result:
        began_s = monotonic_s()
        try:
            with _border():
                async with asyncio.timeout(self._statement_timeout_s if timeout_s is None else timeout_s):
                    connection = await self._take()
                    clean = False
                    try:
                        result = await work(connection)
                        clean = True
                    except (asyncpg.PostgresError, asyncpg.InterfaceError):
                        clean = True  # the server answered: the connection is in step, unless it closed itself
                        raise
                    finally:
                        self._give(connection, clean)
        except DatabaseAway:
            self._failures, self._silent = self._failures + 1, True
            raise
        self._silent = False
        self.observe(sql, monotonic_s() - began_s)
        return result

    def observe(self, sql: str, took_s: float) -> None:
        """Log a slow statement: its text, never its arguments."""
        if 0 < self._slow_s <= took_s:
            self._slow_queries += 1
            _log.warning("slow query: %.0f ms: %s", took_s * 1000, " ".join(sql.split())[:300])

    async def _take(self) -> "Connection":
        """An open connection; each must be given back."""
        if self._slots.locked():
            self._waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._slots.acquire()
        try:
            while self._idle:
                connection, _ = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._open -= 1
            connection = await self._connect_or_refuse()
            self._open += 1
            return connection
        except BaseException:
            self._slots.release()
            raise

    def _give(self, connection: "Connection", clean: bool) -> None:
        if clean and not self._closed and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append((connection, monotonic_s()))
            self._trim()
        else:
            self._open -= 1
            connection.terminate()
        self._slots.release()

    def _trim(self) -> None:
        """Close the connection that was idle longest, if it was so for too long and is above the minimum."""
        connection, since_s = self._idle[0]
        if len(self._idle) > self._min and monotonic_s() - since_s > IDLE_MAX_S:
            del self._idle[0]
            self._open -= 1
            connection.terminate()

    async def _connect_or_refuse(self) -> "Connection":
        if self._closed:
            raise DatabaseAway("The database connection is closed.")
        if self._away and (self._trying or monotonic_s() < self._try_again_at_s):
            raise DatabaseAway
        self._trying, began_s = True, monotonic_s()
        try:
            connection = await self._connect()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:  # OSError: TimeoutError too
            self._lost(error)
            raise
        except asyncio.CancelledError:
            if monotonic_s() - began_s > SLOW_CONNECT_S:  # our caller's own deadline, or one that left: then it says nothing of the server
                self._lost(None)
            raise
        finally:
            self._trying = False
        if self._away:
            _log.info("the database is back")
        self._away, self._pause_s = False, 0.0
        return connection

    def _lost(self, error: BaseException | None) -> None:
        if not self._away:
            _log.warning("the database is away: %s", error or "no answer")
        self._away = True
        self._pause_s = min(max(self._pause_s * 2, PAUSES_S[0]), PAUSES_S[1])
        self._try_again_at_s = monotonic_s() + self._pause_s * random.uniform(0.8, 1.0)  # not all workers at the same moment

    async def _connect(self) -> "Connection":
        connection = await asyncpg.connect(self._url, timeout=self._connect_timeout_s, server_settings={"application_name": "neuroroute"})
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await connection.set_type_codec("jsonb", schema="pg_catalog", format="binary", encoder=_encode_jsonb, decoder=_decode_jsonb)
                for sql in SET_UP:
                    with contextlib.suppress(asyncpg.PostgresError):
                        await connection.execute(sql)
        except BaseException:
            connection.terminate()
            raise
        return connection


class Transaction:
    """One connection between BEGIN and COMMIT; made by `Database.transaction`."""

    def __init__(self, connection: "Connection", timeout_s: float, database: Database) -> None:
        self._connection, self._timeout_s, self._database = connection, timeout_s, database

    async def fetch(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> list[Row]:
        return await self._run(self._connection.fetch(sql, *args), sql, timeout_s)

    async def fetchrow(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> Row | None:
        return await self._run(self._connection.fetchrow(sql, *args), sql, timeout_s)

    async def fetchval(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> Any:
        return await self._run(self._connection.fetchval(sql, *args), sql, timeout_s)

    async def execute(self, sql: LiteralString, *args: object, timeout_s: float | None = None) -> int:
        return _touched(await self._run(self._connection.execute(sql, *args), sql, timeout_s))

    async def script(self, sql: str, *, timeout_s: float = 600.0) -> None:
        """Run several statements without arguments."""
        await self._run(self._connection.execute(sql), "script", timeout_s)

    async def stream(self, work: Callable[["Connection"], Awaitable[Result]], what: str) -> Result:
        """What `work` does with the connection itself, such as COPY. what: how the log calls it."""
        return await self._run(work(self._connection), what, None)

    async def commit(self) -> None:
        """Raises: DatabaseFault where a statement failed and its error was swallowed: the server rolls back then, and says so in passing."""
        if await self._run(self._connection.execute("COMMIT"), "COMMIT", None) != "COMMIT":
            raise DatabaseFault("A transaction was rolled back.")

    async def _run(self, work: Awaitable[Result], sql: str, timeout_s: float | None) -> Result:
        began_s = monotonic_s()
        with _border():
            try:
                async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
                    result = await work
            except TimeoutError:
                self._connection.terminate()
                raise
        self._database.observe(sql, monotonic_s() - began_s)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class _Subscription:
    callback: Callable[[str], None]
    on_ready: Callable[[], None] | None


class Feed:
    """Notifications over one connection of its own, which is made again whenever it is lost; a heartbeat finds a server that hangs."""

    def __init__(self, connect: Callable[[], Awaitable["Connection"]]) -> None:
        self._connect = connect
        self._wanted: dict[str, list[_Subscription]] = {}
        self._changed = asyncio.Event()
        self._task = spawn(self._forever(), name="postgres feed")

    def add(self, channel: str, callback: Callable[[str], None], on_ready: Callable[[], None] | None) -> Callable[[], None]:
        entry = _Subscription(callback, on_ready)
        self._wanted.setdefault(channel, []).append(entry)
        self._changed.set()

        def remove() -> None:
            with contextlib.suppress(ValueError):
                self._wanted[channel].remove(entry)

        return remove

    async def close(self) -> None:
        await cancel(self._task)

    async def _forever(self) -> None:
        pause_s = PAUSES_S[0]
        while True:
            began_s = monotonic_s()
            try:
                await self._hear()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                _log.info("notifications are interrupted: %s", error or type(error).__name__)
            pause_s = PAUSES_S[0] if monotonic_s() - began_s > 5 else min(pause_s * 2, PAUSES_S[1])
            await asyncio.sleep(pause_s)

    async def _hear(self) -> None:
        """Listen until the connection is lost. Raises: what ended it."""
        connection = await self._connect()
        heard: set[str] = set()
        ready: set[_Subscription] = set()
        try:
            connection.add_termination_listener(lambda _: self._changed.set())
            while True:
                self._changed.clear()
                async with asyncio.timeout(HEARTBEAT_S):
                    for channel in self._wanted.keys() - heard:
                        await connection.add_listener(channel, self._notified)
                        heard.add(channel)
                    await connection.execute("SELECT 1")
                for entry in [entry for entries in self._wanted.values() for entry in entries]:
                    if entry not in ready:
                        ready.add(entry)
                        if entry.on_ready is not None:
                            entry.on_ready()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._changed.wait()
        finally:
            connection.terminate()

    def _notified(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for entry in list(self._wanted.get(channel, ())):
            entry.callback(str(payload))


@contextlib.contextmanager
def _border() -> Iterator[None]:
    """Turn what asyncpg, the system and our deadlines raise into the errors of this module."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Duplicate(error.constraint_name or "") from error
    except (asyncpg.ForeignKeyViolationError, asyncpg.RestrictViolationError) as error:
        raise StillReferenced(error.constraint_name or "") from error
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, UnicodeEncodeError) as error:
        raise BadValue(_BAD_VALUE) from error
    except asyncpg.PostgresError as error:
        if isinstance(error, _AWAY):
            raise DatabaseAway from error
        raise DatabaseFault("The database refused a statement.") from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):
            raise BadValue(_BAD_VALUE) from error
        if "closed" in str(error):
            raise DatabaseAway from error
        raise DatabaseFault("The database client refused a statement.") from error
    except (asyncpg.InternalClientError, OSError) as error:
        raise DatabaseAway from error


_BAD_VALUE: Final = "A value can not be stored: it is missing, out of range, or has characters that are not allowed."
_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,  # deadlock or serialization: trying again helps
    asyncpg.ReadOnlySQLTransactionError,  # a standby: the primary moved
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
)


def _touched(tag: str) -> int:
    """INSERT 0 5 -> 5."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _encode_jsonb(value: object) -> bytes:
    return b"\x01" + jsonbytes.dumps(value)  # jsonb on the wire: a version byte, then text


def _decode_jsonb(raw: bytes) -> Any:
    return jsonbytes.loads(memoryview(raw)[1:])
