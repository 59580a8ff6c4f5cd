"""
One HTTP/1.1 connection to a provider, and the answer that comes over it.

The parser is llhttp (by httptools) in its strict mode; what it lets through and two readers might read differently is refused here. Bytes
are read into a buffer that all connections of a lane share, so an idle or stalled connection holds none. All time limits of a connection
hang on one timer, which is moved only when it fires too early or a limit comes nearer.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from neuroroute.adapters.lane_base import KEEPALIVE_S, MAX_ANSWER_BYTES, MAX_HEAD_BYTES
from neuroroute.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from neuroroute.core.types import Timeouts

_HIGH_WATER_BYTES: Final = 64 << 10  # unread bytes of an answer at which the socket is paused
_PROGRESS_S: Final = 0.25  # how often a request that is still being written is looked at
_MAX_INTERIM: Final = 20  # 1xx answers before the real one
_MAX_NAMES: Final = 2048
_TRANSPORT_ERRORS: Final = (HttpParserError, HttpParserUpgrade)

IDLE, HEAD, BODY, DONE, LOST = range(5)
"""Phases: waiting in the pool; for the answer's head; for its body; all is read; over."""

_names: dict[bytes, str] = {}


def _name(raw: bytes) -> str:
    """Header names are few: each is decoded once."""
    name = _names.get(raw)
    if name is None:
        name = raw.decode("latin-1").lower()
        if len(_names) < _MAX_NAMES:
            _names[raw] = name
    return name


class _Refused(Exception):
    """Raised inside the parser's callbacks: this answer is not one we read."""


class Answer:
    """An UpstreamResponse. Its connection may serve another call as soon as the last byte has come, before this one is read."""

    __slots__ = ("_connection", "done", "error", "headers", "pieces", "size", "status", "timeouts", "until_s", "waiter", "whole")

    def __init__(self, connection: "Connection", timeouts: Timeouts, until_s: float) -> None:
        self._connection = connection
        self.timeouts, self.until_s = timeouts, until_s
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.pieces: list[bytes] = []
        self.size = 0  # bytes in `pieces`
        self.whole = False
        self.done = False
        self.error: UpstreamError | None = None
        self.waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        self.whole = True
        if not self.done and self.error is None:
            self._connection.expect_more()
            while not self.done and self.error is None:
                self.waiter = waiter = self._connection.loop.create_future()
                await waiter
        if self.error is not None:
            raise self.error
        return self._taken()

    async def readany(self) -> bytes:
        if not self.pieces and not self.done and self.error is None:
            self._connection.expect_more()
            self.waiter = waiter = self._connection.loop.create_future()
            await waiter
        if self.pieces:
            return self._taken()
        if self.error is not None:
            raise self.error
        return b""

    def _taken(self) -> bytes:
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.size = 0
        return data

    def close(self) -> None:
        if not self.done:
            self._connection.abort()

    async def began(self) -> None:
        """Until there is a head, or an error."""
        while not self.status and self.error is None:
            self.waiter = waiter = self._connection.loop.create_future()
            await waiter

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for something new."""
        return self.waiter is not None and not self.waiter.done()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Connection(asyncio.BufferedProtocol):
    """
    One socket. `begin` starts a call; the answer is done when its last byte has come, and the connection is given back then.

    given_back: called with the connection when it may serve another call; lost: called once when it is over.
    """

    __slots__ = (
        "_answer", "_buffer", "_drained", "_head_bytes", "_interim", "_keep", "_keepalive_s", "_parser", "_paused", "_quiet_bytes", "_raw_headers",
        "_sent_all", "_since_s", "_timer", "_timer_at_s", "_transport", "_unsent_bytes", "_until_eof", "given_back", "heard", "loop", "lost", "phase", "used",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffer: memoryview,
        given_back: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.loop, self._buffer, self.given_back, self.lost = loop, buffer, given_back, lost
        self.phase = IDLE
        self.used = False  # whether it has served a call before
        self.heard = False  # whether anything came since the call began
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._answer: Answer | None = None
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = self._quiet_bytes = self._interim = 0
        self._until_eof = self._paused = self._keep = False
        self._sent_all = True
        self._unsent_bytes = 0
        self._drained: asyncio.Future[None] | None = None
        self._since_s = loop.time()
        self._keepalive_s = KEEPALIVE_S
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    # ---- a call

    def begin(self, timeouts: Timeouts, until_s: float, head: bytes, body: bytes, sent_all: bool) -> Answer:
        """
        Write the request; `answer.began()` waits for its status.

        sent_all: `body` is all of the body; otherwise `write` brings the rest and `end_request` closes it.
        """
        assert self._transport is not None
        self._answer = answer = Answer(self, timeouts, until_s)
        self.phase = HEAD
        self._head_bytes = self._quiet_bytes = self._interim = 0
        self.heard = self._until_eof = self._keep = False
        self._sent_all = sent_all
        self._raw_headers = []
        self._since_s = self.loop.time()
        self._transport.write(head + body if len(body) < _HIGH_WATER_BYTES else head)
        if len(body) >= _HIGH_WATER_BYTES:
            self._transport.write(body)
        self._unsent_bytes = self._transport.get_write_buffer_size() if len(body) >= _HIGH_WATER_BYTES else 0
        self._arm(self.loop.time() + _PROGRESS_S if self._unsent_bytes else self._limit_s())
        return answer

    async def write(self, data: bytes) -> None:
        """A further piece of the request's body, held back while the socket takes no more."""
        if self.phase == LOST or self._transport is None:
            return
        self._since_s = self.loop.time()
        self._transport.write(data)
        self._unsent_bytes = self._transport.get_write_buffer_size()
        if self._drained is not None:
            await self._drained
        self._since_s = self.loop.time()

    def end_request(self, last: bytes) -> None:
        if self.phase != LOST and self._transport is not None:
            self._transport.write(last)
            self._sent_all = True
            self._since_s = self.loop.time()

    def expect_more(self) -> None:
        """Somebody waits for bytes from now on: the provider's silence counts, and a paused socket is read again."""
        self._since_s = self.loop.time()
        if self._paused and self._transport is not None and self.phase != LOST:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection at once; unread and unsent bytes are dropped."""
        if self.phase != LOST and self._transport is not None:
            self._transport.abort()
        self._over()

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are not of the class, only of the kind
        if self.phase == LOST:
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer, parser = self._answer, self._parser
        if answer is None or parser is None:
            self.abort()  # bytes that nobody asked for, such as the 408 of a server that closes an idle connection
            return
        self.heard = True
        had = answer.size
        try:
            parser.feed_data(self._buffer[:nbytes])
        except _TRANSPORT_ERRORS:
            if self.phase != DONE:
                self._fail(UpstreamBroken("the provider's answer is not proper HTTP"))
                return
            self._keep = False  # something follows the answer: this connection is not to be trusted any more
        phase = self.phase
        if phase == DONE:
            self._finish(answer)
        elif phase == BODY:
            self._since_s = self.loop.time()
            if answer.size != had:
                self._quiet_bytes = 0
                self._filled(answer)
            else:  # chunk heads, extensions or trailers without an end
                self._quiet_bytes += nbytes
                if self._quiet_bytes > MAX_HEAD_BYTES:
                    self._fail(UpstreamBroken("the provider's answer is not proper HTTP"))
        else:
            self._quiet_bytes += nbytes
            if self._quiet_bytes > 2 * MAX_HEAD_BYTES:  # a head that does not end, or one header that does not
                self._fail(UpstreamBroken("the head of the provider's answer is too large"))

    def _filled(self, answer: Answer) -> None:
        if not answer.whole:
            answer.wake()
            if answer.size > _HIGH_WATER_BYTES and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        elif answer.size > MAX_ANSWER_BYTES:
            self._fail(UpstreamBroken("the provider's answer is too large"))

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        self._unsent_bytes = 0
        self._since_s = self.loop.time()
        if drained is not None and not drained.done():
            drained.set_result(None)

    def eof_received(self) -> bool:
        if self.phase == IDLE:
            self.abort()  # at once, so that no call takes it
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.phase == LOST:
            return
        answer = self._answer
        if answer is not None and self.phase == BODY and self._until_eof and exc is None:
            answer.done = True
            answer.wake()
            self._over()
        elif answer is not None and self.phase == HEAD:
            self._fail(UpstreamBroken("the provider broke the connection"))
        else:
            self._fail(UpstreamBroken("the provider broke off its answer"))

    # ---- the parser's side

    def on_message_begin(self) -> None:
        if self.phase != HEAD:
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _Refused
        if self.phase == HEAD:  # else a trailer: nobody reads those
            self._raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None and self._answer is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            self._head_bytes = 0
            self._raw_headers = []
            if status == 101 or self._interim > _MAX_INTERIM:
                raise _Refused
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._raw_headers:
            name, value = _name(raw_name), raw_value.decode("utf-8", "replace")
            if name in headers:
                if name in ("content-length", "transfer-encoding"):
                    raise _Refused
                value = f"{headers[name]}, {value}"
            headers[name] = value
        encoding = headers.get("transfer-encoding")
        if encoding is not None and (encoding.lower() != "chunked" or "content-length" in headers):
            raise _Refused
        self._until_eof = encoding is None and "content-length" not in headers and status not in (204, 304)
        self.phase = BODY
        self._head_bytes = self._quiet_bytes = 0
        self._since_s = self.loop.time()
        answer = self._answer
        answer.status, answer.headers = status, headers
        answer.wake()
        self._arm(self._limit_s())

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None:
            answer.pieces.append(data)
            answer.size += len(data)

    def on_message_complete(self) -> None:
        if self.phase == BODY:
            assert self._parser is not None
            self.phase = DONE
            self._keep = self._sent_all and self._parser.should_keep_alive()

    # ---- ends

    def _finish(self, answer: Answer) -> None:
        assert self._transport is not None
        keep = self._keep and not self._transport.is_closing()
        if keep and (offered := answer.headers.get("keep-alive")) is not None:
            self._keepalive_s = _offered_s(offered)
            keep = self._keepalive_s > 0
        answer.done = True
        answer.wake()
        self._answer = None
        if not keep:
            self._over()
            self._transport.close()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self.phase, self.used = IDLE, True
        self._since_s = self.loop.time()
        self._arm(self._limit_s())
        self.given_back(self)

    def _fail(self, error: UpstreamError) -> None:
        if self._answer is not None:
            self._answer.error = error
            self._answer.wake()
        self.abort()

    def _over(self) -> None:
        if self.phase == LOST:
            return
        self.phase = LOST
        if self._timer is not None:
            self._timer.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._answer is not None and not self._answer.done and self._answer.error is None:
            self._answer.error = UpstreamBroken("the answer was given up")
        self._timer = self._answer = self._parser = self._drained = None
        self.lost(self)

    # ---- the one timer

    def _limit_s(self) -> float:
        """When, on the loop's clock, this phase has lasted too long if nothing happens."""
        answer = self._answer
        if answer is None:
            return self._since_s + self._keepalive_s
        if self.phase == BODY:
            return min(answer.until_s, self._since_s + answer.timeouts.idle_s)
        return min(answer.until_s, self._since_s + answer.timeouts.first_byte_s)

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self.loop.call_at(at_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now_s = self.loop.time()
        answer = self._answer
        if answer is not None and now_s < answer.until_s:
            if self.phase == BODY and not answer.awaited:
                self._since_s = now_s  # nobody waits: the silence is ours
            elif not self._sent_all and self._drained is None:
                self._since_s = now_s  # the request's own source is slow
            elif self._unsent_bytes and self._transport is not None:
                unsent = self._transport.get_write_buffer_size()
                if unsent < self._unsent_bytes:
                    self._unsent_bytes, self._since_s = unsent, now_s
        limit_s = self._limit_s()
        if now_s < limit_s:
            self._arm(min(limit_s, now_s + _PROGRESS_S) if self._unsent_bytes else limit_s)
        elif answer is None:
            self.abort()
        elif self.phase == HEAD:
            self._fail(UpstreamTimeout("the provider did not begin its answer in time"))
        else:
            self._fail(UpstreamTimeout("the provider stopped in the middle of its answer"))


def _offered_s(keep_alive: str) -> float:
    """`timeout=5, max=100` -> 4.0: a second less than offered, since our request takes its time to arrive."""
    for part in keep_alive.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isdecimal() and len(value) < 7:
            return min(KEEPALIVE_S, int(value) - 1.0)
    return KEEPALIVE_S
