"""
The server's edge: aiohttp's connection handler with what it lacks.

* The head of a request has a deadline, from the connection, or from its first byte on a connection that is kept alive.
* What can not be parsed is answered in our error shape, told in one debug line, and never logged with its bytes or a traceback.
* A body that says it is too large is refused before any of it is read.
* A reader that takes nothing of what is written is cut off, whatever answer it is: a stream, or a large one in one piece.
* Several slashes in a row are one, so that a base URL may end with one.
* A request that came before, byte by byte, is answered without a task of its own where that can be (`Again`).
* A server that drains lets idle peers send one more request for a moment, and says `Connection: close` with every answer.

`Edge` runs an application so; `serve` and the tests of the web floor both use it.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
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
LINGER_S: Final = 1.0  # how long what a refused peer still sends is thrown away, so that it can read the answer
DRAIN_IDLE_S: Final = 1.0  # how long idle peers may still send a request while draining
READ_BUFFER_BYTES: Final = 64 * 1024
HEAD_LINE_BYTES: Final = 8190
_SLASHES: Final = re.compile("/{2,}")
_log = logging.getLogger("neuroroute.web")

web_response.SERVER_SOFTWARE = ""  # type: ignore[attr-defined]  # the default of every answer's Server header: it tells attackers what to try


class Again(Protocol):
    """What answers a request that came before, byte by byte, by plain calls."""

    def may_answer(self, message: RawRequestMessage, body: bytes) -> bool:
        """By a look: costs next to nothing for a request that is new."""
        ...

    def answer(self, message: RawRequestMessage, body: bytes) -> bytes | None:
        """The whole answer, head and body. None: the request goes the usual way, nothing was done. Never raises."""
        ...


class EdgeHandler(RequestHandler):
    """One client connection."""

    __slots__ = ("_body", "_edge", "_head_timer", "_reader_timer", "on_leave")

    def __init__(self, edge: "EdgeServer", **options: Any) -> None:
        super().__init__(edge, **options)
        self._edge = edge
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None  # runs while the socket takes no more
        self.on_leave: Callable[[], None] | None = None
        """Told when the client leaves; then the handler is not cancelled."""
        self._body: StreamReader | None = None  # of the last request whose head is complete

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, waits to be, or has begun to arrive."""
        return self._request_in_progress or bool(self._messages) or (self._head_timer is not None and self._request_count > 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_came()
        self._reader_took()
        if (left := self.on_leave) is None:
            super().connection_lost(exc)
            return
        self.on_leave = None
        self._task_handler = None  # what is not known can not be cancelled
        super().connection_lost(exc)
        left()

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
        waiter, self._waiter = self._waiter, None  # not woken before it is known whether there is work for it
        super().data_received(data)
        self._waiter = waiter
        fresh = self._request_count - before
        if fresh:
            self._head_came()
            self._body = self._messages[-1][1]
            if waiter is not None and waiter.done():
                waiter = None
            if waiter is not None and self._comes_again():
                self._edge.answer_soon(self)
                return
            self._refuse_large(fresh)
            if waiter is not None:
                waiter.set_result(None)
        elif data and not of_body and self._head_timer is None:
            self._await_head()

    def _comes_again(self) -> bool:
        """Whether the one request that is there is complete, plain, and may have an answer already."""
        again, (message, payload) = self._edge.again, self._messages[0]
        if again is None or len(self._messages) > 1 or isinstance(message, _ErrInfo) or not is_there(payload):
            return False
        if message.method != "POST" or message.version != HttpVersion11 or message.should_close or message.compression or message.upgrade:
            return False
        return message.path in self._edge.fixed and again.may_answer(message, payload._buffer[0])

    def answer_again(self) -> bytes | None:
        """The whole answer of a request that came again, head and body; None: it goes the usual way."""
        again, transport = self._edge.again, self.transport
        if again is None or self._edge.draining or self._paused or transport is None or transport.is_closing() or len(self._messages) != 1:
            return None
        message, payload = self._messages[0]
        return None if isinstance(message, _ErrInfo) else again.answer(message, payload._buffer[0])

    def tell_again(self, answer: bytes | None) -> None:
        """Write what `answer_again` gave, or wake the task."""
        if answer is None:
            if self._waiter is not None and not self._waiter.done():
                self._refuse_large(len(self._messages))
                self._waiter.set_result(None)
            return
        assert self._parser is not None and self._manager is not None and self.transport is not None
        self._messages.clear()
        self._parser.message_consumed()
        self._manager.requests_count += 1
        self.transport.write(answer)
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
    """Makes an `EdgeHandler` for each connection. `draining`: answers end their connection. again: answers some requests without a task."""

    def __init__(
        self,
        app: web.Application,
        *,
        header_timeout_s: float,
        max_body_bytes: int,
        slow_client_s: float,
        again: Again | None = None,
    ) -> None:
        self.again = again
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

    def answer_soon(self, handler: EdgeHandler) -> None:
        """
        Answer a request that came again, in this turn of the loop, together with all others that the turn read.

        One after the other their work finds its code and data in the CPU's caches; between reads and writes of sockets it would not.
        """
        if not self._due:
            self._loop.call_soon(self._answer_due)
        self._due.append(handler)

    def _answer_due(self) -> None:
        due, self._due = self._due, []
        answers = [handler.answer_again() for handler in due]
        for handler, answer in zip(due, answers, strict=True):
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

    header_timeout_s, max_body_bytes, slow_client_s: as the settings have them. again: see `web.repeats`.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        header_timeout_s: float,
        max_body_bytes: int,
        slow_client_s: float = 30.0,
        again: Again | None = None,
    ) -> None:
        super().__init__(app, shutdown_timeout=0.5)
        self._edge_options = {
            "header_timeout_s": header_timeout_s,
            "max_body_bytes": max_body_bytes,
            "slow_client_s": slow_client_s,
            "again": again,
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
