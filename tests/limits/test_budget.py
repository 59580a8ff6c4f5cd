"""Money is reserved before it is spent."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.core.money import Budget, Period, Reservation
from neuroroute.limits.budget import Budgets, began

KEY, USER = Budget("key", "k", 1000, Period.DAY), Budget("user", "u", 5000, Period.MONTH)


def granted(found: Reservation | Budget) -> Reservation:
    assert isinstance(found, Reservation)
    return found


def test_what_is_reserved_counts_until_it_is_settled() -> None:
    budgets = Budgets()
    first = granted(budgets.reserve([USER, KEY], 600))
    assert budgets.reserve([USER, KEY], 600) is KEY
    budgets.settle(first, 100)
    second = granted(budgets.reserve([USER, KEY], 600))
    budgets.settle(second, 0)
    assert (budgets.spent_nanousd(KEY), budgets.spent_nanousd(USER)) == (100, 100)


def test_settling_twice_counts_once_and_negative_costs_refill_nothing() -> None:
    budgets = Budgets()
    reservation = granted(budgets.reserve([KEY], 500))
    budgets.settle(reservation, 400)
    budgets.settle(reservation, 400)
    assert budgets.spent_nanousd(KEY) == 400
    budgets.settle(granted(budgets.reserve([KEY], 500)), -10_000)
    assert budgets.spent_nanousd(KEY) == 400


def test_a_rest_is_not_stranded_and_a_spent_budget_refuses() -> None:
    budgets = Budgets()
    last = granted(budgets.reserve([KEY], 10**9))
    assert budgets.reserve([KEY], 1) is KEY
    budgets.settle(last, 999)
    budgets.settle(granted(budgets.reserve([KEY], 50)), 1)
    assert budgets.reserve([KEY], 1) is KEY


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 10**6))
def test_two_hundred_calls_at_the_edge_overspend_by_less_than_one(price: int, seed: int) -> None:
    rng, budgets, running = random.Random(seed), Budgets(), []
    budgets.load(KEY, rng.randrange(900, 1000))
    for _ in range(200):
        found = budgets.reserve([KEY], price)
        if isinstance(found, Reservation):
            running.append(found)
        if running and rng.random() < 0.3:
            budgets.settle(running.pop(rng.randrange(len(running))), rng.randint(0, price))
    for reservation in running:
        budgets.settle(reservation, price)
    assert budgets.spent_nanousd(KEY) < KEY.limit_nanousd + price


def test_a_new_period_begins_with_nothing_spent_and_keeps_what_is_reserved() -> None:
    now = [datetime(2026, 1, 31, 23, 59, tzinfo=UTC)]
    budgets = Budgets(lambda: now[0])
    budgets.settle(granted(budgets.reserve([KEY], 900)), 900)
    running = granted(budgets.reserve([KEY], 50))
    now[0] = datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC)
    assert budgets.spent_nanousd(KEY) == 0
    assert budgets.reserve([KEY], 960) is KEY
    budgets.settle(running, 40)
    assert budgets.spent_nanousd(KEY) == 40
    assert isinstance(budgets.reserve([KEY], 960), Reservation)


def test_the_books_are_believed_if_they_know_more() -> None:
    budgets = Budgets()
    budgets.settle(granted(budgets.reserve([KEY], 300)), 300)
    budgets.load(KEY, 200)
    assert budgets.spent_nanousd(KEY) == 300
    budgets.load(KEY, 1000)
    assert budgets.reserve([KEY], 1) is KEY


@pytest.mark.parametrize(
    ("period", "start"),
    [
        (Period.DAY, datetime(2026, 11, 25, tzinfo=UTC)), (Period.WEEK, datetime(2026, 11, 23, tzinfo=UTC)),
        (Period.MONTH, datetime(2026, 11, 1, tzinfo=UTC)), (Period.TOTAL, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_periods_are_those_of_the_calendar(period: Period, start: datetime) -> None:
    assert began(period, datetime(2026, 11, 25, 13, 14, 15, 16, tzinfo=UTC)) == start
