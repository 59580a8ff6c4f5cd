"""
Streams that outlive their client's line: every event goes on a tape, and whoever has the right to it reads from there, from any place.

A tape is bounded in bytes, all tapes of a process together too, and they are kept for a while after their end. Of a stream that is longer the
beginning is forgotten: who reads along misses nothing. With Redis what is new of each is brought there every COPY_S (`tapes_shared`), so that a client
may come back to another worker or replica; without it, to the process that runs the call.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from neuroroute.chain.tapes_shared import KEPT_S, Copy, News, Reading
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import NotFound, StreamCut
from neuroroute.core.tasks import spawn
from neuroroute.store.kv import KV

TAPE_BYTES: Final = 4 << 20
ALL_BYTES: Final = 64 << 20
COPY_S: Final = 0.25
ABANDONED_S: Final = 5.0  # a tape of another worker that nobody reads for so long is not fetched any more
_END: Final = b"\n\n"


class Tape:
    """
    The events of one stream, as they went out. A `Sink`: the life of a call writes to it.

    The events are counted from 0; the first `forgotten` are not held any more. `follow` gives them from any place on, then live, until the end.
    """

    def __init__(self, request_id: str, user_id: str) -> None:
        self.request_id, self.user_id = request_id, user_id
        self.status, self.headers = 200, dict[str, str]()
        self.body: bytes | None = None  # a whole answer came instead of a stream: a refusal
        self.events: list[bytes] = []
        self.forgotten = 0
        self.size_bytes = 0
        self.readers = 0
        self.began, self.done, self.broken = False, False, False
        self.ended_s = 0.0
        self.running: asyncio.Task[None] | None = None
        self._left: Callable[[], None] | None = None
        self._rest = b""
        self._news = asyncio.Condition()

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status, self.body, self.headers = status, body, dict(headers)
        self.finish()

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        self.status, self.headers, self.began = status, dict(headers), True
        await self._tell()

    async def write(self, chunk: bytes) -> None:
        *events, self._rest = (self._rest + chunk).split(_END)
        self._append([event + _END for event in events])
        await self._tell()

    def _append(self, events: list[bytes]) -> None:
        self.events += events
        self.size_bytes += sum(map(len, events))
        if self.size_bytes > TAPE_BYTES:
            self._forget(len(self.events) // 2)

    def _forget(self, count: int) -> None:
        self.size_bytes -= sum(map(len, self.events[:count]))
        del self.events[:count]
        self.forgotten += count

    async def end(self) -> None:
        if self._rest:
            self.events.append(self._rest)
        self.finish()
        await self._tell()

    def abort(self) -> None:
        self.broken = True

    def stay(self, left: Callable[[], None]) -> None:
        self._left = left

    def stop(self) -> None:
        """Nobody will come back: the call ends, unless others joined it."""
        if self._left is not None:
            self._left()
        elif self.running is not None:
            self.running.cancel()

    def finish(self) -> None:
        """Nothing more follows."""
        self.done, self.ended_s = True, monotonic_s()

    async def wake(self) -> None:
        """The call is over, however it ended."""
        if not self.done:
            self.broken = True
            self.finish()
        await self._tell()

    async def follow(self, after: int = 0) -> AsyncIterator[bytes]:
        """The events after the first `after`, as they come. Raises StreamCut where the stream broke off, or these are forgotten."""
        self.readers += 1
        try:
            while True:
                if after < self.forgotten:
                    raise StreamCut("the beginning of the stream is not kept any more")
                if fresh := self.events[after - self.forgotten :]:
                    after += len(fresh)
                    yield b"".join(fresh)
                elif self.done:
                    break
                else:
                    async with self._news:
                        if after >= self.known and not self.done:
                            await self._news.wait()
        finally:
            self.readers -= 1
        if self.broken:
            raise StreamCut("the stream broke off")

    @property
    def known(self) -> int:
        """How many events there are so far, the forgotten ones included."""
        return self.forgotten + len(self.events)

    async def take(self, newer: "Tape") -> None:
        """Go on with what another reading of the same stream has more."""
        if self.known < newer.forgotten:
            self._forget(len(self.events))
            self.forgotten = newer.forgotten
        self._append(newer.events[self.known - newer.forgotten :])
        self.broken = newer.broken
        if newer.done:
            self.finish()
        await self._tell()

    async def began_or_done(self) -> None:
        """Returns when the head of the answer is known."""
        async with self._news:
            await self._news.wait_for(lambda: self.began or self.done)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


class Tapes:
    """The tapes of one process; shared: where others find them, None = nowhere."""

    def __init__(self, shared: KV | None = None) -> None:
        self._tapes: OrderedDict[str, Tape] = OrderedDict()
        self._running: set[Tape] = set()
        self._shared = shared

    def open(self, request_id: str, user_id: str, *, findable: bool = True) -> Tape:
        """A fresh tape; the oldest finished ones make room. findable=False: for the one reader that it has now."""
        self._sweep()
        tape = Tape(request_id, user_id)
        self._running.add(tape)
        if not findable:
            return tape
        self._tapes[request_id] = tape
        if self._shared is not None:
            spawn(_copy(tape, self._shared), name="tape")
        return tape

    async def find(self, request_id: str, user_id: str) -> Tape:
        """Raises NotFound where there is none, or it is another user's."""
        tape = self._tapes.get(request_id)
        if tape is None and self._shared is not None:
            tape = await self._fetched(request_id, user_id, self._shared)
        if tape is None or tape.user_id != user_id:
            raise NotFound(
                f"There is no stream '{request_id[:64]}': it was not resumable, or is over since {KEPT_S / 60:g} minutes.", param="id"
            )
        return tape

    async def drain(self, within_s: float) -> bool:
        """Let the streams that run finish. False: some were still running at the end."""
        until_s = monotonic_s() + within_s
        while running := self._tasks():
            left_s = until_s - monotonic_s()
            if left_s <= 0:
                return False
            await asyncio.wait(running, timeout=left_s)
        return True

    async def close(self) -> None:
        """End the streams that still run, so that each is on the books before those are closed."""
        running = self._tasks()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [tape.running for tape in self._running if tape.running is not None and not tape.running.done()]

    def _sweep(self) -> None:
        self._running = {tape for tape in self._running if not tape.done}
        before_s = monotonic_s() - KEPT_S
        held = sum(tape.size_bytes for tape in self._tapes.values())
        for name, tape in list(self._tapes.items()):
            if tape.done and (tape.ended_s < before_s or held > ALL_BYTES):
                held -= tape.size_bytes
                del self._tapes[name]

    async def _fetched(self, request_id: str, user_id: str, shared: KV) -> Tape | None:
        """Another worker's tape; it is read again until it ends, or its reader leaves."""
        tape, reading = Tape(request_id, user_id), Reading(request_id, shared)
        newer = await reading.news()
        if newer is None:
            return None
        tape.user_id, tape.status, tape.headers, tape.began = newer.user_id, newer.status, dict(newer.headers), True
        await _continue(tape, newer)
        if tape.user_id == user_id and not tape.done:
            spawn(_refresh(tape, reading), name="tape of another worker")
        return tape


async def _copy(tape: Tape, shared: KV) -> None:
    """Bring what is new to Redis until the end; an outage costs the copy, not the stream."""
    copy, copied = Copy(tape.request_id, shared), -1
    while True:
        over = tape.done
        if tape.known != copied or over:
            copied = tape.known
            if not await copy.write(tape):
                copied = -1
        if over:
            return
        await asyncio.sleep(COPY_S)


async def _continue(tape: Tape, newer: News) -> None:
    later = Tape(tape.request_id, tape.user_id)
    later.forgotten, later.events, later.broken = newer.forgotten, newer.events, newer.broken
    if newer.done:
        later.finish()
    await tape.take(later)


async def _refresh(tape: Tape, reading: Reading) -> None:
    now_s = monotonic_s()
    deadline_s, read_s = now_s + KEPT_S, now_s
    while not tape.done and now_s < deadline_s and now_s < read_s + ABANDONED_S:
        await asyncio.sleep(COPY_S)
        now_s = monotonic_s()
        read_s = now_s if tape.readers else read_s
        newer = await reading.news()
        if newer is not None and (newer.events or newer.done):
            await _continue(tape, newer)
    await tape.wake()
