"""
The only outbound HTTP: `Transport.open` sends one request to a provider and gives the answer as it comes.

Each await maps its own failure to the errors of the core. Nothing is mapped around the block that uses the answer: there, the same
aiohttp error may mean that *our client* hung up, and the provider would be blamed.
"""

import asyncio
import socket
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from types import SimpleNamespace, TracebackType
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import aiohttp.abc
from yarl import URL

from neuroroute.adapters.demo import SCHEME, DemoLane
from neuroroute.adapters.lane import HttpLane
from neuroroute.adapters.lane_base import KEEPALIVE_S, MAX_ANSWER_BYTES, MAX_HEAD_BYTES, Guard, Lane, UpstreamResponse
from neuroroute.adapters.lane_coding import decoded
from neuroroute.core.errors import ConnectFailed, InternalError, NeuroRouteError, UpstreamBroken, UpstreamTimeout
from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest

_READ_BUFFER_BYTES: Final = 32 << 10  # aiohttp pauses the socket at twice this; its default of 256 KiB cost 1.9 MiB a stalled stream
_DEMO: Final = SCHEME + ":"
_PIECE_BYTES: Final = 512 << 10  # larger bodies are written in pieces: one write of many MB would hold the loop


__all__ = ["Lane", "Opening", "SessionLane", "Transport", "UpstreamResponse"]


class Opening:
    """`async with` gives the UpstreamResponse; leaving the block closes it, whatever happened."""

    __slots__ = ("_lane", "_request", "_response", "_timeouts")

    def __init__(self, lane: Lane, request: UpstreamRequest, timeouts: Timeouts) -> None:
        self._lane, self._request, self._timeouts = lane, request, timeouts

    async def __aenter__(self) -> UpstreamResponse:
        response = await self._lane.send(self._request, self._timeouts)
        self._response = decoded(response) if "content-encoding" in response.headers else response
        return self._response

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._response.close()


class Transport:
    """
    Chooses the way to a provider.

    `demo:` URLs stay in the process; the own lane takes what it speaks; aiohttp's client takes what goes through a proxy, and the rest.
    proxies: scheme -> proxy URL; default: as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say. Nothing on this machine is asked
    through a proxy.
    """

    def __init__(self, web: Lane | None = None, demo: Lane | None = None, proxies: Mapping[str, str] | None = None) -> None:
        self._proxies = dict(getproxies() if proxies is None else proxies) if web is None else {}
        self.guard = Guard()
        self._odd: Lane = web or SessionLane(self._proxies, self.guard)
        self._web: Lane = web or HttpLane(guard=self.guard)
        self._demo: Lane = demo or DemoLane()

    def open(self, request: UpstreamRequest, timeouts: Timeouts, permission: Reservation) -> Opening:
        """
        `async with transport.open(request, timeouts, reservation) as response:`

        permission: to spend; who has none can not even ask. Raises InternalError on one that was settled before.
        """
        if permission.settled:
            raise InternalError("The money for this call was settled before it was made.")
        url = request.url
        if url.startswith(_DEMO):
            lane = self._demo
        elif HttpLane.speaks(request) and not (self._proxies and _proxy_for(url, self._proxies)):
            lane = self._web
        else:
            lane = self._odd
        return Opening(lane, request, timeouts)

    async def close(self) -> None:
        for lane in (self._web, self._odd, self._demo):
            await lane.close()


def _proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy that `url` is to be asked through, if any."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or host in ("localhost", "::1") or host.startswith("127."):
        return None
    direct = [name.strip().lstrip(".").lower() for name in proxies.get("no", "").split(",") if name.strip()]
    if any(name == "*" or host == name or host.endswith("." + name) for name in direct):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class SessionLane:
    """HTTP by aiohttp's ClientSession: pooled; no cookies, no redirects, no decompression, no .netrc. The reference of what a lane promises."""

    def __init__(self, proxies: Mapping[str, str] | None = None, guard: Guard | None = None) -> None:
        self._proxies, self._guard = proxies or {}, guard or Guard()
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        """The session is made at first use: it needs a running loop."""
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_connected)
            trace.on_connection_reuseconn.append(_connected)
            trace.on_request_chunk_sent.append(_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, resolver=_GuardedResolver(self._guard)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ_BUFFER_BYTES,
                max_line_size=MAX_HEAD_BYTES,
                max_field_size=MAX_HEAD_BYTES,
                skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
                trace_configs=[trace],
            )
        return self._session

    async def send(self, request: UpstreamRequest, timeouts: Timeouts) -> UpstreamResponse:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeouts.total_s
        headers = {**request.headers, "Accept-Encoding": "identity"}
        body = request.body if isinstance(request.body, bytes) else _Body(request.body)
        if isinstance(body, bytes) and len(body) > _PIECE_BYTES:
            headers["Content-Length"] = str(len(body))
            body = _Body(_pieces(body))
        clock = _Clock(timeouts, until_s)
        try:
            async with clock.running():
                response = await self._opened().request(
                    request.method,
                    URL(request.url, encoded=True),
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    proxy=_proxy_for(request.url, self._proxies) if self._proxies else None,
                    trace_request_ctx=clock,
                )
        except TimeoutError as error:
            if clock.connected:
                raise UpstreamTimeout("the provider did not begin its answer in time") from error
            raise ConnectFailed("the connection to the provider was not made in time") from error
        except aiohttp.ClientError as error:
            raise _mapped(error, body) from error
        except (ValueError, OSError) as error:  # a header that HTTP can not carry; a socket that can not be had
            raise ConnectFailed("the request to the provider could not be sent") from error
        return _SessionResponse(response, timeouts, until_s)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class _GuardedResolver(aiohttp.ThreadedResolver):
    """Names lead where the guard lets them."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        self._guard.check(host, port, (entry["host"] for entry in found))
        return found


class _Clock:
    """The time limit of the part before the answer: the connection's, then the first byte's, never past the total's."""

    __slots__ = ("_timeout", "_timeouts", "_until_s", "connected")

    def __init__(self, timeouts: Timeouts, until_s: float) -> None:
        self._timeouts, self._until_s = timeouts, until_s
        self.connected = False

    def running(self) -> asyncio.Timeout:
        self._timeout = asyncio.timeout_at(min(self._until_s, asyncio.get_running_loop().time() + self._timeouts.connect_s))
        return self._timeout

    def sent(self) -> None:
        """The connection is there, or another piece of the request went out: the wait for the first byte begins anew."""
        self.connected = True
        if not self._timeout.expired():
            self._timeout.reschedule(min(self._until_s, asyncio.get_running_loop().time() + self._timeouts.first_byte_s))


async def _connected(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    context.trace_request_ctx.sent()


class _Body:
    """A request body that comes in pieces; remembers when its *source* failed, which is not the provider's fault."""

    __slots__ = ("_chunks", "failure")

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks
        self.failure: NeuroRouteError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                if chunk:
                    yield chunk
        except NeuroRouteError as error:
            self.failure = error
            raise


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE_BYTES):
        yield body[at : at + _PIECE_BYTES]


def _mapped(error: aiohttp.ClientError, body: "bytes | _Body") -> NeuroRouteError:
    if isinstance(body, _Body) and body.failure is not None:
        return body.failure
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL)):
        return ConnectFailed("could not connect to the provider")
    return UpstreamBroken("the provider broke the connection")


class _SessionResponse:
    __slots__ = ("_content", "_response", "_timeouts", "_until_s", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, timeouts: Timeouts, until_s: float) -> None:
        self._response, self._content = response, response.content
        self._timeouts, self._until_s = timeouts, until_s
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def read(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self.readany():
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                self.close()
                raise UpstreamBroken("the provider's answer is too large")
            pieces.append(piece)
        return b"".join(pieces)

    async def readany(self) -> bytes:
        now_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(self._until_s, now_s + self._timeouts.idle_s)):
                return await self._content.readany()
        except TimeoutError as error:
            self.close()
            raise UpstreamTimeout("the provider stopped in the middle of its answer") from error
        except (aiohttp.ClientError, OSError) as error:
            self.close()
            raise UpstreamBroken("the provider broke off its answer") from error

    def close(self) -> None:
        self._response.close()
