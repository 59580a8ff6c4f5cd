"""
Answers that come compressed although none was asked for: some content networks do that.

gzip and deflate are undone, a bounded piece at a time; other codings pass as they are, with the header that names them.
"""

import zlib
from collections.abc import Mapping
from typing import Final

from neuroroute.adapters.lane_base import MAX_ANSWER_BYTES, UpstreamResponse
from neuroroute.core.errors import UpstreamBroken

_PIECE_BYTES: Final = 256 << 10  # the most that one step unpacks: 64 KiB of zeros can hide 64 MiB
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS  # zlib finds out which


def decoded(response: UpstreamResponse) -> UpstreamResponse:
    """`response`, or a view of it without its compression."""
    coding = response.headers.get("content-encoding", "").strip().lower()
    return _Inflated(response) if coding in ("gzip", "x-gzip", "deflate") else response


class _Inflated:
    __slots__ = ("_inner", "_packed", "_unzip", "headers", "status")

    def __init__(self, inner: UpstreamResponse) -> None:
        self._inner = inner
        self._unzip = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self.status = inner.status
        self.headers: Mapping[str, str] = {
            name: value for name, value in inner.headers.items() if name not in ("content-encoding", "content-length")
        }

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
        while True:
            packed = self._packed or await self._inner.readany()
            if not packed:
                if not self._unzip.eof:
                    raise UpstreamBroken("the provider broke off its answer")
                return b""
            if self._unzip.eof:  # gzip files may follow each other
                self._unzip = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                piece = self._unzip.decompress(packed, _PIECE_BYTES)
            except zlib.error as error:
                self.close()
                raise UpstreamBroken("the provider's answer is not compressed as its head says") from error
            self._packed = self._unzip.unconsumed_tail or self._unzip.unused_data
            if piece:
                return piece

    def close(self) -> None:
        self._inner.close()
