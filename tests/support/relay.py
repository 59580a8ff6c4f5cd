"""A TCP relay between a client and a real server that can refuse, cut and hang."""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit


class Relay:
    """
    `async with Relay(path="/run/.s.PGSQL.5432") as relay:` listens on 127.0.0.1:relay.port and forwards to a socket path, or to `host` and `port`.

    refuse()  closes the port and cuts what is open; restore() opens the same port again
    hang()    accepts and keeps connections but moves no byte; restore() moves on with what waited
    cut()     drops the open connections, once
    """

    def __init__(self, *, path: str | None = None, host: str = "127.0.0.1", to_port: int = 0) -> None:
        self._path, self._host, self._to_port = path, host, to_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._parts = urlsplit("")
        self.port = 0
        self.accepted = 0
        self.delay_s = 0.0  # before each piece of an answer
        self.on_bytes: Callable[[bytes], None] | None = None  # sees what clients send

    @classmethod
    def to(cls, url: str) -> Self:
        """Before the server of a redis:// or postgresql:// URL; then `url` leads through the relay."""
        parts = urlsplit(url)
        folder = parse_qs(parts.query).get("host", [""])[0]
        if folder.startswith("/"):
            made = cls(path=f"{folder}/.s.PGSQL.{parts.port or parse_qs(parts.query).get('port', ['5432'])[0]}")
        else:
            made = cls(host=parts.hostname or "127.0.0.1", to_port=parts.port or 0)
        made._parts = parts._replace(query="")
        return made

    @property
    def url(self) -> str:
        account, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}"))

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.refuse()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """As if the server's process were gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        self._flows.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang(self) -> None:
        """As if the server's process were stopped."""
        self._flows.clear()

    async def restore(self) -> None:
        self._flows.set()
        if self._server is None:
            await self._open()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self._writers.add(writer)
        try:
            await self._flows.wait()
            if self._path is not None:
                up_reader, up_writer = await asyncio.open_unix_connection(self._path)
            else:
                up_reader, up_writer = await asyncio.open_connection(self._host, self._to_port)
            self._writers.add(up_writer)
            try:
                await asyncio.gather(self._pump(reader, up_writer, self.on_bytes), self._pump(up_reader, writer, None, late=True))
            finally:
                self._writers.discard(up_writer)
                up_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[bytes], None] | None, *, late: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if late and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if seen is not None:
                    seen(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
