"""
Money that may be spent: reserved before a provider is asked, settled after.

A call is granted if all its budgets hold what was spent, what is reserved and the most that the call can cost. Where nothing is reserved a budget
that is not spent grants one more call whatever it can cost, so that its rest is not stranded: it is overspent by less than that call.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from neuroroute.core.clock import utcnow
from neuroroute.core.money import Budget, Period, Reservation

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


class _Account:
    """What was spent in one period, and what is reserved. Amounts in 10^-9 USD."""

    __slots__ = ("began_at", "reserved", "spent")

    def __init__(self, began_at: datetime) -> None:
        self.began_at = began_at
        self.spent = self.reserved = 0


class Budgets:
    """The money of one process. now: the clock, aware UTC."""

    def __init__(self, now: Callable[[], datetime] = utcnow) -> None:
        self._now = now
        self._accounts: dict[tuple[str, str, Period], _Account] = {}

    def reserve(self, budgets: Sequence[Budget], amount_nanousd: int) -> Reservation | Budget:
        """The permission to spend up to `amount_nanousd`, or the budget that is spent; then nothing is reserved."""
        accounts = [self._account(budget) for budget in budgets]
        for budget, account in zip(budgets, accounts, strict=True):
            committed = account.spent + account.reserved
            fits = committed + amount_nanousd <= budget.limit_nanousd
            last_one = not account.reserved and committed < budget.limit_nanousd
            if not (fits or last_one):
                return budget
        for account in accounts:
            account.reserved += amount_nanousd
        return Reservation(amount_nanousd, tuple(budgets))

    def settle(self, reservation: Reservation, actual_nanousd: int) -> None:
        """Replace the reserved amount by the real one; 0 gives all back. Once, however often it is called; less than 0 counts as 0."""
        if reservation.settled:
            return
        reservation.settled = True
        for budget in reservation.budgets:
            account = self._account(budget)
            account.reserved -= reservation.amount_nanousd
            account.spent += max(actual_nanousd, 0)

    def load(self, budget: Budget, spent_nanousd: int) -> None:
        """What the books say was spent in the current period; a smaller number than ours changes nothing."""
        account = self._account(budget)
        account.spent = max(account.spent, spent_nanousd)

    def spent_nanousd(self, budget: Budget) -> int:
        """In the current period."""
        return self._account(budget).spent

    def _account(self, budget: Budget) -> _Account:
        place = (budget.scope, budget.subject, budget.period)
        began_at = began(budget.period, self._now())
        account = self._accounts.get(place)
        if account is None:
            account = self._accounts[place] = _Account(began_at)
        elif account.began_at != began_at:  # what is reserved goes over into the new period, and is settled there
            account.began_at, account.spent = began_at, 0
        return account


def began(period: Period, at: datetime) -> datetime:
    """When the calendar period around `at` began, in UTC. Weeks begin on Monday."""
    if period is Period.TOTAL:
        return _ALWAYS
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return day
    return day.replace(day=1) if period is Period.MONTH else day - timedelta(days=day.weekday())
