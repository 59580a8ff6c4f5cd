"""
The client's side of one call: its body in, the answer out.

A dead client is `ClientGone`, and only here: aiohttp raises the same error for our client and for a provider, so each await on the
client's connection is mapped by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import BadRequest, ClientGone, SlowBody, TooLarge
from neuroroute.web.connection import EdgeHandler, is_there
from neuroroute.web.peers import address
from neuroroute.web.whole import MOST_BYTES, Whole, head_of, lines_of

_COMMENT: Final = b": ping\n\n"
_ROOM_BYTES: Final = 32 << 10  # waiting in our own memory for one client; beyond it the provider is slowed down
_SSE_HEADERS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ConnectionError as error:
        raise ClientGone("the client left") from error


class HttpSource:
    """The body of one aiohttp request, within its limits of size and time."""

    __slots__ = ("_max_bytes", "_request", "_timeout_s")

    def __init__(self, request: web.BaseRequest, max_bytes: int, timeout_s: float) -> None:
        self._request, self._max_bytes, self._timeout_s = request, max_bytes, timeout_s

    async def read(self) -> bytes:
        request = self._request
        content = request.content
        if request._read_bytes is None and is_there(content):
            body = request._read_bytes = content._buffer[0]  # no clock, no wait, and nothing to be read
            if len(body) > min(self._max_bytes, request._client_max_size):
                raise self._too_large()
            return body
        length = request.content_length
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._timeout_s):
                with _gone():
                    return await request.read()
        except TimeoutError:
            raise SlowBody(f"The body of your request did not arrive within {self._timeout_s:g} s.") from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except web.RequestPayloadError as error:
            raise _broken() from error

    async def chunks(self) -> AsyncIterator[bytes]:
        seen = 0
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    with _gone():
                        chunk = await self._request.content.readany()
            except TimeoutError:
                raise SlowBody(f"The body of your request paused for {self._timeout_s:g} s.") from None
            except web.RequestPayloadError as error:
                raise _broken() from error
            if not chunk:
                return
            seen += len(chunk)
            if seen > self._max_bytes:
                raise self._too_large()
            yield chunk

    def address(self) -> str | None:
        assert isinstance(self._request, web.Request)
        return address(self._request)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body of your request is larger than the {self._max_bytes} bytes that this gateway accepts.")


def _broken() -> BadRequest:
    return BadRequest("The body of your request is broken or not encoded as its headers say.")


class KeepAlive:
    """
    Sends an SSE comment into every stream that was silent for `every_s`, so that no proxy between takes the line for dead.

    One task for all streams: a timer of its own for each would cost every chunk. Only between whole events: a comment in the middle of one
    would break it.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.open: set[LineSink] = set()

    async def run(self) -> None:
        """For ever. every_s = 0 switches it off."""
        while self._every_s > 0:
            await asyncio.sleep(min(1.0, self._every_s / 4))
            before_s = monotonic_s() - self._every_s
            for sink in [sink for sink in self.open if sink.quiet_since_s is not None and sink.quiet_since_s <= before_s]:
                if sink.has_room:  # a reader that takes nothing has bytes enough to take
                    with contextlib.suppress(ClientGone):  # its own call finds out by itself
                        await sink.write(_COMMENT)
        await asyncio.Event().wait()


class LineSink:
    """Where the answer goes: one client's connection, while it is ours. `whole` and `start` are called at most once, and not both."""

    __slots__ = ("_chunked", "_keep_alive", "_line", "_slow_client_s", "quiet_since_s")

    def __init__(self, line: RequestHandler, slow_client_s: float, keep_alive: KeepAlive) -> None:
        self._line, self._slow_client_s, self._keep_alive = line, slow_client_s, keep_alive
        self._chunked = True
        self.quiet_since_s: float | None = None  # None: not between two events

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A complete answer. `headers` says the content type."""
        raise NotImplementedError

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        """The head of a stream goes out. Raises ClientGone."""
        raise NotImplementedError

    def _started(self) -> None:
        if (transport := self._line.transport) is not None:
            transport.set_write_buffer_limits(high=_ROOM_BYTES)
        self.quiet_since_s = monotonic_s()
        self._keep_alive.open.add(self)

    @property
    def has_room(self) -> bool:
        """Whether the client took all that was sent so far."""
        transport = self._line.transport
        return transport is not None and transport.get_write_buffer_size() == 0

    async def write(self, chunk: bytes) -> None:
        """
        Send `chunk`; returns when the client's connection has room again. Raises ClientGone, also for a reader that takes nothing.

        The frame of a chunk is made here and written at once: the way through aiohttp's writer costs as much again as all else that we do to
        a chunk (3 us of 7).
        """
        transport = self._line.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client left")
        if not chunk:  # an empty frame would be the end
            return
        self.quiet_since_s = None
        if not self._chunked:  # HTTP/1.0, or a length that is known
            await self._written(chunk)
        else:
            transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if transport.get_write_buffer_size() > _ROOM_BYTES:
                await self._drained()
        if chunk.endswith(b"\n\n"):
            self.quiet_since_s = monotonic_s()

    async def _written(self, chunk: bytes) -> None:
        raise NotImplementedError

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(self._slow_client_s):
                with _gone():
                    await self._line._drain_helper()
        except TimeoutError:
            self.abort()
            raise ClientGone(f"the client read nothing for {self._slow_client_s:g} s") from None

    def abort(self) -> None:
        """Tear the connection down."""
        if self._line.transport is not None:
            self._line.transport.abort()

    def stay(self, left: Callable[[], None]) -> None:
        """From now on a client that leaves does not end the call: `left` is told instead."""
        if isinstance(self._line, EdgeHandler):
            self._line.on_leave = left

    def close(self) -> None:
        """The call is over, whatever became of it."""
        self._keep_alive.open.discard(self)
        if isinstance(self._line, EdgeHandler):
            self._line.on_leave = None

    async def end(self) -> None:
        """The stream is complete. Raises ClientGone."""
        raise NotImplementedError


class HttpSink(LineSink):
    """Of a request of aiohttp's; `response` is what it is given back."""

    __slots__ = ("_request", "response")

    def __init__(self, request: web.Request, slow_client_s: float, keep_alive: KeepAlive) -> None:
        super().__init__(request.protocol, slow_client_s, keep_alive)
        self._request = request
        self.response: web.StreamResponse | None = None

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        if status not in (204, 304) and len(body) <= MOST_BYTES and not self._request.app.on_response_prepare:
            self.response = Whole(status, body, headers)
        else:
            self.response = web.Response(status=status, body=body, headers=headers)

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        self.response = web.StreamResponse(status=status, headers={**_SSE_HEADERS, **headers})
        with _gone():
            await self.response.prepare(self._request)
        self._chunked = "transfer-encoding" in self.response.headers
        self._started()

    async def _written(self, chunk: bytes) -> None:
        assert self.response is not None
        with _gone():
            await self.response.write(chunk)
        await self._drained()

    async def end(self) -> None:
        assert self.response is not None
        with _gone():
            await self.response.write_eof()


class StraightSink(LineSink):
    """Of a plain request: heads are written here. `finish` or `fail` come last."""

    __slots__ = ("_answer", "_begun", "_complete", "_kept_line")

    def __init__(self, line: EdgeHandler, slow_client_s: float, keep_alive: KeepAlive) -> None:
        super().__init__(line, slow_client_s, keep_alive)
        self._answer: tuple[int, bytes, Mapping[str, str]] | None = None
        self._begun = self._complete = False
        self._kept_line = True

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._answer = status, body, headers

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        self._say(self._head(status, None, {**_SSE_HEADERS, **headers}))
        self._started()

    async def end(self) -> None:
        self._say(b"0\r\n\r\n")
        self._complete = True
        await self._taken()

    async def finish(self) -> None:
        """The call is over: a whole answer goes out; the line is closed where it is not kept, or what was begun has no end."""
        if self._answer is not None:
            status, body, headers = self._answer
            with contextlib.suppress(ClientGone):
                self._say(self._head(status, len(body), headers) + body)
                self._complete = True
                if self._line._paused:  # what the client asks next waits until it took this
                    await self._taken()
        if not (self._kept_line and self._complete):
            self._line.force_close()

    def fail(self, body: bytes) -> None:
        """A bug came in between: told where nothing was said yet."""
        if not self._begun:
            with contextlib.suppress(ClientGone):
                self._say(head_of(500, len(body), lines_of({"content-type": "application/json"}), keep=False) + body)
        self._line.force_close()

    async def _taken(self) -> None:
        """The client took what was said. However slowly it reads: who takes nothing is cut off by the line. Raises ClientGone."""
        with _gone():
            await self._line._drain_helper()

    def _head(self, status: int, length: int | None, headers: Mapping[str, str]) -> bytes:
        assert isinstance(self._line, EdgeHandler)
        self._kept_line = not self._line.draining
        return head_of(status, length, lines_of(headers), keep=self._kept_line)

    def _say(self, data: bytes) -> None:
        transport = self._line.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client left")
        self._begun = True
        transport.write(data)
