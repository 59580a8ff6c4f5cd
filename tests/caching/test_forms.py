"""One answer in both forms."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.caching import forms
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.core.types import Usage

USED = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0},
}

NAMES = st.text("abcxyz_", min_size=1, max_size=6).map(lambda name: "x_" + name)
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)
MORE = st.dictionaries(NAMES, JSON, max_size=2)
TEXT = st.text(max_size=30)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(min_size=1, max_size=5), "type": st.just("function"),
         "function": st.fixed_dictionaries({"name": st.text(min_size=1, max_size=5), "arguments": TEXT})}
    ), min_size=1, max_size=3)  # fmt: skip
MESSAGE = st.builds(
    lambda base, more: {"role": "assistant", **base, **more},
    st.fixed_dictionaries(
        {"content": st.none() | TEXT},
        optional={
            "refusal": st.none() | TEXT,
            "reasoning_content": st.none() | TEXT,
            "tool_calls": CALLS,
            "annotations": st.just([{"type": "url_citation"}]),
        },
    ),
    MORE,
)
LOGPROBS = st.none() | st.just({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None})


def answer(choice: st.SearchStrategy[dict[str, Any]], kind: str) -> st.SearchStrategy[dict[str, Any]]:
    def built(choices: list[dict[str, Any]], more: dict[str, Any], used: Any) -> dict[str, Any]:
        numbered = [{"index": i, **one} for i, one in enumerate(choices)]
        usage = {"usage": used} if used else {}
        return {"id": "x-1", "object": kind, "created": 17, "model": "m", "choices": numbered, **usage, **more}

    return st.builds(built, st.lists(choice, min_size=1, max_size=3), MORE, st.none() | st.just(USED))


ENDS = st.sampled_from(["stop", "length", "tool_calls"])
CHAT = answer(
    st.builds(
        lambda c, more: {**c, **more},
        st.fixed_dictionaries({"message": MESSAGE, "finish_reason": ENDS}, optional={"logprobs": LOGPROBS}),
        MORE,
    ),
    "chat.completion",
)
COMPLETIONS = answer(
    st.builds(
        lambda c, more: {**c, **more}, st.fixed_dictionaries({"text": TEXT, "finish_reason": ENDS}, optional={"logprobs": LOGPROBS}), MORE
    ),
    "text_completion",
)


@settings(max_examples=400, deadline=None)
@given(CHAT | COMPLETIONS)
def test_an_answer_comes_back_out_of_its_stream_as_it_was(whole: dict[str, Any]) -> None:
    emitted = forms.emit(dumps(whole))
    assert emitted is not None
    stream, usage = emitted
    with_usage = forms.with_usage(stream, usage)
    assert loads(forms.assemble(with_usage) or b"null") == whole
    assert forms.split_usage(with_usage) == (stream, usage)
    assert loads(forms.assemble(stream, forms.usage_value(usage)) or b"null") == whole
    assert bool(usage) == ("usage" in whole)
    assert stream.endswith(b"\n\ndata: [DONE]\n\n") and b'"usage"' not in stream


TOOLS = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 17, "model": "m", "system_fingerprint": "fp", "service_tier": "default",
    "choices": [{
        "index": 0, "finish_reason": "tool_calls", "logprobs": None,
        "message": {"role": "assistant", "content": "Let me see.", "refusal": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]},
    }],
    "usage": USED,
}  # fmt: skip


def test_the_order_of_a_stream() -> None:
    stream, usage = forms.emit(dumps(TOOLS)) or (b"", b"")
    chunks = [loads(event[6:]) for event in stream.split(b"\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert deltas[1] == {"content": "Let me see."}
    assert [[call["index"] for call in delta["tool_calls"]] for delta in deltas[2:4]] == [[0], [1]]
    assert deltas[4] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["tool_calls"]
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("chatcmpl-1", "chat.completion.chunk", 17, "m")
    }
    assert loads(usage[6:])["choices"] == []


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": None, "obfuscation": "xyz", **more}
    return b"data: " + dumps({**body, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}) + b"\n\n"


def test_a_providers_pieces_become_one_message() -> None:
    pieces = [
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "Hm"}), chunk({"reasoning_content": "m."}),
        chunk({"content": "Hel"}), chunk({"content": "lo \u00e9"}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": {"arguments": "}"}}]}),
        chunk({}, "tool_calls", service_tier="flex"),
    ]  # fmt: skip
    whole = loads(forms.assemble(b"".join(pieces) + b"data: [DONE]\n\n", dumps(USED)) or b"null")
    assert whole == {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "flex", "usage": USED,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "Hello \u00e9", "reasoning_content": "Hmm.", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ]}}],
    }  # fmt: skip


@pytest.mark.parametrize("noise", [b"", b"{}", b"[]", b"null", b"nonsense", b'{"choices":[]}', b'{"choices":[1]}'])
def test_what_is_no_answer_has_no_forms(noise: bytes) -> None:
    assert forms.emit(noise) is None
    assert forms.assemble(b"data: " + noise + b"\n\n") is None
    assert forms.split_usage(noise) == (noise, b"")


def test_usage_that_only_the_books_have() -> None:
    stream, _ = forms.emit(dumps({**TOOLS, "usage": None})) or (b"", b"")
    event = forms.usage_event(stream, forms.usage_json(Usage(10, 5, 2, 0, 1, "provider")))
    assert loads(event[6:])["usage"]["total_tokens"] == 15 and loads(event[6:])["id"] == "chatcmpl-1"
    assert forms.usage_json(Usage(10, 5, source="estimated")) == b""
    assert forms.usage_event(stream, b"") == b""
