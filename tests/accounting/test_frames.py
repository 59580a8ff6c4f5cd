"""Records are found again whatever happened to the bytes around them."""

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.accounting.frames import HEAD_BYTES, MAX_PAYLOAD_BYTES, Damage, Kind, frame, read

PAYLOADS = st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=60)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(PAYLOADS, st.integers(0, 200))
def test_what_was_written_is_read(records: list[tuple[Kind, bytes]], space: int) -> None:
    data = b"".join([frame(kind, payload) for kind, payload in records]) + bytes(space)
    damage = Damage()
    assert [(found.kind, found.payload) for found in read(data, damage)] == records
    assert damage == Damage()


def test_a_file_cut_anywhere_keeps_every_whole_record() -> None:
    records = [(Kind.OPEN, b"one"), (Kind.CLOSE, b"two" * 20), (Kind.CLOSE, b"\xa7J\xa7J")]
    frames = [frame(kind, payload) for kind, payload in records]
    data = b"".join(frames)
    for cut in range(len(data) + 1):
        whole = sum(cut >= sum(map(len, frames[: n + 1])) for n in range(3))
        for space in (b"", bytes(40)):
            assert [found.payload for found in read(data[:cut] + space)] == [payload for _, payload in records[:whole]]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_damage_in_one_place_costs_the_records_there_and_no_other(seed: int) -> None:
    rng = random.Random(seed)
    payloads = [rng.randbytes(rng.randrange(1, 50)) for _ in range(10)]
    frames = [frame(Kind.CLOSE, payload) for payload in payloads]
    data = bytearray(b"".join(frames))
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    hit = next(n for n in range(10) if at < sum(map(len, frames[: n + 1])))
    damage = Damage()
    found = [one.payload for one in read(bytes(data) + bytes(64), damage)]
    assert found == payloads[:hit] + payloads[hit + 1 :]
    if hit < 9:
        assert (damage.holes, damage.torn_bytes) == (1, 0)
        assert damage.corrupt_bytes == len(frames[hit])
    else:
        assert damage.torn_bytes + damage.corrupt_bytes <= len(frames[9])
        assert damage.holes == 0 or at - sum(map(len, frames[:9])) < 8, "only a head that no writer leaves is more than a torn end"


def test_a_length_beyond_reason_is_not_believed() -> None:
    data = frame(Kind.CLOSE, b"a") + b"\xa7J\x02\x00" + (2**31).to_bytes(4, "little") + bytes(4) + frame(Kind.CLOSE, b"b")
    assert [found.payload for found in read(data)] == [b"a", b"b"]


def test_too_large_records_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        frame(Kind.CLOSE, bytes(MAX_PAYLOAD_BYTES + 1))
    assert len(frame(Kind.CLOSE, b"")) == HEAD_BYTES


def test_the_check_covers_the_kind() -> None:
    data = bytearray(frame(Kind.OPEN, b"x"))
    data[2] = Kind.CLOSE
    assert list(read(bytes(data))) == []
    assert zlib.crc32(b"x", 1) != zlib.crc32(b"x", 2)
