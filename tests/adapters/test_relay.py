"""Same dialect: what passes, and the little that is changed."""

import base64
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.adapters import translator_for
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, UpstreamBroken, UpstreamLimited, UpstreamRefused
from neuroroute.core.types import Dialect, Protocol, Provider, Target, Usage
from tests.support.transcripts.reader import client, target

GPT = target("openai", "gpt-4o")
RENAMED = target("openai", "fast", "gpt-4o-2024-08-06")


def sent(raw: bytes, to: Target = GPT, dialect: str = "chat", **more: Any) -> bytes:
    ours = client(dialect, raw, **more)
    body = translator_for(Dialect(dialect), to).request(ours, to).body
    assert isinstance(body, bytes)
    return body


def whole(data: bytes, to: Target = GPT, dialect: str = "chat", raw: bytes = b'{"model":"gpt-4o"}') -> Any:
    return translator_for(Dialect(dialect), to).whole(client(dialect, raw), to, 200, {}, data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["messages", "temperature", "tools", "x_unknown", "", 'quote"', "prediction", "modelling"])


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5), st.integers(0, 5), st.booleans())
def test_any_body_passes_unchanged_but_for_model(fields: dict[str, Any], place: int, indented: bool) -> None:
    fields = {k: v for k, v in fields.items() if k not in ("model", "neuroroute")}
    items = list(fields.items())
    named = dict([*items[:place], ("model", "fast"), *items[place:]])
    raw = jsonbytes.dumps_pretty(named).encode() if indented else jsonbytes.dumps(named)
    same = target("openai", "fast")
    assert sent(raw, same) == raw
    assert jsonbytes.loads(sent(raw, RENAMED)) == {**named, "model": "gpt-4o-2024-08-06"}
    streamed = jsonbytes.loads(sent(raw, RENAMED, stream=True))
    assert streamed == {**named, "model": "gpt-4o-2024-08-06", "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (
            b'{ "model" : "fast", "temperature": 1.0, "x":null ,"n":1e0 }',
            b'{ "model":"gpt-4o-2024-08-06", "temperature": 1.0, "x":null ,"n":1e0 }',
        ),
        (b'{"messages":[],"model":"fast"}', b'{"messages":[],"model":"gpt-4o-2024-08-06"}'),
        (b'{"messages":[{"model":"fast"}],"model":"fast"}', b'{"messages":[{"model":"fast"}],"model":"gpt-4o-2024-08-06"}'),
        (b'{"messages":[{"model":"fast"}]}', b'{"model":"gpt-4o-2024-08-06","messages":[{"model":"fast"}]}'),
        (b'{"neuroroute":{"policy":"best"},"messages":[]}', b'{"model":"gpt-4o-2024-08-06","messages":[]}'),
        (b'{"neuroroute":{}}', b'{"model":"gpt-4o-2024-08-06"}'),
        (b'{"model":"gpt-4o-2024-08-06","neuroroute":{}}', b'{"model":"gpt-4o-2024-08-06"}'),
        (b'{"model":null,"a":1}', b'{"model":"gpt-4o-2024-08-06","a":1}'),
    ],
)
def test_the_edits_of_a_request(raw: bytes, wanted: bytes) -> None:
    assert sent(raw, RENAMED) == wanted


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (b'{"include_usage":true}', b'{"include_usage":true}'),
        (b'{"include_usage":false,"x":1}', b'{"include_usage":true,"x":1}'),
        (b"null", b'{"include_usage":true}'),
    ],
)
def test_usage_is_always_asked_for(options: bytes, wanted: bytes) -> None:
    raw = b'{"model":"gpt-4o","stream":true,"stream_options":' + options + b"}"
    assert sent(raw, stream=True) == b'{"model":"gpt-4o","stream":true,"stream_options":' + wanted + b"}"


def test_stream_options_go_with_streams_only() -> None:
    raw = b'{"model":"gpt-4o","stream":false}'
    assert sent(raw) == raw
    raw = b'{"model":"gpt-5","input":"x","stream":true}'
    assert sent(raw, target("openai", "gpt-5", speaks=["chat", "responses"]), "responses", stream=True) == raw


def test_addresses_and_headers() -> None:
    headers = {"openai-beta": "b", "anthropic-beta": "c", "anthropic-version": "2026-10-21", "x-other": "d"}
    ours = client("chat", b'{"model":"gpt-4o"}', headers=headers)
    request = translator_for(Dialect.CHAT, GPT).request(ours, GPT)
    assert request.url == "https://provider.test/v1/chat/completions"
    assert request.headers == {
        "Content-Type": "application/json",
        "Authorization": "Bearer key-of-provider",
        "openai-beta": "b",
        "anthropic-beta": "c",
    }

    claude = target("anthropic", "claude-opus-5")
    ours = client("messages", b'{"model":"claude-opus-5"}', headers=headers, query="beta=true")
    request = translator_for(Dialect.MESSAGES, claude).request(ours, claude)
    assert request.url == "https://provider.test/v1/messages?beta=true"
    assert request.headers["anthropic-version"] == "2026-10-21" and request.headers["x-api-key"] == "key-of-provider"
    assert "Authorization" not in request.headers

    ours = client("chat", b'{"model":"claude-opus-5","messages":[{"role":"user","content":"x"}]}', headers=headers)
    request = translator_for(Dialect.CHAT, claude).request(ours, claude)
    assert request.url == "https://provider.test/v1/messages"
    assert request.headers["anthropic-version"] == "2023-06-01"

    local = Target(Provider("lm", Protocol.OPENAI, "http://lm.test/v1", headers={"X-Team": "a"}), GPT.model)
    request = translator_for(Dialect.CHAT, local).request(client("chat", b'{"model":"gpt-4o"}'), local)
    assert request.headers == {"Content-Type": "application/json", "X-Team": "a"}


def test_stored_responses_pass_with_method_and_path() -> None:
    to = target("openai", "gpt-5", speaks=["responses"])
    ours = client("responses", b"", method="GET", path="/responses/resp_1/input_items", query="limit=2")
    translator = translator_for(Dialect.RESPONSES, to)
    request = translator.request(ours, to)
    assert (request.method, request.url, request.body) == ("GET", "https://provider.test/v1/responses/resp_1/input_items?limit=2", b"")
    cancel = client("responses", b'{"reason":"x"}', path="/responses/resp_1/cancel")
    assert translator.request(cancel, to).body == b'{"reason":"x"}'
    page = b'{"object":"list","data":[],"has_more":false}'
    assert translator.whole(ours, to, 200, {}, page).body == page
    error = translator.error(404, {}, b'{"error":{"message":"No such response","type":"invalid_request_error","code":null}}')
    assert isinstance(error, UpstreamRefused) and error.status == 404


def test_token_counts_of_anthropic_pass() -> None:
    to = target("anthropic", "claude-opus-5")
    ours = client("messages", b'{"model":"claude-opus-5"}', path="/messages/count_tokens")
    translator = translator_for(Dialect.MESSAGES, to)
    assert translator.request(ours, to).url == "https://provider.test/v1/messages/count_tokens"
    assert translator.whole(ours, to, 200, {}, b'{"input_tokens":14}').body == b'{"input_tokens":14}'


def test_thoughts_that_no_claude_signed_stay_behind() -> None:
    to = target("anthropic", "claude-opus-5")
    raw = (
        b'{"model":"claude-opus-5","x":1.0,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":'
        b'[{"type":"thinking","thinking":"a","signature":""},{"type":"thinking","thinking":"b","signature":"s"},{"type":"text","text":"c"}]}]}'
    )
    got = sent(raw, to, "messages")
    assert got.startswith(b'{"model":"claude-opus-5","x":1.0,')
    kept = jsonbytes.loads(got)["messages"][1]["content"]
    assert [b.get("signature") for b in kept] == ["s", None]


CHAT = b'{"id":"c","object":"chat.completion","created":1,"model":"%s","x":1.0,"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":%s}'


@pytest.mark.parametrize(
    ("to", "said", "shown"),
    [
        (GPT, b"gpt-4o-2024-08-06", b"gpt-4o-2024-08-06"),
        (GPT, b"other", b"other"),
        (GPT, b"/models/secret.gguf", b"gpt-4o"),
        (RENAMED, b"gpt-4o-2024-08-06", b"fast"),
        (target("openai", "gpt-4o", "deployment"), b"gpt-4o-2024-08-06", b"gpt-4o-2024-08-06"),
        (target("openai", "gpt-4o", "gpt-4o-mini"), b"gpt-4o-mini", b"gpt-4o"),
    ],
)
def test_the_model_name_in_an_answer(to: Target, said: bytes, shown: bytes) -> None:
    assert whole(CHAT % (said, b"null"), to).body == CHAT.replace(b": ", b":") % (shown, b"null")


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (b'{"prompt_tokens":3,"completion_tokens":2}', Usage(3, 2, source="provider")),
        (b'{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}', Usage(3, 2, 3, source="provider")),
        (b'{"prompt_tokens":3,"completion_tokens":2,"prompt_cache_hit_tokens":1}', Usage(3, 2, 1, source="provider")),
        (b'{"input_tokens":3,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}}', Usage(3, 2, 0, 0, 1, "provider")),
        (b'{"prompt_tokens":-3,"completion_tokens":2}', Usage(source="absurd")),
        (b'{"prompt_tokens":3.0,"completion_tokens":2}', Usage(source="absurd")),
        (b'{"prompt_tokens":true,"completion_tokens":2}', Usage(source="absurd")),
        (b'{"prompt_tokens":3,"completion_tokens":2000000000}', Usage(source="absurd")),
        (b'{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":-4}}', Usage(3, 2, source="provider")),
        (b'{"prompt_tokens":"3","completion_tokens":2}', Usage(source="absurd")),
        (b'{"prompt_tokens":0,"completion_tokens":0}', Usage()),
        (b"[]", Usage()),
        (b"null", Usage()),
    ],
)
def test_usage_is_believed_with_care(reported: bytes, usage: Usage) -> None:
    reply = whole(CHAT % (b"gpt-4o", reported))
    assert reply.usage == usage
    assert reply.finish_reason == "stop"
    assert reply.body == CHAT % (b"gpt-4o", reported)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"  \n", b"<html></html>", b'{"id":', b"[]", b'"x"', b"\xff\xfe", b'{"error":"Unexpected endpoint"}', b'{"error":{"message":"x"}}',
        b'{"choices":[]}', b'{"choices":null}', b'{"choices":["x"]}', b'{"object":"chat.completion"}',
    ],
)  # fmt: skip
def test_answers_that_make_no_sense(data: bytes) -> None:
    for to in (GPT, target("anthropic", "claude-opus-5")):
        for dialect in ("chat", "messages", "responses", "completions"):
            with pytest.raises(UpstreamBroken) as caught:
                whole(data, to, dialect)
            assert "html" not in caught.value.message


def test_an_error_in_200_keeps_its_words() -> None:
    with pytest.raises(UpstreamBroken, match="Unexpected endpoint") as broken:
        whole(b'{"error":"Unexpected endpoint or method. (POST /v1/x)"}')
    assert broken.value.status == 502
    with pytest.raises(UpstreamLimited):
        whole(b'{"error":{"message":"slow down","code":429}}')


def test_half_a_surrogate_pair_is_no_reason_to_fail() -> None:
    data = CHAT.replace(b'"hi"', b'"hi \\ud83d"') % (b"gpt-4o", b'{"prompt_tokens":3,"completion_tokens":2}')
    reply = whole(data)
    assert reply.body == data and reply.usage.prompt_tokens == 3
    stream = translator_for(Dialect.CHAT, GPT).stream(client("chat", b"{}", stream=True), GPT)
    frame = b'"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o",'
    event = b"data: {" + frame + b'"choices":[{"index":0,"delta":{"role":"assistant","content":"%s"},"finish_reason":null}]}\n\n'
    assert (
        stream.feed(event % b"\\ud83d") + stream.feed(event % b"\\ude00")
        == event % b"\\ud83d" + event.replace(b'"role":"assistant",', b"") % b"\\ude00"
    )
    assert stream.text() == "��"  # good enough to count tokens


def vectors(*embeddings: Any) -> bytes:
    rows = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    return jsonbytes.dumps({"object": "list", "data": rows, "model": "e", "usage": {"prompt_tokens": 4, "total_tokens": 4}})


def b64(*floats: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()


def test_embeddings_come_in_the_format_that_was_asked_for() -> None:
    for asked, came, wanted in (
        (b'{"encoding_format":"base64"}', b64(0.5, -2), b64(0.5, -2)),
        (b'{"encoding_format":"base64"}', [0.5, -2.0], [0.5, -2.0]),
        (b'{"encoding_format":"float"}', b64(0.5, -2), [0.5, -2]),
        (b'{"input":[1,2]}', [0.5, -2.0], [0.5, -2.0]),
    ):
        reply = whole(vectors(came, came), target("openai", "e"), "embeddings", asked)
        assert [row["embedding"] for row in jsonbytes.loads(reply.body)["data"]] == [wanted, wanted]
        assert [row["index"] for row in jsonbytes.loads(reply.body)["data"]] == [0, 1]
        assert reply.usage == Usage(4, 0, source="provider")


@pytest.mark.parametrize("data", [vectors(), vectors("no base64!"), b'{"data":[{"x":1}]}', b"{}"])
def test_embeddings_that_are_none(data: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        whole(data, target("openai", "e"), "embeddings", b'{"encoding_format":"float"}')


def test_embeddings_need_a_provider_that_has_them() -> None:
    with pytest.raises(BadRequest, match="embeddings"):
        translator_for(Dialect.EMBEDDINGS, target("anthropic", "claude-opus-5"))


@pytest.mark.parametrize(
    ("dialect", "protocol", "kind", "speaks", "relayed"),
    [
        ("responses", "openai", "chat", ["chat", "responses"], True),
        ("responses", "openai", "chat", ["chat"], False),
        ("messages", "openai", "chat", ["chat", "messages"], True),
        ("messages", "openai", "chat", ["chat"], False),
        ("messages", "demo", "chat", ["chat"], False),
        ("messages", "anthropic", "chat", ["chat"], True),
        ("completions", "openai", "completion", ["completions"], True),
        ("completions", "openai", "chat", ["completions"], False),
        ("chat", "demo", "chat", ["chat"], True),
    ],
)
def test_who_gets_bytes_passed(dialect: str, protocol: str, kind: str, speaks: list[str], relayed: bool) -> None:
    translator = translator_for(Dialect(dialect), target(protocol, "m", kind=kind, speaks=speaks))
    assert (type(translator).__name__ == "Relay") is relayed
