"""One budget in one process: what is spent, reserved, and free to be spent. Amounts in 10^-9 USD."""

from datetime import datetime
from typing import Final

from neuroroute.core.money import Budget
from neuroroute.store.budgets import Asked, Told

QUIET_BEATS: Final = 30
"""So long a lease is kept that nobody uses; who needs it calls it in."""
STRANGERS_PART: Final = 8
"""Of a budget that the books never spoke of, all processes of a machine spend an eighth while the books are away."""


class Account:
    """
    booked: on the books at the last contact, and what was booked since; unbooked: settled here, and not on the books yet.

    reserved: by `running` calls. free: of the lease, reserved by none; less than 0 where a call cost more than it had reserved. taken_since: reserved
    since the last beat; quiet: beats since then. overdraft: how much of `free` is no budget's money: it was granted to the last call.
    need, one: what callers wait for, and the least that helps one of them. known: the books have spoken of this period; spared: taken without them.
    """

    __slots__ = (
        "began_at", "booked", "budget", "free", "holders", "known", "need", "one", "others", "others_free", "overdraft", "quiet", "refused_amount", "refused_until_s", "reserved",
        "running", "spared", "taken_since", "told_percent", "unbooked",
    )  # fmt: skip

    def __init__(self, budget: Budget, began_at: datetime) -> None:
        self.budget, self.began_at = budget, began_at
        self.booked = self.unbooked = self.reserved = self.running = self.free = self.taken_since = 0
        self.need = self.one = self.others = self.others_free = self.spared = self.refused_amount = 0
        self.overdraft = self.quiet = 0
        self.holders = 1
        self.refused_until_s = 0.0
        self.known = False
        self.told_percent = 0.0

    @property
    def spent(self) -> int:
        return self.booked + self.unbooked

    @property
    def is_spent(self) -> bool:
        return self.spent >= self.budget.limit_nanousd

    @property
    def is_idle(self) -> bool:
        """Nothing is held or waited for, and nobody asked for a while."""
        return self.quiet > QUIET_BEATS and not (self.running or self.unbooked or self.need)

    def grants(self, amount: int, *, alone: bool = False) -> bool:
        """
        Whether the lease holds one more call. alone: there is no lease, the whole budget is ours.

        A call that costs nothing needs a budget that is not spent, and no money.
        """
        if self.is_spent:
            return False
        if not alone:
            return self.known and self.free >= amount
        committed = self.spent + self.reserved
        if committed + amount <= self.budget.limit_nanousd:
            return True
        return not self.reserved and committed < self.budget.limit_nanousd and not self.budget.strict

    def grants_alone(self, amount: int, holders: int) -> bool:
        """Whether one more call may go on while the books are away, of which they never spoke. What they did speak of has its lease, and no more."""
        if self.known or self.is_spent:
            return False
        part = self.budget.limit_nanousd // STRANGERS_PART // holders - self.spared
        lack = amount - max(self.free, 0)
        if lack > part:
            if self.running or self.budget.strict or max(self.free, 0) + part <= 0:
                return False
            self.overdraft += lack - part
        if lack > 0:
            self.free = max(self.free, 0) + lack
            self.spared += lack
        return True

    def take(self, amount: int) -> None:
        self.free -= amount
        self.reserved += amount
        self.taken_since += max(amount, 1)
        self.running += 1

    def give(self, amount: int, actual: int) -> None:
        """A call that had reserved `amount` did cost `actual`."""
        self.reserved -= amount
        self.running -= 1
        self.free += amount - actual - self.overdraft
        self.overdraft = 0
        self.unbooked += actual
        self.refused_until_s = 0.0

    def book(self, cost: int, *, same_period: bool) -> None:
        """The books have it now."""
        if same_period:
            self.unbooked -= cost
            self.booked += cost

    def hear(self, asked: Asked, told: Told, refused_until_s: float) -> None:
        """What the books answered."""
        self.known = True
        self.booked = max(self.booked, told.spent)
        self.others, self.others_free, self.holders = told.others, told.others_free, told.holders
        self.free += told.granted
        rest = self.budget.limit_nanousd - told.spent - told.others - asked.held - told.granted
        if told.granted and rest < 0:
            self.overdraft += min(-rest, told.granted)
        self.spared = 0
        if asked.need and told.granted < asked.need:
            self.refused_amount, self.refused_until_s = asked.one, refused_until_s

    def begin(self, began_at: datetime) -> None:
        """Another period: nothing is spent in it, and its lease is not ours yet."""
        self.began_at = began_at
        self.booked = self.unbooked = self.free = self.spared = self.overdraft = 0
        self.known = False
        self.told_percent = 0.0
        self.refused_until_s = 0.0

    def change(self, budget: Budget) -> None:
        """The same budget with another limit."""
        if budget.limit_nanousd != self.budget.limit_nanousd:
            self.free = self.overdraft = 0
            self.known, self.refused_until_s, self.told_percent = False, 0.0, 0.0
        self.budget = budget
