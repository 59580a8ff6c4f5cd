"""
The common store of limits for the workers of one machine that have no Redis.

One worker keeps the book; the others ask it over a Unix socket. Which one it is, a file lock decides: when that worker goes, another takes the
lock and goes on with the book it left, or, if it was killed, with an empty one that the workers fill again (see `leases`).
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from neuroroute.core.clock import unix_s
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.core.patience import patience
from neuroroute.limits.book import LeaseBook
from neuroroute.store.kv import Arg, KVAway

_log = logging.getLogger("neuroroute.limits")

TIMEOUT_S: Final = 0.05
_PATH_MAX: Final = 100
"""Bytes that the path of a Unix socket may have: 107 on Linux, 103 on macOS."""
_KNOCK_S: Final = 0.005
_FIXED_KEYS: Final = 2  # marker and holders, which the book keeps by itself


class Neighbours:
    """The workers that share `folder`. A store for `Leases`."""

    def __init__(self, folder: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._folder, self._timeout_s = folder, timeout_s
        self._lock_fd = -1
        self._book: LeaseBook | None = None
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def keeps_book(self) -> bool:
        return self._book is not None

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Arg]) -> list[int]:
        """As the script of the leases would answer. Raises KVAway."""
        if self._closed:
            raise KVAway("this worker has left")
        if self._book is None and self._writer is None:
            await self._take_lock()
        if self._book is not None:
            return self._book.answer(keys[_FIXED_KEYS:], _plain(args), int(unix_s() * 1000))
        try:
            async with patience(self._timeout_s), self._turn:
                return await self._exchange(dumps([keys[_FIXED_KEYS:], _plain(args)]))
        except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
            raise KVAway("the worker that keeps the limits does not answer") from error

    async def _exchange(self, question: bytes) -> list[int]:
        answered = False
        try:
            answer = await self._ask(question)
            answered = True
            return answer
        finally:
            if not answered:  # the late answer would be read by the next one who asks
                self._hang_up()

    async def _ask(self, question: bytes) -> list[int]:
        while self._writer is None:
            try:
                self._reader, self._writer = await asyncio.open_unix_connection(self._socket())
            except OSError:  # it has the lock and opens its door in a moment; the caller's time limit ends this
                await asyncio.sleep(_KNOCK_S)
        assert self._reader is not None
        self._writer.write(len(question).to_bytes(4, "big") + question)
        answer = loads(await self._reader.readexactly(int.from_bytes(await self._reader.readexactly(4), "big")))
        return [int(number) for number in answer]

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    def _socket(self) -> str:
        path = str(self._folder / "limits.sock")
        if len(path.encode()) <= _PATH_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:24]
        return str(Path(tempfile.gettempdir()) / f"nr-{os.geteuid()}-{digest}.sock")

    async def _take_lock(self) -> None:
        """Keep the book from now on, if nobody does."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._folder / "limits.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return
        self._lock_fd, self._book = fd, _left_book(self._folder / "limits.book")
        self._server = await asyncio.start_unix_server(self._serve, _fresh(self._socket()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            while self._book is not None:
                names, args = loads(await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big")))
                if self._book is None:
                    return
                answer = dumps(self._book.answer(names, args, int(unix_s() * 1000)))
                writer.write(len(answer).to_bytes(4, "big") + answer)
                await writer.drain()
        except (OSError, EOFError):
            return
        except (ValueError, TypeError, IndexError) as error:
            _log.warning("a worker asked for limits in a way that makes no sense: %s", error)
        finally:
            self._lines.discard(writer)
            writer.transport.abort()

    async def close(self) -> None:
        """Leave the book to another worker."""
        self._closed = True
        self._hang_up()
        book, self._book = self._book, None
        if book is None:
            return
        with contextlib.suppress(OSError):
            (self._folder / "limits.book").write_bytes(dumps(book.as_data()))
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.transport.abort()
        os.close(self._lock_fd)


def _fresh(path: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a worker that was killed
    return path


def _plain(args: Sequence[Arg]) -> list[str | int]:
    return [arg if isinstance(arg, int) else str(arg) for arg in args]


def _left_book(path: Path) -> LeaseBook:
    """The book of the one before, if it left one."""
    try:
        data: Any = loads(path.read_bytes())
        path.unlink()
        return LeaseBook.of(data)
    except FileNotFoundError:
        return LeaseBook()
    except (OSError, ValueError, TypeError, KeyError) as error:
        _log.warning("the book of limits that was left can not be read: %s", type(error).__name__)
        return LeaseBook()
