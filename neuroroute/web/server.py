"""
The server's edge: aiohttp's server with what it and its connections (`web.connection`) lack.

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
from collections.abc import Iterator
from typing import Final

from aiohttp import web, web_response
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from neuroroute.web.connection import HEAD_LINE_BYTES, KEEPALIVE_S, LINGER_S, READ_BUFFER_BYTES, EdgeHandler, Straight
from neuroroute.web.errors import errors, refused

DRAIN_IDLE_S: Final = 1.0  # how long idle peers may still send a request while draining
_SLASHES: Final = re.compile("/{2,}")
_log = logging.getLogger("neuroroute.web")

web_response.SERVER_SOFTWARE = ""  # type: ignore[attr-defined]  # the default of every answer's Server header: it tells attackers what to try


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
        begun = 0
        for handler in due:
            taken = handler.take()
            if taken is None:
                continue
            answer = None if self.draining or handler.paused else self.straight.at_once(*taken, begun)
            if answer is None:
                begun += 1
                handler.serve(*taken)
            else:
                told.append((handler, answer))
        for handler, answer in told:
            handler.tell(answer)

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
