"""
Records in a file that may be torn or damaged anywhere: how they are framed, and how they are found again.

A frame is a head (magic, kind, length, CRC-32 of kind and payload) and the payload. Space that was never written is zeros. Reading never stops at
damage: it goes on at the next place where a whole frame stands.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from neuroroute.core.dataclass import dataclass

_HEAD: Final = struct.Struct("<2sHII")
MAGIC: Final = b"\xa7J"
HEAD_BYTES: Final = _HEAD.size
MAX_PAYLOAD_BYTES: Final = 1 << 20


class Kind(IntEnum):
    OPEN = 1  # a call that is about to ask a provider
    CLOSE = 2  # a finished call


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    payload: bytes


@dataclass(slots=True)
class Damage:
    """
    What was not readable. torn_bytes: at the end, where a writer died in the middle of a record, which therefore was never acknowledged.
    corrupt_bytes: before good frames, or more than one record can leave, in `holes` places: something else wrote there, or the disk is ill.
    """

    torn_bytes: int = 0
    corrupt_bytes: int = 0
    holes: int = 0

    def note_end(self, size: int, *, is_torn: bool) -> None:
        """Nothing good follows these bytes."""
        if is_torn:
            self.torn_bytes += size
        else:
            self.corrupt_bytes += size
            self.holes += 1


def frame(kind: int, payload: bytes) -> bytes:
    """Raises ValueError if the payload is too large."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError("the record is too large for the journal")
    kind = int(kind)  # else each use of it goes through the enumeration
    return _HEAD.pack(MAGIC, kind, len(payload), zlib.crc32(payload, kind)) + payload


def read(data: bytes | memoryview, damage: Damage | None = None) -> Iterator[Frame]:
    """Every whole frame of `data`, in order."""
    data = bytes(data)
    at, end = 0, len(data)
    written = len(data.rstrip(b"\0"))
    while at < end:
        found = frame_at(data, at)
        if found is not None:
            yield found
            at += HEAD_BYTES + len(found.payload)
            continue
        if at >= written:
            return
        next_at = _next(data, at + 1)
        if next_at is None:
            if damage is not None:
                damage.note_end(written - at, is_torn=_is_torn(data, at, written))
            return
        if damage is not None:
            damage.corrupt_bytes += next_at - at
            damage.holes += 1
        at = next_at


def _is_torn(data: bytes, at: int, written: int) -> bool:
    """Whether what stands at `at` can be a record in the middle of which its writer died."""
    head = data[at : at + HEAD_BYTES].ljust(HEAD_BYTES, b"\0")
    magic, _, length, _ = _HEAD.unpack(head)
    return MAGIC.startswith(magic.rstrip(b"\0")) and written - at <= HEAD_BYTES + min(length, MAX_PAYLOAD_BYTES)


def frame_at(data: bytes | memoryview, at: int) -> Frame | None:
    """The frame that begins at `at`, None if no whole one does."""
    if len(data) - at < HEAD_BYTES:
        return None
    magic, kind, length, check = _HEAD.unpack_from(data, at)
    if magic != MAGIC or length > MAX_PAYLOAD_BYTES or at + HEAD_BYTES + length > len(data) or kind not in (Kind.OPEN, Kind.CLOSE):
        return None
    payload = bytes(data[at + HEAD_BYTES : at + HEAD_BYTES + length])
    return Frame(Kind(kind), payload) if _check(kind, payload) == check else None


def _next(data: bytes, at: int) -> int | None:
    while (at := data.find(MAGIC, at)) >= 0:
        if frame_at(data, at) is not None:
            return at
        at += 1
    return None


def _check(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, kind)
