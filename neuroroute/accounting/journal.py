"""
The write-ahead journal: what a process must not forget when it is killed.

Each process owns segments, files of fixed size that are mapped into memory: a record is a copy into the map, which the kernel keeps even if the
process is killed the next moment, and costs no system call. A thread brings the maps to the disk every SYNC_S, so that a machine that loses
power loses no more than that. A segment is deleted when nothing in it is needed any more (`release`).

A process shows that it lives by a lock on its `.lock` file, and on each segment in case that somebody removes that file. Any other may take over
the segments of one whose lock is free (`orphans`).

Space on the disk is reserved when a segment is made: a full disk is known before a call begins (`JournalFull`), never in the middle of one.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import mmap
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from neuroroute.accounting.frames import HEAD_BYTES, MAX_PAYLOAD_BYTES, Damage, Frame, Kind, frame, frame_at, read
from neuroroute.core.ids import new_id

_log = logging.getLogger("neuroroute.journal")

SEGMENT_BYTES: Final = 2 << 20
MAX_BYTES: Final = 2 << 30
SYNC_S: Final = 0.1
_RESERVE: Final = 4  # a quarter of the last segment is kept for calls that are already running
_STEP_BYTES: Final = 1 << 16
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalFull(Exception):
    """There is no space for another call: the disk is full, or the journal has reached its bound."""


class Segment:
    """One mapped file. `refs`: what in it is still needed."""

    __slots__ = ("_map", "at", "fd", "path", "refs", "sealed", "size", "synced_at")

    def __init__(self, path: Path, size: int) -> None:
        """Blocks. Raises OSError where there is no space."""
        self.path, self.size = path, size
        self.at = self.synced_at = self.refs = 0
        self.sealed = False
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            _reserve(self.fd, size)
            self._map = mmap.mmap(self.fd, size)
        except OSError:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise

    def append(self, data: bytes) -> int:
        """Where it begins. The caller knows that there is room."""
        start = self.at
        self._map[start : start + len(data)] = data
        self.at = start + len(data)
        return start

    def frame_at(self, start: int) -> Frame | None:
        with memoryview(self._map) as view:
            return frame_at(view, start)

    def sync(self) -> None:
        """Blocks until what was appended is on the disk."""
        at = self.at
        if at != self.synced_at:
            os.fdatasync(self.fd)
            self.synced_at = at

    def delete(self) -> None:
        """Blocks."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)


Place = tuple[Segment, int]
"""Where a record stands: its segment and its beginning."""


class Journal:
    """The segments of this process. `start` before use; `run` in the background."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._segment_bytes, self._max_bytes = segment_bytes, max_bytes
        self.owner = new_id("jrn")
        self._lock_fd = -1
        self._number = 0
        self._segments: set[Segment] = set()
        self._spare: Segment | None = None
        self._doomed: deque[Segment] = deque()
        self._wake = asyncio.Event()
        self._tending = threading.Lock()
        self._current: Segment | None = None  # None: the disk was full at the start
        self.full = False

    def start(self) -> None:
        """
        Make the folder, the lock and the first segments. Blocks.

        Raises OSError where nothing can be written there; a full disk is none of these: then calls are refused until there is space.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_fd = _locked(self.folder / f"{self.owner}.lock", create=True)
        try:
            self._current = self._make()
            self._spare = self._make()
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            _log.error("the journal has no space, calls are refused: %s", error)
            self.full = True

    @property
    def held_bytes(self) -> int:
        """On the disk, of this process."""
        return (len(self._segments) + len(self._doomed)) * self._segment_bytes

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_journal_bytes", (), self.held_bytes), ("neuroroute_journal_full", (), float(self.full))]

    @property
    def has_room(self) -> bool:
        """Whether another call may begin. It may for a while after the disk was full."""
        current = self._current
        return self._spare is not None or (current is not None and current.at <= self._segment_bytes - self._segment_bytes // _RESERVE)

    def append_open(self, payload: bytes) -> Place:
        """Note a call that is about to begin. Raises JournalFull: then it must not."""
        if self._spare is None and not self.has_room:
            self.full = True
            self._wake.set()
            raise JournalFull("no space for the journal")
        return self._append(Kind.OPEN, payload)

    def append_close(self, payload: bytes) -> Place:
        """Note a finished call. Raises JournalFull only if the reserve for running calls is used up too."""
        return self._append(Kind.CLOSE, payload)

    def _append(self, kind: Kind, payload: bytes) -> Place:
        data = frame(kind, payload)
        segment = self._current
        if segment is None or segment.at + len(data) > self._segment_bytes:
            segment = self._rotate()
        segment.refs += 1
        return segment, segment.append(data)

    def _rotate(self) -> Segment:
        if self._spare is None:
            raise JournalFull("no space for the journal")
        if self._current is not None:
            self._current.sealed = True
            if not self._current.refs:
                self._doom(self._current)
        self._current, self._spare = self._spare, None
        self._wake.set()
        return self._current

    def release(self, place: Place) -> None:
        """What stands there is not needed any more. Once per place."""
        segment = place[0]
        segment.refs -= 1
        if segment.sealed and not segment.refs:
            self._doom(segment)

    def _doom(self, segment: Segment) -> None:
        self._segments.discard(segment)
        self._doomed.append(segment)
        self._wake.set()

    def _make(self) -> Segment:
        if self.held_bytes >= self._max_bytes:
            raise JournalFull("the journal has reached its bound")
        self._number += 1
        segment = Segment(self.folder / f"{self.owner}-{self._number:08d}.seg", self._segment_bytes)
        self._segments.add(segment)
        return segment

    async def run(self) -> None:
        """Bring what was appended to the disk, keep a spare segment, delete what is not needed; for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SYNC_S)
            self._wake.clear()
            if self._spare is None or self._doomed or any(segment.at != segment.synced_at for segment in self._segments):
                await self.tend()  # an idle process does not wake a thread ten times a second
            if self.full:
                await asyncio.sleep(SYNC_S)

    async def tend(self) -> None:
        """Once. Never raises for a full disk: `full` says so."""
        await asyncio.to_thread(self._tend)

    def _tend(self) -> None:
        with self._tending:
            if self._lock_fd >= 0:
                self._tend_files()

    def _tend_files(self) -> None:
        while self._doomed:
            self._doomed.popleft().delete()
        for segment in list(self._segments):
            segment.sync()
        if self._spare is None:
            try:
                self._spare = self._make()
                if self.full:
                    _log.info("the journal has space again")
                self.full = False
            except (OSError, JournalFull) as error:
                if not self.full:
                    _log.error("the journal is full, calls are refused: %s", error)
                self.full = True

    def set_aside(self, payloads: Sequence[bytes]) -> None:
        """See the function of this name."""
        set_aside(self.folder, payloads)

    def close(self) -> None:
        """Leave the folder as it must be found: without our files if nothing in them is needed, else for whoever takes over. Blocks."""
        with self._tending:
            if self._lock_fd >= 0:
                self._close_files()

    def _close_files(self) -> None:
        needed = any(segment.refs for segment in self._segments)
        for segment in (*self._segments, *self._doomed):
            if needed and segment.refs:
                segment.sync()
                segment.close()
            else:
                segment.delete()
        self._segments, self._doomed, self._spare = set(), deque(), None
        if not needed:
            (self.folder / f"{self.owner}.lock").unlink(missing_ok=True)
        os.close(self._lock_fd)
        self._lock_fd = -1


class Orphan:
    """The segments of a process that is gone. They are ours until `release` or `delete`, even against other adopters."""

    def __init__(self, lock: Path, lock_fd: int) -> None:
        self.owner = lock.stem
        self._lock, self._lock_fd = lock, lock_fd
        self.segments = sorted(lock.parent.glob(f"{lock.stem}-*.seg"))
        self.damage = Damage()

    def frames(self, *, keep: bool = True) -> Iterator[Frame]:
        """Every record, oldest first. Blocks. keep: a segment with a hole is copied to `quarantine`, as all is deleted afterwards."""
        for path in self.segments:
            holes = self.damage.holes
            data = path.read_bytes()
            yield from read(data, self.damage)
            if keep and self.damage.holes > holes:
                kept = path.parent / "quarantine" / path.name
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(data)
                _log.error("the journal segment %s is damaged; a copy is kept", path.name)

    def delete(self) -> None:
        """All records are safe elsewhere. Blocks."""
        for path in self.segments:
            path.unlink(missing_ok=True)
        self._lock.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let others try."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def set_aside(folder: Path, payloads: Sequence[bytes]) -> None:
    """Keep records that the database can not hold, one a line, for a person to look at. Blocks. Never raises OSError."""
    try:
        kept = folder / "quarantine" / "rejected.jsonl"
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("ab") as file:
            file.write(b"".join([payload + b"\n" for payload in payloads]))
    except OSError as error:
        _log.error("%d records that can not be stored are lost: %s", len(payloads), error)


def orphans(folder: Path) -> Iterator[Orphan]:
    """The journals of processes that are gone, each locked for us. Blocks."""
    locks = set(folder.glob("jrn_*.lock"))
    for lock in sorted(locks | strays(folder, locks)):
        with contextlib.suppress(OSError):
            yield Orphan(lock, _locked(lock, create=lock not in locks))


def strays(folder: Path, locks: set[Path]) -> set[Path]:
    """The missing locks of segments beside which somebody removed them. A process that lives holds its segments, too. Blocks."""
    found: dict[Path, list[Path]] = {}
    for segment in folder.glob("jrn_*-*.seg"):
        lock = folder / f"{segment.name.rpartition('-')[0]}.lock"
        if lock not in locks:
            found.setdefault(lock, []).append(segment)
    return {lock for lock, segments in found.items() if not lock.exists() and not any(map(_is_held, segments))}


def _is_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _locked(path: Path, *, create: bool) -> int:
    """Open and lock. Raises OSError if somebody else has the lock, or the file is gone."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino != os.stat(path).st_ino:  # another adopter finished and deleted it between the two steps
            raise FileNotFoundError(path)
    except OSError:
        os.close(fd)
        raise
    return fd


def _reserve(fd: int, size: int) -> None:
    """
    Zeros that are really there. Raises OSError where there is no space for them.

    A sparse file on a full disk would kill the process at the first write into the map. And a write to a page that the file system has yet to find
    a place for waits for its journal: one append in a thousand took 0.9 ms where the space was only set aside, and takes 0.3 ms.
    """
    zeros = bytes(_STEP_BYTES)
    for at in range(0, size, _STEP_BYTES):
        asked = min(_STEP_BYTES, size - at)
        if os.pwrite(fd, zeros[:asked], at) != asked:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


assert HEAD_BYTES + MAX_PAYLOAD_BYTES <= SEGMENT_BYTES
