"""Exact money."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroroute.accounting.cost import baseline_nanousd, bounded, cost_nanousd, most_nanousd, saved_nanousd
from neuroroute.core.types import Price, Usage

MINI = Price.of(0.15, 0.60, 0.075)
COUNT = st.integers(0, 10**7)


def test_a_known_call() -> None:
    assert cost_nanousd(MINI, Usage(1000, 500)) == 150_000 + 300_000
    assert cost_nanousd(MINI, Usage(1000, 500, cached_tokens=400)) == 600 * 150 + 400 * 75 + 300_000


def test_an_unknown_price_is_none_and_never_0() -> None:
    assert cost_nanousd(None, Usage(10, 10)) is None
    assert baseline_nanousd(None, Usage(10, 10)) is None
    assert most_nanousd(None, 10, 10) is None
    assert saved_nanousd(None, 5) is None
    assert saved_nanousd(5, None) is None


@given(COUNT, COUNT, COUNT, COUNT, st.integers(0, 10**11), st.integers(0, 10**11), st.integers(0, 10**11), st.integers(0, 10**11))
def test_the_sum_is_exact_and_rounded_half_up_once(
    plain: int, cached: int, written: int, out: int, p_in: int, p_out: int, p_c: int, p_w: int
) -> None:
    usage = Usage(plain + cached + written, out, cached, written)
    exact = Fraction(plain * p_in + cached * p_c + written * p_w + out * p_out, 10**6)
    assert cost_nanousd(Price(p_in, p_out, p_c, p_w), usage) == (exact + Fraction(1, 2)).__floor__()


def test_half_a_nanodollar_counts_as_one() -> None:
    assert cost_nanousd(Price(500_000, 0), Usage(1)) == 1
    assert cost_nanousd(Price(499_999, 0), Usage(1)) == 0


def test_cached_tokens_cost_the_input_price_where_theirs_is_not_known() -> None:
    assert cost_nanousd(Price.of(1, 2), Usage(100, 0, 60, 40)) == 100_000
    assert cost_nanousd(Price.of(1, 2, cache_write=1.25), Usage(100, 0, 60, 40)) == 60_000 + 50_000


def test_the_baseline_has_not_seen_the_prefix() -> None:
    assert baseline_nanousd(MINI, Usage(1000, 0, 900)) == 150_000
    assert saved_nanousd(150_000, 80_000) == 70_000


@given(COUNT, COUNT, st.integers(0, 100))
def test_no_call_costs_more_than_its_most(prompt: int, out: int, share: int) -> None:
    price = Price.of(3, 15, 0.3, 3.75)
    cached = prompt * share // 100
    most = most_nanousd(price, prompt, out)
    assert most is not None
    for usage in (Usage(prompt, out, cached), Usage(prompt, out, 0, cached)):
        cost = cost_nanousd(price, usage)
        assert cost is not None
        assert cost <= most


@pytest.mark.parametrize(
    ("reported", "sane"),
    [
        (Usage(-5, 10), Usage(0, 10)),
        (Usage(10**12, 10**12), Usage(1000, 100)),
        (Usage(10, 10, 20, 20, 20), Usage(10, 10, 10, 0, 10)),
        (Usage(10, 10, -1, -1, -1), Usage(10, 10)),
        (Usage(10, 5, 8, 8), Usage(10, 5, 8, 2)),
    ],
)
def test_absurd_usage_is_bounded_and_flagged(reported: Usage, sane: Usage) -> None:
    assert bounded(reported, prompt_cap=1000, completion_cap=100) == (sane, True)


def test_sane_usage_passes() -> None:
    usage = Usage(10, 5, 2, 3, 4, "provider")
    assert bounded(usage, prompt_cap=10, completion_cap=5) == (usage, False)
