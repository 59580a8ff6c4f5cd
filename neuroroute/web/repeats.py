"""
A request that came before, byte by byte, is answered before aiohttp makes a request or a task of it: see `chain.repeats`.

A bug here costs nothing but the short cut: the request goes the usual way then.
"""

import logging
from typing import Final

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from neuroroute.chain.call import Call
from neuroroute.chain.repeats import Repeats
from neuroroute.web.identity import bearer
from neuroroute.web.state import REPEATS
from neuroroute.web.whole import MOST_BYTES, head_of

_log: Final = logging.getLogger("neuroroute.web")


class Again:
    """For `web.server`. None of a request of aiohttp's, a task or a handler is made."""

    def __init__(self, repeats: Repeats) -> None:
        self._repeats = repeats

    def may_answer(self, message: RawRequestMessage, body: bytes) -> bool:
        return self._repeats.knows(message.path, message.raw_headers, body)

    def answer(self, message: RawRequestMessage, body: bytes) -> bytes | None:
        try:
            found = self._repeats.answer(message.path, message.raw_headers, body, message.headers, bearer(message.headers))
            if found is None:
                return None
            status, text, lines = found
            return head_of(status, len(text), lines) + text
        except Exception as error:  # noqa: BLE001 - whatever it is, the usual way answers it
            _log.error("bug while answering a repeated request", exc_info=error)
            return None


def again(app: web.Application) -> Again | None:
    """None where each answer is changed on its way out (CORS)."""
    return None if app.on_response_prepare else Again(app[REPEATS])


def remember(request: web.Request, call: Call) -> None:
    """A call that is over, for the next that asks the same."""
    body = request._read_bytes
    if body is not None and call.kept_entry is not None and len(call.kept_entry.body) <= MOST_BYTES and "Expect" not in request.headers:
        message = request._message
        request.app[REPEATS].remember(call, message.path, message.raw_headers, body)
