"""
The client's side of one call: its body in, the answer out.

A dead client is `ClientGone`, and only here: aiohttp raises the same error for our client and for a provider, so each await on the
client's connection is mapped by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

from aiohttp import web

from neuroroute.core.errors import BadRequest, ClientGone, SlowBody, TooLarge

_SSE_HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


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
        length = self._request.content_length
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        content = self._request.content
        if content.is_eof():  # the whole body came with the head: no clock, no wait
            return await self._request.read()
        try:
            async with asyncio.timeout(self._timeout_s):
                with _gone():
                    return await self._request.read()
        except TimeoutError:
            raise SlowBody(f"The body of your request did not arrive within {self._timeout_s:g} s.") from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except web.RequestPayloadError as error:
            raise BadRequest("The body of your request is broken or not encoded as its headers say.") from error

    async def chunks(self) -> AsyncIterator[bytes]:
        seen = 0
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    with _gone():
                        chunk = await self._request.content.readany()
            except TimeoutError:
                raise SlowBody(f"The body of your request paused for {self._timeout_s:g} s.") from None
            if not chunk:
                return
            seen += len(chunk)
            if seen > self._max_bytes:
                raise self._too_large()
            yield chunk

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body of your request is larger than the {self._max_bytes} bytes that this gateway accepts.")


class HttpSink:
    """Where the answer goes. `whole` and `start` are called at most once, and not both; `response` is what aiohttp is given back."""

    __slots__ = ("_request", "_slow_client_s", "response")

    def __init__(self, request: web.BaseRequest, slow_client_s: float) -> None:
        self._request, self._slow_client_s = request, slow_client_s
        self.response: web.StreamResponse | None = None

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A complete answer. `headers` says the content type."""
        self.response = web.Response(status=status, body=body, headers=headers)

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        """The head of a stream goes out. Raises ClientGone."""
        self.response = web.StreamResponse(status=status, headers={**_SSE_HEADERS, **headers})
        with _gone():
            await self.response.prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        """Send `chunk`; returns when the client's connection has room again. Raises ClientGone, also for a reader that takes nothing."""
        response = self.response
        assert response is not None
        transport = self._request.transport
        if transport is not None and transport.get_write_buffer_size() == 0:
            with _gone():
                await response.write(chunk)
            return
        try:
            async with asyncio.timeout(self._slow_client_s):
                with _gone():
                    await response.write(chunk)
        except TimeoutError:
            if transport is not None:
                transport.abort()
            raise ClientGone(f"the client read nothing for {self._slow_client_s:g} s") from None

    async def end(self) -> None:
        """The stream is complete. Raises ClientGone."""
        assert self.response is not None
        with _gone():
            await self.response.write_eof()
