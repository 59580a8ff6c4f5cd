"""Breakers, live latency and the retry budget, by hand and under arbitrary sequences of events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.core.errors import (
    ClientGone,
    ConnectFailed,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelGone,
    UpstreamRefused,
    UpstreamTimeout,
)
from neuroroute.routing.health import MAX_OPEN_S, Attempt, Health, Latency, RetryBudget, State

PROPERTY = settings(max_examples=60, deadline=None)  # no deadline: the machine may be busy
FAULTS = [ConnectFailed, UpstreamTimeout, UpstreamBroken, UpstreamBusy, StreamCut]


def fail(health: Health, now_s: float, error: Exception | None = None, target: str = "p/m") -> None:
    health.admit(target, now_s).failed(error or ConnectFailed("down"), now_s)


def opened(failures: int = 5, open_s: float = 10.0) -> Health:
    health = Health(failures, open_s)
    for _ in range(failures):
        fail(health, 0.0)
    return health


@pytest.mark.parametrize("fault", FAULTS)
def test_opens_after_so_many_faults_in_a_row(fault: type[UpstreamError]) -> None:
    health = Health(failures=5, open_s=10.0)
    for _ in range(4):
        fail(health, 1.0, fault("no"))
    assert health.refused_s("p/m", 1.0) == 0.0
    fail(health, 1.0, fault("no"))
    with pytest.raises(Unavailable) as refused:
        health.admit("p/m", 3.0)
    assert refused.value.retry_after_s == pytest.approx(8.0)
    assert health.look("p/m", 3.0).state is State.OPEN


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused("your fault", status=400),
        UpstreamRefused("filtered", status=403),
        UpstreamLimited("slow down"),
        UpstreamDenied("our key"),
        UpstreamModelGone("gone"),
        ClientGone("left"),
    ],
)
def test_what_is_not_the_targets_fault_never_opens(error: Exception) -> None:
    health = Health(failures=2)
    for second in range(50):
        fail(health, float(second), error)
    assert health.look("p/m", 50.0).state is State.CLOSED


def test_an_attempt_that_outlives_its_targets_place_in_the_catalogue_says_nothing_of_it() -> None:
    health = Health(failures=1, open_s=30.0)
    first, second = health.admit("p/m", 0.0), health.admit("p/m", 0.0)
    health.keep(frozenset())
    first.failed(ConnectFailed("down"), 1.0)
    assert health.refused_s("p/m", 1.0) == 0.0
    health.admit("p/m", 2.0).failed(ConnectFailed("down"), 2.0)
    second.succeeded(3.0)
    assert health.refused_s("p/m", 3.0) > 0.0


def test_an_answer_between_failures_keeps_it_closed_until_half_of_the_calls_fail() -> None:
    health = Health(failures=5)
    for second in range(40):  # one in four fails
        health.admit("p/m", float(second)).succeeded(float(second))
        health.admit("p/m", float(second)).succeeded(float(second))
        health.admit("p/m", float(second)).succeeded(float(second))
        fail(health, float(second))
    assert health.refused_s("p/m", 40.0) == 0.0
    flapping = Health(failures=5)
    now_s, count = 0.0, 0
    while not flapping.refused_s("p/m", now_s):
        fail(flapping, now_s)
        if not flapping.refused_s("p/m", now_s):
            fail(flapping, now_s)
        if not flapping.refused_s("p/m", now_s):
            flapping.admit("p/m", now_s).succeeded(now_s)
        count += 1
        assert count < 10, "two of three calls fail and it stays closed"


def test_one_probe_at_a_time_and_a_good_byte_closes() -> None:
    health = opened()
    probe = health.admit("p/m", 10.0)
    assert probe.is_probe
    with pytest.raises(Unavailable):
        health.admit("p/m", 10.0)
    probe.first_byte(10.2)
    assert health.look("p/m", 10.2).state is State.CLOSED
    health.admit("p/m", 10.3).succeeded(10.4)
    probe.failed(StreamCut("cut"), 11.0)  # its own cut, later, counts as one failure
    assert health.look("p/m", 11.0).consecutive_failures == 1


def test_an_abandoned_probe_frees_the_place_at_once() -> None:
    health = opened()
    health.admit("p/m", 10.0).abandoned()
    again = health.admit("p/m", 10.0)
    assert again.is_probe
    again.failed(UpstreamRefused("bad request", status=400), 10.1)  # no verdict on the target either
    assert health.admit("p/m", 10.1).is_probe


def test_the_pause_doubles_with_each_failed_probe_and_ends_with_a_good_one() -> None:
    health = opened(open_s=10.0)
    now_s, waits = 0.0, []
    for _ in range(7):
        wait_s = health.refused_s("p/m", now_s)
        waits.append(wait_s)
        now_s += wait_s
        fail(health, now_s)
    assert waits == pytest.approx([10, 20, 40, 80, 160, MAX_OPEN_S, MAX_OPEN_S])
    now_s += health.refused_s("p/m", now_s)
    health.admit("p/m", now_s).succeeded(now_s)
    for _ in range(5):
        fail(health, now_s)
    assert health.refused_s("p/m", now_s) == pytest.approx(10.0)


def test_results_of_attempts_from_before_it_opened_change_nothing() -> None:
    health = Health(failures=2, open_s=10.0)
    late_bad, late_good = health.admit("p/m", 0.0), health.admit("p/m", 0.0)
    fail(health, 0.0)
    fail(health, 0.0)
    late_bad.failed(ConnectFailed("down"), 9.0)
    late_good.succeeded(9.0)
    assert health.refused_s("p/m", 9.0) == pytest.approx(1.0)


def test_targets_do_not_share_breakers_and_forgotten_ones_start_anew() -> None:
    health = opened()
    assert health.refused_s("p/other", 0.0) == 0.0
    health.keep(frozenset({"p/other"}))
    assert health.refused_s("p/m", 0.0) == 0.0


def test_a_limited_target_is_avoided_for_as_long_as_it_asks_but_not_refused() -> None:
    health = Health()
    fail(health, 0.0, UpstreamLimited("slow down", retry_after_s=30.0))
    assert health.avoids(1.0) and health.avoided("p/m", 29.0) and not health.avoided("p/m", 30.5)
    assert health.refused_s("p/m", 1.0) == 0.0
    fail(health, 40.0, UpstreamLimited("slow down", retry_after_s=1e9))
    assert not health.avoided("p/m", 300.0), "a provider may not shut itself off for days"
    health.admit("p/m", 41.0).succeeded(41.0)
    assert not health.avoided("p/m", 42.0)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["good", "byte then good", "byte then cut", "fault", "refused", "limited", "left", "leave open", "settle old"]),
        st.floats(0.0, 30.0),
    ),
    max_size=120,
)


@PROPERTY
@given(EVENTS, st.integers(1, 6))
def test_under_any_sequence(events: list[tuple[str, float]], failures: int) -> None:
    """Never more than one probe at a time; a refusal always has an end; a wait that has passed is always enough."""
    health, now_s = Health(failures, open_s=5.0), 0.0
    running: list[Attempt] = []
    for event, later_s in events:
        now_s += later_s
        if event == "settle old" and running:
            running.pop(0).abandoned()
            continue
        look = health.look("p/m", now_s)
        try:
            attempt = health.admit("p/m", now_s)
        except Unavailable as refused:
            assert refused.retry_after_s is not None and 0.0 < refused.retry_after_s <= MAX_OPEN_S
            assert look.state is not State.CLOSED
            continue
        assert look.retry_after_s == 0.0
        assert sum(other.is_probe for other in [*running, attempt]) <= 1
        assert attempt.is_probe == (look.state is not State.CLOSED)
        if event in ("byte then good", "byte then cut", "good"):
            attempt.first_byte(now_s + 0.1)
            assert health.refused_s("p/m", now_s + 0.1) == 0.0
        if event in ("byte then good", "good"):
            attempt.succeeded(now_s + 0.2, output_tokens=20)
        elif event == "byte then cut":
            attempt.failed(StreamCut("cut"), now_s + 0.2)
        elif event == "fault":
            attempt.failed(UpstreamTimeout("late"), now_s)
        elif event == "refused":
            attempt.failed(UpstreamRefused("no", status=422), now_s)
        elif event == "limited":
            attempt.failed(UpstreamLimited("no", retry_after_s=3.0), now_s)
        elif event == "left":
            attempt.abandoned()
        else:
            running.append(attempt)
    for attempt in running:
        attempt.abandoned()
    now_s += health.refused_s("p/m", now_s)
    health.admit("p/m", now_s).succeeded(now_s)
    assert health.look("p/m", now_s).state is State.CLOSED


@PROPERTY
@given(st.lists(st.sampled_from(["refused", "limited", "left", "good"]), max_size=60))
def test_no_sequence_without_a_fault_opens(events: list[str]) -> None:
    health = Health(failures=1)
    for event in events:
        attempt = health.admit("p/m", 1.0)
        if event == "good":
            attempt.succeeded(1.0)
        elif event == "left":
            attempt.abandoned()
        else:
            attempt.failed(UpstreamRefused("no", status=400) if event == "refused" else UpstreamLimited("no"), 1.0)
    assert health.look("p/m", 1.0).state is State.CLOSED


def test_a_second_verdict_changes_nothing() -> None:
    health = Health(failures=1)
    attempt = health.admit("p/m", 0.0)
    attempt.succeeded(1.0)
    attempt.failed(ConnectFailed("late"), 2.0)
    assert health.look("p/m", 2.0).state is State.CLOSED


def test_latency_follows_what_happens() -> None:
    health = Health()
    assert health.latency("p/m") is None
    for step in range(200):
        attempt = health.admit("p/m", float(step))
        attempt.first_byte(step + 0.3)
        attempt.succeeded(step + 1.3, output_tokens=101)
    live = health.latency("p/m")
    assert live is not None
    assert live.ttft_ms == pytest.approx(300, rel=0.01) and live.tokens_per_s == pytest.approx(100, rel=0.01)
    for step in range(200, 260):
        health.admit("p/m", float(step)).first_byte(step + 0.9)
    assert live.ttft_ms == pytest.approx(900, rel=0.05)
    shown = health.snapshot(300.0)
    assert [one.target for one in shown] == ["p/m"] and shown[0].ttft_ms == live.ttft_ms and shown[0].answers == 260


def test_the_95th_percentile_rests_where_one_in_twenty_lies_above() -> None:
    live = Latency()
    for step in range(20_000):
        live.first_token(100.0 + (step * 7919 % 1000))  # evenly over 100..1099
    assert live.ttft_p95_ms == pytest.approx(1050, abs=60)
    assert live.ttft_ms == pytest.approx(600, abs=150)


def test_retries_stay_within_their_share_of_calls() -> None:
    budget, extras = RetryBudget(share=0.2, window_s=10.0), 0
    for step in range(1000):
        budget.call(step * 0.01)
        extras += budget.take(step * 0.01)
    assert 190 <= extras <= 201


def test_a_lone_call_may_always_try_once_more() -> None:
    budget = RetryBudget(share=0.2, window_s=10.0)
    budget.call(0.0)
    assert budget.take(0.0) and not budget.take(1.0)
    budget.call(10.5)
    assert budget.take(10.5)


@PROPERTY
@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 3.0)), max_size=200))
def test_in_no_window_more_than_the_share(events: list[tuple[bool, float]]) -> None:
    budget, now_s = RetryBudget(share=0.2, window_s=10.0), 100.0
    calls: list[float] = []
    extras: list[float] = []
    for is_call, later_s in events:
        now_s += later_s
        if is_call:
            budget.call(now_s)
            calls.append(now_s)
        elif budget.take(now_s):
            extras.append(now_s)
            recent = sum(at > now_s - 8.99 for at in extras)
            assert recent <= max(1, 0.2 * sum(at > now_s - 10.0 for at in calls))


def served(health: Health, target: str, count: int, now_s: float, ttft_ms: float = 100.0) -> None:
    for _ in range(count):
        attempt = health.admit(target, now_s - ttft_ms / 1000)
        attempt.first_byte(now_s)
        attempt.succeeded(now_s)


def peers(count: int = 4) -> Health:
    """Targets that were asked 200 times each, until second 100."""
    health = Health()
    for number in range(count):
        served(health, f"p/{number}", 200, 100.0)
    health.eject(100.0)
    assert not any(one.ejected_s for one in health.snapshot(100.0))
    return health


def test_a_target_that_fails_more_than_its_peers_is_asked_last_and_longer_each_time() -> None:
    health, now_s, pauses = peers(), 300.0, []
    for _ in range(3):
        for _ in range(40):
            for number in range(4):
                served(health, f"p/{number}", 2 if number else 1, now_s)
            fail(health, now_s, target="p/0")
            served(health, "p/0", 1, now_s)
        health.eject(now_s)
        pauses.append(round(health.look("p/0", now_s).ejected_s))
        assert health.avoids(now_s) and health.avoided("p/0", now_s) and health.refused_s("p/0", now_s) == 0.0
        served(health, "p/0", 5, now_s)
        assert health.avoided("p/0", now_s), "a good answer does not end it"
        now_s += pauses[-1] + 1
        assert not health.avoided("p/0", now_s)
    assert pauses == [30, 60, 90]
    assert [one.target for one in health.snapshot(now_s - 10) if one.ejected_s] == ["p/0"]


def test_a_target_that_got_slower_is_ejected_but_not_if_all_did_nor_if_it_always_was() -> None:
    health = peers()
    served(health, "p/slow", 200, 100.0, ttft_ms=3000.0)
    served(health, "p/1", 30, 101.0, ttft_ms=900.0)
    health.eject(101.0)
    assert [one.target for one in health.snapshot(101.0) if one.ejected_s] == ["p/1"]
    health = peers()
    for number in range(4):
        served(health, f"p/{number}", 30, 101.0, ttft_ms=900.0)
    health.eject(101.0)
    assert not any(one.ejected_s for one in health.snapshot(101.0))


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (5, 2), (8, 4)])
def test_never_more_than_half_are_ejected_and_one_alone_never_is(count: int, most: int) -> None:
    health, now_s = peers(count), 101.0
    for _ in range(10):
        for number in range(count):
            served(health, f"p/{number}", 20, now_s)
            for _ in range(number):
                for _ in range(3):
                    fail(health, now_s, target=f"p/{number}")
                served(health, f"p/{number}", 4, now_s)
        health.eject(now_s)
        assert sum(one.ejected_s > 0 for one in health.snapshot(now_s)) <= most
        now_s += 1.0


def test_the_95th_percentile_of_whole_answers() -> None:
    import random

    rng, live = random.Random(1), Latency()
    for _ in range(5000):
        live.whole(rng.uniform(0.0, 1000.0))
    assert 880 <= live.whole_p95_ms <= 1000
