"""
What processes that were killed left in their journals goes to the table.

Finished calls are written as they ended; calls that were begun and not finished as `interrupted`. Rows are told by their id, so what had been
written before changes nothing. The files are deleted only when all of it is in the table.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Generic, TypeVar

from neuroroute.accounting.flusher import Flusher
from neuroroute.accounting.frames import Kind
from neuroroute.accounting.journal import Orphan, orphans, set_aside
from neuroroute.accounting.records import Codec
from neuroroute.core.dataclass import dataclass

R = TypeVar("R")

_log = logging.getLogger("neuroroute.journal")

LOOK_EVERY_S: Final = 3.0
_BATCH_ROWS: Final = 500


@dataclass(slots=True)
class Found:
    """What a journal held. unreadable: records whose bytes were whole and made no sense."""

    finished: int = 0
    interrupted: int = 0
    unreadable: int = 0
    torn_bytes: int = 0
    corrupt_bytes: int = 0


class Recovery(Generic[R]):
    """Takes over the journals in `folder` whose owners are gone. `found`: the sum of all since the start."""

    def __init__(self, folder: Path, insert: Callable[[Sequence[R]], Awaitable[object]], codec: Codec[R]) -> None:
        self._folder, self._codec = folder, codec
        self._flusher = Flusher(insert, self._reject)
        self.found = Found()
        self._rejects: list[R] = []
        self.rejected = 0

    async def run(self) -> None:
        """Look for orphans, for ever."""
        while True:
            await self.recover()
            await asyncio.sleep(LOOK_EVERY_S)

    async def recover(self) -> int:
        """Take over what is orphaned now; how many journals. Raises what the insert raises: then they stay for another try."""
        found = await asyncio.to_thread(lambda: list(orphans(self._folder)))
        try:
            for orphan in found:
                await self._take_over(orphan)
        finally:
            for orphan in found:
                orphan.release()
        return len(found)

    async def _take_over(self, orphan: Orphan) -> None:
        found = Found()
        rows = replayed(orphan, self._codec, found)
        while batch := await asyncio.to_thread(lambda: list(islice(rows, _BATCH_ROWS))):
            await self._flusher.write(batch)
        rejects, self._rejects = self._rejects, []
        if rejects:
            await asyncio.to_thread(set_aside, self._folder, [self._codec.encode(record) for record in rejects])
        await asyncio.to_thread(orphan.delete)
        for name in Found.__slots__:
            setattr(self.found, name, getattr(self.found, name) + getattr(found, name))
        _log.info(
            "took over a journal: %d finished and %d interrupted calls, %d bytes torn, %d corrupt",
            found.finished, found.interrupted, found.torn_bytes, found.corrupt_bytes,
        )  # fmt: skip

    def _reject(self, record: R, error: Exception) -> None:
        self.rejected += 1
        self._rejects.append(record)


def replayed(orphan: Orphan, codec: Codec[R], found: Found, *, keep: bool = True) -> Iterator[R]:
    """The rows of a journal: finished calls in order, then the interrupted ones. Blocks. keep: copies of damaged segments, see Orphan.frames."""
    begun: dict[str, R] = {}
    for frame in orphan.frames(keep=keep):
        try:
            record = codec.decode(frame.payload)
        except (ValueError, TypeError, KeyError, AttributeError):
            found.unreadable += 1
            continue
        if frame.kind is Kind.OPEN:
            begun[codec.key(record)] = record
            continue
        begun.pop(codec.key(record), None)
        found.finished += 1
        yield record
    for record in begun.values():
        found.interrupted += 1
        yield codec.interrupted(record)
    found.torn_bytes += orphan.damage.torn_bytes
    found.corrupt_bytes += orphan.damage.corrupt_bytes


@dataclass(frozen=True, slots=True)
class Status:
    """One journal, for people. alive: its process runs, and its records are not counted."""

    owner: str
    alive: bool
    segments: int
    size_bytes: int
    found: Found | None = None


def status(folder: Path, codec: Codec[R]) -> list[Status]:
    """All journals, read without changing anything. Blocks."""
    dead = {orphan.owner: orphan for orphan in orphans(folder)}
    listed: list[Status] = []
    for owner in _owners(folder.glob("jrn_*.lock")):
        files = sorted(folder.glob(f"{owner}-*.seg"))
        size = sum([file.stat().st_size for file in files])
        orphan = dead.get(owner)
        found = None
        if orphan is not None:
            found = Found()
            for _ in replayed(orphan, codec, found, keep=False):
                pass
            orphan.release()
        listed.append(Status(owner, orphan is None, len(files), size, found))
    return listed


def _owners(locks: Iterable[Path]) -> list[str]:
    return sorted([lock.stem for lock in locks])
