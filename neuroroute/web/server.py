"""
The server's edge: aiohttp's connection handler with what it lacks.

* The head of a request has a deadline, from the connection, or from its first byte on a connection that is kept alive.
* What can not be parsed is answered in our error shape, told in one debug line, and never logged with its bytes or a traceback.
* A body that says it is too large is refused before any of it is read.
* A reader that takes nothing of what is written is cut off, whatever answer it is: a stream, or a large one in one piece.
* Several slashes in a row are one, so that a base URL may end with one.
* A plain call of a model goes past aiohttp's request, response and tasks (`Straight`).
* A server that drains lets idle peers send one more request for a moment, and says `Connection: close` with every answer.

`Edge` runs an application so; `serve` and the tests of the web floor both use it.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Container, Iterator
from typing import Any, Final, Protocol

from aiohttp import HttpVersion11, web, web_response
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, InternalError, NeuroRouteError, TooLarge
from neuroroute.core.ids import new_id
from neuroroute.web.errors import errors, refused

KEEPALIVE_S: Final = 75.0  # longer than the 60 s of usual proxies, so that they close first
WHOLE_SOON_S: Final = 0.05  # within which the body follows its head, where a client writes them one after the other
LINGER_S: Final = 1.0  # how long what a refused peer still sends is thrown away, so that it can read the answer
DRAIN_IDLE_S: Final = 1.0  # how long idle peers may still send a request while draining
READ_BUFFER_BYTES: Final = 64 * 1024
HEAD_LINE_BYTES: Final = 8190
_SLASHES: Final = re.compile("/{2,}")
_log = logging.getLogger("neuroroute.web")

web_response.SERVER_SOFTWARE = ""  # type: ignore[attr-defined]  # the default of every answer's Server header: it tells attackers what to try


class Straight(Protocol):
    """
    What serves plain requests: POSTs of HTTP/1.1 to one of `paths`, complete, with nothing in their head that changes how they are read.

    aiohttp's way to a handler and back would be a tenth of what a whole call costs.
    """

    @property
    def paths(self) -> Container[str]: ...

    def again(self, message: RawRequestMessage, body: bytes) -> bytes | None:
        """The whole answer, head and body, of a request that came before, byte by byte; None: it is to be served. Never raises."""
        ...

    async def serve(self, line: "EdgeHandler", message: RawRequestMessage, body: bytes) -> None:
        """One request until its answer is written to the line, or the client left. Never raises but CancelledError."""
        ...


class EdgeHandler(RequestHandler):
    """One client connection."""

    __slots__ = ("_body", "_edge", "_head_timer", "_hold", "_parked", "_reader_timer", "_serving", "on_leave")

    def __init__(self, edge: "EdgeServer", **options: Any) -> None:
        super().__init__(edge, **options)
        self._edge = edge
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None  # runs while the socket takes no more
        self.on_leave: Callable[[], None] | None = None
        """Told when the client leaves; then the handler is not cancelled."""
        self._body: StreamReader | None = None  # of the last request whose head is complete
        self._hold: asyncio.TimerHandle | None = None  # runs while the rest of a plain request is due
        self._parked: asyncio.Future[None] | None = None  # what aiohttp's task waits for, while a request goes past it
        self._serving: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, waits to be, or has begun to arrive."""
        return self._request_in_progress or bool(self._messages) or (self._head_timer is not None and self._request_count > 0)

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
        waiter, self._waiter = self._waiter, None  # not woken before it is known which way the request goes
        super().data_received(data)
        self._waiter = waiter
        fresh = self._request_count - before
        if fresh:
            self._head_came()
            self._body = self._messages[-1][1]
            self._refuse_large(fresh)
        elif data and not of_body and self._head_timer is None:
            self._await_head()
        if waiter is not None and self._messages and not waiter.done():
            self._send_on(waiter)

    def _send_on(self, waiter: "asyncio.Future[None]") -> None:
        """The request that is there goes one way or the other."""
        message, payload = self._messages[0]
        if len(self._messages) > 1 or isinstance(message, _ErrInfo) or not self._is_plain(message, payload):
            self._wake()
        elif payload.is_eof():
            self._end_hold()
            self._parked, self._waiter = waiter, None
            self._edge.serve_soon(self)
        elif self._hold is None:
            self._hold = self._loop.call_later(WHOLE_SOON_S, self._wake)
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

    def _wake(self) -> None:
        """Let aiohttp's task have what is there."""
        self._end_hold()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def take(self) -> tuple[RawRequestMessage, bytes] | None:
        """The plain request that is due; None where the client has gone, or more came after it: then it goes the usual way."""
        if self.transport is None or self._force_close or len(self._messages) != 1:
            self._unpark()
            return None
        assert self._parser is not None and self._manager is not None
        message, payload = self._messages.popleft()
        assert not isinstance(message, _ErrInfo)
        self._parser.message_consumed()
        self._manager.requests_count += 1
        self._request_in_progress = True
        return message, payload.read_nowait()

    def tell_again(self, answer: bytes) -> None:
        """The whole answer is there."""
        if self.transport is not None:
            self.transport.write(answer)
        self._unpark()

    def serve(self, message: RawRequestMessage, body: bytes) -> None:
        """Begin to serve what was taken."""
        self._serving = self._loop.create_task(self._serve(message, body))

    async def _serve(self, message: RawRequestMessage, body: bytes) -> None:
        assert self._edge.straight is not None
        try:
            await self._edge.straight.serve(self, message, body)
        finally:
            self._serving = None
            self._unpark()

    def _unpark(self) -> None:
        """The line is aiohttp's again: it waits for the next request, has it already, or is closed."""
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        self._waiter, self._parked = self._parked, None
        if self.transport is None or self._force_close:
            self.force_close()
        elif self._messages:
            self._wake()
        else:
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

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
            error = InternalError(f"Something went wrong here; it is on record as {request_id}.")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: nothing can be said any more")
        body = error.anthropic(request_id) if path.startswith("/v1/messages") else error.openai()
        response = web.Response(status=error.status, body=jsonbytes.dumps(body), content_type="application/json")
        response.headers["x-request-id"] = request_id
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


class EdgeServer(web.Server):
    """Makes an `EdgeHandler` for each connection. `draining`: answers end their connection. straight: serves plain requests."""

    def __init__(
        self,
        app: web.Application,
        *,
        header_timeout_s: float,
        max_body_bytes: int,
        slow_client_s: float,
        straight: Straight | None = None,
    ) -> None:
        self.straight = straight
        self._due: list[EdgeHandler] = []
        self._make, self._app_handle = app._make_request, app._handle
        self.fixed = fixed_paths(app)
        super().__init__(self._handled, request_factory=self._request, handler_cancellation=True)  # type: ignore[arg-type]
        self.header_timeout_s, self.max_body_bytes, self.slow_client_s = header_timeout_s, max_body_bytes, slow_client_s
        self.draining = False

    def __call__(self) -> RequestHandler:
        return EdgeHandler(
            self,
            loop=self._loop,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            access_log=None,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=HEAD_LINE_BYTES,
            max_field_size=HEAD_LINE_BYTES,
            logger=_log,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        if self.draining:
            message = message._replace(should_close=True)
        if "//" in message.path:
            message = message._replace(url=message.url.with_path(_SLASHES.sub("/", message.url.raw_path), encoded=True, keep_query=True))
        return self._make(message, payload, protocol, writer, task)

    async def _handled(self, request: web.Request) -> web.StreamResponse:
        """What the application answers, or aiohttp refuses before it is asked: an `Expect` that nobody knows."""
        found = self.fixed.get(request._message.path)
        if found is not None and request.method == "POST" and "Expect" not in request.headers:
            request._match_info, handler = found
            return await errors(request, handler)
        try:
            return await self._app_handle(request)
        except web.HTTPException as refusal:
            if refusal.status < 400:
                raise
            return refused(request, refusal)

    def serve_soon(self, handler: EdgeHandler) -> None:
        """
        Serve a plain request in this turn of the loop, together with all others that the turn read.

        One after the other, the repeated ones find the code and data of their answers in the CPU's caches; between reads and writes of sockets
        they would not.
        """
        if not self._due:
            self._loop.call_soon(self._serve_due)
        self._due.append(handler)

    def _serve_due(self) -> None:
        assert self.straight is not None
        due, self._due = self._due, []
        told: list[tuple[EdgeHandler, bytes]] = []
        for handler in due:
            taken = handler.take()
            if taken is None:
                continue
            answer = None if self.draining or handler.paused else self.straight.again(*taken)
            if answer is None:
                handler.serve(*taken)
            else:
                told.append((handler, answer))
        for handler, answer in told:
            handler.tell_again(answer)

    def handlers(self) -> Iterator[EdgeHandler]:
        for handler in self.connections:
            assert isinstance(handler, EdgeHandler)
            yield handler


def fixed_paths(app: web.Application) -> dict[str, tuple[web.UrlMappingMatchInfo, Handler]]:
    """
    What a POST to a path without variables is matched to, and its handler: found by one look, without aiohttp's router and the frames around
    middlewares (12 us of a call's 100). Empty where the application has other middlewares than `errors`.
    """
    found: dict[str, tuple[web.UrlMappingMatchInfo, Handler]] = {}
    for route in app.router.routes() if list(app.middlewares) == [errors] else ():
        if route.method == "POST" and isinstance(route.resource, web.PlainResource):
            match = web.UrlMappingMatchInfo({}, route)
            match.add_app(app)
            match.freeze()
            found[route.resource.canonical] = match, route.handler
    return found


class Edge(web.AppRunner):
    """
    Runs an application on the edge above: `setup`, then a site, then `drain`, then `cleanup`.

    header_timeout_s, max_body_bytes, slow_client_s: as the settings have them. straight: see `web.straight`.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        header_timeout_s: float,
        max_body_bytes: int,
        slow_client_s: float = 30.0,
        straight: Straight | None = None,
    ) -> None:
        super().__init__(app, shutdown_timeout=0.5)
        self._edge_options = {
            "header_timeout_s": header_timeout_s,
            "max_body_bytes": max_body_bytes,
            "slow_client_s": slow_client_s,
            "straight": straight,
        }

    async def _make_server(self) -> web.Server:
        await super()._make_server()  # starts the application; its own server is not used
        return EdgeServer(self.app, **self._edge_options)  # type: ignore[arg-type]

    @property
    def edge(self) -> EdgeServer:
        assert isinstance(self.server, EdgeServer)
        return self.server

    def say_close(self) -> None:
        """From now on every answer ends its connection."""
        self.edge.draining = True

    async def drain(self, grace_s: float) -> bool:
        """
        Stop listening, let running requests finish and idle peers send one more; at most `grace_s` seconds.

        False: some were still running at the end.
        """
        self.say_close()
        for site in list(self.sites):
            await site.stop()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while (now_s := loop.time()) < began_s + grace_s:
            handlers = list(self.edge.handlers())
            if not any(handler.busy for handler in handlers) and (not handlers or now_s > began_s + DRAIN_IDLE_S):
                return True
            await asyncio.sleep(0.02)
        return not any(handler.busy for handler in self.edge.handlers())
