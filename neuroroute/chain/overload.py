"""
Overload: what a worker can not do in time it refuses at once, and says when to come again.

Two signs. The loop's lag, how much later than asked a short sleep ends, is what every call here waits for at each of its steps: while it is above
its bound a growing share of new calls is refused, a shrinking one after it. And more calls than `most` are not begun at all. Who goes first:
calls that run are never touched; keys with the tag `priority=high` are refused last, those with `priority=low` first. /health and /metrics
never come here.
"""

import asyncio
from typing import Final

from neuroroute.chain.call import Call
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import Unavailable

TICK_S: Final = 0.05
HIGH_ROOM: Final = 1.25
"""So many times `most` calls of high priority may run."""
_SMOOTH: Final = 0.2  # of the lag: one long pause of the machine is no overload
_UP: Final = 0.05
_DOWN: Final = 0.01
_FIRST_SHED_AT: Final = {"low": 0.0, "high": 2.0}  # in thirds of `share`; all others: 1.0
_PRIORITY: Final = "priority"


class Load:
    """
    lag_bound_s: 0 = never shed by lag. most: calls at once of this worker, 0 = any number.

    share: 0..1, how hard it sheds: the first third is for low priority, the second for the usual, the last for high.
    """

    __slots__ = ("_bound_s", "_debt", "lag_s", "most", "share", "shed")

    def __init__(self, lag_bound_s: float, most: int) -> None:
        self._bound_s, self.most = lag_bound_s, most or 1 << 31
        self.lag_s = self.share = 0.0
        self._debt: dict[str, float] = {}
        self.shed = 0

    async def run(self) -> None:
        """Measure, for ever."""
        while True:
            began_s = monotonic_s()
            await asyncio.sleep(TICK_S)
            self.tick(monotonic_s() - began_s - TICK_S)

    def tick(self, lag_s: float) -> None:
        """The lag of this moment."""
        self.lag_s += _SMOOTH * (lag_s - self.lag_s)
        if not self._bound_s:
            return
        if self.lag_s > self._bound_s:
            self.share = min(self.share + _UP * self.lag_s / self._bound_s, 1.0)
        elif self.share:
            self.share = max(self.share - _DOWN, 0.0)

    def admit(self, call: Call, running: int) -> None:
        """
        Raises Unavailable for a call that is not to begin. running: calls of this worker, this one among them.

        It leaves no row: to write one would cost what is to be saved.
        """
        if running <= self.most and not self.share:
            return
        assert call.principal is not None
        priority = call.principal.tags.get(_PRIORITY, "")
        full = running > self.most * (HIGH_ROOM if priority == "high" else 1.0)
        if full or self._is_unlucky(priority):
            self.shed += 1
            call.principal = None
            raise Unavailable(
                "The gateway is overloaded at the moment. Please try again soon.", code="overloaded", retry_after_s=1.0 + 4.0 * self.share
            )

    def _is_unlucky(self, priority: str) -> bool:
        """Every n-th call of a priority, so that exactly its share is refused."""
        part = min(max(3.0 * self.share - _FIRST_SHED_AT.get(priority, 1.0), 0.0), 1.0)
        debt = self._debt.get(priority if priority in _FIRST_SHED_AT else "", 0.0) + part
        self._debt[priority if priority in _FIRST_SHED_AT else ""] = debt - (debt >= 1.0)
        return debt >= 1.0

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_loop_lag_seconds", (), self.lag_s), ("neuroroute_calls_shed", (), self.shed)]
