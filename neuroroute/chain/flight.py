"""
Single flight: identical calls that run at the same time share one call upstream.

The first of them leads. When its client leaves it goes on for those who joined (see `Sink.stay`); with nobody left it is cancelled. Who joins gets what came so far at once, and then each piece as it comes. Identical means: the same key of the cache.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from neuroroute.caching.entry import Entry
from neuroroute.core.errors import ClientGone, NeuroRouteError, Unavailable, UpstreamError
from neuroroute.core.types import Target

if TYPE_CHECKING:
    from neuroroute.chain.answer import Sink

ALONE_BYTES: Final = 4 << 20
"""A longer stream that nobody joined yet takes nobody in any more, and is not kept: one answer must not push out thousands."""
SHARED_BYTES: Final = 64 << 20
"""A longer stream breaks off for those who joined."""


class Telling(Protocol):
    """A stream that can say in its own dialect that it broke."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def failure(self, error: NeuroRouteError) -> bytes: ...


class Flight:
    """
    One upstream call and who waits for it.

    stream, pieces: once the answer has begun as a stream, and what of it went out. entry: the answer, once it is there whole. error: how it
    ended instead. target: who answers.
    """

    __slots__ = (
        "_landed",
        "_waiting",
        "entry",
        "error",
        "leader_left",
        "over",
        "passengers",
        "pieces",
        "size_bytes",
        "stream",
        "target",
        "task",
    )

    def __init__(self) -> None:
        self.stream: Telling | None = None
        self.pieces: list[bytes] = []
        self.size_bytes = 0
        self.entry: Entry | None = None
        self.error: NeuroRouteError | None = None
        self.target: Target | None = None
        self.over = False
        self.passengers = 0  # who joined and is still here
        self.leader_left = False  # its client does not read on
        self.task = asyncio.current_task()  # the leader's
        self._waiting: list[asyncio.Future[None]] = []
        self._landed: asyncio.Event | None = None

    @property
    def is_void(self) -> bool:
        """Whether it ended before the answer began, in what concerned its leader alone: a spent budget, a client that left."""
        return self.over and self.entry is None and self.stream is None and not isinstance(self.error, UpstreamError)

    def begin(self, stream: Telling, target: Target | None) -> None:
        """The answer comes as a stream."""
        self.stream, self.target = stream, target
        self.tell()

    def add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size_bytes += len(piece)
        if self._waiting:
            self.tell()

    def landed(self) -> asyncio.Event:
        """Set when it is over."""
        if self._landed is None:
            self._landed = asyncio.Event()
            if self.over:
                self._landed.set()
        return self._landed

    def tell(self) -> None:
        """Wake all who wait for news."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def news(self) -> None:
        """Returns when something more is known."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting


class Flights:
    """Those of one process, by the key of the cache."""

    def __init__(self) -> None:
        self._running: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._running)

    def find(self, key: bytes | None) -> Flight | None:
        """The flight that a call with this key may join."""
        return self._running.get(key) if key is not None else None

    def open(self, key: bytes | None) -> Flight:
        assert key is not None
        flight = self._running[key] = Flight()
        return flight

    def close(self, key: bytes, flight: Flight) -> None:
        """Nobody may join it any more."""
        if self._running.get(key) is flight:
            del self._running[key]

    def land(self, key: bytes, flight: Flight, error: NeuroRouteError | None) -> None:
        """The call is over, however it ended."""
        self.close(key, flight)
        if flight.entry is None:
            flight.error = error if error is not None and not isinstance(error, ClientGone) else Unavailable("The call was stopped.")
        flight.over = True
        if flight._landed is not None:
            flight._landed.set()
        flight.tell()

    def left(self, key: bytes, flight: Flight) -> bool:
        """The client of the leader, or one who joined, is gone. With nobody left the call upstream is stopped: then True."""
        if not flight.leader_left or flight.passengers or flight.task is None or flight.task.done():
            return False
        self.close(key, flight)
        flight.task.cancel()
        return True


class Lead:
    """The sink of the call that leads: what its client does not take any more still goes to those who joined."""

    __slots__ = ("_flight", "_sink", "gone")

    def __init__(self, flight: Flight, sink: "Sink") -> None:
        self._flight, self._sink = flight, sink
        self.gone = False

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._sink.whole(status, body, headers)

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        try:
            await self._sink.start(headers, status)
        except ClientGone:
            self._lose()

    async def write(self, chunk: bytes) -> None:
        if self.gone:
            self._lose()
            return
        try:
            await self._sink.write(chunk)
        except ClientGone:
            self._lose()

    async def end(self) -> None:
        if not self.gone:
            await self._sink.end()

    def abort(self) -> None:
        self._sink.abort()

    def stay(self, left: Callable[[], None]) -> None:
        self._sink.stay(left)

    def _lose(self) -> None:
        self.gone = True
        if not self._flight.passengers:
            raise ClientGone("the client left")
