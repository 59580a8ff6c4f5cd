"""
Which targets work, and how fast: breakers, live latency and the retry budget of one worker. All O(1), no I/O, no clock: times come in.

A breaker opens after `failures` in a row, or as many within about a minute if they are half of the calls. While it is open the target is
refused at once; after `open_s` (doubled at each failed probe, at most MAX_OPEN_S) one probe at a time may try. The first good byte of the
probe closes it; a probe that ends without a verdict (its client left) only frees the place.

What counts: no connection, timeouts, 5xx, answers that make no sense, cut streams. What does not: 4xx, 429, clients that leave. A target
that limits us, refuses our credentials or lost the model is *avoided* for a while: still allowed, but behind all others.

A target that fails more often than its peers do, or got slower than it was while they did not, is *ejected* in the same way (`eject`, every few
seconds): for longer each time, and never more than half of the targets at once.
"""

import enum
import math
from statistics import median
from typing import Final

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import (
    ConnectFailed,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamLimited,
    UpstreamModelGone,
    UpstreamTimeout,
)

MAX_OPEN_S: Final = 300.0
_FADE_S: Final = 45.0  # time constant of the failure window: a failure counts 1/e after this
_AVOID_S: Final = 5.0  # after a 429 without Retry-After
_AVOID_MAX_S: Final = 120.0
EJECT_S: Final = 30.0  # the first time; Envoy's default
EJECT_MAX_S: Final = 300.0
EJECT_SHARE: Final = 0.5
_PEERS_CALLS: Final = 10.0  # fading calls that a target is judged by
_RATE_MORE: Final = 0.2  # of its calls fail, more than of its peers'
_TIMES_SLOWER: Final = 2.5  # than it was, and than its peers got
_SLOWER_MS: Final = 100.0
_SEEN: Final = 20
_FAULTS: Final = (ConnectFailed, UpstreamTimeout, UpstreamBusy, UpstreamBroken, StreamCut)


class State(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """One target, for pages and metrics. Latencies are None until measured."""

    target: str
    state: State
    consecutive_failures: int
    retry_after_s: float
    avoided_s: float
    ejected_s: float
    ttft_ms: float | None
    ttft_p95_ms: float | None
    tokens_per_s: float | None
    answers: int


@dataclass(slots=True)
class Latency:
    """
    Live latency of one target: moving averages, and running estimates of the 95th percentiles of the time to the first token, and of whole answers'.

    usual_ms: the time to the first token over hundreds of answers.
    """

    ttft_ms: float = 0.0
    usual_ms: float = 0.0
    ttft_p95_ms: float = 0.0
    tokens_per_s: float = 0.0
    seen: int = 0
    paced: int = 0
    _spread: float = 0.0
    wholes: int = 0
    whole_ms: float = 0.0
    whole_p95_ms: float = 0.0
    _whole_spread: float = 0.0

    def first_token(self, ttft_ms: float) -> None:
        self.seen += 1
        step = max(1.0 / self.seen, 0.1)
        self._spread += step * (abs(ttft_ms - self.ttft_ms) - self._spread)
        self.ttft_ms += step * (ttft_ms - self.ttft_ms)
        self.usual_ms += max(1.0 / self.seen, 0.005) * (ttft_ms - self.usual_ms)
        if self.seen == 1:
            self.ttft_p95_ms, self._spread = ttft_ms, ttft_ms / 2
            return
        self.ttft_p95_ms = _p95(self.ttft_p95_ms, ttft_ms, self._spread, self.seen)

    def whole(self, took_ms: float) -> None:
        """An answer in one piece, and the time until it was there."""
        self.wholes += 1
        step = max(1.0 / self.wholes, 0.1)
        self._whole_spread += step * (abs(took_ms - self.whole_ms) - self._whole_spread)
        self.whole_ms += step * (took_ms - self.whole_ms)
        if self.wholes == 1:
            self.whole_p95_ms, self._whole_spread = took_ms, took_ms / 2
            return
        self.whole_p95_ms = _p95(self.whole_p95_ms, took_ms, self._whole_spread, self.wholes)

    def pace(self, tokens: int, seconds: float) -> None:
        """Tokens after the first and the time they took."""
        if tokens < 8 or seconds <= 0.0:  # too short to say anything
            return
        self.paced += 1
        self.tokens_per_s += max(1.0 / self.paced, 0.1) * (tokens / seconds - self.tokens_per_s)


def _p95(known_ms: float, ms: float, spread: float, seen: int) -> float:
    """Stochastic quantile: up 19 times as far as down, so it rests where 1 of 20 lies above."""
    stride = max(spread, 1.0) * max(2.0 / seen, 0.1)
    return max(known_ms + (stride * 0.95 if ms > known_ms else -stride * 0.05), 0.0)


@dataclass(slots=True)
class _Breaker:
    name: str
    failures: int
    open_s: float
    avoid: list[float]
    shut: set[str]
    latency: Latency = field(default_factory=Latency)
    state: State = State.CLOSED
    epoch: int = 0  # results of attempts that began in an earlier epoch say nothing about this one
    consecutive: int = 0
    faults: float = 0.0  # fading counts
    calls: float = 0.0
    faded_at_s: float = 0.0
    opened: int = 0  # how often in a row, for the growth of the pause
    retry_at_s: float = 0.0
    probe: "Attempt | None" = None
    avoid_until_s: float = 0.0
    ejected_until_s: float = 0.0
    ejected: int = 0  # how often of late, for the growth of the pause

    def refused_s(self, now_s: float) -> float:
        """How long a caller should wait; 0 if it may try now."""
        if self.state is State.CLOSED:
            return 0.0
        if self.probe is not None:
            return 1.0
        return max(self.retry_at_s - now_s, 0.0)

    def count(self, now_s: float, fault: float) -> None:
        fade = math.exp(-max(now_s - self.faded_at_s, 0.0) / _FADE_S)
        self.faded_at_s = now_s
        self.faults = self.faults * fade + fault
        self.calls = self.calls * fade + 1.0

    def is_judged(self, now_s: float) -> bool:
        """Whether it was asked often enough, of late, to be compared with others."""
        return self.calls * math.exp(-max(now_s - self.faded_at_s, 0.0) / _FADE_S) >= _PEERS_CALLS

    @property
    def slowness(self) -> float:
        """How many times slower it is than it was."""
        live = self.latency
        return live.ttft_ms / live.usual_ms if live.seen >= _SEEN and live.ttft_ms > live.usual_ms + _SLOWER_MS else 1.0

    def eject(self, now_s: float) -> None:
        """What is known of it is forgotten: when the pause is over, new calls tell."""
        self.ejected += 1
        self.ejected_until_s = now_s + min(EJECT_S * self.ejected, EJECT_MAX_S)
        self.avoid[0] = max(self.avoid[0], self.ejected_until_s)
        self.faults = self.calls = 0.0
        self.latency.ttft_ms = self.latency.usual_ms

    def fail(self, now_s: float) -> None:
        self.count(now_s, 1.0)
        self.consecutive += 1
        often = self.faults >= self.failures - 0.5 and self.faults >= 0.5 * self.calls
        if self.state is State.HALF_OPEN or self.consecutive >= self.failures or often:
            self.opened += 1
            self.state = State.OPEN
            self.shut.add(self.name)
            self.epoch += 1
            self.probe = None
            self.retry_at_s = now_s + min(self.open_s * 2.0 ** min(self.opened - 1, 30), MAX_OPEN_S)

    def succeed(self, now_s: float) -> None:
        self.count(now_s, 0.0)
        self.consecutive = 0
        self.avoid_until_s = 0.0
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.shut.discard(self.name)
            self.epoch += 1
            self.probe = None
            self.opened = 0
            self.faults = self.calls = 0.0


@dataclass(slots=True, eq=False)
class Attempt:
    """
    One try of one target, from `Health.admit` to exactly one verdict; a second verdict changes nothing.

    first_byte -> succeeded | failed | abandoned. Call `abandoned` in a `finally`: after another verdict it does nothing.
    """

    _breaker: _Breaker
    _epoch: int
    _sent_at_s: float
    _first_at_s: float = 0.0
    _settled: bool = False

    @property
    def is_probe(self) -> bool:
        return self._breaker.probe is self

    def first_byte(self, now_s: float) -> None:
        """The first good bytes of an answer came: the target works, whatever becomes of the rest."""
        if self._first_at_s or self._settled:
            return
        self._first_at_s = now_s
        self._breaker.latency.first_token((now_s - self._sent_at_s) * 1000.0)
        if self.is_probe:
            self._breaker.succeed(now_s)
            self._epoch = self._breaker.epoch

    def succeeded(self, now_s: float, output_tokens: int = 0, whole: bool = False) -> None:
        """The answer is complete. `whole`: it came in one piece, so its time tells nothing of the first token."""
        if self._settled:
            return
        if whole:
            self._breaker.latency.whole((now_s - self._sent_at_s) * 1000.0)
            self._breaker.latency.pace(output_tokens, now_s - self._sent_at_s)
        else:
            self.first_byte(now_s)
            self._breaker.latency.pace(output_tokens - 1, now_s - self._first_at_s)
        if self._current():
            self._breaker.succeed(now_s)
        self._settle()

    def failed(self, error: Exception, now_s: float) -> None:
        """It ended in this error. Only faults of the target count; the others leave the breaker as it is."""
        if self._settled:
            return
        breaker = self._breaker
        if isinstance(error, _FAULTS):
            if self._current():
                breaker.fail(now_s)
        elif isinstance(error, (UpstreamLimited, UpstreamDenied, UpstreamModelGone)):
            pause = _AVOID_S if isinstance(error, UpstreamLimited) else _AVOID_MAX_S / 2
            if error.retry_after_s is not None:
                pause = error.retry_after_s
            breaker.avoid_until_s = max(breaker.avoid_until_s, now_s + min(max(pause, 0.0), _AVOID_MAX_S))
            breaker.avoid[0] = max(breaker.avoid[0], breaker.avoid_until_s)
        self._settle()

    def abandoned(self) -> None:
        """It ended without a verdict: the client left, or the worker goes."""
        self._settle()

    def _current(self) -> bool:
        return self._epoch == self._breaker.epoch

    def _settle(self) -> None:
        self._settled = True
        if self._breaker.probe is self:
            self._breaker.probe = None
            if self._breaker.state is State.HALF_OPEN:
                self._breaker.state = State.OPEN  # the next caller may probe at once: retry_at_s has passed


class Health:
    """
    All targets of one worker, by `Target.name`.

    failures: faults that open a breaker. open_s: the first pause of an open one. shut: the targets whose breaker is not closed; latencies: of
    all that were tried: what a decision looks at for every model.
    """

    def __init__(self, failures: int = 5, open_s: float = 10.0) -> None:
        self._failures, self._open_s = max(failures, 1), open_s
        self._breakers: dict[str, _Breaker] = {}
        self._avoid = [0.0]  # the latest end of any pause, shared with the breakers
        self.shut: set[str] = set()  # they write it
        self.latencies: dict[str, Latency] = {}

    def refused_s(self, target: str, now_s: float) -> float:
        """Seconds until the target may be tried; 0 = now. A look, nothing is reserved."""
        breaker = self._breakers.get(target) if target in self.shut else None
        return 0.0 if breaker is None else breaker.refused_s(now_s)

    def avoids(self, now_s: float) -> bool:
        """Whether any target at all is avoided at present."""
        return self._avoid[0] > now_s

    def avoided(self, target: str, now_s: float) -> bool:
        """It limited or refused us a short while ago: better ask another one first."""
        breaker = self._breakers.get(target)
        return breaker is not None and (breaker.avoid_until_s > now_s or breaker.ejected_until_s > now_s)

    def eject(self, now_s: float) -> None:
        """Compare the targets that were asked of late, and put those last for a while that do much worse than the others."""
        judged = []
        for breaker in self._breakers.values():
            if breaker.ejected and now_s > breaker.ejected_until_s + EJECT_S * breaker.ejected:
                breaker.ejected -= 1
            if breaker.state is State.CLOSED and breaker.is_judged(now_s):
                judged.append((breaker.faults / breaker.calls, breaker.slowness, breaker))
        out = sum(breaker.ejected_until_s > now_s for breaker in self._breakers.values())
        for rate, slowness, breaker in sorted(judged, key=lambda one: (one[0], one[1]), reverse=True):
            others = [one for one in judged if one[2] is not breaker]
            if not others or out + 1 > EJECT_SHARE * len(self._breakers):
                return
            usual_rate, usual_slowness = median([one[0] for one in others]), median([one[1] for one in others])
            if breaker.ejected_until_s <= now_s and (rate > usual_rate + _RATE_MORE or slowness > _TIMES_SLOWER * usual_slowness):
                breaker.eject(now_s)
                out += 1

    def latency(self, target: str) -> Latency | None:
        """Live figures; None before the first answer."""
        breaker = self._breakers.get(target)
        return breaker.latency if breaker is not None and (breaker.latency.seen or breaker.latency.paced) else None

    def admit(self, target: str, now_s: float) -> Attempt:
        """
        Begin one try of a target.

        Raises: Unavailable with retry_after_s if its breaker is open, or another caller is probing it.
        """
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._breakers[target] = _Breaker(target, self._failures, self._open_s, self._avoid, self.shut, faded_at_s=now_s)
            self.latencies[target] = breaker.latency
        if breaker.state is State.CLOSED:
            return Attempt(breaker, breaker.epoch, now_s)
        wait_s = breaker.refused_s(now_s)
        if wait_s > 0.0:
            raise Unavailable(f"{target} does not answer at present", retry_after_s=wait_s)
        breaker.state = State.HALF_OPEN
        breaker.probe = Attempt(breaker, breaker.epoch, now_s)
        return breaker.probe

    def keep(self, targets: frozenset[str]) -> None:
        """Forget targets that the catalogue no longer has."""
        for name in [name for name in self._breakers if name not in targets]:
            self._breakers.pop(name).shut = set()  # an attempt that still runs tells it, and nobody else
            del self.latencies[name]
            self.shut.discard(name)

    def snapshot(self, now_s: float) -> tuple[TargetHealth, ...]:
        """Every target that was tried, by name."""
        return tuple(self.look(name, now_s) for name in sorted(self._breakers))

    def look(self, target: str, now_s: float) -> TargetHealth:
        """One target; one that was never tried is closed and unmeasured."""
        breaker = self._breakers.get(target) or _Breaker(target, self._failures, self._open_s, self._avoid, self.shut)
        live = breaker.latency
        return TargetHealth(
            target,
            breaker.state,
            breaker.consecutive,
            breaker.refused_s(now_s),
            max(breaker.avoid_until_s - now_s, 0.0),
            max(breaker.ejected_until_s - now_s, 0.0),
            live.ttft_ms if live.seen else None,
            live.ttft_p95_ms if live.seen else None,
            live.tokens_per_s if live.paced else None,
            max(live.seen, live.paced),
        )


class RetryBudget:
    """
    Extra attempts as a share of the calls of the last seconds; at least `floor` are always allowed in a window.

    Keeps retries from doubling the load of a provider that is already down. A ring of ten slices, O(1). amount: what is counted, where it is not calls.
    """

    def __init__(self, share: float = 0.2, window_s: float = 10.0, floor: int = 1) -> None:
        self._share, self._floor = share, floor
        self._slice_s = window_s / 10
        self._calls = [0] * 10
        self._extras = [0] * 10
        self._slice = 0
        self._call_sum = self._extra_sum = 0

    def call(self, now_s: float, amount: int = 1) -> None:
        """A call came in."""
        place = self._turn(now_s)
        self._calls[place] += amount
        self._call_sum += amount

    def take(self, now_s: float, amount: int = 1) -> bool:
        """True, and counted, if one more attempt is within the budget."""
        place = self._turn(now_s)
        if self._extra_sum + amount > max(self._share * self._call_sum, self._floor):
            return False
        self._extras[place] += amount
        self._extra_sum += amount
        return True

    def _turn(self, now_s: float) -> int:
        """Empty the slices that time has passed over; the place of the present one."""
        now = int(now_s / self._slice_s)
        for step in range(max(self._slice + 1, now - 9), now + 1):
            place = step % 10
            self._call_sum -= self._calls[place]
            self._extra_sum -= self._extras[place]
            self._calls[place] = self._extras[place] = 0
        self._slice = max(self._slice, now)
        return self._slice % 10
