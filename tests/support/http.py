"""Requests at the level of bytes, for what no HTTP client would send."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.support.gateway import ADMIN_KEY, Gateway


def request_bytes(method: str, path: str, body: bytes = b"", *heads: str, key: str = ADMIN_KEY) -> bytes:
    """A request that asks for the connection's end. Headers go out as Latin-1; no Content-Length beside Transfer-Encoding."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close", *heads]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body and not any(head.lower().startswith("transfer-encoding") for head in heads):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


async def exchange(gw: Gateway, data: bytes, within_s: float = 5.0) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case and body of the last answer that came until the gateway closed the connection."""
    place = urlsplit(gw.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(data)
        came = await asyncio.wait_for(reader.read(-1), within_s)
    finally:
        writer.close()
    while came.startswith(b"HTTP/1.1 100"):
        came = came.partition(b"\r\n\r\n")[2]
    head, _, body = came.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, body


class Line:
    """One connection that is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def head(self) -> str:
        return (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 5)).decode()

    async def read(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.head()).split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        return int(head[0].split(" ")[1]), headers, await self._reader.readexactly(int(headers["content-length"]))

    async def some(self) -> bytes:
        """What came of a body so far, at most 64 KiB of it. Raises IncompleteReadError at the line's end."""
        data = await asyncio.wait_for(self._reader.read(64 << 10), 5)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)
        return data

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.write(data)
        return await self.read()

    async def is_over(self) -> bool:
        return await asyncio.wait_for(self._reader.read(1), 5) == b""


@contextlib.asynccontextmanager
async def line(gw: Gateway) -> AsyncIterator[Line]:
    place = urlsplit(gw.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
