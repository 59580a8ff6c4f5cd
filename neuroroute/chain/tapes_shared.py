"""
Tapes in Redis: a small head, and beside it the events as one value that only grows.

Each time what is new is put behind what is there, and who reads along asks for what it has not seen: both cost what is new, not the whole. When
the tape forgot its beginning, or nobody knows what a failed command did, the value begins anew under the next number with what is held, so that
it is never larger than a tape.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from neuroroute.core import jsonbytes
from neuroroute.core.dataclass import dataclass, field
from neuroroute.store.kv import KV, KVAway

if TYPE_CHECKING:
    from neuroroute.chain.tapes import Tape

KEPT_S: Final = 600.0
_END: Final = b"\n\n"


@dataclass(frozen=True, slots=True)
class News:
    """What a tape has more than was read. The events follow the first `forgotten`."""

    user_id: str
    status: int
    headers: Mapping[str, str]
    done: bool
    broken: bool
    forgotten: int
    events: list[bytes] = field(default_factory=list)


class Copy:
    """The copy of one tape, for the process that writes it. sent_bytes: what all commands carried so far, heads aside."""

    def __init__(self, request_id: str, shared: KV) -> None:
        self._name, self._shared = _name(request_id), shared
        self._number = -1  # of the value that is written now; -1 = none yet
        self._base = self._sent = 0  # events: before the value's first, and before the first that it does not hold
        self._size = 0
        self.sent_bytes = 0

    async def write(self, tape: "Tape") -> bool:
        """Bring what is new. False: the store is away."""
        try:
            if self._number < 0 or tape.forgotten > self._base:
                await self._begin(tape)
            elif fresh := b"".join(tape.events[self._sent - tape.forgotten :]):
                self._sent, self.sent_bytes = tape.known, self.sent_bytes + len(fresh)
                self._size = await self._shared.append(_value(self._name, self._number), fresh, KEPT_S)
            head = [tape.user_id, tape.status, tape.headers, tape.done, tape.broken, self._base, self._number, self._size]
            await self._shared.set(self._name, jsonbytes.dumps(head), KEPT_S)
        except KVAway:
            self._base = -1  # nobody knows what it did: begin anew
            return False
        return True

    async def _begin(self, tape: "Tape") -> None:
        number, self._number = self._number, self._number + 1
        self._base, self._sent, body = tape.forgotten, tape.known, b"".join(tape.events)
        self._size, self.sent_bytes = len(body), self.sent_bytes + len(body)
        await self._shared.set(_value(self._name, self._number), body, KEPT_S)
        if number >= 0:
            await self._shared.delete(_value(self._name, number))


class Reading:
    """Another process's tape, read piece by piece."""

    def __init__(self, request_id: str, shared: KV) -> None:
        self._name, self._shared = _name(request_id), shared
        self._number, self._seen_bytes, self._seen = -1, 0, 0

    async def news(self) -> News | None:
        """What is there more than at the last time; None where there is no tape, or the store is away."""
        try:
            data = await self._shared.get(self._name)
            if data is None:
                return None
            user_id, status, headers, done, broken, base, number, size = jsonbytes.loads(data)
            if number != self._number:
                self._number, self._seen_bytes, self._seen = number, 0, base
            fresh = b""
            if size > self._seen_bytes:
                fresh = (await self._shared.get_from(_value(self._name, number), self._seen_bytes))[: size - self._seen_bytes]
                if not fresh:  # it began anew just now: the next head says so
                    return None
        except KVAway:
            return None
        first, events = self._seen, [event + _END for event in fresh.split(_END)]
        last = events.pop().removesuffix(_END)
        if last:
            events.append(last)
        self._seen_bytes, self._seen = self._seen_bytes + len(fresh), self._seen + len(events)
        return News(user_id, status, headers, done, broken, first, events)


def _name(request_id: str) -> str:
    return f"stream:{{{request_id[:64]}}}"


def _value(name: str, number: int) -> str:
    return f"{name}:{number}"
