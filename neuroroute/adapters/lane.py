"""
The gateway's own way to providers: pooled HTTP/1.1 over asyncio protocols, at a third of the CPU that a general client takes.

It keeps the promises of `Lane`; what it does not speak (proxies, user names in URLs, HEAD) goes by aiohttp's client in `transport`.
"""

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterable, Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from neuroroute.adapters.lane_base import Guard, UpstreamResponse
from neuroroute.adapters.lane_connection import LOST, Answer, Connection
from neuroroute.core.errors import ConnectFailed, UpstreamBroken, UpstreamBusy
from neuroroute.core.types import Timeouts, UpstreamRequest

_BUFFER_BYTES: Final = 64 << 10
_MAX_CONNECTIONS: Final = 4096  # per origin, in use
_MAX_IDLE: Final = 256  # per origin
_MAX_ROUTES: Final = 256  # parsed URLs kept
_MAX_HEADS: Final = 16  # per URL
_STALE_S: Final = 1.0  # a reused connection that dies this soon, with no byte of an answer, had been closed before our request came
_NAME_S: Final = 10.0  # how long the addresses of a name are taken as known, as aiohttp does
_ATTEMPT_DELAY_S: Final = 0.25  # RFC 8305: before the next address of a host is tried beside the first
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "keep-alive", "te"}
)


class Pool:
    """The connections of one origin. The one used last is taken first, so that the others may grow old and go."""

    __slots__ = ("_addresses", "_buffer", "_guard", "_host", "_idle", "_known_until_s", "_port", "_ssl", "in_all")

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, buffer: memoryview, guard: Guard) -> None:
        self._guard = guard
        self._host, self._port, self._ssl, self._buffer = host, port, tls, buffer
        self._idle: dict[Connection, None] = {}
        self._addresses: Sequence[AddrInfoType] = ()
        self._known_until_s = 0.0
        self.in_all = 0

    def take(self) -> Connection | None:
        return self._idle.popitem()[0] if self._idle else None

    def _given_back(self, connection: Connection) -> None:
        self._idle[connection] = None
        if len(self._idle) > _MAX_IDLE:
            next(iter(self._idle)).abort()

    def _lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self.in_all -= 1

    async def connect(self, within_s: float) -> Connection:
        """Raises ConnectFailed, UpstreamBusy."""
        if self.in_all >= _MAX_CONNECTIONS:
            raise UpstreamBusy("too many connections to the provider")
        loop = asyncio.get_running_loop()
        buffer = self._buffer if sys.platform != "win32" else memoryview(bytearray(_BUFFER_BYTES))  # there, reads are under way at once
        connection = Connection(loop, buffer, self._given_back, self._lost)
        self.in_all += 1
        made = False
        try:
            async with asyncio.timeout(within_s):
                await self._made(loop, connection)
            made = True
        except TimeoutError as error:
            raise ConnectFailed("the connection to the provider was not made in time") from error
        except (OSError, ValueError) as error:  # refused, unreachable, no such name, TLS; a name that IDNA can not carry
            raise ConnectFailed("could not connect to the provider") from error
        finally:
            if not made:
                connection.abort()
        if connection.phase == LOST:
            raise ConnectFailed("could not connect to the provider")
        return connection

    async def _made(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        if not self._addresses or loop.time() > self._known_until_s:
            self._addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._known_until_s = loop.time() + _NAME_S
        addresses = self._addresses
        self._guard.check(self._host, self._port, (str(address[4][0]) for address in addresses))
        delay_s = _ATTEMPT_DELAY_S if len(addresses) > 1 else None
        try:
            sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=delay_s, interleave=1, loop=loop)
        except OSError:
            self._addresses = ()  # the name may have moved
            raise
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = self._host if self._ssl is not None else None
            await loop.create_connection(lambda: connection, sock=sock, ssl=self._ssl, server_hostname=name)
        except BaseException:
            with contextlib.suppress(OSError):
                sock.close()
            raise

    def close(self) -> None:
        while self._idle:
            next(iter(self._idle)).abort()


class _Route:
    """A URL, taken apart once, with the heads of the requests that went there last: most calls differ in their bodies alone."""

    __slots__ = ("_first", "_heads", "pool")

    def __init__(self, pool: Pool, path: str, host: str) -> None:
        self.pool = pool
        self._first = f" {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n"
        self._heads: dict[tuple[str, ...], bytes] = {}

    def head(self, request: UpstreamRequest) -> bytes:
        """Everything but the framing of the body. Raises ConnectFailed where a header would not stay one header."""
        key = (request.method, *request.headers, *request.headers.values())
        head = self._heads.get(key)
        if head is None:
            lines = [f"{name}: {value}\r\n" for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS]
            block = "".join(lines)
            if block.count("\n") != len(lines) or block.count("\r") != len(lines) or "\0" in block:
                raise ConnectFailed("the request to the provider could not be sent")
            head = (request.method + self._first + block).encode("utf-8", "replace")
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head


class HttpLane:
    """Raises ConnectFailed for URLs that it does not speak; `speaks` tells beforehand."""

    def __init__(self, tls: ssl.SSLContext | None = None, guard: Guard | None = None) -> None:
        self._tls, self._guard = tls, guard or Guard()
        self._pools: dict[tuple[bool, str, int], Pool] = {}
        self._routes: dict[str, _Route] = {}
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    @staticmethod
    def speaks(request: UpstreamRequest) -> bool:
        """Whether this lane can carry the request."""
        return request.method != "HEAD" and request.url.isascii() and "@" not in request.url

    async def send(self, request: UpstreamRequest, timeouts: Timeouts) -> UpstreamResponse:
        route = self._routes.get(request.url) or self._route(request.url)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeouts.total_s
        body = request.body
        head = route.head(request) + _framing(request)
        whole = isinstance(body, bytes)
        connection = route.pool.take() if whole else None  # a body that comes in pieces can not be sent again, so no stale one is risked
        while True:
            if connection is None:
                connection = await route.pool.connect(min(timeouts.connect_s, until_s - loop.time()))
            sent_s = loop.time()
            answer = connection.begin(timeouts, until_s, head, body if isinstance(body, bytes) else b"", whole)
            try:
                if not isinstance(body, bytes):
                    await _upload(connection, answer, body, "content-length" not in _lower(request.headers))
                await answer.began()
            except BaseException:  # also when cancelled: the provider must not work for nobody
                connection.abort()
                raise
            if answer.error is None or answer.status:
                return answer  # an error after the head is the reader's
            stale = connection.used and not connection.heard and isinstance(answer.error, UpstreamBroken)
            if not (stale and whole and loop.time() - sent_s < _STALE_S):
                raise answer.error
            connection = None  # once more, on a new connection: the old one had been closed before the request came

    def _route(self, url: str) -> _Route:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not _plain(path):
            raise ConnectFailed("the provider's address is not one that can be asked")
        secure = parts.scheme == "https"
        try:
            port = parts.port or (443 if secure else 80)
        except ValueError as error:
            raise ConnectFailed("the provider's address is not one that can be asked") from error
        key = (secure, parts.hostname, port)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(parts.hostname, port, self._context() if secure else None, self._buffer, self._guard)
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        host = parts.netloc.removesuffix(":443" if secure else ":80")
        route = self._routes[url] = _Route(pool, path, host)
        return route

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


def _plain(path: str) -> bool:
    return path.isascii() and path.isprintable() and " " not in path


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _framing(request: UpstreamRequest) -> bytes:
    """The end of the head: how long the body is. Raises ConnectFailed on a length that is none."""
    if isinstance(request.body, bytes):
        if not request.body and request.method in ("GET", "DELETE"):
            return b"\r\n"
        return b"content-length: %d\r\n\r\n" % len(request.body)
    length = _lower(request.headers).get("content-length")
    if length is None:
        return b"transfer-encoding: chunked\r\n\r\n"
    if not (length.isascii() and length.isdecimal()):
        raise ConnectFailed("the request to the provider could not be sent")
    return f"content-length: {length}\r\n\r\n".encode()


async def _upload(connection: Connection, answer: Answer, chunks: AsyncIterable[bytes], chunked: bool) -> None:
    """Pass the body on as it comes, until its end or until the provider has answered without waiting for it."""
    async for chunk in chunks:
        if answer.status or answer.error is not None:
            return
        if chunk:
            await connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
    connection.end_request(b"0\r\n\r\n" if chunked else b"")
