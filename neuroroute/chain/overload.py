"""
Overload: what a worker can not do in time it refuses at once, and says when to come again.

The sign is a lag of the loop that stays: how much later than asked a short sleep ends is what every call here waits for at each of its steps.
A burst, or a pause of the machine, makes a lag that goes again: what counts is the least of the last STANDING_S, which is above the bound only
where work has piled up all that time. Then the calls at once get a bound, a part of what ran; it shrinks until the lag is a part (CALM) of what made
it, for a call waits for several turns of the loop, but never below FLOOR: whatever makes the loop late, so few calls are not it, and something is
always served. Then it grows again, until it is in nobody's way. And more calls than `most` are not begun at all.

Who goes first: calls that run are never touched; keys with the tag `priority=high` are refused last, those with `priority=low` first. /health and
/metrics never come here.
"""

import asyncio
from collections import deque
from typing import Final

from neuroroute.chain.call import Call
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import Unavailable
from neuroroute.core.types import Principal

TICK_S: Final = 0.05
STANDING_S: Final = 4.0
"""A thousand streams that begin at once keep a loop late for two seconds, and are to be served."""
CALM: Final = 0.25
FLOOR: Final = 24
HIGH_ROOM: Final = 1.25
"""So many times `most` calls of high priority may run."""
_LEAST_SAMPLES: Final = 5  # one long pause is one lag
_PRIORITY: Final = "priority"
_ROOM: Final = {"low": 0.5, "high": 1.5}
"""So many times the bound may run when a call of this priority begins; all others: 1.0."""
_SHRINK: Final = 0.5
_SHRINK_EVERY_S: Final = 0.5  # what was let in before has to be done before it shrinks again
_STILL: Final = 3  # while there is a bound, so many lags in a row show that it is too high
_GROW: Final = 0.005  # of it, each tick
_FREE_AFTER_S: Final = 5.0
"""Without a refusal for so long, the bound is gone."""
_SMOOTH: Final = 0.2


class Load:
    """
    lag_bound_s: which, if it stays, begins the shedding; 0 = never by lag. most: calls at once of this worker, 0 = any number.

    bound: calls at once while the loop is late; 0.0 = any number. standing_s: the lag that stayed.
    """

    __slots__ = (
        "_lags",
        "_most",
        "_shed_at_s",
        "_shrunk_at_s",
        "_span_s",
        "bound",
        "lag_bound_s",
        "lag_s",
        "running",
        "shed",
        "standing_s",
    )

    def __init__(self, lag_bound_s: float, most: int) -> None:
        self.lag_bound_s, self._most = lag_bound_s, most or 1 << 31
        self.lag_s = self.standing_s = self.bound = self._span_s = self._shed_at_s = self._shrunk_at_s = 0.0
        self._lags: deque[float] = deque()
        self.running = self.shed = 0

    async def run(self) -> None:
        """Measure, for ever."""
        while True:
            began_s = monotonic_s()
            await asyncio.sleep(TICK_S)
            now_s = monotonic_s()
            self.tick(max(now_s - began_s - TICK_S, 0.0), now_s)

    def tick(self, lag_s: float, now_s: float) -> None:
        """The lag of this moment."""
        self.lag_s += _SMOOTH * (lag_s - self.lag_s)
        if not self.lag_bound_s:
            return
        self._lags.append(lag_s)
        self._span_s += TICK_S + lag_s
        while len(self._lags) > _LEAST_SAMPLES and self._span_s - TICK_S - self._lags[0] >= STANDING_S:
            self._span_s -= TICK_S + self._lags.popleft()
        whole = len(self._lags) >= _LEAST_SAMPLES and self._span_s >= STANDING_S
        self.standing_s = min(self._lags) if whole else 0.0
        if not self.bound:
            if self.standing_s > self.lag_bound_s:
                self._shrink(self.running, now_s)
        elif min(list(self._lags)[-_STILL:]) > self.lag_bound_s * CALM:
            if now_s - self._shrunk_at_s > _SHRINK_EVERY_S:
                self._shrink(self.bound, now_s)
        else:
            self.bound += max(_GROW * self.bound, _GROW * FLOOR)
            if now_s - self._shed_at_s > _FREE_AFTER_S:
                self.bound = 0.0

    def _shrink(self, calls: float, now_s: float) -> None:
        if calls > FLOOR:
            self.bound = max(calls * _SHRINK, FLOOR)
            self._shrunk_at_s = self._shed_at_s = now_s

    @property
    def sheds(self) -> bool:
        """Whether some calls are refused at the moment, because the loop is late."""
        return self.bound > 0.0

    def admit(self, call: Call, running: int) -> None:
        """
        Raises Unavailable for a call that is not to begin. running: calls of this worker, this one among them.

        It leaves no row: to write one would cost what is to be saved.
        """
        assert call.principal is not None
        refusal = self.refusal(call.principal, running)
        if refusal is not None:
            call.principal = None
            raise refusal

    def refusal(self, principal: Principal, running: int) -> Unavailable | None:
        """Why a call of this key is not to begin; None: it is. running: as for `admit`."""
        self.running = running
        if running <= self._most and not self.bound:
            return None
        priority = principal.tags.get(_PRIORITY, "")
        if running <= self._most * (HIGH_ROOM if priority == "high" else 1.0) and (
            not self.bound or running <= self.bound * _ROOM.get(priority, 1.0)
        ):
            return None
        self.shed += 1
        self._shed_at_s = monotonic_s()
        wait_s = 1.0 + min(self.standing_s / self.lag_bound_s, 4.0) if self.lag_bound_s else 1.0
        return Unavailable("The gateway is overloaded at the moment. Please try again soon.", code="overloaded", retry_after_s=wait_s)

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_loop_lag_seconds", (), self.lag_s), ("neuroroute_calls_shed", (), self.shed)]
