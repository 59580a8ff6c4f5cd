"""All of a call's limits at once, in one process."""

import asyncio
import re
import time

import pytest

from neuroroute.limits.rate import Check, Limiter, Unit, Verdict, duration

FAST_S = 0.2


def take(limiter: Limiter, *checks: Check, tokens: int = 0) -> Verdict:
    verdict = limiter.try_admit(checks, tokens)
    assert verdict is not None
    return verdict


def test_a_call_is_admitted_until_the_limit_and_refused_beyond_it() -> None:
    limiter, check = Limiter(), Check("key", "key_1", 3)
    verdicts = [take(limiter, check) for _ in range(5)]
    assert [verdict.admitted for verdict in verdicts] == [True] * 3 + [False] * 2
    assert verdicts[3].refused_by is check
    assert verdicts[3].retry_after_s == pytest.approx(60, abs=0.5)
    assert take(limiter, Check("key", "key_2", 3)).admitted


def test_a_call_that_one_limit_refuses_is_charged_to_none() -> None:
    limiter = Limiter()
    wide, narrow = Check("user", "u", 10), Check("key", "k", 1)
    assert take(limiter, wide, narrow).admitted
    for _ in range(5):
        refused = take(limiter, wide, narrow)
        assert not refused.admitted
        assert refused.refused_by is narrow
    left = take(limiter, wide)
    assert left.requests is not None
    assert left.requests.remaining == 8


async def test_retry_after_is_true() -> None:
    limiter, check = Limiter(), Check("key", "k", 2, FAST_S)
    take(limiter, check)
    await asyncio.sleep(FAST_S / 4)
    take(limiter, check)
    refused = take(limiter, check)
    assert refused.retry_after_s is not None
    began = time.monotonic()
    await asyncio.sleep(refused.retry_after_s - 0.02)
    assert not take(limiter, check).admitted or time.monotonic() - began > refused.retry_after_s
    await asyncio.sleep(0.03)
    assert take(limiter, check).admitted


def test_tokens_are_charged_by_estimate_and_corrected() -> None:
    limiter, check = Limiter(), Check("key", "k", 1000, unit=Unit.TOKENS)
    first = take(limiter, check, tokens=800)
    assert first.tokens is not None
    assert (first.tokens.limit, first.tokens.remaining) == (1000, 200)
    assert not take(limiter, check, tokens=300).admitted
    first.correct(100)
    second = take(limiter, check, tokens=300)
    assert second.admitted
    assert second.tokens is not None
    assert second.tokens.remaining == 600
    second.correct(950)
    assert not take(limiter, check, tokens=1).admitted


def test_a_correction_counts_once() -> None:
    limiter, check = Limiter(), Check("key", "k", 1000, unit=Unit.TOKENS)
    verdict = take(limiter, check, tokens=500)
    verdict.correct(100)
    verdict.correct(100)
    after = take(limiter, check, tokens=0)
    assert after.tokens is not None
    assert after.tokens.remaining == 900


def test_more_tokens_than_the_limit_holds_are_never_admitted() -> None:
    refused = take(Limiter(), Check("key", "k", 100, unit=Unit.TOKENS), tokens=101)
    assert not refused.admitted
    assert refused.retry_after_s is None


def test_headers_name_the_tightest_limit_of_each_unit() -> None:
    limiter = Limiter()
    checks = (Check("key", "k", 5), Check("user", "u", 100), Check("key", "k", 4000, unit=Unit.TOKENS))
    headers = take(limiter, *checks, tokens=250).headers()
    assert headers["x-ratelimit-limit-requests"] == "5"
    assert headers["x-ratelimit-remaining-requests"] == "4"
    assert headers["x-ratelimit-limit-tokens"] == "4000"
    assert headers["x-ratelimit-remaining-tokens"] == "3750"
    for unit in ("requests", "tokens"):
        assert re.fullmatch(r"1m0s|59(\.\d+)?s", headers[f"x-ratelimit-reset-{unit}"])
    assert take(limiter).headers() == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.1204, "120ms"), (1, "1s"), (8.64, "8.64s"), (60, "1m0s"), (61.5, "1m1.5s"), (3600, "1h0m0s"), (21725, "6h2m5s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_idle_counters_are_dropped_and_busy_ones_kept() -> None:
    limiter = Limiter()
    for i in range(3000):
        take(limiter, Check("key", f"k{i}", 5, 0.01))
    busy = Check("key", "busy", 1)
    take(limiter, busy)
    await asyncio.sleep(0.02)
    limiter.sweep()
    assert len(limiter) == 1
    assert not take(limiter, busy).admitted


async def test_counters_do_not_pile_up_even_if_nobody_sweeps() -> None:
    limiter = Limiter()
    for i in range(20_000):
        take(limiter, Check("key", f"k{i}", 5, 1e-6))
    assert len(limiter) < 3000


def test_a_changed_limit_holds_at_once() -> None:
    limiter = Limiter()
    for _ in range(4):
        take(limiter, Check("key", "k", 10))
    assert not take(limiter, Check("key", "k", 4)).admitted
    assert take(limiter, Check("key", "k", 5)).admitted
