"""
Money as plain data: budgets, and the permission to spend.

A `Reservation` is the permission to open one upstream call. Whoever opens one asks for the object, so no route can forget to reserve.
Amounts are integers of 10^-9 USD.
"""

from enum import StrEnum

from neuroroute.core.dataclass import dataclass


class Period(StrEnum):
    """What a budget's spend is counted over; calendar periods in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Budget:
    """
    `limit_nanousd` per `period` for one key, user or tag (`team=search`).

    spent_policy: the policy by which `auto` goes on when it is spent; empty = calls are refused. strict: it is never overspent, not even by its
    last call, so that a rest too small for a call stays unspent.
    """

    scope: str
    subject: str
    limit_nanousd: int
    period: Period = Period.MONTH
    spent_policy: str = ""
    strict: bool = False


@dataclass(slots=True)
class Reservation:
    """What one call may cost at most, taken from these budgets. `settled` once the books know what it did cost."""

    amount_nanousd: int
    budgets: tuple[Budget, ...] = ()
    settled: bool = False


def costs_nothing() -> Reservation:
    """The permission for what is no client's call, such as a list of models."""
    return Reservation(0)
