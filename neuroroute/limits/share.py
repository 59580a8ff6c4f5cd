"""
One process's share of a limit that several processes have in common.

While the common store answers, a share is a lease: units that are already counted there and may be spent here until the lease ends. While the
store is away it is a part of the limit: at first what this process had used and an equal part of what was free at the last contact, so that all
parts together are the limit; later, slowly, an equal part of the whole. While it is only late, others may still be served, and what was free is
being taken: the part is a cautious one then. Whatever is spent beyond the lease the store is told, and it counts it whether there is room or not.
"""

from typing import Final

from neuroroute.limits.window import Run, SlidingWindow

RAMP_WINDOWS: Final = 8.0
"""Windows of time over which an outage levels the parts: at most an eighth of the limit per window."""

STRANGERS_PART: Final = 0.125
"""Of the limit, for the processes that did not know a counter when the store went away. With RAMP_WINDOWS: no window holds more than 1.25x."""

DOUBT_PART: Final = 0.03
"""
Of the limit, what one process may spend beyond its lease while an answer is late. More keeps limits less well when the store is slow at the start
of a burst (measured over relays that delay answers by 0.1 s: 1 % at most too much with 0.01, 4 % with 0.15); less refuses more calls in the
ANSWER_S in which nobody knows whether the store is slow or hangs.
"""

PACE_S: Final = 0.25
"""The least time over which it is measured how fast all processes use a limit up."""

LEASE_OF_WINDOW: Final = 0.1
LEASE_MAX_S: Final = 6.0
LEASE_MIN_S: Final = 0.05


class Share:
    """
    The state of one counter in one process. Times are monotonic seconds.

    left: units of the lease that may still be spent; negative: spent beyond it since the last question to the store.
    owing: spent beyond it before that question, as long as it is not answered. granted: units that the store holds for us in `bucket`. spent: units spent and not told yet
    (negative: estimated too high and told). need, one: the units that callers wait for, and the least that helps one of them.
    """

    __slots__ = (
        "_pace", "_paced_s", "_paced_used", "asked", "bucket", "expires_s", "fetched_s", "firm", "granted", "lease_s", "left", "limit", "low",
        "need", "one", "owing", "own", "refused_amount", "refused_until_s", "retry_at_s", "room", "seen_s", "spent",
    )  # fmt: skip

    def __init__(self, window_s: float, limit: int) -> None:
        self.own = SlidingWindow(window_s, limit)  # all that this process let in
        self.limit = limit
        self.lease_s = min(max(window_s * LEASE_OF_WINDOW, LEASE_MIN_S), LEASE_MAX_S)
        self.left = self.granted = self.spent = self.bucket = self.need = self.owing = 0
        self.one = 1
        self.low = -1  # at so many units a new lease is fetched ahead; -1 = not
        self.asked = False
        self.expires_s = self.fetched_s = 0.0
        self.room = limit  # units free for all, at the last contact
        self.refused_amount = 0
        self.refused_until_s = self.retry_at_s = 0.0
        self.seen_s: float | None = None  # the last contact
        self.firm = 0.0  # what we had used and held then
        self._pace = self._paced_s = 0.0  # units per second that all use; measured since
        self._paced_used = 0

    def spend(self, now_s: float, amount: int) -> Run:
        """Spend from the lease, or from our part while the store is late or away."""
        self.left -= amount
        self.spent += amount
        self.own.advance(now_s)
        return self.own.add(now_s, amount)

    def correct(self, run: Run, difference: int, now_s: float) -> None:
        """Replace an estimate that was spent in `run`: `difference` units more, or less, were used."""
        self.own.correct(run, difference, now_s)
        self.spent += difference
        self.left -= difference

    def part(self, now_s: float, holders: int, contact_s: float | None) -> float:
        """
        The most that our own window may hold while the store is away; at least 1. contact_s: when the store answered us last, about any counter.

        A counter that we did not know then may have been spent elsewhere: it begins with an eighth of the limit for all who did not know it.
        """
        fair = self.limit / holders
        if self.seen_s is not None:
            base, since_s = self.firm + self.room / holders, self.seen_s
        elif contact_s is not None and holders > 1:
            base, since_s = min(self.limit * STRANGERS_PART / (holders - 1), fair), contact_s
        else:
            return max(fair, 1.0)
        late = (now_s - since_s) / self.own.window_s - 1.0
        level = min(max(late / RAMP_WINDOWS, 0.0), 1.0)
        return max(base + (fair - base) * level, 1.0)

    def cautious(self, now_s: float, holders: int) -> float:
        """
        What may be spent now while an answer is late: what is left of the lease, and something beyond.

        Others may be answered meanwhile, and each may ask for twice as much as we do: with that, and with what all used up since the last contact
        at the pace before, it must fit into what was free. A burst that nobody foresaw is why it is a small part of the limit, too.
        """
        left = (self.left if now_s < self.expires_s else min(self.left, 0)) - self.owing
        free = self.room - (self._pace * (now_s - self.seen_s) if self.seen_s is not None else 0.0)
        if holders == 1:
            return left + max(free, 0.0)
        beyond = min(free / (2 * holders - 1), self.limit * DOUBT_PART)
        return left + max(beyond, min(free / holders, 1.0), 0.0)

    def met(self, now_s: float, used: int) -> None:
        """The store answered: `used` units are in the window, leases included."""
        self.room = max(self.limit - used, 0)
        self.firm = self.own.advance(now_s) + self.left
        self.seen_s = now_s
        since_s = now_s - self._paced_s
        # How fast units are taken: by how many more are used, and where as many leave the window, by how many are used in one.
        pace = max((used - self._paced_used) / max(since_s, PACE_S), used / self.own.window_s)
        if since_s >= PACE_S:
            self._pace, self._paced_s, self._paced_used = pace, now_s, used
        else:
            self._pace = max(self._pace, pace)

    @property
    def is_idle(self) -> bool:
        """Nothing is held, spent, or waited for."""
        return not (self.own.runs or self.granted or self.spent or self.asked)
