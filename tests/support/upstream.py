"""
A scripted provider: a real HTTP server whose next answers the test writes down, and that notes all it was asked.

    async with Upstream() as provider:
        provider.will(whole({"ok": True}))                      # one answer each, in order
        provider.will(sse({"a": 1}, 0.05, {"a": 2}, CUT))       # numbers are pauses in seconds
        ...
        assert provider.seen[0].json["model"] == "gpt-4o"
        await provider.seen[1].gone.wait()                      # the gateway dropped this connection

What is asked beyond the script goes to `auto`, a function of the request (tests.support.fakes has OpenAI, Anthropic and LM Studio);
without one it is answered by 599, so that a test notices.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from aiohttp import web


class End(Enum):
    """How an answer stops before its end."""

    CUT = "cut"  # the connection is closed in order (FIN), the body unfinished
    RESET = "reset"  # the connection is torn down (RST)
    STALL = "stall"  # nothing more comes, the connection stays


CUT, RESET, STALL = End.CUT, End.RESET, End.STALL
Piece = bytes | float | End
"""bytes are written at once, a number is a pause in seconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    One answer.

    pieces: the body as it is to be written; raw: they are the whole answer, status line included, put on the socket unaltered.
    unread: answer before reading the request's body. chunked: no Content-Length.
    """

    pieces: tuple[Piece, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    chunked: bool = False
    raw: bool = False
    unread: bool = False


def whole(body: object = b"", status: int = 200, delay_s: float = 0.0, unread: bool = False, **headers: str) -> Step:
    """An answer in one piece: a dict or list becomes JSON, str and bytes stay. `retry_after="2"` is the header retry-after."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else dumps(body)
    kind = {"content-type": "application/json"} if not isinstance(body, (bytes, str)) else {}
    return Step((data,), status, kind | _named(headers), delay_s, unread=unread)


def html(status: int = 502, text: str = "<html><body><h1>502 Bad Gateway</h1></body></html>") -> Step:
    """What a proxy before the provider says when the provider is away."""
    return Step((text.encode(),), status, {"content-type": "text/html"})


def error(status: int, message: str = "it failed", kind: str = "server_error", code: str | None = None, **headers: str) -> Step:
    """An error in OpenAI's shape."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return whole(body, status, **headers)


def anthropic_error(status: int, message: str = "it failed", kind: str = "api_error", **headers: str) -> Step:
    return whole({"type": "error", "error": {"type": kind, "message": message}}, status, **headers)


def stream(*pieces: Piece, status: int = 200, content_type: str = "text/event-stream", delay_s: float = 0.0, **headers: str) -> Step:
    """Bytes as they are to come, in chunked encoding, with pauses and an end of its own."""
    return Step(pieces, status, {"content-type": content_type} | _named(headers), delay_s, chunked=True)


def sse(*events: object, done: bool = True, delay_s: float = 0.0, **headers: str) -> Step:
    """OpenAI's framing: each dict one `data:` event; numbers, bytes and ends as in `stream`. [DONE] follows unless an End is among them."""
    pieces: list[Piece] = [_event(event) for event in events]
    if done and not any(isinstance(piece, End) for piece in pieces):
        pieces.append(b"data: [DONE]\n\n")
    return stream(*pieces, delay_s=delay_s, **headers)


def named_sse(*events: object, delay_s: float = 0.0, **headers: str) -> Step:
    """Anthropic's framing: each dict one event, named by its `type`."""
    return stream(*(_named_event(event) for event in events), delay_s=delay_s, **headers)


def drip(data: bytes, each: int = 1, pause_s: float = 0.05, **headers: str) -> Step:
    """A whole body, a few bytes at a time."""
    pieces: list[Piece] = []
    for at in range(0, len(data), each):
        pieces += [data[at : at + each], pause_s]
    return Step(tuple(pieces), 200, {"content-length": str(len(data))} | _named(headers))


def raw(*pieces: Piece) -> Step:
    """What goes on the socket, status line and all, for answers that no honest server would give. The connection closes after it."""
    return Step(pieces, raw=True)


def stall() -> Step:
    """The request is read and never answered."""
    return Step((STALL,), raw=True)


def cut() -> Step:
    """The connection closes in order, with no answer."""
    return Step((CUT,), raw=True)


def reset() -> Step:
    """The connection is torn down, with no answer."""
    return Step((RESET,), raw=True)


@dataclass(slots=True)
class Seen:
    """One request as it arrived. `gone` is set when the client side dropped the connection before the answer's end."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at_s: float
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    gone_at_s: float = 0.0
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Upstream:
    """
    The server. `url` has no path; `base_url` ends in /v1, as OpenAI-type providers are configured.

    connections: how many were made; open_now: how many of its requests are being answered.
    """

    def __init__(self, auto: Callable[[Seen], Step] | None = None, ssl_context: ssl.SSLContext | None = None) -> None:
        self.auto = auto
        self.seen: list[Seen] = []
        self.connections = 0
        self.open_now = 0
        self._ssl = ssl_context
        self._script: deque[Step] = deque()
        self._arrived = asyncio.Condition()

    def will(self, *steps: Step) -> None:
        """Answer the next requests so, one step each."""
        self._script += steps

    @property
    def left(self) -> int:
        """Steps not yet used."""
        return len(self._script)

    async def arrived(self, count: int = 1, within_s: float = 5.0) -> Seen:
        """Wait until `count` requests have been seen; gives the last of them."""
        async with asyncio.timeout(within_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)
        return self.seen[count - 1]

    async def __aenter__(self) -> Self:
        server = _Counting(self._handle, access_log=None, handler_cancellation=True)
        server.upstream = self
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        await web.SockSite(self._runner, self._socket, ssl_context=self._ssl).start()
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"
        self.base_url = self.url + "/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        step = self._script.popleft() if self._script else None
        seen = Seen(
            request.method,
            request.rel_url.raw_path,
            request.rel_url.raw_query_string,
            {name.lower(): value for name, value in request.headers.items()},
            b"",
            asyncio.get_running_loop().time(),
        )
        self.open_now += 1
        try:
            if not (step and step.unread):
                seen.body = await request.content.read()
            async with self._arrived:
                self.seen.append(seen)
                self._arrived.notify_all()
            if step is None:
                step = self.auto(seen) if self.auto else error(599, "nothing was scripted for this request")
            response = await (_raw if step.raw else _answer)(request, step)
            seen.finished.set()
            return response
        except (asyncio.CancelledError, ConnectionError):
            seen.gone_at_s = asyncio.get_running_loop().time()
            seen.gone.set()
            raise
        finally:
            self.open_now -= 1


class _Counting(web.Server):
    upstream: Upstream

    def __call__(self) -> Any:
        self.upstream.connections += 1
        return super().__call__()


async def _answer(request: web.BaseRequest, step: Step) -> web.StreamResponse:
    if step.delay_s:
        await asyncio.sleep(step.delay_s)
    plain = not step.chunked and len(step.pieces) == 1 and isinstance(step.pieces[0], bytes)
    if plain:
        body = step.pieces[0]
        assert isinstance(body, bytes)
        return web.Response(body=body, status=step.status, headers=step.headers)
    response = web.StreamResponse(status=step.status, headers=step.headers)
    if step.chunked:
        response.enable_chunked_encoding()
    await response.prepare(request)
    if await _write(request, step.pieces, response.write):
        await response.write_eof()
    return response


async def _raw(request: web.BaseRequest, step: Step) -> web.StreamResponse:
    async def write(data: bytes) -> None:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError
        request.transport.write(data)

    if await _write(request, step.pieces, write):
        _close(request)
    return web.Response()


async def _write(request: web.BaseRequest, pieces: Iterable[Piece], write: Callable[[bytes], Any]) -> bool:
    """Whether the answer may be ended in order."""
    for piece in pieces:
        if isinstance(piece, bytes):
            await write(piece)
        elif piece is STALL:
            await asyncio.Event().wait()
        elif isinstance(piece, End):
            _close(request, reset=piece is RESET)
            return False
        else:
            await asyncio.sleep(piece)
    return True


def _close(request: web.BaseRequest, reset: bool = False) -> None:
    if request.transport is None:
        return
    if reset:
        connection = request.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    else:
        request.transport.close()


def dumps(value: object) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _event(event: object) -> Piece:
    if isinstance(event, (bytes, int, float, End)):
        return event
    return b"data: " + dumps(event) + b"\n\n"


def _named_event(event: object) -> Piece:
    if isinstance(event, dict):
        return b"event: " + event["type"].encode() + b"\ndata: " + dumps(event) + b"\n\n"
    return _event(event)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
