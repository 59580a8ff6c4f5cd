"""
Streams that outlive their client's line: every event goes on a tape, and whoever has the right to it reads from there, from any place.

A tape is bounded in bytes, all tapes of a process together too, and they are kept for a while after their end. With Redis each is copied there
every COPY_S, so that a client may come back to another worker or replica; without it, to the process that runs the call.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Final

from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import ClientGone, NotFound, StreamCut
from neuroroute.core.tasks import spawn
from neuroroute.store.kv import KV, KVAway

TAPE_BYTES: Final = 4 << 20
ALL_BYTES: Final = 64 << 20
KEPT_S: Final = 600.0
COPY_S: Final = 0.25
_END: Final = b"\n\n"


class Tape:
    """
    The events of one stream, as they went out. A `Sink`: the life of a call writes to it.

    `events` counts from 0. `follow` gives them from any place on, then live, until the end.
    """

    def __init__(self, request_id: str, user_id: str) -> None:
        self.request_id, self.user_id = request_id, user_id
        self.status, self.headers = 200, dict[str, str]()
        self.body: bytes | None = None  # a whole answer came instead of a stream: a refusal
        self.events: list[bytes] = []
        self.size_bytes = 0
        self.began, self.done, self.broken = False, False, False
        self.ended_s = 0.0
        self.running: asyncio.Task[None] | None = None
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
        for event in events:
            self.events.append(event + _END)
            self.size_bytes += len(event) + 2
        if self.size_bytes > TAPE_BYTES:
            self.broken = True
            raise ClientGone("the stream is longer than what is kept of one")
        await self._tell()

    async def end(self) -> None:
        if self._rest:
            self.events.append(self._rest)
        self.finish()
        await self._tell()

    def abort(self) -> None:
        self.broken = True

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
        """The events after the first `after`, as they come. Raises StreamCut where the stream broke off."""
        while True:
            while after < len(self.events):
                fresh = self.events[after:]
                after += len(fresh)
                yield b"".join(fresh)
            if self.done:
                break
            async with self._news:
                if after >= len(self.events) and not self.done:
                    await self._news.wait()
        if self.broken:
            raise StreamCut("the stream broke off")

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
        self._shared = shared

    def open(self, request_id: str, user_id: str, *, findable: bool = True) -> Tape:
        """A fresh tape; the oldest finished ones make room. findable=False: for the one reader that it has now."""
        self._sweep()
        tape = Tape(request_id, user_id)
        if not findable:
            return tape
        self._tapes[request_id] = tape
        if self._shared is not None:
            spawn(self._copy(tape, self._shared), name="tape")
        return tape

    async def find(self, request_id: str, user_id: str) -> Tape:
        """Raises NotFound where there is none, or it is another user's."""
        tape = self._tapes.get(request_id)
        if tape is None and self._shared is not None:
            tape = await self._fetched(request_id, self._shared)
        if tape is None or tape.user_id != user_id:
            raise NotFound(
                f"There is no stream '{request_id[:64]}': it was not resumable, or is over since {KEPT_S / 60:g} minutes.", param="id"
            )
        return tape

    def _sweep(self) -> None:
        before_s = monotonic_s() - KEPT_S
        held = sum(tape.size_bytes for tape in self._tapes.values())
        for name, tape in list(self._tapes.items()):
            if tape.done and (tape.ended_s < before_s or held > ALL_BYTES):
                held -= tape.size_bytes
                del self._tapes[name]

    async def _copy(self, tape: Tape, shared: KV) -> None:
        """Bring what is new to Redis until the end; an outage costs the copy, not the stream."""
        copied = -1
        while True:
            over = tape.done
            if len(tape.events) != copied or over:
                copied = len(tape.events)
                head = jsonbytes.dumps(
                    [tape.user_id, tape.status, tape.headers, tape.done, tape.broken, [len(event) for event in tape.events]]
                )
                try:
                    await shared.set(_name(tape.request_id), b"\n".join((head, b"".join(tape.events))), KEPT_S)
                except KVAway:
                    copied = -1
            if over:
                return
            await asyncio.sleep(COPY_S)

    async def _fetched(self, request_id: str, shared: KV) -> Tape | None:
        """Another worker's tape; it is read again until it ends."""
        tape = await _read(request_id, shared)
        if tape is not None and not tape.done:
            spawn(_refresh(tape, shared), name="tape of another worker")
        return tape


def _name(request_id: str) -> str:
    return f"stream:{request_id[:64]}"


async def _read(request_id: str, shared: KV) -> Tape | None:
    try:
        data = await shared.get(_name(request_id))
    except KVAway:
        return None
    if data is None:
        return None
    head, _, body = data.partition(b"\n")
    user_id, status, headers, done, broken, sizes = jsonbytes.loads(head)
    tape = Tape(request_id, user_id)
    tape.status, tape.headers, tape.began, tape.broken = status, headers, True, broken
    at = 0
    for size in sizes:
        tape.events.append(body[at : at + size])
        at += size
    if done:
        tape.finish()
    return tape


async def _refresh(tape: Tape, shared: KV) -> None:
    deadline_s = monotonic_s() + KEPT_S
    while not tape.done and monotonic_s() < deadline_s:
        await asyncio.sleep(COPY_S)
        newer = await _read(tape.request_id, shared)
        if newer is not None and (len(newer.events) > len(tape.events) or newer.done):
            tape.events += newer.events[len(tape.events) :]
            tape.broken = newer.broken
            if newer.done:
                tape.finish()
            async with tape._news:
                tape._news.notify_all()
    await tape.wake()
