"""The sliding window against a log of every event."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.limits.window import EXACT_LIMIT, GRAINS, SlidingWindow

EVENTS = st.lists(st.tuples(st.floats(0.0, 0.4), st.integers(1, 30)), min_size=1, max_size=150)


def drive(window: SlidingWindow, limit: int, events: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Offer each event; what was let in."""
    now_s, admitted = 1000.0, []
    for pause_s, amount in events:
        now_s += pause_s
        if window.advance(now_s) + amount <= limit:
            window.add(now_s, amount)
            admitted.append((now_s, amount))
    return admitted


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.integers(1, 1000))
def test_no_sliding_window_ever_holds_more_than_the_limit(events: list[tuple[float, int]], limit: int) -> None:
    admitted = drive(SlidingWindow(1.0, limit), limit, events)
    for end_s, _ in admitted:
        # 1 ns: a float of seconds is not finer there
        assert sum(amount for at_s, amount in admitted if end_s - 1.0 + 1e-9 < at_s <= end_s) <= limit


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.integers(1, EXACT_LIMIT))
def test_small_limits_are_exact(events: list[tuple[float, int]], limit: int) -> None:
    window = SlidingWindow(1.0, limit)
    log: list[tuple[float, int]] = []
    now_s = 1000.0
    for pause_s, amount in events:
        now_s += pause_s
        used = sum(spent for at_s, spent in log if at_s > now_s - 1.0)
        assert window.advance(now_s) == used
        if used + amount <= limit:
            window.add(now_s, amount)
            log.append((now_s, amount))


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_greedy_caller_gets_at_least_95_percent_of_a_large_limit(limit: int) -> None:
    window, now_s, admitted = SlidingWindow(60.0, limit), 0.0, 0
    step = 60.0 / limit / 3
    while now_s < 600.0:
        now_s += step * (1 if limit <= 1000 else 50)
        amount = 1 if limit <= 1000 else 50
        if window.advance(now_s) + amount <= limit:
            window.add(now_s, amount)
            admitted += amount
    assert admitted >= 0.95 * limit * 10
    assert admitted <= 1.02 * limit * 11


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.integers(1, 1000), st.integers(1, 1000))
def test_the_wait_is_true(events: list[tuple[float, int]], limit: int, amount: int) -> None:
    window = SlidingWindow(1.0, limit)
    admitted = drive(window, limit, events)
    now_s = admitted[-1][0] if admitted else 1000.0
    window.advance(now_s)
    wait_s = window.wait_s(now_s, amount, limit)
    if amount > limit:
        assert wait_s is None
        return
    assert wait_s is not None
    if wait_s > 1e-6:
        assert window.advance(now_s + wait_s - 1e-6) + amount > limit
    assert window.advance(now_s + wait_s + 1e-9) + amount <= limit


def test_memory_is_bounded_by_the_grain() -> None:
    window = SlidingWindow(60.0, 1_000_000)
    for i in range(100_000):
        window.advance(i * 0.01)
        window.add(i * 0.01, 1)
    assert len(window.runs) <= GRAINS + 2


def test_what_is_given_back_can_be_spent_again_and_only_while_it_counts() -> None:
    window = SlidingWindow(1.0, 100)
    run = window.add(0.0, 80)
    window.give_back(run, 50, 0.5)
    assert window.advance(0.5) == 30
    window.give_back(run, 500, 0.6)
    assert window.advance(0.6) == 0
    late = window.add(0.7, 60)
    window.advance(1.8)
    window.give_back(late, 60, 1.8)
    assert window.used == 0
