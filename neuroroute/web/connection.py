"""
One client connection: aiohttp's handler with what it lacks, and the way past it for plain calls.

Requests wait in a queue of their own until nothing runs before them. A plain one that stands alone goes to `Straight`; what is not plain, or came
together with others, goes to aiohttp's task, and the line is that task's until all it was given is answered.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from neuroroute.core.errors import BadRequest, InternalError, NeuroRouteError, TooLarge
from neuroroute.core.ids import new_id
from neuroroute.web.errors import answer

if TYPE_CHECKING:
    from neuroroute.web.server import EdgeServer

KEEPALIVE_S: Final = 75.0  # longer than the 60 s of usual proxies, so that they close first
WHOLE_SOON_S: Final = 0.05  # within which the body follows its head, where a client writes them one after the other
LINGER_S: Final = 1.0  # how long what a refused peer still sends is thrown away, so that it can read the answer
READ_BUFFER_BYTES: Final = 64 * 1024
HEAD_LINE_BYTES: Final = 8190
_log = logging.getLogger("neuroroute.web")


class Straight(Protocol):
    """
    What serves plain requests: POSTs of HTTP/1.1 to one of `paths`, complete, with nothing in their head that changes how they are read.

    aiohttp's way to a handler and back would be a tenth of what a whole call costs.
    """

    @property
    def paths(self) -> Container[str]: ...

    def at_once(self, message: RawRequestMessage, body: bytes, begun: int) -> bytes | None:
        """
        The whole answer, head and body, where plain calls can tell: of a request that came before, or a refusal. None: serve it. Never raises.

        begun: requests of this turn of the loop that are to be served, and are not counted as running yet.
        """
        ...

    async def serve(self, line: "EdgeHandler", message: RawRequestMessage, body: bytes) -> None:
        """One request until its answer is written to the line, or the client left. Never raises but CancelledError."""
        ...


_Request = tuple[RawRequestMessage | _ErrInfo, StreamReader]


class EdgeHandler(RequestHandler):
    """One client connection."""

    __slots__ = ("_body", "_edge", "_head_timer", "_hold", "_ours", "_queue", "_reader_timer", "_serving", "_theirs", "on_leave")

    def __init__(self, edge: "EdgeServer", **options: Any) -> None:
        super().__init__(edge, **options)
        self._edge = edge
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None  # runs while the socket takes no more
        self.on_leave: Callable[[], None] | None = None
        """Told when the client leaves; then the handler is not cancelled."""
        self._body: StreamReader | None = None  # of the last request whose head is complete
        self._queue: list[_Request] = []  # what waits for a request before it, or for its own body
        self._hold: asyncio.TimerHandle | None = None  # runs while the rest of a plain request is due
        self._ours = False  # whether a request that goes past aiohttp's task is due or served
        self._theirs = False  # whether this task has requests, or ends the line
        self._serving: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, waits to be, or has begun to arrive."""
        return self._ours or self._theirs or bool(self._queue) or (self._head_timer is not None and self._request_count > 0)

    @property
    def draining(self) -> bool:
        """Whether the server drains: an answer is this line's last."""
        return self._edge.draining

    @property
    def paused(self) -> bool:
        """Whether the client takes nothing of what was written."""
        return self._paused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_came()
        self._reader_took()
        self._end_hold()
        left, self.on_leave = self.on_leave, None
        if left is not None and self._serving is None:
            self._task_handler = None  # what is not known can not be cancelled
        super().connection_lost(exc)
        if left is not None:
            left()
        elif self._serving is not None:
            self._serving.cancel()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        await super().shutdown(timeout)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving], timeout=timeout)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        self._reader_took()
        super().resume_writing()

    def _await_reader(self) -> None:
        assert isinstance(self.transport, asyncio.WriteTransport)
        unread_bytes = self.transport.get_write_buffer_size()
        self._reader_timer = self._loop.call_later(self._edge.slow_client_s, self._reader_late, self.transport, unread_bytes)

    def _reader_took(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _reader_late(self, transport: asyncio.WriteTransport, unread_bytes: int) -> None:
        if transport.get_write_buffer_size() < unread_bytes:  # slow, but it reads
            self._await_reader()
        else:
            _log.debug("a client read nothing for %g s: connection closed", self._edge.slow_client_s)
            transport.abort()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        of_body = self._body is not None and not self._body.is_eof()
        waiter, self._waiter = self._waiter, None  # aiohttp's task is not woken before it is known which way the request goes
        super().data_received(data)
        self._waiter = waiter
        fresh = self._request_count - before
        if fresh:
            self._head_came()
            self._body = self._messages[-1][1]
            self._refuse_large(fresh)
            self._enqueue(fresh)
        elif data and not of_body and self._head_timer is None:
            self._await_head()
        if self._queue:
            self._go_on()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """At the end of every body aiohttp asks for it, with `resume_parser=False`; hardly ever was anything stopped."""
        if resume_parser or self._reading_paused:
            super().resume_reading(resume_parser)

    def _enqueue(self, fresh: int) -> None:
        """Take the last `fresh` requests out of the hands of aiohttp's task. As many may wait here and there together as otherwise there."""
        self._queue += reversed([self._messages.pop() for _ in range(fresh)])
        if len(self._queue) + len(self._messages) >= self._max_msg_queue_size and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _go_on(self) -> None:
        """Send what is in the queue one way or the other, if it is its turn."""
        if self._ours:
            return
        message, payload = self._queue[0]
        if len(self._queue) > 1 or self._buffer_paused or isinstance(message, _ErrInfo) or not self._is_plain(message, payload):
            self._hand_over()
        elif self._theirs:
            return
        elif payload.is_eof():
            self._end_hold()
            self._ours = True
            self._edge.serve_soon(self)
        elif self._hold is None:
            self._hold = self._loop.call_later(WHOLE_SOON_S, self._hand_over)
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S  # the line is not idle

    def _is_plain(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        straight = self._edge.straight
        if straight is None or self._edge.draining or message.path not in straight.paths or type(payload) is not StreamReader:
            return False
        if message.method != "POST" or message.version != HttpVersion11 or message.should_close or message.compression or message.upgrade:
            return False
        if payload.is_eof():
            return payload.exception() is None and payload.total_bytes <= self._edge.max_body_bytes and "Expect" not in message.headers
        length = message.headers.get("Content-Length")
        return length is not None and int(length) <= READ_BUFFER_BYTES and "Expect" not in message.headers

    def _hand_over(self) -> None:
        """Let aiohttp's task have what is there."""
        self._end_hold()
        self._messages.extend(self._queue)
        self._queue.clear()
        self._theirs = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """
        What aiohttp's task does with each request. As soon as the last is answered the next may go past it.

        The task itself comes round to waiting some turns of the loop later, in which a quick client has asked again: without this hook such a
        client would never leave the long way.
        """
        response, reset = await super()._handle_request(request, start_time, request_handler)
        if response.keep_alive and not reset and not self._close:  # else the line ends, and what is still queued with it
            self._theirs = bool(self._messages)
            if self._queue:
                self._go_on()
        return response, reset

    def _end_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def take(self) -> tuple[RawRequestMessage, bytes] | None:
        """The plain request that is due; None where the client has gone, or more came after it: then it goes the usual way."""
        if self.transport is None or self._force_close or len(self._queue) != 1:
            self._over()
            return None
        assert self._parser is not None and self._manager is not None
        message, payload = self._queue.pop()
        assert not isinstance(message, _ErrInfo)
        self._parser.message_consumed()
        self._manager.requests_count += 1
        self._request_in_progress = True
        return message, payload._buffer[0] if is_there(payload) else payload.read_nowait()

    def tell(self, answer: bytes) -> None:
        """The whole answer is there."""
        if self.transport is not None:
            self.transport.write(answer)
        self._over()

    def serve(self, message: RawRequestMessage, body: bytes) -> None:
        """Begin to serve what was taken."""
        self._serving = self._loop.create_task(self._serve(message, body))

    async def _serve(self, message: RawRequestMessage, body: bytes) -> None:
        assert self._edge.straight is not None
        try:
            await self._edge.straight.serve(self, message, body)
        finally:
            self._serving = None
            self._over()

    def _over(self) -> None:
        """Our request is: the next may begin, or the line is idle, or it is closed."""
        self._ours = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self.transport is None or self._force_close:
            self.force_close()
        elif self._close:
            self.close()
        elif self._queue:
            self._go_on()
        else:
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def close(self) -> None:
        """When what runs is answered."""
        if self._ours:
            self._close = True
        else:
            super().close()

    def _process_keepalive(self) -> None:
        if self._ours:  # aiohttp's task is idle, the line is not
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
        super()._process_keepalive()

    def _await_head(self) -> None:
        if not self._force_close:
            self._head_timer = self._loop.call_later(self._edge.header_timeout_s, self._head_late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if not self._request_in_progress:
            _log.debug("the head of a request took more than %g s: connection closed", self._edge.header_timeout_s)
            self.force_close()

    def _refuse_large(self, fresh: int) -> None:
        """Put a refusal in the place of those of the last `fresh` requests whose body is announced as too large."""
        for place in range(-fresh, 0):
            message, body = self._messages[place]
            if isinstance(message, _ErrInfo):
                continue
            length = message.headers.get("Content-Length")
            if length is not None and int(length) > self._edge.max_body_bytes:
                error = TooLarge(
                    f"The body of your request is larger than the {self._edge.max_body_bytes} bytes that this gateway accepts."
                )
                self._messages[place] = (_ErrInfo(413, _Refused(error, message.path), ""), body)

    def log_exception(self, *args: Any, **options: Any) -> None:
        """aiohttp's word for what ends a line. A body that can not be read on, such as gzip that is none, was answered: it is the client's fault."""
        if isinstance(options.get("exc_info"), web.RequestPayloadError):
            _log.debug("the body of a request is not encoded as its head says")
        else:
            super().log_exception(*args, **options)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what no handler saw, or survived. It ends the connection."""
        path, request_id = request.rel_url.path, new_id("req")
        error: NeuroRouteError
        if isinstance(exc, _Refused):
            error, path = exc.error, exc.path
        elif 400 <= status < 500:
            _log.debug("malformed request from %s: %s", request.remote, type(exc).__name__)
            error = BadRequest("This is not a valid HTTP request.")
        else:
            _log.error("bug while answering %s %s (%s)", request.method, path[:200], request_id, exc_info=exc)
            error = InternalError.known_as(request_id)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: nothing can be said any more")
        response = answer(request, error, request_id, path=path)
        response.force_close()
        return response


def is_there(body: StreamReader) -> bool:
    """Whether a whole body came with its head, in one piece: `body._buffer[0]`."""
    return type(body) is StreamReader and body.is_eof() and len(body._buffer) == 1 and not body._buffer_offset and body.exception() is None


class _Refused(Exception):
    """A request that is answered without being read."""

    def __init__(self, error: NeuroRouteError, path: str) -> None:
        super().__init__(error.message)
        self.error, self.path = error, path
