"""What is remembered of conversations, and for how long."""

import pytest

from neuroroute.core.types import Usage
from neuroroute.routing.decision import NEW_THREAD
from neuroroute.routing.threads import Threads


def used(prompt: int, cached: int = 0, written: int = 0, source: str = "provider") -> Usage:
    return Usage(prompt, 10, cached, written, 0, source)


def held(threads: Threads, key: bytes = b"c", now_s: float = 20.0) -> int:
    return threads.find(key, now_s).cached_prefix_tokens


def test_a_conversation_is_remembered_with_its_cached_prefix_while_that_lives() -> None:
    threads = Threads(ttl_s=3600.0)
    assert threads.find(b"c", 0.0) is NEW_THREAD
    threads.answered(b"c", "one/a", used(5_000, cached=1_000, written=3_500), 10.0)
    assert (threads.find(b"c", 20.0).target, held(threads)) == ("one/a", 4_500)
    assert (threads.find(b"c", 1_000.0).target, held(threads, now_s=1_000.0)) == ("one/a", 0)
    assert threads.find(b"c", 20.0, tool_loop=True).tool_loop and threads.find(b"c", 20.0, stalled=True).stalled
    assert threads.find(b"c", 10_000.0) is NEW_THREAD and threads.find(b"other", 20.0) is NEW_THREAD


def test_a_short_prompt_is_in_no_cache_that_nobody_reported() -> None:
    threads = Threads()
    threads.answered(b"c", "one/a", used(1_000), 10.0)
    assert held(threads) == 0
    threads.answered(b"c", "one/a", used(1_000, written=900), 10.0)
    assert held(threads) == 900


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_what_is_expected_of_a_provider_is_what_it_reported_when_conversations_went_on(share: float) -> None:
    """One that writes no figures of its own, as OpenAI; how often it finds a prefix again is seen on its answers."""
    threads = Threads()
    threads.answered(b"new", "one/a", used(10_000), 10.0)
    assert held(threads, b"new") == 5_000, "a guess, until something was seen"
    for turn in range(1, 12):
        threads.answered(b"long", "one/a", used(10_000 * (turn + 1), cached=int(share * 10_000 * turn) if turn > 1 else 0), 10.0 + turn)
    expected = held(threads, b"new", 30.0)
    assert abs(expected - share * 10_000) < 1_500, expected
    threads.answered(b"elsewhere", "two/b", used(10_000), 10.0)
    assert held(threads, b"elsewhere", 20.0) == 5_000, "of another provider nothing is known by that"


def test_only_reports_of_the_same_provider_within_the_time_count() -> None:
    threads = Threads()
    for key, target, usage, at_s in (
        (b"moved", "two/b", used(10_000), 11.0),
        (b"late", "one/a", used(10_000), 1_000.0),
        (b"counted", "one/a", used(10_000, source="counted"), 11.0),
        (b"short", "one/a", used(10_000), 11.0),
    ):
        threads.answered(key, "one/a", used(500 if key == b"short" else 10_000), 10.0)
        threads.answered(key, target, usage, at_s)
    threads.answered(b"new", "one/a", used(10_000), 11.0)
    assert held(threads, b"new", 12.0) == 5_000


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    threads = Threads(most=3)
    for place in range(5):
        threads.answered(bytes([place]), "one/a", used(1), 0.0)
    threads.answered(b"\x02", "one/b", used(1), 0.0)
    threads.answered(b"\x05", "one/a", used(1), 0.0)
    assert len(threads) == 3
    assert [threads.find(bytes([place]), 1.0).target for place in range(6)] == ["", "", "one/b", "", "one/a", "one/a"]
