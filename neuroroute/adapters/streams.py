"""What every stream translator shares: events out of chunks, templates for the usual ones, the text so far, and how a stream ends badly."""

import re
from typing import Any, Final

from neuroroute.adapters.refusals import embedded
from neuroroute.adapters.template import Template, learn
from neuroroute.core import jsonbytes, sse
from neuroroute.core.errors import NeuroRouteError, StreamCut, UpstreamBroken, UpstreamError
from neuroroute.core.types import Usage

_MOST_TEMPLATES: Final = 4  # text, reasoning, tool arguments, a second choice
_FRUITLESS: Final = 16  # templates learned in a row without a hit, after which this stream's events are taken to differ always
_MOST_PREAMBLE_BYTES: Final = 65_536
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def loads(data: bytes) -> Any:
    """JSON, also where a string holds half a surrogate pair (it becomes U+FFFD). Raises UpstreamBroken."""
    try:
        return jsonbytes.loads(data)
    except ValueError:
        try:
            return jsonbytes.loads(_SURROGATE.sub(b"\\\\ufffd", data))
        except ValueError:
            raise UpstreamBroken("the provider sent malformed JSON") from None


def inside(text: str) -> bytes:
    """`text` as it stands inside a JSON string."""
    return jsonbytes.dumps(text)[1:-1]


class EventStream:
    """
    The frame of a stream translator (see base.StreamTranslator).

    A child gives `_event` (one upstream event -> client bytes; sets `_learnable` if the event was an ordinary delta) and `_close` (the end of
    the upstream -> client bytes, or StreamCut), and sets `_begun` with the first event that is an answer and `done` with the last.
    An error that follows good events in one chunk is raised with the next call, so that how the network cut the stream changes nothing.
    """

    __slots__ = (
        "_begun", "_failed", "_fruitless", "_learnable", "_preamble", "_splitter", "_templates", "_text", "_text_at", "done", "finish_reason", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.usage = Usage()
        self.finish_reason = ""
        self._splitter = sse.Splitter()
        self._templates: list[Template] = []
        self._text = bytearray()  # the inside of a JSON string
        self._text_at = 0  # its length when a template was last learned
        self._fruitless = 0
        self._preamble = b""
        self._begun = self._learnable = False
        self.done = False
        self._failed: UpstreamError | None = None

    def feed(self, chunk: bytes) -> bytes:
        if self._splitter.idle:
            for template in self._templates:
                out = template.splice(chunk, self._text)
                if out is not None:
                    return out
        return self._slowly(chunk)

    def end(self) -> bytes:
        if self._failed is not None:
            raise self._failed
        out: list[bytes] = []
        self._take(self._splitter.end(), out)
        if not self.done:
            if not self._begun:
                self._nothing_came()
            out.append(self._close())
        return b"".join(out)

    def failure(self, error: NeuroRouteError) -> bytes:
        return sse.data(jsonbytes.dumps(error.openai()))

    def text(self) -> str:
        try:
            found = loads(b'"%b"' % bytes(self._text))
        except UpstreamBroken:
            return self._text.decode("utf-8", "replace")
        return found if isinstance(found, str) else ""

    def _slowly(self, chunk: bytes) -> bytes:
        """Any chunk: events of known kinds are spliced, the others and the pieces go through the splitter."""
        if self._failed is not None:
            raise self._failed
        if not self._begun and len(self._preamble) < _MOST_PREAMBLE_BYTES:
            self._preamble += chunk
            if self._preamble.lstrip()[:1] == b"<":
                raise UpstreamBroken("the provider sent a page where a stream was due")
        out: list[bytes] = []
        at = 0
        try:
            while at < len(chunk) and not self.done:
                if self._splitter.idle and self._templates:
                    at = self._splice_all(chunk, at, out)
                end = chunk.find(b"\n\n", at) + 2 if self._templates else len(chunk)
                end = end if end >= 2 else len(chunk)
                self._take(self._splitter.feed(chunk[at:end]), out)
                at = end
        except sse.EventTooLarge:
            self._fail(UpstreamBroken("the provider sent an event without end"), out)
        except UpstreamError as error:
            self._fail(error, out)
        return b"".join(out)

    def _splice_all(self, chunk: bytes, at: int, out: list[bytes]) -> int:
        """Splice what can be from `at` on; gives where it can not any more."""
        while True:
            end = chunk.find(b"\n\n", at) + 2
            if end < 2:
                return at
            event = chunk[at:end]
            for template in self._templates:
                spliced = template.splice(event, self._text)
                if spliced is not None:
                    out.append(spliced)
                    break
            else:
                return at
            at = end

    def _take(self, events: list[sse.Event], out: list[bytes]) -> None:
        for name, data in events:
            if self.done:
                break
            out.append(self._one(name, data))
        if self.done:
            self._templates.clear()

    def _fail(self, error: UpstreamError, out: list[bytes]) -> None:
        """Raises now if nothing came before the error, otherwise with the next call."""
        self._failed = error
        self._templates.clear()
        if not any(out):
            raise error

    def _one(self, name: bytes, data: bytes) -> bytes:
        if not data or data.isspace():  # how some servers keep a line alive
            return b""
        event = sse.named(name, data) if name else sse.data(data)
        for template in self._templates:
            out = template.splice(event, self._text)
            if out is not None:
                return out
        self._learnable = False
        at = len(self._text)
        out = self._event(name, data)
        if self._learnable:
            self._learn(event, out, at)
        return out

    def _learn(self, event: bytes, out: bytes, text_at: int) -> None:
        self._fruitless = 0 if text_at > self._text_at else self._fruitless + 1
        self._text_at = len(self._text)
        if self._fruitless > _FRUITLESS:
            self._templates.clear()
            return
        template = learn(event, out)
        if template is not None:
            self._templates.insert(0, template)
            del self._templates[_MOST_TEMPLATES:]

    def _nothing_came(self) -> None:
        """Raises for a stream without one event: empty, a page, or plain JSON."""
        start = self._preamble.strip()
        if start[:1] == b"{":
            body = loads(start)
            if isinstance(body, dict) and body.get("error"):
                raise embedded(body["error"])
            raise UpstreamBroken("the provider answered whole where a stream was due")
        raise UpstreamBroken("the provider sent an empty stream" if not start else "the provider sent a stream without events")

    def _event(self, name: bytes, data: bytes) -> bytes:
        raise NotImplementedError

    def _close(self) -> bytes:
        raise StreamCut("the provider's stream ended before the answer did")
