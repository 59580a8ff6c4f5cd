"""A relay between a client and a server of another protocol that can refuse, hang, be late, or break lines."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Relay:
    """
    Listens on `url`; passes bytes to `target` and back.

    hung: lines stay up and nothing passes. `refuse()` closes the port and all lines, `accept()` opens the same port again. delay_s: before answers.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.port = 0
        self.delay_s = 0.0
        self.accepted = 0

    @property
    def url(self) -> str:
        netloc = f"127.0.0.1:{self.port}"
        if self._target.username:
            netloc = f"{self._target.username}:{self._target.password or ''}@{netloc}"
        return urlunsplit(self._target._replace(netloc=netloc))

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        assert self._server is not None
        self._server.close()
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        await self._server.wait_closed()

    def hang(self) -> None:
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        self.accepted += 1
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, upstream, 0.0))
                group.create_task(self._pass(answers, writer, None))
        except (ExceptionGroup, OSError, asyncio.CancelledError):
            pass
        finally:
            self._lines.discard(task)
            for end in (writer, upstream):
                if end is not None:
                    end.close()
                    with contextlib.suppress(OSError):
                        await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float | None) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            wait_s = self.delay_s if delay_s is None else delay_s
            if wait_s:
                await asyncio.sleep(wait_s)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
