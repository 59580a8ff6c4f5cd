"""
Server-sent events: an incremental reader that takes bytes as the network cuts them, and the few ways to write one.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (2026-11); beyond it, an event whose last blank line is missing still counts.
"""

from typing import Final

MAX_EVENT_BYTES: Final = 64 << 20  # guess: four times the largest image event seen; beyond it the sender is broken or hostile
DONE: Final = b"data: [DONE]\n\n"
_BOM: Final = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]
"""(name, data): the `event:` field or b"", and the `data:` lines joined by LF."""


class EventTooLarge(ValueError):
    """One event is larger than MAX_EVENT_BYTES."""


class Splitter:
    """Turns chunks into events. Each byte is looked at a bounded number of times, however long a line is and wherever it is cut."""

    __slots__ = ("_data", "_held_bytes", "_line", "_name", "_skip_lf", "_started", "idle")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of the line that has no end yet
        self._data: list[bytes] = []
        self._name = b""
        self._held_bytes = 0
        self._skip_lf = False  # the last chunk ended in CR: an LF that comes next belongs to it
        self._started = False
        self.idle = True  # nothing is held: the next byte begins an event

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes. Raises EventTooLarge."""
        if not chunk:
            return []
        if not self._started:
            chunk = self._without_bom(chunk)
        if self._skip_lf:
            self._skip_lf = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._skip_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._held_bytes += len(chunk)
        if b"\n" not in chunk:
            if chunk:
                self._line.append(chunk)
                self.idle = False
            if self._held_bytes > MAX_EVENT_BYTES:
                raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes")
            return []
        first, *rest = chunk.split(b"\n")
        self._line.append(first)
        rest.insert(0, b"".join(self._line))
        last = rest.pop()
        self._line = [last] if last else []
        events: list[Event] = []
        for line in rest:
            self._take(line, events)
        if self._held_bytes > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes")
        self.idle = not (self._line or self._data or self._name or self._skip_lf)
        return events

    def end(self) -> list[Event]:
        """What the closed line leaves: an event whose final newlines never came."""
        events: list[Event] = []
        if self._line:
            self._take(b"".join(self._line), events)
            self._line = []
        self._take(b"", events)
        self.idle = True
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        chunk = b"".join((*self._line, chunk))
        self._line = []
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._held_bytes -= len(chunk)
            self._line, self.idle = [chunk], False
            return b""
        self._started = True
        return chunk.removeprefix(_BOM)

    def _take(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                events.append((self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                self._data = []
            self._name = b""
            self._held_bytes = sum(map(len, self._line))
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._name = line[7:] if line[6:7] == b" " else line[6:]
        elif line == b"data":
            self._data.append(b"")


def data(payload: bytes) -> bytes:
    """One event without a name, as OpenAI's chat streams have it. `payload` is JSON: a raw newline in it is white space, so it may go."""
    return b"data: " + (payload if b"\n" not in payload else payload.replace(b"\n", b" ")) + b"\n\n"


def named(name: bytes, payload: bytes) -> bytes:
    """One event with its name, as Anthropic's streams and OpenAI's responses have it."""
    return b"event: " + name + b"\n" + data(payload)
