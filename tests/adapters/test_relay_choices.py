"""Choices that break clients, whole and streamed, as they come out of the relay: what OpenAI would have said."""

from typing import Any

import pytest

from neuroroute.adapters import translator_for
from neuroroute.core import jsonbytes
from neuroroute.core.errors import UpstreamBroken
from neuroroute.core.types import Dialect
from tests.support.transcripts.reader import client, play, target

GPT = target("openai", "gpt-4o")
FRAME = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
DONE = b"data: [DONE]\n\n"


def chunk(delta: Any, finish: Any = None, **frame: Any) -> dict[str, Any]:
    return {**FRAME, **frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def told(*chunks: Any, each: int = 0) -> list[Any]:
    """The chunks that the client gets for these, however they are cut; [DONE] must be the end."""
    data = b"".join(b"data: " + jsonbytes.dumps(c) + b"\n\n" for c in chunks) + DONE
    stream = translator_for(Dialect.CHAT, GPT).stream(client("chat", b'{"stream":true}', stream=True), GPT)
    got, error = play(stream, [data[i : i + each] for i in range(0, len(data), each)] if each else [data])
    assert error is None and got.endswith(DONE)
    return [jsonbytes.loads(event[6:]) for event in got.removesuffix(DONE).split(b"\n\n") if event]


def call(
    number: Any = None, identity: Any = None, name: str | None = None, arguments: Any = None, kind: str | None = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    made = {"index": number, "id": identity, "type": kind, "function": function}
    return {key: value for key, value in made.items() if value is not None}


def calls_told(*deltas: dict[str, Any], each: int = 0) -> list[tuple[Any, ...]]:
    """(index, id, type, name, arguments) of every piece of a call."""
    chunks = told(chunk({"role": "assistant"}), *(chunk({"tool_calls": [d]}) for d in deltas), chunk({}, "tool_calls"), each=each)
    pieces = [piece for c in chunks for piece in c["choices"][0]["delta"].get("tool_calls", ())]
    return [(p["index"], p.get("id"), p.get("type"), p["function"].get("name"), p["function"].get("arguments")) for p in pieces]


@pytest.mark.parametrize("each", [0, 1, 50])
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param(
            [call(0, "a", "f", '{"x"', "function"), call(0, "a", "f", ":1", "function"), call(0, "a", "f", "}", "function")],
            [(0, "a", "function", "f", '{"x"'), (0, None, None, None, ":1"), (0, None, None, None, "}")],
            id="told again with every piece",
        ),
        pytest.param(
            [call(None, "a", "f", "{}", "function"), call(None, "b", "g", "{}", "function")],
            [(0, "a", "function", "f", "{}"), (1, "b", "function", "g", "{}")],
            id="no numbers",
        ),
        pytest.param(
            [call(0, "a", "f", '{"x":'), call(0, None, None, "1}"), call(0, "b", "g", '{"x":'), call(0, None, None, "2}")],
            [
                (0, "a", "function", "f", '{"x":'),
                (0, None, None, None, "1}"),
                (1, "b", "function", "g", '{"x":'),
                (1, None, None, None, "2}"),
            ],
            id="all of one number",
        ),
        pytest.param(
            [call(3, "a", "f", "{", "function"), call(3, None, None, "}")],
            [(0, "a", "function", "f", "{"), (0, None, None, None, "}")],
            id="numbers of blocks",
        ),
        pytest.param([call(0, "a", "f", {"x": [1]}, "function")], [(0, "a", "function", "f", '{"x":[1]}')], id="arguments as an object"),
        pytest.param(
            [call(0, "a", "f", None, "function")], [(0, "a", "function", "f", ""), (0, None, None, None, "{}")], id="no arguments"
        ),
        pytest.param(
            [call(0, "a", None, "", "function"), call(0, None, "f"), call(0, None, None, "{}")],
            [(0, "a", "function", None, ""), (0, None, None, "f", None), (0, None, None, None, "{}")],
            id="the name comes later",
        ),
    ],
)
def test_calls_are_numbered_from_0_and_told_once(given: list[dict[str, Any]], wanted: list[tuple[Any, ...]], each: int) -> None:
    assert calls_told(*given, each=each) == wanted


def test_a_call_without_an_id_gets_one() -> None:
    ((_, identity, kind, *_),) = calls_told(call(0, None, "f", "{}"))
    assert identity.startswith("call_") and kind == "function"


@pytest.mark.parametrize("each", [0, 1])
def test_every_chunk_has_one_frame_and_a_whole_choice(each: int) -> None:
    bare = {"choices": [{"delta": {"content": "a"}}]}
    chunks = told(
        bare, {**FRAME, "id": "other", "created": 7, **bare}, {"choices": [{"index": 0, "delta": None}]}, chunk({}, "stop"), each=each
    )
    assert {(c["id"], c["created"], c["object"], c["model"]) for c in chunks} == {
        (chunks[0]["id"], chunks[0]["created"], "chat.completion.chunk", "gpt-4o")
    }
    assert chunks[0]["id"].startswith("chatcmpl") and chunks[0]["created"] > 1_700_000_000
    assert [c["choices"][0] for c in chunks] == [
        {"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "a"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]


def test_the_usage_chunk_has_the_same_frame() -> None:
    stream = translator_for(Dialect.CHAT, GPT).stream(client("chat", b'{"stream_options":{"include_usage":true}}', stream=True), GPT)
    used = {"id": "x", "created": 9, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    events = [chunk({"role": "assistant", "content": "a"}, "stop"), used]
    got, _ = play(stream, [b"".join(b"data: " + jsonbytes.dumps(e) + b"\n\n" for e in events) + DONE])
    last = jsonbytes.loads(got.split(b"\n\n")[1][6:])
    assert (last["id"], last["created"], last["usage"]["prompt_tokens"]) == ("c", 1, 1)


@pytest.mark.parametrize(("said", "wanted"), [(None, "assistant"), ("model", "assistant"), ("", "assistant")])
def test_the_first_delta_says_who_speaks(said: Any, wanted: str) -> None:
    chunks = told(chunk({"role": said, "content": "a"}), chunk({"role": "model", "content": "b"}), chunk({}, "stop"))
    assert [c["choices"][0]["delta"].get("role") for c in chunks] == [wanted, None, None]


REASONS = [
    ("eos_token", "stop"),
    ("MAX_TOKENS", "length"),
    ("STOP", "stop"),
    ("SAFETY", "content_filter"),
    ("tool_use", "tool_calls"),
    (5, "stop"),
]


@pytest.mark.parametrize(("said", "wanted"), REASONS)
def test_reasons_to_end_are_openais(said: Any, wanted: str) -> None:
    assert told(chunk({"role": "assistant", "content": "a"}), chunk({}, said))[-1]["choices"][0]["finish_reason"] == wanted
    reply = whole({"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": said})
    assert (jsonbytes.loads(reply.body)["choices"][0]["finish_reason"], reply.finish_reason) == (wanted, wanted)


def whole(*choices: Any) -> Any:
    data = jsonbytes.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": choices})
    return translator_for(Dialect.CHAT, GPT).whole(client("chat", b'{"model":"gpt-4o"}'), GPT, 200, {}, data)


def test_a_whole_answer_lacks_nothing() -> None:
    reply = whole({"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}})
    (choice,) = jsonbytes.loads(reply.body)["choices"]
    (made,) = choice["message"].pop("tool_calls")
    assert choice == {"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": "tool_calls"}
    assert made.pop("id").startswith("call_") and made == {"type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


def test_a_whole_answer_without_its_frame_gets_one() -> None:
    data = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}'
    answer = jsonbytes.loads(translator_for(Dialect.CHAT, GPT).whole(client("chat", b'{"model":"gpt-4o"}'), GPT, 200, {}, data).body)
    assert (answer["object"], answer["model"]) == ("chat.completion", "gpt-4o")
    assert answer["id"].startswith("chatcmpl") and answer["created"] > 1_700_000_000


def test_what_is_in_order_passes_byte_for_byte() -> None:
    data = b'{ "id":"c", "object":"chat.completion","created":1.0e9,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"a","x":1.0e2},"finish_reason":"stop"}],"usage":null}'
    assert translator_for(Dialect.CHAT, GPT).whole(client("chat", b'{"model":"gpt-4o"}'), GPT, 200, {}, data).body == data


@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": "x"}])
def test_a_choice_without_a_message_is_no_answer(choice: Any) -> None:
    with pytest.raises(UpstreamBroken):
        whole(choice)
