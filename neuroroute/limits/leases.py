"""
The contact with the store that several processes share: fetches leases for all counters that lack units, in one call, and tells what was spent.

Calls that wait share one round trip. A beat tells what was spent, gives back what is not used, so that no unit lies idle for long, and takes what
will soon be: calls pay a round trip only where they come faster than beats, or where few units are left for all. Round trips per call, measured over
150 s with Poisson arrivals, limits per minute, at 0.3 / 0.9 / 1.5 / 5 times the limit (refusals are calls too):

    limit   one process                four processes
       10   0.07  0.04  0.03  0.02     1.00  0.78  0.56  0.24
       60   0.02  0.01  0.02  0.02     0.14  0.27  0.34  0.15
      300   0.01  0.04  0.04  0.01     0.02  0.09  0.19  0.06
     1000   0.03  0.01  0.01  0.00     0.01  0.03  0.15  0.03

So a small limit that several processes share costs its calls more: one unit of 10 that lies idle in the wrong process is a tenth of the limit.

No call waits longer than `wait_s`, but the answer is waited for beside the calls: what it grants is counted in the store, so it must be booked
here however late it comes. Until then calls are decided from a cautious part of each limit. Only a store that refuses, or says nothing for
ANSWER_S, is away, and then each process has its whole part. With nothing in it is the question whether it is back: a store that only hung works
off later all that it was asked.

When the store has lost its data (a flush, a restart) the processes tell it what they let in, and until all had time to do so it grants
a quarter of each limit at most, and one unit of the smallest.
"""

import asyncio
import logging
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from neuroroute.core.clock import monotonic_s
from neuroroute.core.ids import new_id
from neuroroute.core.patience import patience
from neuroroute.core.tasks import spawn
from neuroroute.limits.share import Share
from neuroroute.store.kv import Arg, KVAway, Scripts

_log = logging.getLogger("neuroroute.limits")

LEASE_SCRIPT: Final = files("neuroroute.limits").joinpath("lease.lua").read_text()
_TAG: Final = "{limits}"  # one hash slot in a cluster: one script call serves all of a call's limits

CALLS_PER_LEASE: Final = 8
"""A lease is meant for so many calls, so that a call pays an eighth of a round trip."""
IDLE_PART: Final = 0.05
"""Of a limit, what may lie idle in all other processes while calls at one are refused: a call of a small limit may have to ask."""

HOLDER_TTL_S: Final = 5.0
RECOVERY_S: Final = 2.0
BEAT_MAX_S: Final = 1.0
BEAT_MIN_S: Final = 0.02
BEAT_AWAY_S: Final = 0.25
WAIT_S: Final = 0.05
ANSWER_S: Final = 0.25
"""A store that is silent for so long is away. One that is starved of CPU answers sooner (measured: 0.11 s; 4 workers and 40 clients on 2 cores)."""
LISTEN_S: Final = 2.0
"""So long its answer is listened for: what it grants is booked, however late."""
REFUSED_PART: Final = 1 / 120
"""Of the window, for which calls are refused at least before the store is asked again: units that leave it meanwhile are fetched together."""
LOW_FROM: Final = 4
"""Leases of at least so many units are renewed before they are spent."""
_BEATS_PER_WINDOW: Final = 60
_CHUNK: Final = 100


class Leases:
    """
    The shares of one process. holders: how many processes share the limits at least; those that have just started are not known to the store.
    store: for limits alone, so that no command of another kind that failed makes this one fail, with a time limit of LISTEN_S.
    wait_s: the longest that a call waits for the store.
    """

    def __init__(self, store: Scripts, *, holders: int = 1, wait_s: float = WAIT_S) -> None:
        self._store = store
        self.holder = new_id("wrk")
        self._lacking: dict[str, Share] = {}
        self._turn: asyncio.Future[None] | None = None
        self._line = asyncio.Lock()
        self._asking = False
        self._asked_s: float | None = None  # since when an answer is awaited
        self._marker = 0
        self.shares: dict[str, Share] = {}
        self.holders = self._least_holders = holders
        self.wait_s = wait_s
        self.away = False
        self.late = False  # calls do not wait for the answer that is awaited
        self.contact_s: float | None = None  # monotonic, of the last answer
        self.trips = self.failures = 0
        self.trips_of_calls = 0  # those of the trips that a call caused

    def ask(self, name: str, share: Share, amount: int = 0) -> None:
        """Fetch units for this counter: `amount` for a caller that waits, 0 = ahead of need."""
        if amount:
            share.one = min(share.one, amount) if share.need else amount
            share.need += amount
        share.asked = True
        self._lacking[name] = share
        if not self._asking:
            self._asking = True
            spawn(self._fetch(), name="limits-leases")

    async def wait(self) -> None:
        """Returns when what was asked until now is answered, or has failed."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._turn,))

    def overdue(self) -> None:
        """A call has waited its time in vain: the others do not wait for the same answer."""
        if self._asked_s is not None and monotonic_s() - self._asked_s >= self.wait_s:
            self.late = True

    async def _fetch(self) -> None:
        try:
            while self._lacking:
                async with self._line:
                    lacking, self._lacking = self._lacking, {}
                    turn, self._turn = self._turn, None
                    try:
                        await self._contact(lacking, fetch=True)
                    except KVAway:
                        self._failed()
                        self._give_up()
                    finally:
                        for name, share in lacking.items():
                            share.asked = name in self._lacking  # again, by a call that came while this was on its way
                        _wake(turn)
        finally:
            self._asking = False

    def _give_up(self) -> None:
        """What would be asked next is not: calls decide by themselves."""
        for share in self._lacking.values():
            share.need, share.asked = 0, False
        self._lacking = {}
        turn, self._turn = self._turn, None
        _wake(turn)

    async def run(self) -> None:
        """Tell the store what was spent, give back what lies idle, and notice when it is back; for ever."""
        while True:
            shortest_s = min([share.own.window_s for share in self.shares.values()], default=60.0)
            await asyncio.sleep(min(max(shortest_s / _BEATS_PER_WINDOW, BEAT_MIN_S), BEAT_AWAY_S if self.away else BEAT_MAX_S))
            await self.beat()

    async def beat(self) -> None:
        """Once. Never raises KVAway."""
        now_s = monotonic_s()
        for name, share in list(self.shares.items()):
            share.own.advance(now_s)
            if share.is_idle:
                del self.shares[name]
        busy = list(self.shares.items())
        try:
            if self.away:
                async with self._line:
                    await self._contact({}, fetch=False)
            for at in range(0, max(len(busy), 1), _CHUNK):
                async with self._line:
                    await self._contact(dict(busy[at : at + _CHUNK]), fetch=False)
        except KVAway:
            self._failed()

    async def _contact(self, shares: Mapping[str, Share], *, fetch: bool) -> None:
        """One round trip for many counters; one at a time. Raises KVAway."""
        asked_s = monotonic_s()
        args: list[Arg] = [self.holder, self._marker, int(HOLDER_TTL_S * 1000), int(RECOVERY_S * 1000)]
        told: list[tuple[int, int, int]] = []
        for share in shares.values():
            spare = int(share.limit * IDLE_PART / (self.holders - 1)) if self.holders > 1 else share.limit
            spent, keep = share.spent, _kept(share, asked_s, spare, fetch=fetch)
            want = max(CALLS_PER_LEASE * share.one, 2 * spent)
            if not fetch:
                in_use = spent > 0 or (self.holders == 1 and len(share.own.runs) > 0)
                want = max(min(want, max(spare, 2 * spent)) - keep, 0) if in_use else 0
            share.owing += max(-share.left, 0)
            share.left = keep  # what is kept may be spent while the answer is on its way
            need, one = (share.need, share.one) if fetch else (0, 1)
            share.need -= need
            told.append((spent, keep, one))
            window_ms, lease_ms = int(share.own.window_s * 1000), int(share.lease_s * 1000)
            args += (share.limit, window_ms, lease_ms, share.bucket, share.granted, spent, keep, need, one, want)
        self.trips += 1
        self.trips_of_calls += fetch
        self._asked_s = asked_s
        try:
            async with patience(ANSWER_S, self._went_away):
                answer = await self._store.run(LEASE_SCRIPT, [_TAG + "marker", _TAG + "holders", *[_TAG + name for name in shares]], args)
        finally:
            self._asked_s, self.late = None, False
        now_s = monotonic_s()
        self.contact_s, self.holders = now_s, max(answer[1], self._least_holders)
        for place, (share, (spent, keep, one)) in enumerate(zip(shares.values(), told, strict=True)):
            bucket, extra, used, pause_ms = answer[2 + 4 * place : 6 + 4 * place]
            share.spent -= spent
            share.owing = 0
            share.left += extra
            share.granted, share.bucket = keep + extra, bucket
            share.expires_s = asked_s + share.lease_s
            share.low = share.left // 4 if share.left >= LOW_FROM and used < share.limit else -1
            if fetch:
                share.fetched_s = now_s
            if pause_ms:
                pause_s = max(pause_ms / 1000, share.own.window_s * REFUSED_PART)
                share.refused_amount, share.retry_at_s = one, now_s + pause_s
                share.refused_until_s = now_s + min(pause_s, share.lease_s / 2)
            elif used + share.refused_amount <= share.limit:
                share.refused_until_s = 0.0
            share.met(now_s, used)
        self._answered(answer[0], {id(share): spent for share, (spent, _, _) in zip(shares.values(), told, strict=True)})
        for name, share in shares.items():
            if share.left < 0:  # spent beyond the lease while this was asked: the store learns of it at once
                self.ask(name, share)

    def _went_away(self) -> None:
        if not self.away:
            _log.warning("the shared store of limits is away: every worker goes on with its part of each limit")
        self.away = True

    def _failed(self) -> None:
        self.failures += 1
        self._went_away()

    def _answered(self, marker: int, told: Mapping[int, int]) -> None:
        """After an answer. A marker other than ours: the store has lost its data, and what is still in our windows counts as not told."""
        if self.away:
            _log.info("the shared store of limits is back")
        self.away = False
        lost, self._marker = self._marker not in (0, marker), marker
        if not lost:
            return
        _log.warning("the shared store of limits has lost its data: it is told what was let in")
        now_s = monotonic_s()
        for share in self.shares.values():
            used = int(share.own.advance(now_s))
            if id(share) in told:
                share.spent = used - told[id(share)]
            else:
                share.spent, share.left, share.granted = used, 0, 0
        spawn(self.beat(), name="limits-tell-again")


def _wake(turn: asyncio.Future[None] | None) -> None:
    if turn is not None and not turn.done():
        turn.set_result(None)


def _kept(share: Share, now_s: float, spare: int, *, fetch: bool) -> int:
    """
    The units of the lease that are not given back: all when more are fetched, later twice what was spent since the last contact, and `spare` for
    as long as the counter is used at all.
    """
    if now_s >= share.expires_s:
        return 0
    if fetch or now_s - share.fetched_s < share.lease_s / 4:
        return max(share.left, 0)
    return max(min(share.left, max(2 * share.spent, spare if share.own.runs else 0)), 0)
