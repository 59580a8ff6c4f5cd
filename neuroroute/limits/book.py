"""
The common store of limits without Redis: what `lease.lua` does, in one process's memory.

Its calls and answers are those of the script, which holds the explanations; both run under one test suite.
"""

from collections.abc import Sequence
from typing import Final

PER_COUNTER: Final = 10
_SWEEP_EVERY_MS: Final = 10_000


class _Counter:
    """Units by bucket of time. risked: granted while recovering."""

    __slots__ = ("buckets", "ends_ms", "oldest", "risked", "used")

    def __init__(self, oldest: int) -> None:
        self.buckets: dict[int, int] = {}
        self.oldest = oldest
        self.used = self.risked = 0
        self.ends_ms = 0

    def add(self, bucket: int, units: int) -> None:
        self.buckets[bucket] = self.buckets.get(bucket, 0) + units
        self.used += units

    def take(self, bucket: int, most: int) -> int:
        part = min(self.buckets.get(bucket, 0), most)
        if part > 0:
            self.add(bucket, -part)
        return part

    def expire(self, edge: int) -> None:
        while self.oldest <= edge:
            self.used -= self.buckets.pop(self.oldest, 0)
            self.oldest += 1

    def give_back(self, newest: int, units: int) -> None:
        for bucket in range(newest, self.oldest - 1, -1):
            units -= self.take(bucket, units)
            if units <= 0:
                return


class LeaseBook:
    """All counters of a machine. Times in Unix milliseconds."""

    def __init__(self) -> None:
        self._marker = self._recover_ms = 0
        self._holders: dict[str, int] = {}
        self._counters: dict[str, _Counter] = {}
        self._sweep_at_ms = 0

    def __len__(self) -> int:
        return len(self._counters)

    def answer(self, names: Sequence[str], args: Sequence[str | int], now_ms: int) -> list[int]:
        """What the script gives for its KEYS (without the first two) and ARGV."""
        holder, known, ttl_ms, recovery_ms = str(args[0]), int(args[1]), int(args[2]), int(args[3])
        if not self._marker:
            self._marker = now_ms
            self._recover_ms = now_ms + recovery_ms if known else 0
        self._holders[holder] = now_ms
        self._holders = {name: at_ms for name, at_ms in self._holders.items() if at_ms > now_ms - ttl_ms}
        if now_ms >= self._sweep_at_ms:
            self._sweep_at_ms = now_ms + _SWEEP_EVERY_MS
            self._counters = {name: counter for name, counter in self._counters.items() if counter.ends_ms > now_ms}
        out = [self._marker, len(self._holders)]
        for place, name in enumerate(names):
            at = 4 + place * PER_COUNTER
            out += self._one(name, [int(arg) for arg in args[at : at + PER_COUNTER]], now_ms)
        return out

    def _one(self, name: str, numbers: Sequence[int], now_ms: int) -> tuple[int, int, int, int]:
        limit, window, lease, was, held, spent, keep, need, one, want = numbers
        grain = max(1, window // 100)
        this, till, edge = now_ms // grain, (now_ms + lease) // grain, (now_ms - window) // grain - 1
        counter = self._counters.get(name)
        if counter is None or counter.ends_ms <= now_ms:
            counter = self._counters[name] = _Counter(this)
        counter.expire(edge)
        counter.take(was, held)
        if spent > 0:
            counter.add(this, spent)
        elif spent < 0:
            counter.give_back(this, -spent)
        used, recovering = counter.used + keep, now_ms < self._recover_ms
        room = limit - used
        if recovering:
            room = min(room, max(limit // 4, 1) - counter.risked)
        extra, pause = max(min(want, room // len(self._holders)), 0), 0
        if room >= need:
            extra = max(need, extra)
        elif room >= one:
            extra = room
        else:
            extra = 0
        if used + extra + one > limit:
            pause = _wait(counter, used + extra + one - limit, grain, window, now_ms)
        elif extra < need:
            pause = max(self._recover_ms - now_ms, 1)
        if keep + extra > 0:
            counter.add(till, keep + extra)
        if recovering:
            counter.risked += extra
        counter.ends_ms = now_ms + window + lease + 2 * grain
        return till, extra, counter.used, pause

    def as_data(self) -> dict[str, object]:
        """For JSON, so that another process can go on with it."""
        counters = [[name, c.oldest, c.ends_ms, c.risked, list(c.buckets.items())] for name, c in self._counters.items()]
        return {"marker": self._marker, "recover_ms": self._recover_ms, "holders": self._holders, "counters": counters}

    @classmethod
    def of(cls, data: dict[str, object]) -> "LeaseBook":
        """What `as_data` gave. Raises KeyError, TypeError, ValueError on anything else."""
        made = cls()
        made._marker, made._recover_ms = int(data["marker"]), int(data["recover_ms"])  # type: ignore[call-overload]
        made._holders = {str(name): int(at_ms) for name, at_ms in data["holders"].items()}  # type: ignore[attr-defined]
        for name, oldest, ends_ms, risked, buckets in data["counters"]:  # type: ignore[attr-defined]
            counter = made._counters[name] = _Counter(oldest)
            counter.ends_ms, counter.risked = ends_ms, risked
            for bucket, units in buckets:
                counter.add(bucket, units)
        return made


def _wait(counter: _Counter, excess: int, grain: int, window: int, now_ms: int) -> int:
    for bucket, units in sorted(counter.buckets.items()):
        excess -= units
        if excess <= 0:
            return max((bucket + 1) * grain + window - now_ms, 1)
    return window
