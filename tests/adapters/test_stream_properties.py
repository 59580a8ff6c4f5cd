"""Whatever a provider streams and however the network cuts it: the client gets the same bytes, and they say the same."""

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.adapters import translator_for
from neuroroute.core import jsonbytes
from neuroroute.core.types import Dialect, Target
from tests.support.transcripts.reader import client, levelled, play, target

CHARS = st.characters(codec="utf-8") | st.sampled_from('"\\\n\r\t/{}: ')
TEXTS = st.text(CHARS, max_size=6)
DELTAS = st.lists(
    st.one_of(
        st.tuples(st.just("content"), TEXTS),
        st.tuples(st.just("content"), TEXTS),
        st.tuples(st.just("reasoning_content"), TEXTS),
        st.tuples(st.just("call"), TEXTS),
        st.tuples(st.just("arguments"), TEXTS.filter(bool)),
    ),
    max_size=12,
)
CUTS = st.lists(st.integers(0, 4000), max_size=8)


def dumped(value: Any, style: int) -> bytes:
    """JSON as different servers write it."""
    if style == 0:
        return jsonbytes.dumps(value)
    text = jsonbytes.dumps_pretty(value).replace("\n", " ")
    return text.encode() if style == 1 else b"".join(c.encode() if ord(c) < 128 else escaped(c) for c in text)


def escaped(char: str) -> bytes:
    units = char.encode("utf-16-be")
    return b"".join(b"\\u%02x%02x" % (units[i], units[i + 1]) for i in range(0, len(units), 2))


def chunk(delta: dict[str, Any], finish: str | None = None, *, padding: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "inner", "usage": None}
    made["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return made if padding is None else {**made, "obfuscation": padding}


def events_of(deltas: list[tuple[str, str]], style: int, role_each_time: bool, padded: bool) -> tuple[bytes, dict[str, Any]]:
    """(an upstream stream, what it says)."""
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    out = [chunk({"role": "assistant", "content": ""})]
    in_call = False
    for n, (kind, text) in enumerate(deltas):
        delta: dict[str, Any] = {"role": "assistant"} if role_each_time else {}
        in_call = kind == "call" or (in_call and kind == "arguments")
        if kind == "call":
            said["calls"].append([f"f{text}", ""])
            function = {"name": f"f{text}", "arguments": ""}
            delta["tool_calls"] = [{"index": len(said["calls"]) - 1, "id": f"call_{n}", "type": "function", "function": function}]
        elif kind == "arguments":
            if not in_call:
                continue
            said["calls"][-1][1] += text
            delta["tool_calls"] = [{"index": len(said["calls"]) - 1, "function": {"arguments": text}}]
        else:
            said[kind] += text
            delta[kind] = text
        out.append(chunk(delta, padding="x" * (n % 3) if padded else None))
    for call in said["calls"]:
        call[1] = call[1] or "{}"
    events = [dumped(e, style) for e in [*out, chunk({}, "stop")]]
    return b"".join(b"data: " + e + b"\n\n" for e in [*events, b"[DONE]"]), said


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def said_by_chat(data: bytes) -> dict[str, Any]:
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    roles = 0
    *events, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    for event in events:
        [choice] = jsonbytes.loads(event.removeprefix(b"data: "))["choices"]
        delta = choice["delta"]
        roles += "role" in delta
        for key in ("content", "reasoning_content"):
            said[key] += delta.get(key) or ""
        for call in delta.get("tool_calls") or []:
            if call.get("id"):
                assert call["index"] == len(said["calls"])
                said["calls"].append([call["function"]["name"], ""])
            said["calls"][call["index"]][1] += call["function"]["arguments"]
    assert roles == 1
    return said


def said_by_messages(data: bytes) -> dict[str, Any]:
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    open_block = None
    begun = 0
    kinds = []
    for event in data.removesuffix(b"\n\n").split(b"\n\n"):
        name, payload = event.split(b"\ndata: ", 1)
        value = jsonbytes.loads(payload)
        kind = value["type"]
        assert name == b"event: " + kind.encode()
        kinds.append(kind)
        if kind == "content_block_start":
            assert open_block is None and value["index"] == begun
            open_block, begun = value["content_block"], begun + 1
            if open_block["type"] == "tool_use":
                said["calls"].append([open_block["name"], ""])
        elif kind == "content_block_stop":
            assert open_block is not None
            if open_block["type"] == "tool_use":
                said["calls"][-1][1] = said["calls"][-1][1] or "{}"  # as the SDKs take a block without deltas
            open_block = None
        elif kind == "content_block_delta":
            assert open_block is not None and value["index"] == begun - 1
            delta = value["delta"]
            said["content"] += delta.get("text", "")
            said["reasoning_content"] += delta.get("thinking", "")
            if "partial_json" in delta:
                said["calls"][-1][1] += delta["partial_json"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"] and open_block is None
    return said


def said_by_responses(data: bytes) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for n, event in enumerate(data.removesuffix(b"\n\n").split(b"\n\n")):
        name, payload = event.split(b"\ndata: ", 1)
        last = jsonbytes.loads(payload)
        assert last["sequence_number"] == n and name == b"event: " + last["type"].encode()
    assert last["type"] == "response.completed"
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    for item in last["response"]["output"]:
        if item["type"] == "message":
            said["content"] += item["content"][0]["text"]
        elif item["type"] == "reasoning":
            said["reasoning_content"] += item["summary"][0]["text"]
        else:
            said["calls"].append([item["name"], item["arguments"]])
    return said


READERS = {"chat": said_by_chat, "messages": said_by_messages, "responses": said_by_responses}


def streams(dialect: str, to: Target, data: bytes, cuts: list[int]) -> tuple[bytes, str]:
    stream = translator_for(Dialect(dialect), to).stream(client(dialect, b'{"model":"house","stream":true}', stream=True), to)
    got, error = play(stream, pieces_of(data, cuts))
    assert error is None and stream.done
    return got, stream.text()


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(READERS)), DELTAS, st.integers(0, 2), st.booleans(), st.booleans(), CUTS)
def test_any_stream_any_cut(dialect: str, deltas: list[tuple[str, str]], style: int, roles: bool, padded: bool, cuts: list[int]) -> None:
    data, said = events_of(deltas, style, roles, padded)
    to = target("openai", "house", "inner")
    got, text = streams(dialect, to, data, cuts)
    assert READERS[dialect](got) == said
    again, same_text = streams(dialect, to, data, [])
    assert levelled(again) == levelled(got)
    assert text == same_text
    for part in (said["content"], said["reasoning_content"]):
        assert len(text) >= len(part)


@settings(deadline=None, max_examples=100)
@given(DELTAS, st.booleans(), CUTS)
def test_a_stream_that_passes_is_the_one_that_came(deltas: list[tuple[str, str]], padded: bool, cuts: list[int]) -> None:
    deltas = [d for d in deltas if d[0] not in ("call", "arguments")]
    data, _ = events_of(deltas, 0, False, padded)
    assert streams("chat", target("openai", "inner"), data, cuts)[0] == data


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["text", "thinking", "tool_use"]), st.lists(TEXTS, max_size=4)), max_size=5), CUTS)
def test_any_claude_stream_any_cut(blocks: list[tuple[str, list[str]]], cuts: list[int]) -> None:
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "inner", "content": [], "usage": {"input_tokens": 1}}}
    ]
    for i, (kind, texts) in enumerate(blocks):
        if kind == "tool_use":
            block: dict[str, Any] = {"type": kind, "id": f"toolu_{i}", "name": f"f{i}", "input": {}}
            said["calls"].append([f"f{i}", "".join(texts) or "{}"])
        else:
            block = {"type": kind, kind: ""}
            said["content" if kind == "text" else "reasoning_content"] += "".join(texts)
        events.append({"type": "content_block_start", "index": i, "content_block": block})
        delta, key = {
            "text": ("text_delta", "text"),
            "thinking": ("thinking_delta", "thinking"),
            "tool_use": ("input_json_delta", "partial_json"),
        }[kind]
        events += [{"type": "content_block_delta", "index": i, "delta": {"type": delta, key: t}} for t in texts]
        events.append({"type": "content_block_stop", "index": i})
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}, {"type": "message_stop"}]
    data = b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), jsonbytes.dumps(e)) for e in events)
    to = target("anthropic", "house", "inner")
    for dialect, read in READERS.items():
        if dialect == "messages":
            got, _ = streams(dialect, target("anthropic", "inner"), data, cuts)
            assert got == data
        else:
            got, _ = streams(dialect, to, data, cuts)
            assert read(got) == said
            assert levelled(got) == levelled(streams(dialect, to, data, [])[0])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), CUTS)
def test_no_bytes_make_it_fail_in_another_way(data: bytes, cuts: list[int]) -> None:
    for protocol in ("openai", "anthropic"):
        for dialect in READERS:
            to = target(protocol, "m")
            stream = translator_for(Dialect(dialect), to).stream(client(dialect, b"{}", stream=True), to)
            for prefix in (b"", b"data: "):
                _, error = play(stream, pieces_of(prefix + data, cuts))
                assert error is not None
