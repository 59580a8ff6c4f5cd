"""
Money that may be spent: reserved before a provider is asked, settled after.

A `Reservation` is the permission to open one upstream call: the transport asks for the object, so that no route can forget to take one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Period(StrEnum):
    """What a budget's spend is counted over; calendar periods in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit_nanousd` per `period` for one key, user or tag. 10^9 nano-dollars are one dollar."""

    scope: str
    subject: str
    limit_nanousd: int
    period: Period = Period.MONTH


@dataclass(slots=True)
class Reservation:
    """What one call may cost at most. `settled` once the books know what it did cost."""

    amount_nanousd: int
    budgets: tuple[Budget, ...] = ()
    settled: bool = False


class Budgets:
    """The money of one process: without budgets every call is granted."""

    def reserve(self, budgets: Sequence[Budget], amount_nanousd: int) -> Reservation | Budget:
        """The permission to spend up to `amount_nanousd`, or the budget that is spent."""
        return Reservation(amount_nanousd, tuple(budgets))

    def settle(self, reservation: Reservation, actual_nanousd: int) -> None:
        """Replace the reserved amount by the real one; 0 gives all back."""
        reservation.settled = True
