"""The demo provider: deterministic, in OpenAI's dialect, whole and streamed."""

import base64
import json
import math
import struct
import time
from typing import Any

import pytest

from neuroroute.adapters.demo import MODELS, PROVIDER, DemoLane
from neuroroute.adapters.demo_schema import instance
from neuroroute.adapters.transport import Transport
from neuroroute.core.money import Reservation
from neuroroute.core.types import LABELS, Protocol, Timeouts, UpstreamRequest

CHAT_MODELS = [model.name for model in MODELS if model.kind == "chat"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        },
    },
}


async def ask(path: str, body: object, method: str = "POST", pace: float = 0.0) -> tuple[int, str, list[bytes]]:
    transport = Transport(demo=DemoLane(pace))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pieces = []
    async with transport.open(UpstreamRequest(PROVIDER.base_url + path, {}, raw, method=method), Timeouts(), Reservation(0)) as response:
        while piece := await response.readany():
            pieces.append(piece)
        return response.status, response.headers["content-type"], pieces


async def chat(text: str, model: str = "demo-small", **more: Any) -> dict[str, Any]:
    status, kind, pieces = await ask("/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}], **more})
    assert (status, kind) == (200, "application/json")
    return json.loads(b"".join(pieces))  # type: ignore[no-any-return]


async def events(**body: Any) -> list[dict[str, Any]]:
    status, kind, pieces = await ask("/chat/completions", body | {"stream": True})
    assert (status, kind) == (200, "text/event-stream")
    lines = b"".join(pieces).split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-2]]


def test_models_rise_in_price_and_quality() -> None:
    assert PROVIDER.protocol is Protocol.DEMO
    small, medium, large = (model for model in MODELS if model.kind == "chat")
    for less, more in ((small, medium), (medium, large)):
        assert less.price and more.price and less.price.output_nanousd < more.price.output_nanousd
        assert all(less.quality[label] < more.quality[label] for label in (*LABELS, "default"))
        assert less.abilities <= more.abilities


@pytest.mark.parametrize("model", CHAT_MODELS)
async def test_whole_answer_says_who_it_is_and_what_was_asked(model: str) -> None:
    answer = await chat("Why is the sky blue?", model)
    assert answer["object"] == "chat.completion"
    assert answer["model"] == model
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert model in choice["message"]["content"]
    assert "Why is the sky blue?" in choice["message"]["content"]
    assert "simulated" in choice["message"]["content"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == 4 + 6


async def test_the_same_request_gives_the_same_answer() -> None:
    first, second, other = await chat("one"), await chat("one"), await chat("two")
    assert (first["id"], first["choices"]) == (second["id"], second["choices"])
    assert first["id"] != other["id"]


async def test_larger_models_say_more() -> None:
    lengths = [(await chat("hello", model))["usage"]["completion_tokens"] for model in CHAT_MODELS]
    assert lengths == sorted(lengths) and len(set(lengths)) == 3


async def test_stream_is_the_whole_answer_in_pieces() -> None:
    body = {"model": "demo-medium", "messages": [{"role": "user", "content": "Tell me — über alles — 你好"}]}
    whole = await chat("Tell me — über alles — 你好", "demo-medium")
    seen = await events(**body, stream_options={"include_usage": True})
    assert seen[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in event["choices"][0]["delta"] for event in seen[1:-1])
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in seen[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert [e["choices"][0]["finish_reason"] for e in seen[:-1]][-2:] == [None, "stop"]
    assert seen[-1]["choices"] == []
    assert seen[-1]["usage"] == whole["usage"]
    assert {event["object"] for event in seen} == {"chat.completion.chunk"}
    assert len({event["id"] for event in seen}) == 1
    assert all(event["usage"] is None for event in seen[:-1])


async def test_no_usage_unless_it_is_asked_for() -> None:
    seen = await events(model="demo-small", messages=[{"role": "user", "content": "hi"}])
    assert not any("usage" in event for event in seen)
    assert all(event["choices"] for event in seen)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens(field: str) -> None:
    answer = await chat("hello", "demo-large", **{field: 5})
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    seen = await events(model="demo-large", messages=[{"role": "user", "content": "hello"}], **{field: 5})
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in seen)
    assert text == answer["choices"][0]["message"]["content"]
    assert seen[-1]["choices"][0]["finish_reason"] == "length"


async def test_stop_and_n() -> None:
    answer = await chat("hello", stop=["simulated"], n=3)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["choices"][0]["message"]["content"].endswith("one of three ")


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("What is the weather in Paris?", None, True),
        ("What is the weather in Paris?", "none", False),
        ("Hello you", "auto", False),
        ("Hello you", "required", True),
        ("Hello you", {"type": "function", "function": {"name": "get_weather"}}, True),
    ],
)
async def test_tool_calls(text: str, choice: object, called: bool) -> None:
    more = {} if choice is None else {"tool_choice": choice}
    answer = (await chat(text, tools=[WEATHER], **more))["choices"][0]
    assert (answer["finish_reason"] == "tool_calls") is called
    if called:
        call = answer["message"]["tool_calls"][0]
        assert answer["message"]["content"] is None
        assert call["function"]["name"] == "get_weather"
        assert json.loads(call["function"]["arguments"]) == {"city": "Paris" if "Paris" in text else "example"}
        streamed = await events(model="demo-small", messages=[{"role": "user", "content": text}], tools=[WEATHER], **more)
        deltas = [event["choices"][0]["delta"]["tool_calls"][0] for event in streamed if "tool_calls" in event["choices"][0]["delta"]]
        assert deltas[0]["id"] == call["id"] and deltas[0]["type"] == "function" and deltas[0]["function"]["arguments"] == ""
        assert "".join(delta["function"]["arguments"] for delta in deltas) == call["function"]["arguments"]
        assert all("id" not in delta for delta in deltas[1:])


async def test_a_tool_result_is_answered_with_words() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "weather in Paris"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "21 degrees"},
    ]
    body = {"model": "demo-small", "messages": messages, "tools": [WEATHER]}
    answer = json.loads(b"".join((await ask("/chat/completions", body))[2]))
    assert "21 degrees" in answer["choices"][0]["message"]["content"]


async def test_json_schema() -> None:
    schema = {"type": "object", "required": ["name", "n"], "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    answer = await chat("Give me Anna", response_format=wanted)
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"name": "Anna", "n": 1}
    plain = await chat("x", response_format={"type": "json_object"})
    assert isinstance(json.loads(plain["choices"][0]["message"]["content"]), dict)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 3}, 3),
        ({"type": "string", "minLength": 9}, "examplexx"),
        ({"type": "string", "maxLength": 3}, "exa"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMaximum": 1}, 0.5),
        ({"type": "integer", "multipleOf": 4, "minimum": 5}, 8),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "array", "items": {"type": "boolean"}}, []),
        ({"type": ["null", "string"]}, "example"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "null"}}}, None),
        (
            {"allOf": [{"required": ["a"], "properties": {"a": {"const": 1}}}, {"required": ["b"], "properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
        ({"type": "object", "properties": {"a": {}}}, {}),
        (True, "example"),
    ],
)
def test_instances_of_schemas(schema: Any, value: Any) -> None:
    assert instance(schema) == value


def test_a_schema_that_holds_itself_ends() -> None:
    node = {"type": "object", "required": ["next"], "properties": {"next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}}}
    assert isinstance(instance({"$ref": "#/$defs/N", "$defs": {"N": node}}), dict)
    endless = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}}
    assert isinstance(instance(endless), dict)
    doubling = {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert isinstance(instance(doubling), dict)


async def test_embeddings_are_unit_vectors_and_near_for_near_texts() -> None:
    body = {"model": "demo-embedding", "input": ["the cat sat on the mat", "the cat sat on a mat", "quarterly revenue fell"]}
    answer = json.loads(b"".join((await ask("/embeddings", body))[2]))
    first, second, third = (item["embedding"] for item in answer["data"])
    assert all(abs(math.dist(vector, [0] * 256) - 1) < 1e-9 for vector in (first, second, third))

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(first, second) > 0.8 > cosine(first, third)
    assert answer["usage"]["prompt_tokens"] == 6 + 6 + 4
    packed = json.loads(b"".join((await ask("/embeddings", body | {"encoding_format": "base64"}))[2]))
    floats = struct.unpack("<256f", base64.b64decode(packed["data"][0]["embedding"]))
    assert all(abs(a - b) < 1e-6 for a, b in zip(first, floats, strict=True))
    ids = json.loads(b"".join((await ask("/embeddings", {"model": "demo-embedding", "input": [[1, 2], [3]], "dimensions": 8}))[2]))
    assert [len(item["embedding"]) for item in ids["data"]] == [8, 8]


async def test_text_completions() -> None:
    body = {"model": "demo-small", "prompt": "Once upon a time", "max_tokens": 6}
    whole = json.loads(b"".join((await ask("/completions", body))[2]))
    assert whole["object"] == "text_completion" and whole["choices"][0]["finish_reason"] == "length"
    streamed = b"".join((await ask("/completions", body | {"stream": True}))[2]).split(b"\n\n")
    text = "".join(json.loads(line.removeprefix(b"data: "))["choices"][0]["text"] for line in streamed[:-2])
    assert text == whole["choices"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/completions", b"{", 400),
        ("/chat/completions", [], 400),
        ("/chat/completions", {"model": "demo-small"}, 400),
        ("/chat/completions", {"model": "demo-small", "messages": []}, 400),
        ("/chat/completions", {"model": "nope", "messages": [{}]}, 404),
        ("/embeddings", {"model": "demo-embedding", "input": ""}, 400),
        ("/images/generations", {}, 404),
    ],
)
async def test_faults_are_answers_in_openais_shape(path: str, body: object, status: int) -> None:
    seen, kind, pieces = await ask(path, body)
    assert (seen, kind) == (status, "application/json")
    assert set(json.loads(b"".join(pieces))["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "odd", [{"content": 5}, {"content": [None, {"type": "text"}]}, {"role": "user"}, "text", {"content": "\ud83d \x00"}]
)
async def test_odd_messages_do_not_break_it(odd: object) -> None:
    status, _, _ = await ask("/chat/completions", {"model": "demo-large", "messages": [odd], "tools": [{}, {"function": {}}], "n": "x"})
    assert status in (200, 400)


async def test_odd_schemas_are_refused() -> None:
    schema = {"type": "array", "minItems": "many", "required": 3}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    body = {"model": "demo-small", "messages": [{"role": "user", "content": "hi"}], "response_format": wanted}
    assert (await ask("/chat/completions", body))[0] == 400


async def test_models_are_listed() -> None:
    listed = json.loads(b"".join((await ask("/models", b"", "GET"))[2]))
    assert [entry["id"] for entry in listed["data"]] == [model.name for model in MODELS]
    one = json.loads(b"".join((await ask("/models/demo-large", b"", "GET"))[2]))
    assert one["object"] == "model"
    assert (await ask("/models/nope", b"", "GET"))[0] == 404


async def test_it_takes_its_time() -> None:
    began = time.monotonic()
    await ask("/chat/completions", {"model": "demo-small", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}, pace=1.0)
    assert 0.06 < time.monotonic() - began < 0.5
