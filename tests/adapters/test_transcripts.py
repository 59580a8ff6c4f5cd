"""Every transcript, however the network cuts it."""

from dataclasses import replace

import pytest

from neuroroute.core import jsonbytes
from neuroroute.core.types import Usage
from tests.support.transcripts.reader import Transcript, all_transcripts, levelled, play

ALL = all_transcripts()
STREAMS = [t for t in ALL if t.stream]
WHOLES = [t for t in ALL if not t.stream]


def name(t: Transcript) -> str:
    return t.name


def expect(t: Transcript, got: bytes, error: Exception | None) -> None:
    assert (type(error).__name__ if error else None) == t.head.get("ends")
    if "message" in t.head:
        assert t.head["message"] in str(error)
    assert levelled(got).decode() == levelled(t.sections["client answer"].encode()).decode()


@pytest.mark.parametrize("t", [t for t in ALL if "upstream request" in t.sections], ids=name)
def test_the_request_that_the_provider_gets(t: Transcript) -> None:
    request = t.translator.request(t.client, t.target)
    wanted = t.sections["upstream request"].strip().encode()
    if t.head["dialect"] == "chat" and t.head["provider"] == "openai":
        assert request.body == wanted
    else:
        assert jsonbytes.loads(request.body) == jsonbytes.loads(wanted)
    assert request.stream is t.stream


@pytest.mark.parametrize("t", STREAMS, ids=name)
def test_a_stream_in_one_piece(t: Transcript) -> None:
    stream = t.open()
    expect(t, *play(stream, [t.upstream_bytes]))
    if "usage" in t.sections:
        wanted = jsonbytes.loads(t.sections["usage"].encode())
        assert stream.finish_reason == wanted.pop("finish_reason")
        if (text := wanted.pop("text", None)) is not None:
            assert stream.text() == text
        assert replace(stream.usage, source="") == Usage(**wanted or {}, source="")
        assert (stream.usage.source == "provider") == bool(wanted)
    assert stream.done is ("ends" not in t.head)


@pytest.mark.parametrize("t", STREAMS, ids=name)
def test_a_stream_byte_by_byte(t: Transcript) -> None:
    expect(t, *play(t.open(), [bytes([b]) for b in t.upstream_bytes]))


@pytest.mark.parametrize("t", STREAMS, ids=name)
def test_a_stream_event_by_event(t: Transcript) -> None:
    expect(t, *play(t.open(), [event + b"\n\n" for event in t.upstream_bytes.removesuffix(b"\n\n").split(b"\n\n")]))


@pytest.mark.parametrize("t", STREAMS, ids=name)
def test_a_stream_cut_at_every_offset(t: Transcript) -> None:
    data = t.upstream_bytes
    for at in range(1, len(data)):
        if len(data) > 2500 and at % 5 and b"\n" not in data[at - 3 : at + 3]:
            continue  # long ones: every fifth offset inside of a line, all around its end
        expect(t, *play(t.open(), [data[:at], data[at:]]))


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"], ids=["crlf", "cr"])
@pytest.mark.parametrize("t", STREAMS, ids=name)
def test_a_stream_with_other_line_ends(t: Transcript, ending: bytes) -> None:
    data = t.upstream_bytes.replace(b"\n", ending)
    expect(t, *play(t.open(), [data]))
    expect(t, *play(t.open(), [data[i : i + 7] for i in range(0, len(data), 7)]))


@pytest.mark.parametrize("t", STREAMS, ids=name)
def test_a_stream_without_spaces_and_with_comments(t: Transcript) -> None:
    data = t.upstream_bytes.replace(b"\ndata: ", b"\ndata:").replace(b"\n\n", b"\n\n: still here\nretry: 5\n\n")
    expect(t, *play(t.open(), [data]))


@pytest.mark.parametrize("t", WHOLES, ids=name)
def test_a_whole_answer(t: Transcript) -> None:
    reply = t.translator.whole(t.client, t.target, 200, {"content-type": "application/json"}, t.upstream_bytes)
    assert jsonbytes.loads(levelled(reply.body)) == jsonbytes.loads(levelled(t.sections["client answer"].encode()))
    if "usage" in t.sections:
        wanted = jsonbytes.loads(t.sections["usage"].encode())
        assert reply.finish_reason == wanted.pop("finish_reason")
        assert reply.usage == (Usage(**wanted, source="provider") if wanted else Usage())
