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

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from neuroroute.core.clock import monotonic_s
from neuroroute.store.kv import Arg, KVAway

TIMEOUT_S: Final = 0.05
_CONNECTIONS: Final = 8
_PAUSE_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_APPEND: Final = "local n = redis.call('APPEND', KEYS[1], ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2]) return {n}"
_HANGS_TO_OPEN: Final = 2  # one late answer may be our own loop's fault, two in a row are not


class RedisKV:
    """
    url: redis://, rediss:// or unix://, with credentials and database as redis-py reads them.
    prefix: put before every key.
    """

    def __init__(self, url: str, *, prefix: str = "nr:", timeout_s: float = TIMEOUT_S, connections: int = _CONNECTIONS) -> None:
        self._prefix, self._timeout_s = prefix, timeout_s
        # Only makes connections: redis-py's own pool and client hold a lock per command and retry behind the caller's time limit.
        self._factory = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
        )
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

    async def get(self, key: str) -> bytes | None:
        answer = await self._ask("GET", self._prefix + key)
        return answer if isinstance(answer, bytes) else None

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._ask("SET", self._prefix + key, value, "PX", max(int(ttl_s * 1000), 1))

    async def append(self, key: str, value: bytes, ttl_s: float) -> int:
        return (await self.run(_APPEND, [key], [value, max(int(ttl_s * 1000), 1)]))[0]

    async def get_from(self, key: str, start: int) -> bytes:
        answer = await self._ask("GETRANGE", self._prefix + key, start, -1)
        return answer if isinstance(answer, bytes) else b""

    async def delete(self, *keys: str) -> int:
        # One by one: in a cluster the keys of one DEL must share a slot.
        return sum([int(await self._ask("DEL", self._prefix + key)) for key in keys])

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Arg]) -> list[int]:
        digest = self._digests.get(script)
        if digest is None:
            digest = self._digests[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        rest = (len(keys), *[self._prefix + key for key in keys], *args)
        try:
            answer = await self._ask("EVALSHA", digest, *rest)
        except NoScriptError:
            answer = await self._ask("EVAL", script, *rest)
        return [int(number) for number in answer]

    async def ping(self) -> None:
        await self._ask("PING")

    async def close(self) -> None:
        self._closed = True
        await self._hang_up()

    async def _ask(self, *command: Arg) -> Any:
        now_s = monotonic_s()
        if now_s < self._away_until_s or self._closed:
            raise KVAway("the key-value store is away")
        if self._pause_s > _PAUSE_S:  # it was away: this call tries it, the others go on failing until it is known
            self._away_until_s = now_s + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(command)
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

    async def _exchange(self, command: tuple[Arg, ...]) -> Any:
        async with self._free:
            if self._idle:
                try:
                    return await self._talk(self._idle.pop(), command)
                except RedisConnectionError:  # the server hung up on an idle line: the others are as old
                    await self._hang_up()
            return await self._talk(self._factory.make_connection(), command)  # type: ignore[no-untyped-call]

    async def _talk(self, line: AbstractConnection, command: tuple[Arg, ...]) -> Any:
        """One command on one line. Only a line that gave its answer is kept."""
        in_step = False
        try:
            if not line.is_connected:
                await line.connect()  # type: ignore[no-untyped-call]
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
