"""
Money that may be spent: reserved before a provider is asked, settled after.

A call is granted if all its budgets hold what was spent, what is reserved and the most that the call can cost. Where nothing is reserved a budget
that is not spent grants one more call whatever it can cost, so that its rest is not stranded: it is overspent by less than that call.

The books in Postgres are the truth. From them each process holds leases: money that no other process counts as its own. `reserve` answers from
the lease in the process; where that does not hold the call, `ask` fetches more. What was settled here is held until the books have its row
(`booked`). So all that is spent was granted by the books before, by one transaction after the other: books that answer late make calls wait, and
never let one through. While they are away a process goes on with its lease, which is its part of all that was left; of a budget that it never
heard of (a key's first call in an outage) it spends a part of an eighth.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.ids import new_id
from neuroroute.core.money import Budget, Period, Reservation
from neuroroute.core.tasks import spawn
from neuroroute.limits.account import QUIET_BEATS, Account
from neuroroute.store.budgets import Asked, Told
from neuroroute.store.postgres import DatabaseAway

_log = logging.getLogger("neuroroute.budgets")
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)

HOLD_TTL_S: Final = 20.0
"""What a killed process held is free after this: later than its journal was taken over, so that what it spent is on the books by then."""
BEAT_S: Final = 1.0
LATE_S: Final = 2.0
"""A question to the books is given up after this, and asked again."""
SILENT_S: Final = 4.0
"""Books that said nothing for so long are away; before that they are late, and calls that need more than this process holds wait for them."""
PAUSE_S: Final = 0.05
"""After a question without an answer."""
AWAY_S: Final = 0.2
"""The longest that a call waits for books that are away."""
LISTEN_S: Final = 1.5 * BEAT_S
"""After an outage in which holds may have run out each process says first what it holds, before any asks for more."""
CALL_IN_S: Final = 0.03
CALLS_IN: Final = 3
SETTLE_WAIT_S: Final = 5.0
"""How long a call waits for money that running calls have reserved."""
REFUSED_S: Final = 0.1
WAITING_MAX: Final = 1000


class Books(Protocol):
    """What all processes have in common. Every method but `heed` raises DatabaseAway."""

    async def contact(
        self, holder: str, turn: int, asked: Sequence[Asked], *, parts: int, ttl_s: float, timeout_s: float
    ) -> list[Told]: ...

    async def call_in(self, budget: Budget) -> None: ...

    def heed(self, give_back: Callable[[str, str, str], None]) -> Callable[[], None]: ...

    async def leave(self, holder: str) -> None: ...


class Budgets:
    """
    The money of one process. now: the clock, aware UTC.

    books: what is shared; None = this process is alone and knows what it is told by `load`. holders: processes that share, as far as is known before
    the books answer. alert: called with a budget and the percentage that it has just reached.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = utcnow,
        books: Books | None = None,
        *,
        holders: int = 1,
        percents: Sequence[float] = (80.0, 100.0),
        alert: Callable[[Budget, float], None] = lambda budget, percent: None,
    ) -> None:
        self._now, self._books, self._percents, self._alert = now, books, sorted(percents), alert
        self._holder = new_id("wrk")
        self._holders = holders
        self._accounts: dict[tuple[str, str, Period], Account] = {}
        self._unbooked: dict[str, tuple[tuple[Account, datetime], ...]] = {}
        self._costs: dict[str, int] = {}
        self._lacking: dict[tuple[str, str, Period], Account] = {}
        self._line = asyncio.Lock()
        self._answered: asyncio.Future[None] | None = None
        self._changed: asyncio.Future[None] | None = None
        self._asking = False
        self._waiting = self._turn = 0
        self._heard_s = self._listen_until_s = monotonic_s()
        self._silent_from_s: float | None = None
        self.away = False

    def __len__(self) -> int:
        return len(self._accounts)

    def reserve(self, budgets: Sequence[Budget], amount_nanousd: int, beyond: Sequence[Budget] = ()) -> Reservation | Budget | None:
        """
        The permission to spend up to `amount_nanousd`, or the budget that does not hold it; then nothing is reserved. None: `ask` must be awaited.

        beyond: of these, the ones that may be overspent.
        """
        accounts = [self._account(budget) for budget in budgets]
        now_s, lacking = monotonic_s(), False
        for budget, account in zip(budgets, accounts, strict=True):
            if budget in beyond:
                continue
            if account.grants(amount_nanousd, alone=self._books is None):
                continue
            if self._books is None or account.is_spent or (now_s < account.refused_until_s and amount_nanousd >= account.refused_amount):
                return budget
            lacking = True
        if lacking:
            return None
        for account in accounts:
            account.take(amount_nanousd)
        return Reservation(amount_nanousd, tuple(budgets))

    async def ask(self, budgets: Sequence[Budget], amount_nanousd: int, beyond: Sequence[Budget] = ()) -> Reservation | Budget:
        """
        The same with the right to ask the books, and to wait until running calls gave back what they do not need, for at most SETTLE_WAIT_S.

        A budget that comes back and is not spent (`is_spent`) is reserved by calls that run; or the books are `away`, and this process holds no more of it.
        """
        until_s, calls_in = monotonic_s() + SETTLE_WAIT_S, CALLS_IN
        self._waiting += 1
        try:
            while True:
                found = self.reserve(budgets, amount_nanousd, beyond)
                if found is None:
                    await self._fetch(budgets, amount_nanousd, beyond)
                    found = self.reserve(budgets, amount_nanousd, beyond)
                    if found is None and self.away:
                        found = self._outage(budgets, amount_nanousd, beyond)
                if isinstance(found, Reservation):
                    return found
                if found is None:  # somebody else took what was fetched
                    found = next(one for one in budgets if one not in beyond and not self._account(one).grants(amount_nanousd))
                    if monotonic_s() < until_s:
                        continue
                account = self._account(found)
                left_s = until_s - monotonic_s()
                if account.is_spent or left_s <= 0 or self._waiting > WAITING_MAX:
                    return found
                if self.away and not account.running:  # nobody here gives anything back, and nobody else is heard
                    return found
                if calls_in and account.others_free > 0 and not self.away:
                    calls_in -= 1
                    await self._call_in(found, account)
                else:
                    await self._change(account, left_s)
        finally:
            self._waiting -= 1

    def settle(self, reservation: Reservation, actual_nanousd: int, row: str = "") -> None:
        """
        Replace the reserved amount by the real one; 0 gives all back. Once, however often it is called; less than 0 counts as 0.

        row: by which `booked` tells that the books have it.
        """
        if reservation.settled:
            return
        reservation.settled = True
        actual = max(actual_nanousd, 0)
        accounts = [self._account(budget) for budget in reservation.budgets]
        for budget, account in zip(reservation.budgets, accounts, strict=True):
            account.give(reservation.amount_nanousd, actual)
            self._watch(budget, account)
        if row and actual and accounts:
            self._unbooked[row] = tuple([(account, account.began_at) for account in accounts])
            self._costs[row] = actual
        if accounts:
            self._tell_change()

    def booked(self, rows: Iterable[str]) -> None:
        """These rows are in the books."""
        for row in rows if self._unbooked else ():
            for account, began_at in self._unbooked.pop(row, ()):
                account.book(self._costs[row], same_period=account.began_at == began_at)
            self._costs.pop(row, None)

    def load(self, budget: Budget, spent_nanousd: int) -> None:
        """What the books say was spent in the current period; a smaller number than ours changes nothing."""
        account = self._account(budget)
        account.booked = max(account.booked, spent_nanousd - account.unbooked)

    def spent_nanousd(self, budget: Budget) -> int:
        """In the current period, as far as this process knows."""
        return self._account(budget).spent

    def is_spent(self, budget: Budget) -> bool:
        return self._account(budget).is_spent

    async def run(self) -> None:
        """Tell the books what is held, give back what lies idle, for ever. Returns at once where there are none."""
        if self._books is None:
            return
        end = self._books.heed(self._give_back)
        try:
            while True:
                await asyncio.sleep(BEAT_S)
                await self.beat()
        finally:
            end()

    async def beat(self) -> None:
        """Once. Never raises DatabaseAway."""
        for place, account in list(self._accounts.items()):
            account.quiet = 0 if account.taken_since else account.quiet + 1
            account.taken_since = 0
            if account.quiet == QUIET_BEATS:
                account.free = 0
            if account.is_idle:
                del self._accounts[place]
        for at in range(0, len(self._accounts), 100):
            async with self._line:
                await self._contact(list(self._accounts.values())[at : at + 100])

    async def close(self) -> None:
        """Give all back, but for what was spent and is not on the books yet: who adopts the journal brings that in before the hold ends."""
        if self._books is not None and self._accounts and not self._unbooked:
            try:
                await self._books.leave(self._holder)
            except DatabaseAway:
                _log.info("what this process holds of budgets is free in %g s", HOLD_TTL_S)

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        reserved = sum([account.reserved for account in list(self._accounts.values())])
        return [("neuroroute_budgets", (), len(self._accounts)), ("neuroroute_budget_reserved_usd", (), reserved / 1e9)]

    async def _fetch(self, budgets: Sequence[Budget], amount: int, beyond: Sequence[Budget]) -> None:
        """One contact for all who wait."""
        for budget in budgets:
            account = self._account(budget)
            if budget not in beyond and not account.grants(amount):
                account.one = min(account.one, amount) if account.need else amount
                account.need += max(amount, 1)
                self._lacking[budget.scope, budget.subject, budget.period] = account
        if self._answered is None:
            self._answered = asyncio.get_running_loop().create_future()
        answered = self._answered
        if not self._asking:
            self._asking = True
            spawn(self._serve_lacking(), name="budgets-leases")
        await asyncio.wait((answered,), timeout=AWAY_S if self.away else LATE_S)

    async def _serve_lacking(self) -> None:
        try:
            while self._lacking:
                await asyncio.sleep(max(self._listen_until_s - monotonic_s(), 0))
                async with self._line:
                    lacking, self._lacking = list(self._lacking.values()), {}
                    answered, self._answered = self._answered, None
                    try:
                        await self._contact(lacking, asking=True)
                    finally:
                        for account in lacking:
                            account.need = 0
                        if answered is not None and not answered.done():
                            answered.set_result(None)
        finally:
            self._asking = False

    async def _contact(self, accounts: Sequence[Account], *, asking: bool = False) -> None:
        """Tell what is held; asking: and fetch what callers wait for."""
        assert self._books is not None
        began_s = monotonic_s()
        asked, lapsed = [], self.away and began_s - self._heard_s > HOLD_TTL_S / 2
        for account in accounts:
            account.free = max(account.free, 0)
            held = account.reserved + account.unbooked + account.free
            need = account.need if asking and not lapsed else 0
            asked.append(Asked(account.budget, account.began_at, held, account.free, account.running, need, max(account.one, 1)))
        self._turn += 1
        try:
            async with asyncio.timeout(LATE_S):
                answers = await self._books.contact(
                    self._holder, self._turn, asked, parts=self._holders, ttl_s=HOLD_TTL_S, timeout_s=LATE_S
                )
        except (DatabaseAway, TimeoutError):
            self._unheard(began_s)
            await asyncio.sleep(PAUSE_S)
            return
        if self.away:
            _log.info("the books can be asked again")
        self._silent_from_s = None
        now_s, self.away = monotonic_s(), False
        self._heard_s, self._listen_until_s = now_s, now_s + LISTEN_S if lapsed else self._listen_until_s
        for account, question, answer in zip(accounts, asked, answers, strict=True):
            if account.began_at == question.since:
                account.hear(question, answer, now_s + REFUSED_S)
                self._watch(account.budget, account)

    def _unheard(self, asked_s: float) -> None:
        """A question that began then was refused, or got no answer."""
        if self._silent_from_s is None:
            self._silent_from_s = asked_s
        if not self.away and monotonic_s() - self._silent_from_s >= SILENT_S:
            _log.warning("the books can not be asked: budgets go on with what this process holds of them")
            self.away = True

    async def _call_in(self, budget: Budget, account: Account) -> None:
        assert self._books is not None
        try:
            async with asyncio.timeout(LATE_S):
                await self._books.call_in(budget)
        except (DatabaseAway, TimeoutError):
            return
        await asyncio.sleep(CALL_IN_S)
        account.refused_until_s = 0.0

    def _give_back(self, scope: str, subject: str, period: str) -> None:
        """Another process needs what lies free here."""
        account = self._accounts.get((scope, subject, Period(period)))
        if account is not None and account.free > 0 and not account.need:
            account.free = 0
            spawn(self._tell_one(account), name="budgets-give-back")

    async def _tell_one(self, account: Account) -> None:
        async with self._line:
            await self._contact([account])

    def _outage(self, budgets: Sequence[Budget], amount: int, beyond: Sequence[Budget]) -> Reservation | Budget:
        """Where the books can not be asked, and never spoke of a budget."""
        for budget in budgets:
            account = self._account(budget)
            if (
                budget not in beyond
                and not account.grants(amount)
                and not account.grants_alone(amount, max(account.holders, self._holders))
            ):
                return budget
        found = self.reserve(budgets, amount, budgets)
        assert isinstance(found, Reservation)
        return found

    async def _change(self, account: Account, most_s: float) -> None:
        """Returns when a call was settled here, or after a moment: then another process may have given something back."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._changed,), timeout=min(most_s, 0.2 if account.others or self.away else most_s))
        account.refused_until_s = 0.0

    def _tell_change(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    def _watch(self, budget: Budget, account: Account) -> None:
        """Say once that a budget has reached a percentage."""
        reached = 100.0 * account.spent / budget.limit_nanousd if budget.limit_nanousd else 100.0
        for percent in self._percents:
            if account.told_percent < percent <= reached:
                account.told_percent = percent
                self._alert(budget, percent)

    def _account(self, budget: Budget) -> Account:
        place = (budget.scope, budget.subject, budget.period)
        began_at = began(budget.period, self._now())
        account = self._accounts.get(place)
        if account is None:
            account = self._accounts[place] = Account(budget, began_at)
        elif account.began_at != began_at:  # what is reserved goes over into the new period, and is settled there
            account.begin(began_at)
        if account.budget is not budget:
            account.change(budget)
        return account


def began(period: Period, at: datetime) -> datetime:
    """When the calendar period around `at` began, in UTC. Weeks begin on Monday."""
    if period is Period.TOTAL:
        return _ALWAYS
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return day
    return day.replace(day=1) if period is Period.MONTH else day - timedelta(days=day.weekday())
