"""
The key-value store in Redis (7.0 or newer, or Valkey): the only door to it.

No caller ever waits longer than `timeout_s`, and none gets another's answer: a command that was cancelled, timed out or failed closes its
connection, because its late answer would be read by whoever uses the line next. After a failure the store counts as away and calls fail at
once; one call at a time is let through, later each time, until one succeeds.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, RedisError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from neuroroute.core.clock import monotonic_s
from neuroroute.core.patience import patience
from neuroroute.store.kv import Arg, KVAway

TIMEOUT_S: Final = 0.05
_CONNECTIONS: Final = 8
_PAUSE_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_APPEND: Final = "local n = redis.call('APPEND', KEYS[1], ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2]) return {n}"
_HANGS_TO_OPEN: Final = 2  # one late answer may be our own loop's fault, two in a row are not


class Moved(Exception):
    """The key belongs to another node of the cluster. ask: for this command alone."""

    def __init__(self, slot: int, address: tuple[str, int], *, ask: bool) -> None:
        super().__init__(f"slot {slot} is at {address[0]}:{address[1]}")
        self.slot, self.address, self.ask = slot, address, ask


class RedisKV:
    """
    One server, or one node of a cluster (see `kv_cluster`, which follows `Moved`). asking: the node is told that it was asked on purpose.

    url: redis://, rediss:// or unix://, with credentials and database as redis-py reads them.
    prefix: put before every key.
    """

    def __init__(self, url: str, *, prefix: str = "nr:", timeout_s: float = TIMEOUT_S, connections: int = _CONNECTIONS) -> None:
        self._prefix, self._timeout_s = prefix, timeout_s
        # Only makes connections: redis-py's own pool and client hold a lock per command and retry behind the caller's time limit.
        # No limit of its own for connecting: it would count a stall of our loop as the server's, and one as an outage.
        self._factory = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0)
        )
        self._host = urlsplit(url).hostname or "localhost"
        self._idle: list[AbstractConnection] = []
        self._free = asyncio.Semaphore(connections)
        self._closed = False
        self._away_until_s = 0.0
        self._pause_s = _PAUSE_S
        self._hangs = 0
        self._digests: dict[str, str] = {}
        self.failures = 0

    @property
    def away(self) -> bool:
        """Whether calls fail at once for now."""
        return monotonic_s() < self._away_until_s

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_shared_store_failures", (), self.failures)]

    async def get(self, key: str, *, asking: bool = False) -> bytes | None:
        answer = await self._ask("GET", self._prefix + key, asking=asking)
        return answer if isinstance(answer, bytes) else None

    async def set(self, key: str, value: bytes, ttl_s: float, *, asking: bool = False) -> None:
        await self._ask("SET", self._prefix + key, value, "PX", max(int(ttl_s * 1000), 1), asking=asking)

    async def append(self, key: str, value: bytes, ttl_s: float, *, asking: bool = False) -> int:
        return (await self.run(_APPEND, [key], [value, max(int(ttl_s * 1000), 1)], asking=asking))[0]

    async def get_from(self, key: str, start: int, *, asking: bool = False) -> bytes:
        answer = await self._ask("GETRANGE", self._prefix + key, start, -1, asking=asking)
        return answer if isinstance(answer, bytes) else b""

    async def delete(self, *keys: str, asking: bool = False) -> int:
        # One by one: in a cluster the keys of one DEL must share a slot.
        return sum([int(await self._ask("DEL", self._prefix + key, asking=asking)) for key in keys])

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Arg], *, asking: bool = False) -> list[int]:
        digest = self._digests.get(script)
        if digest is None:
            digest = self._digests[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        rest = (len(keys), *[self._prefix + key for key in keys], *args)
        try:
            answer = await self._ask("EVALSHA", digest, *rest, asking=asking)
        except NoScriptError:
            answer = await self._ask("EVAL", script, *rest, asking=asking)
        return [int(number) for number in answer]

    async def cluster_slots(self) -> list[tuple[int, int, tuple[str, int]]]:
        """(first slot, last slot, address of their master). A server that is no cluster counts as away."""
        try:
            ranges = await self._ask("CLUSTER", "SLOTS")
        except ResponseError as error:
            raise KVAway("the key-value store is no cluster") from error
        found = []
        for first, last, master, *_ in ranges:
            host = (master[0] or b"").decode()
            found.append((int(first), int(last), (host if host not in ("", "?") else self._host, int(master[1]))))
        return found

    async def ping(self) -> None:
        await self._ask("PING")

    async def close(self) -> None:
        self._closed = True
        await self._hang_up()

    async def _ask(self, *command: Arg, asking: bool = False) -> Any:
        now_s = monotonic_s()
        if now_s < self._away_until_s or self._closed:
            raise KVAway("the key-value store is away")
        if self._pause_s > _PAUSE_S:  # it was away: this call tries it, the others go on failing until it is known
            self._away_until_s = now_s + self._timeout_s
        try:
            async with patience(self._timeout_s):
                answer = await self._exchange(command, asking)
        except (MovedError, AskError) as moved:  # an ASK is a kind of MOVED, and both are answers
            self._came_back()
            raise Moved(moved.slot_id, (moved.host or self._host, moved.port), ask=not isinstance(moved, MovedError)) from moved
        except (ClusterDownError, TryAgainError) as error:
            self._came_back()
            raise KVAway("the cluster is being put in order") from error
        except ResponseError:
            self._came_back()
            raise
        except TimeoutError as error:
            self._hangs += 1
            if self._hangs >= _HANGS_TO_OPEN or self._pause_s > _PAUSE_S:
                self._went_away()
            raise KVAway("the key-value store does not answer") from error
        except (RedisError, OSError) as error:
            self._went_away()
            raise KVAway("the key-value store refuses") from error
        self._came_back()
        return answer

    async def _exchange(self, command: tuple[Arg, ...], asking: bool) -> Any:
        async with self._free:
            if self._idle:
                try:
                    return await self._talk(self._idle.pop(), command, asking)
                except RedisConnectionError:  # the server hung up on an idle line: the others are as old
                    await self._hang_up()
            return await self._talk(self._factory.make_connection(), command, asking)  # type: ignore[no-untyped-call]

    async def _talk(self, line: AbstractConnection, command: tuple[Arg, ...], asking: bool) -> Any:
        """One command on one line. Only a line that gave its answer is kept."""
        in_step = False
        try:
            if not line.is_connected:
                await line.connect()  # type: ignore[no-untyped-call]
            if asking:
                await line.send_command("ASKING")
                await line.read_response()
            await line.send_command(*command)
            try:
                answer = await line.read_response()
            except ResponseError:
                in_step = True
                raise
            in_step = True
            return answer
        finally:
            if in_step and not self._closed:
                self._idle.append(line)
            else:
                await line.disconnect(nowait=True)

    async def _hang_up(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            await line.disconnect(nowait=True)

    def _went_away(self) -> None:
        self.failures += 1
        self._away_until_s = monotonic_s() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)

    def _came_back(self) -> None:
        if self._hangs or self._pause_s > _PAUSE_S:
            self._hangs, self._pause_s, self._away_until_s = 0, _PAUSE_S, 0.0
