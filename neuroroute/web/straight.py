"""
Calls of models that go straight from the connection to `chain.life`, and back.

They are the plain ones (see `web.connection`): nearly all. One that came before, byte by byte, is answered before a call of its own is made of it: see
`chain.repeats`.
"""

import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from neuroroute.chain import replies
from neuroroute.chain.call import NO_BODY, Call, Source
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import InternalError
from neuroroute.web.connection import EdgeHandler
from neuroroute.web.identity import bearer
from neuroroute.web.inference import DIALECTS, client_request_id, lived
from neuroroute.web.peers import client_address
from neuroroute.web.sink import StraightSink
from neuroroute.web.state import KEEP_ALIVE, LIFECYCLE, REPEATS, SERVICES
from neuroroute.web.whole import MOST_BYTES, head_of, lines_of

_log: Final = logging.getLogger("neuroroute.web")


class StraightSource:
    """A body that is there."""

    __slots__ = ("_body", "_line", "_message", "_straight")

    def __init__(self, line: EdgeHandler, message: RawRequestMessage, body: bytes, straight: "Straight") -> None:
        self._line, self._message, self._body, self._straight = line, message, body, straight

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    def address(self) -> str | None:
        return self._straight.address(self._line, self._message)


class Straight:
    """For `web.server`. paths: where plain requests end at a model."""

    def __init__(self, app: web.Application) -> None:
        self._s, self._lifecycle, self._repeats, self._keep_alive = app[SERVICES], app[LIFECYCLE], app[REPEATS], app[KEEP_ALIVE]
        self.paths = DIALECTS

    def at_once(self, message: RawRequestMessage, body: bytes, begun: int) -> bytes | None:
        """A bug here costs nothing but the short cut: the request is served then."""
        try:
            if self._repeats.knows(message.path, message.raw_headers, body) and (found := self._again(message, body)) is not None:
                return found
            return self._shed(message, begun) if self._s.load.sheds else None
        except Exception as error:  # noqa: BLE001 - whatever it is, the usual life answers it
            _log.error("bug while answering a request at once", exc_info=error)
            return None

    def _again(self, message: RawRequestMessage, body: bytes) -> bytes | None:
        found = self._repeats.answer(message.path, message.raw_headers, body, message.headers, bearer(message.headers))
        if found is None:
            return None
        status, text, lines = found
        return head_of(status, len(text), lines) + text

    def _shed(self, message: RawRequestMessage, begun: int) -> bytes | None:
        """As `chain.life` refuses it, without a task and a life: in an overload there are more refusals than answers."""
        s = self._s
        principal = s.keyring.find(bearer(message.headers))
        if principal is None or principal.gate is not None:  # who is refused for another reason is told that one
            return None
        refusal = s.load.refusal(principal, s.metrics.running + begun + 1)
        if refusal is None:
            return None
        s.metrics.refused("overloaded")
        call = _call(message, NO_BODY)
        text = replies.error_body(call, refusal)
        return head_of(refusal.status, len(text), lines_of(replies.error_headers(call, refusal))) + text

    async def serve(self, line: EdgeHandler, message: RawRequestMessage, body: bytes) -> None:
        """A bug is told in the log under an id, and ends the connection with that id where nothing was said yet."""
        s, call = self._s, _call(message, StraightSource(line, message, body, self))
        sink = StraightSink(line, s.settings.slow_client_timeout_s, self._keep_alive)
        try:
            await lived(call, sink, s, self._lifecycle)
            await sink.finish()
        except Exception as bug:  # noqa: BLE001 - the edge: whatever nothing below foresaw
            _log.error("bug while answering %s (%s)", message.path, call.request_id, exc_info=bug)
            sink.fail(replies.error_body(call, InternalError.known_as(call.request_id)))
            return
        entry = call.kept_entry
        if entry is not None and len(entry.body) <= MOST_BYTES:
            self._repeats.remember(call, message.path, message.raw_headers, body)

    def address(self, line: EdgeHandler, message: RawRequestMessage) -> str | None:
        """The client's."""
        peer = line.peername
        return client_address(peer[0] if isinstance(peer, tuple) else peer, message.headers, self._s.settings.trusted_proxies)


def _call(message: RawRequestMessage, source: Source) -> Call:
    headers = message.headers
    return Call(
        source=source,
        bearer=bearer(headers),
        started_s=monotonic_s(),
        dialect=DIALECTS[message.path],
        path=message.path[3:],
        headers=headers,
        client_request_id=client_request_id(headers.get("X-Request-ID")),
    )


def straight(app: web.Application) -> Straight | None:
    """None where each answer is changed on its way out (CORS)."""
    return None if app.on_response_prepare else Straight(app)
