"""
Shadow judging: a stronger model grades a sample of the answers, in the background and within a budget per day.

The texts come from the call itself, which has them in memory anyway; they wait in a bounded queue, are sent to the judge, and are gone. A
judge's call is on the books as one of `shadow`, with the tag shadow=true: nobody's limits or budget know of it. Its verdict counts like an
opinion and is kept as one. Its budget is that of the tag, which all processes share.
"""

import asyncio
import logging
import secrets
from typing import Final

from neuroroute.accounting.cost import cost_nanousd, most_nanousd
from neuroroute.adapters import translator_for
from neuroroute.chain.learning import Judged, Learning, text_of
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.config import JudgeConfig
from neuroroute.core.errors import NeuroRouteError
from neuroroute.core.ids import new_id
from neuroroute.core.jsonbytes import loads
from neuroroute.core.money import Budget, Period, Reservation
from neuroroute.core.tokens import estimate
from neuroroute.core.types import ClientRequest, Dialect, Reply, Target, Usage
from neuroroute.routing.judge import VERDICT_TOKENS, asked, verdict
from neuroroute.store.feedback import Feedback
from neuroroute.store.learned import Counts
from neuroroute.store.postgres import Database
from neuroroute.store.usage import UsageRecord

SHADOW: Final = "shadow"
"""Whose calls these are: the key and the user on the books."""
TAG: Final = ("shadow", "true")
IDLE_S: Final = 1.0
_DOUBTED: Final = 0.8  # what a judge's verdict weighs: judges err too. Guess
_log = logging.getLogger("neuroroute.judging")


class Judge:
    """One per worker; `run` is its task."""

    def __init__(self, s: Services, database: Database) -> None:
        self._s, self._database = s, database
        self.judged = self.unreadable = 0

    async def run(self) -> None:
        """Judge what waits, for ever."""
        while True:
            if self._s.learning.to_judge:
                await self.next()
            else:
                await asyncio.sleep(IDLE_S)

    async def next(self) -> bool:
        """Judge one answer; False where the budget or the catalogue does not allow it, or the judge gave no verdict. Raises: DatabaseAway"""
        s, learning = self._s, self._s.learning
        waiting = learning.to_judge.popleft()
        config = learning.config().judge
        target = self._target(config)
        if target is None or target.name == waiting.target:
            return False
        body = asked(waiting.prompt, waiting.answer, f"<{secrets.token_hex(8)}>", target.model.name)
        most = most_nanousd(target.model.price, estimate(body.decode()), VERDICT_TOKENS)
        if most is None:  # without a price no budget can hold
            return False
        budget = Budget("tag", "=".join(TAG), round(config.usd_per_day * 1e9), Period.DAY, strict=True)
        permission = s.budgets.reserve((budget,), most) or await s.budgets.ask((budget,), most)
        if not isinstance(permission, Reservation):
            s.learning.to_judge.clear()  # the day's money is spent: what waits would be refused alike
            return False
        reply, error, began_s = None, None, monotonic_s()
        try:
            reply = await self._ask(target, body, permission)
        except NeuroRouteError as failed:
            error = failed
        usage = reply.usage if reply is not None else Usage()
        cost = most if error is None and usage.source == "none" else cost_nanousd(target.model.price, usage)
        record = self._record(waiting, target, usage, cost, error, monotonic_s() - began_s)
        s.budgets.settle(permission, cost or 0, record.request_id)
        s.ledger.settle(record)
        if reply is None:
            return False
        found = verdict(text_of(reply.body))
        if found is None:
            self.unreadable += 1
            _log.info("the judge %s gave no verdict that can be read", target.name)
            return False
        self.judged += 1
        await self._note(waiting, learning, *found)
        return True

    def _target(self, config: JudgeConfig) -> Target | None:
        """Who judges: as configured, or the best model there is."""
        catalog = self._s.catalog.current
        if config.model is None:
            return catalog.baseline
        entry = catalog.entry(config.model)
        return None if entry is None else entry.target

    async def _ask(self, target: Target, body: bytes, permission: Reservation) -> Reply:
        client = ClientRequest(Dialect.CHAT, body, loads(body), request_id=new_id("req"))
        translator = translator_for(Dialect.CHAT, target)
        async with self._s.transport.open(translator.request(client, target), target.timeouts, permission) as response:
            data = await response.read()
            if response.status >= 300:
                raise translator.error(response.status, response.headers, data)
            return translator.whole(client, target, response.status, response.headers, data)

    async def _note(self, waiting: Judged, learning: Learning, score: float, reason: str) -> None:
        """As evidence for now, and as an opinion for the next refit."""
        learning.add(waiting.cell, Counts(_DOUBTED * score, _DOUBTED * (1.0 - score)))
        await Feedback(self._database).put(
            waiting.request_id, key_id=SHADOW, user_id=SHADOW, score=_DOUBTED * (2.0 * score - 1.0), comment=reason or None
        )

    def _record(
        self, waiting: Judged, target: Target, usage: Usage, cost: int | None, error: NeuroRouteError | None, took_s: float
    ) -> UsageRecord:
        return UsageRecord(
            request_id=new_id("req"),
            created_at=utcnow(),
            key_id=SHADOW,
            user_id=SHADOW,
            requested_model=target.model.name,
            model=target.model.name,
            provider=target.provider.name,
            endpoint="shadow",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            tokens_source=usage.source,
            cost_nanousd=cost,
            baseline_cost_nanousd=cost,
            attempts=1,
            status="ok" if error is None else "error",
            http_status=200 if error is None else error.status,
            error_code=None if error is None else error.code or error.type,
            latency_ms=took_s * 1000,
            tags={TAG[0]: TAG[1], "judged": waiting.request_id},
        )
