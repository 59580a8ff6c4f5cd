"""
How many calls at once a target bears, learned from how it takes them.

A target has no bound of its own until it says that it is too much: it limits us, is busy, does not begin in time, begins its answers much later
than it used to, or takes much longer for whole ones than its usual time for so many tokens. Then the bound is a part of what ran, and grows by one for as many good answers as it holds, as long as it is in use. When
nothing was too much for a while it is gone. Who finds no place waits in a fair queue.

Additive increase, multiplicative decrease: of the known ways the one that needs no idea of the provider's own limit. Per worker, since each sees
the answers to its own calls. Without a bound a call costs two counts.
"""

from typing import Final

from neuroroute.limits.places import Places
from neuroroute.limits.queue import Queue
from neuroroute.limits.rate import Limiter

FLOOR: Final = 4
"""So few calls at once are not what is too much: a limit per minute, or a fault, is another's business (routing.health)."""
AFTER_REFUSAL: Final = 0.7
AFTER_SLOWNESS: Final = 0.9
LIFT_S: Final = 60.0
TIMES_SLOWER: Final = 2.5
SLOWER_MS: Final = 100.0
_USUAL: Final = 0.005  # of what is usual, the part of one answer: hundreds make it
_RECENT: Final = 0.1
_MOST_TIMES: Final = 4.0  # longer counts as so many times: one odd answer is no slow target, seven are
_SEEN: Final = 20
_BUSY: Final = 8
"""So many calls at once can be the reason of slow answers; fewer are not."""


class Pace:
    """
    How long whole answers take for their tokens: a line (so much for any, and so much for each token) through hundreds of them, by least squares
    that forget. Times are compared with what the line says of answers of their lengths, so that longer answers are no slower ones.
    """

    __slots__ = ("_ms", "_products", "_seen", "_squares", "_tokens", "expected_ms", "recent_ms")

    def __init__(self) -> None:
        self._seen = 0
        self._tokens = self._ms = self._squares = self._products = 0.0  # means, and the means of deviations' squares and products
        self.recent_ms = self.expected_ms = 0.0  # of the last answers: what they took, what the line says

    def usual_ms(self, tokens: int) -> float:
        slope = max(self._products / self._squares, 0.0) if self._squares > 1.0 else 0.0
        return max(self._ms + slope * (tokens - self._tokens), 0.0)

    def learn(self, ms: float, tokens: int) -> bool:
        """Whether the last answers, this one among them, took much longer than is usual."""
        expected_ms = self.usual_ms(tokens) if self._seen else ms
        self._seen += 1
        step = max(1.0 / self._seen, _USUAL)
        off_tokens, off_ms = tokens - self._tokens, ms - self._ms
        self._tokens += step * off_tokens
        self._ms += step * off_ms
        self._squares += step * ((1.0 - step) * off_tokens * off_tokens - self._squares)
        self._products += step * ((1.0 - step) * off_tokens * off_ms - self._products)
        recent = max(1.0 / self._seen, _RECENT)
        self.recent_ms += recent * (min(ms, _MOST_TIMES * expected_ms) - self.recent_ms)
        self.expected_ms += recent * (expected_ms - self.expected_ms)
        return self._seen >= _SEEN and is_slow(self.recent_ms, self.expected_ms)


def is_slow(recent_ms: float, usual_ms: float) -> bool:
    return recent_ms > TIMES_SLOWER * usual_ms and recent_ms > usual_ms + SLOWER_MS


class Throttle:
    """
    One target. places.most: its bound, 0 = any number. first_ms: the usual time to the first byte of streams; recent_ms: that of the last ones;
    pace: the same of whole answers.

    Times are monotonic seconds.
    """

    __slots__ = ("_bound", "_lowered_s", "_seen", "first_ms", "pace", "places", "queue", "recent_ms")

    def __init__(self, limiter: Limiter) -> None:
        self.places = Places()
        self.queue = Queue(limiter, (), self.places)
        self._bound = self._lowered_s = 0.0
        self._seen = 0
        self.first_ms = self.recent_ms = 0.0
        self.pace = Pace()

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self.places.most > 0 and (self.places.full or len(self.queue) > 0)

    def leave(self) -> None:
        """A call that began without a turn is over."""
        self.places.running -= 1
        self.queue.serve()

    def began(self, first_ms: float, now_s: float) -> None:
        """A streamed answer began `first_ms` after it was asked for."""
        self._seen += 1
        self.first_ms += max(1.0 / self._seen, _USUAL) * (first_ms - self.first_ms)
        self.recent_ms += max(1.0 / self._seen, _RECENT) * (first_ms - self.recent_ms)
        self._took(first_ms, self._seen >= _SEEN and is_slow(self.recent_ms, self.first_ms), now_s)

    def answered(self, took_ms: float, tokens: int, now_s: float) -> None:
        """A whole answer of so many tokens came; 0: nobody counted them, and its time tells nothing (a picture, a file)."""
        self._took(took_ms, tokens > 0 and self.pace.learn(took_ms, tokens), now_s)

    def _took(self, ms: float, slow: bool, now_s: float) -> None:
        if slow and self.places.running >= _BUSY:
            self._lower(now_s, now_s - ms / 1000.0, AFTER_SLOWNESS)
        elif self.places.most:
            self._raise(now_s)

    def refused(self, now_s: float, began_s: float) -> None:
        """It was too much for the target: 429, 503, 529, or nothing in time."""
        self._lower(now_s, began_s, AFTER_REFUSAL)

    def _lower(self, now_s: float, began_s: float, factor: float) -> None:
        running = self.places.running
        if running <= FLOOR or (self.places.most and began_s <= self._lowered_s):  # under way when it was lowered: that is no second sign
            return
        self._lowered_s = now_s
        self._bound = max(min(self._bound or running, running) * factor, FLOOR)
        self.places.most = int(self._bound)

    def _raise(self, now_s: float) -> None:
        if 2 * self.places.running >= self.places.most:
            self._bound += 1.0 / self._bound
        if now_s - self._lowered_s > LIFT_S:
            self._bound = 0.0
        self.places.most = int(self._bound)
        self.queue.serve()


class Throttles:
    """Those of all targets, by `Target.name`."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._known: dict[str, Throttle] = {}

    def of(self, target: str) -> Throttle:
        known = self._known.get(target)
        if known is None:
            known = self._known[target] = Throttle(self._limiter)
        return known

    def keep(self, targets: frozenset[str]) -> None:
        """Forget targets that the catalogue no longer has."""
        for name in [name for name in self._known if name not in targets]:
            del self._known[name]

    def bounds(self) -> dict[str, int]:
        """Calls at once of every target that has a bound at present."""
        return {name: throttle.places.most for name, throttle in list(self._known.items()) if throttle.places.most}

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        found: list[tuple[str, tuple[str, ...], float]] = []
        for name, throttle in list(self._known.items()):
            found.append(("neuroroute_target_running", (name,), throttle.places.running))
            if throttle.places.most:
                found.append(("neuroroute_target_bound", (name,), throttle.places.most))
                found.append(("neuroroute_target_waiting", (name,), len(throttle.queue)))
        return found
