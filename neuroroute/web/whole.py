"""A complete answer as one write: head and body together."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from neuroroute.core.clock import unix_s

MOST_BYTES: Final = 64 << 10
"""Larger answers go the usual way, which waits for a slow client piece by piece."""
_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}


class Whole(web.StreamResponse):
    """
    What `web.Response` does for the answers that are made thousands of times a second, in a third of its time: the headers are a plain mapping
    and are written as they are. Neither cookies, compression nor ranges; `on_response_prepare` is not told.
    """

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._status, self._whole, self._plain = status, body, headers  # and none of what the class above makes: nobody asks for it

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Raises ConnectionResetError where the client has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left")
        keep = self._keep_alive = request.keep_alive and self._keep_alive is not False
        head = head_of(self.status, len(self._whole), lines_of(self._plain), keep=keep, modern=request.version >= HttpVersion11)
        transport.write(head if request.method == "HEAD" else head + self._whole)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All was written."""


def lines_of(headers: Mapping[str, str]) -> str:
    """As HTTP writes them, without the last line's end. Raises ValueError for a header with a line break."""
    text = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
    if text.count("\n") != len(headers) - 1:
        raise ValueError("a header with a line break")
    return text


def head_of(status: int, length: int | None, lines: str, *, keep: bool = True, modern: bool = True) -> bytes:
    """The head of an answer of HTTP/1.1 (`modern`) or 1.0. length: of the body; None: it comes in chunks."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    connection = "" if keep == modern else f"connection: {'keep-alive' if keep else 'close'}\r\n"
    return (
        f"HTTP/{'1.1' if modern else '1.0'} {status} {_REASONS.get(status, 'Status')}\r\n{lines}\r\n"
        f"{framing}\r\ndate: {_date()}\r\n{connection}\r\n"
    ).encode("latin-1", "replace")


_dated: tuple[int, str] = (0, "")


def _date() -> str:
    """Now, as HTTP writes it; made once a second."""
    global _dated
    now = int(unix_s())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True))
    return _dated[1]
