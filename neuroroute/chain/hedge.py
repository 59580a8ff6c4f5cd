"""
Hedging: a second attempt beside the first, where an answer begins later than 19 of 20 of its target do. Off unless it is configured.

The first one to begin a good answer is taken, the other is cancelled. Both have money set aside and both are on the books: the one that lost as a
row of its own (tag `hedge`: the call's id), with the prompt that its provider had read by then. Second attempts may cost `spend_share` of what all
calls cost, and count as retries.
"""

import asyncio
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from neuroroute.accounting.cost import cost_nanousd
from neuroroute.chain.call import Call, Tried
from neuroroute.chain.reserve import begun, most, prompt_tokens
from neuroroute.chain.services import Services
from neuroroute.chain.settle import settle
from neuroroute.core.clock import monotonic_s
from neuroroute.core.config import HedgingConfig
from neuroroute.core.errors import ClientGone, NeuroRouteError, Unavailable
from neuroroute.core.ids import new_id
from neuroroute.core.money import Reservation
from neuroroute.core.tasks import cancel, spawn
from neuroroute.core.types import Dialect, Reply, Target, Usage
from neuroroute.routing.health import RetryBudget

if TYPE_CHECKING:
    from neuroroute.chain.dispatch import Streaming, dispatch

WINDOW_S: Final = 600.0
"""What is spent is counted over this."""
SEEN: Final = 20
"""Answers from which a 95th percentile can be told."""
TAG: Final = "hedge"
_NEVER: Final = frozenset({Dialect.PASS, Dialect.EMBEDDINGS})


class Hedging:
    """Whether, and within which spend. on: False = the configuration does not want it."""

    __slots__ = ("_config", "_spend", "on")

    def __init__(self) -> None:
        self.on = False
        self.configure(HedgingConfig())

    def configure(self, config: HedgingConfig) -> None:
        self._spend = RetryBudget(config.spend_share, WINDOW_S, floor=0)
        self._config, self.on = config, config.enabled

    def wait_s(self, call: Call, target: Target, s: Services) -> float | None:
        """How long the first attempt has for itself; None = there will be no second one. Counts what the call is expected to cost."""
        self._spend.call(monotonic_s(), _expected(call, target))
        live = s.health.latency(target.name)
        if live is None or call.client is None or call.dialect in _NEVER:
            return None
        seen, p95_ms = (live.seen, live.ttft_p95_ms) if call.client.stream else (live.wholes, live.whole_p95_ms)
        return max(p95_ms, self._config.min_wait_ms) / 1000.0 if seen >= SEEN else None

    def may(self, call: Call, target: Target, s: Services) -> Reservation | None:
        """The permission for a second attempt."""
        now_s = monotonic_s()
        assert call.reservation is not None
        if s.health.refused_s(target.name, now_s) > 0.0 or not s.retry_budget.take(now_s):
            return None
        if not self._spend.take(now_s, _expected(call, target)):
            return None
        found = s.budgets.reserve(call.reservation.budgets, most(call))
        return found if isinstance(found, Reservation) else None


def _expected(call: Call, target: Target) -> int:
    """What one attempt costs at least, its prompt: the longer the answer, the smaller the share of a second attempt that is given up."""
    return cost_nanousd(target.model.price, Usage(prompt_tokens(call), 0)) or 0


async def hedged(own: "dispatch", wait_s: float, s: Services) -> "Reply | Streaming":
    """
    The answer that begins first: of the plan's first target, or of the next one (the same one, where there is no other).

    Raises what the first attempt ended in, where both fail.
    """
    call = own.call
    assert call.decision is not None
    targets = call.decision.targets
    first, second = own.fork(), None
    tasks = [spawn(_outcome(first, targets[0]), name="first attempt")]
    began_s = monotonic_s()
    winner = None
    try:
        done, _ = await asyncio.wait(tasks, timeout=wait_s)
        other = targets[1] if len(targets) > 1 else targets[0]
        if not done and (permission := s.hedging.may(call, other, s)) is not None:
            second = _second(own, permission, other, s)
            tasks.append(spawn(_outcome(second, other), name="second attempt"))
        winner = await _first_good(tasks)
        return own.adopt(second if winner and second is not None else first, tasks[winner].result(), monotonic_s() - began_s)
    finally:
        for task in tasks:
            if not task.done():
                await cancel(task)
        if winner is None:
            call.target = first.call.target
            first.drop()
        if second is not None:
            _lost(call, first if winner else second, second.call, winner, s)


async def _outcome(attempt: "dispatch", target: Target) -> "Reply | Streaming | NeuroRouteError":
    try:
        return await attempt.attempt_at(target)
    except NeuroRouteError as error:
        return error


async def _first_good(tasks: "list[asyncio.Task[Reply | Streaming | NeuroRouteError]]") -> int:
    """Which of the attempts answered first; the first one where none did."""
    left = set(tasks)
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and not isinstance(task.result(), NeuroRouteError):
                return tasks.index(task)
    return 0


def _second(own: "dispatch", permission: Reservation, target: Target, s: Services) -> "dispatch":
    """The second attempt, on record before its provider is asked. Raises Unavailable if there is no space to note it."""
    second = own.fork()
    call = second.call
    call.reservation, call.steering = permission, replace(call.steering, tags={**call.steering.tags, TAG: call.request_id})
    call.request_id = new_id("req")
    try:
        s.ledger.open(call.request_id, begun(call, s, target))
    except Unavailable:
        s.budgets.settle(permission, 0)
        raise
    return second


def _lost(call: Call, loser: "dispatch", second: Call, winner: int | None, s: Services) -> None:
    """The attempt that was not taken is booked, under the id and with the money of the second one."""
    shown = loser.call
    error = next((tried for tried in shown.tried if tried.outcome != "ok"), None)
    asked = shown.target is not None and error is None
    loser.drop()
    if shown.target is not None:
        outcome = error.outcome if error is not None else "lost"
        call.tried.insert(
            max(len(call.tried) - 1, 0),
            Tried(shown.target, outcome, monotonic_s() - shown.tried[0].began_s if shown.tried else 0.0, call.started_s),
        )
    s.metrics.count("neuroroute_hedges", ("neither" if winner is None else "second" if winner else "first",))
    row = copy(second)
    row.target, row.catalog, row.decision, row.classification, row.thread, row.trace = shown.target, None, None, None, None, None
    row.slot = row.verdict = row.flight = None
    row.settled, row.error = False, ClientGone("another attempt answered first")
    row.usage = Usage(prompt_tokens(call), 0, source="estimated") if asked else Usage()
    settle(row, s)
