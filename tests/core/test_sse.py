"""The splitter gives the same events however the bytes are cut, and does not get slow on long lines."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.core import sse


def split(*chunks: bytes) -> list[sse.Event]:
    splitter = sse.Splitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events + splitter.end()


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\r\n\r\ndata:  b\r\r", [(b"", b"a"), (b"", b" b")]),
        (b"event: x\ndata: 1\ndata: 2\n\n", [(b"x", b"1\n2")]),
        (b": comment\n\nid: 7\nretry: 1\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a", [(b"", b"a")]),
        (b"data: a\n", [(b"", b"a")]),
        (b"event: ping\n\ndata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"data\n\n", [(b"", b"")]),
        (b"<html>\n\n", []),
        (b"", []),
    ],
)
def test_events(data: bytes, events: list[sse.Event]) -> None:
    assert split(data) == events
    assert split(*(bytes([b]) for b in data)) == events


LINES = st.sampled_from([b"data: ", b"data:", b"event: e", b": c", b"data: \xc3\xa9{}", b"x", b"", b"", b""])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 200), max_size=6))
def test_any_cut_gives_the_same_events(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(line + end for line, end in lines)
    at = sorted({0, len(data), *(min(c, len(data)) for c in cuts)})
    assert split(*(data[a:b] for a, b in itertools.pairwise(at))) == split(data)


def test_idle_means_that_nothing_is_held() -> None:
    splitter = sse.Splitter()
    assert splitter.idle
    splitter.feed(b"data: a\n")
    assert not splitter.idle
    splitter.feed(b"\n")
    assert splitter.idle
    splitter.feed(b"data: a\r\n\r")
    assert not splitter.idle  # an LF that comes next belongs to what was


def test_a_line_of_many_megabytes_costs_what_its_length_costs() -> None:
    piece = b"x" * 16384

    def seconds(pieces: int) -> float:
        splitter = sse.Splitter()
        began = time.process_time()
        splitter.feed(b"data: ")
        for _ in range(pieces):
            splitter.feed(piece)
        [(_, data)] = splitter.feed(b"\n\n")
        assert len(data) == pieces * len(piece)
        return time.process_time() - began

    seconds(64)
    assert seconds(1024) < 1.0  # 16 MiB; adding up would copy 8 GiB


def test_an_event_without_end_is_refused() -> None:
    splitter = sse.Splitter()
    with pytest.raises(sse.EventTooLarge):
        for _ in range(70):
            splitter.feed(b"x" * (1 << 20))
    splitter = sse.Splitter()
    with pytest.raises(sse.EventTooLarge):
        for _ in range(70):
            splitter.feed(b"data: " + b"x" * (1 << 20) + b"\n")


def test_written_events_are_one_line() -> None:
    assert sse.data(b'{"a":\n1}') == b'data: {"a": 1}\n\n'
    assert sse.named(b"e", b"{}") == b"event: e\ndata: {}\n\n"
