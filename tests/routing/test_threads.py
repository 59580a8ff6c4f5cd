"""What is remembered of conversations, and for how long."""

from neuroroute.routing.decision import NEW_THREAD
from neuroroute.routing.threads import Threads


def test_a_conversation_is_remembered_with_its_cached_prefix_while_that_lives() -> None:
    threads = Threads(ttl_s=3600.0)
    assert threads.find(b"c", 0.0) is NEW_THREAD
    threads.answered(b"c", "one/a", 1_000, 10.0)
    assert (threads.find(b"c", 20.0).target, threads.find(b"c", 20.0).cached_prefix_tokens) == ("one/a", 1_000)
    assert (threads.find(b"c", 1_000.0).target, threads.find(b"c", 1_000.0).cached_prefix_tokens) == ("one/a", 0)
    assert threads.find(b"c", 20.0, tool_loop=True).tool_loop and threads.find(b"c", 20.0, stalled=True).stalled
    assert threads.find(b"c", 10_000.0) is NEW_THREAD and threads.find(b"other", 20.0) is NEW_THREAD


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    threads = Threads(most=3)
    for place in range(5):
        threads.answered(bytes([place]), "one/a", 1, 0.0)
    threads.answered(b"\x02", "one/b", 1, 0.0)
    threads.answered(b"\x05", "one/a", 1, 0.0)
    assert len(threads) == 3
    assert [threads.find(bytes([place]), 1.0).target for place in range(6)] == ["", "", "one/b", "", "one/a", "one/a"]
