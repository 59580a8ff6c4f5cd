"""
One process's share of a limit that several processes have in common.

While the common store answers, a share is a lease: units that are already counted there and may be spent here until the lease ends. While the
store is away it is a part of the limit: at first what this process had used and an equal part of what was free at the last contact, so that all
parts together are the limit; later, slowly, an equal part of the whole.
"""

from typing import Final

from neuroroute.limits.window import Run, SlidingWindow

RAMP_WINDOWS: Final = 8.0
"""Windows of time over which an outage levels the parts: at most an eighth of the limit per window."""

STRANGERS_PART: Final = 0.125
"""Of the limit, for the processes that did not know a counter when the store went away. With RAMP_WINDOWS: no window holds more than 1.25x."""

LEASE_OF_WINDOW: Final = 0.1
LEASE_MAX_S: Final = 6.0
LEASE_MIN_S: Final = 0.05


class Share:
    """
    The state of one counter in one process. Times are monotonic seconds.

    left: units of the lease that may still be spent. granted: units that the store holds for us in `bucket`. spent: units spent and not told yet
    (negative: estimated too high and told). need, one: the units that callers wait for, and the least that helps one of them.
    """

    __slots__ = (
        "asked", "base", "bucket", "expires_s", "fetched_s", "granted", "lease_s", "left", "limit", "low", "need", "one", "own",
        "refused_amount", "refused_until_s", "retry_at_s", "room", "seen_s", "spent",
    )  # fmt: skip

    def __init__(self, window_s: float, limit: int) -> None:
        self.own = SlidingWindow(window_s, limit)  # all that this process let in
        self.limit = limit
        self.lease_s = min(max(window_s * LEASE_OF_WINDOW, LEASE_MIN_S), LEASE_MAX_S)
        self.left = self.granted = self.spent = self.bucket = self.need = 0
        self.one = 1
        self.low = -1  # at so many units a new lease is fetched ahead; -1 = not
        self.asked = False
        self.expires_s = self.fetched_s = 0.0
        self.room = limit  # units free for all, at the last contact
        self.refused_amount = 0
        self.refused_until_s = self.retry_at_s = 0.0
        self.seen_s: float | None = None  # the last contact
        self.base = 0.0  # our part then

    def spend(self, now_s: float, amount: int) -> Run:
        """Spend from the lease, or from our part while the store is away."""
        self.left = self.left - amount if self.left > amount else 0
        self.spent += amount
        self.own.advance(now_s)
        return self.own.add(now_s, amount)

    def correct(self, run: Run, difference: int, now_s: float) -> None:
        """Replace an estimate that was spent in `run`: `difference` units more, or less, were used."""
        self.own.correct(run, difference, now_s)
        self.spent += difference
        self.left = max(self.left - difference, 0)

    def part(self, now_s: float, holders: int, contact_s: float | None) -> float:
        """
        The most that our own window may hold while the store is away; at least 1. contact_s: when the store answered us last, about any counter.

        A counter that we did not know then may have been spent elsewhere: it begins with an eighth of the limit for all who did not know it.
        """
        fair = self.limit / holders
        if self.seen_s is not None:
            base, since_s = self.base, self.seen_s
        elif contact_s is not None and holders > 1:
            base, since_s = min(self.limit * STRANGERS_PART / (holders - 1), fair), contact_s
        else:
            return max(fair, 1.0)
        late = (now_s - since_s) / self.own.window_s - 1.0
        level = min(max(late / RAMP_WINDOWS, 0.0), 1.0)
        return max(base + (fair - base) * level, 1.0)

    def met(self, now_s: float, holders: int, used: int) -> None:
        """The store answered: `used` units are in the window, leases included."""
        self.room = max(self.limit - used, 0)
        self.seen_s = now_s
        self.base = self.own.advance(now_s) + self.left + self.room / holders

    @property
    def is_idle(self) -> bool:
        """Nothing is held, spent, or waited for."""
        return not (self.own.runs or self.granted or self.spent or self.asked)
