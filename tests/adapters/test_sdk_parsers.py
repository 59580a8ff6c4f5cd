"""The official SDKs read what the translators write: requests and answers go through them without a socket."""

from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

from neuroroute.adapters import translator_for
from neuroroute.core import jsonbytes
from neuroroute.core.errors import NeuroRouteError, UpstreamBusy
from neuroroute.core.types import Dialect, Target
from tests.support.transcripts.reader import client, target

CHAT_CHUNK = (
    'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":5,"model":"gpt-4o-2024-08-06","choices":'
    '[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
CHAT_USAGE = (
    'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":5,"model":"gpt-4o-2024-08-06","choices":[],"usage":'
    '{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4}}}\n\ndata: [DONE]\n\n'
)


def chat_stream(*deltas: str, finish: str = '"stop"') -> bytes:
    parts = [CHAT_CHUNK % ('{"role":"assistant","content":""}', "null"), *(CHAT_CHUNK % (d, "null") for d in deltas)]
    return ("".join(parts) + CHAT_CHUNK % ("{}", finish) + CHAT_USAGE).encode()


TEXT = chat_stream('{"content":"Hello"}', '{"content":" there é"}', '{"content":"!\\n"}')
TOOLS = chat_stream(
    '{"reasoning_content":"Let me"}',
    '{"reasoning_content":" think"}',
    '{"content":"Looking"}',
    '{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}',
    '{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]}',
    '{"tool_calls":[{"index":0,"function":{"arguments":"\\"Oslo\\"}"}}]}',
    '{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"time","arguments":""}}]}',
    '{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}',
    finish='"tool_calls"',
)


def claude_events(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), jsonbytes.dumps(e)) for e in events)


def claude_stream(blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]], stop: str) -> bytes:
    usage = {"input_tokens": 16, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 1}
    message = {"id": "msg_9", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [], "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}}]
    for i, (start, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": i, "content_block": start})
        events += [{"type": "content_block_delta", "index": i, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": i})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 9}})
    return claude_events(*events, {"type": "message_stop"})


CLAUDE_TEXT = claude_stream(
    [({"type": "text", "text": ""}, [{"type": "text_delta", "text": t} for t in ("Hello", " there é", "!\n")])], "end_turn"
)
CLAUDE_TOOLS = claude_stream(
    [
        ({"type": "thinking", "thinking": "", "signature": ""}, [{"type": "thinking_delta", "thinking": t} for t in ("Let me", " think")]),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Looking"}]),
        (
            {"type": "tool_use", "id": "call_a", "name": "weather", "input": {}},
            [{"type": "input_json_delta", "partial_json": p} for p in ("", '{"city":', '"Oslo"}')],
        ),
        ({"type": "tool_use", "id": "call_b", "name": "time", "input": {}}, []),
    ],
    "tool_use",
)


class Gateway:
    """A gateway of one target in an HTTP client's place: `sent` is what the provider would have got."""

    def __init__(self, to: Target, answer: bytes, dialect: str, cut: int = 11, fail: NeuroRouteError | None = None) -> None:
        self.to, self.answer, self.dialect, self.cut, self.fail = to, answer, dialect, cut, fail
        self.sent: dict[str, Any] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        raw = request.read()
        stream = bool(jsonbytes.loads(raw).get("stream"))
        ours = client(self.dialect, raw, stream=stream, request_id="req_1")
        translator = translator_for(Dialect(self.dialect), self.to)
        self.sent = jsonbytes.loads(translator.request(ours, self.to).body)  # type: ignore[arg-type]
        if not stream:
            reply = translator.whole(ours, self.to, 200, {"content-type": "application/json"}, self.answer)
            return httpx2.Response(200, content=reply.body, headers={"content-type": "application/json"})
        out = translator.stream(ours, self.to)
        pieces = [self.answer[i : i + self.cut] for i in range(0, len(self.answer), self.cut)]
        if self.fail is not None:
            pieces = pieces[: len(pieces) // 2]
        body = b"".join([out.feed(p) for p in pieces])
        body += out.failure(self.fail) if self.fail is not None else out.end()
        return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})


def openai_of(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway.test/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(gateway)), max_retries=0
    )


def anthropic_of(gateway: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k", base_url="http://gateway.test", http_client=httpx2.Client(transport=httpx2.MockTransport(gateway)), max_retries=0
    )


GPT = target("openai", "gpt-4o")
CLAUDE = target("anthropic", "claude-sonnet-5")
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
both = pytest.mark.parametrize(
    ("to", "text", "tools"), [(GPT, TEXT, TOOLS), (CLAUDE, CLAUDE_TEXT, CLAUDE_TOOLS)], ids=["from-openai", "from-anthropic"]
)


@both
def test_openai_accumulates_chat_tools(to: Target, text: bytes, tools: bytes) -> None:
    gateway = Gateway(to, tools, "chat")
    with openai_of(gateway).chat.completions.stream(
        model=to.model.name, messages=[{"role": "user", "content": "hi"}], stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    choice = final.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Looking"
    assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []] == [
        ("call_a", "weather", '{"city":"Oslo"}'),
        ("call_b", "time", "{}"),
    ]
    assert final.usage is not None and (final.usage.prompt_tokens, final.usage.completion_tokens) == (20, 9)
    assert final.usage.prompt_tokens_details is not None and final.usage.prompt_tokens_details.cached_tokens == 4


@both
def test_anthropic_accumulates_messages(to: Target, text: bytes, tools: bytes) -> None:
    gateway = Gateway(to, tools, "messages")
    with anthropic_of(gateway).messages.stream(model=to.model.name, max_tokens=100, messages=[{"role": "user", "content": "hi"}]) as stream:
        final = stream.get_final_message()
    assert [b.type for b in final.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert final.content[2].input == {"city": "Oslo"} and final.content[3].input == {}  # type: ignore[union-attr]
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (16, 4, 9)


@both
def test_openai_accumulates_responses(to: Target, text: bytes, tools: bytes) -> None:
    gateway = Gateway(to, tools, "responses")
    kinds: list[str] = []
    with openai_of(gateway).responses.stream(
        model=to.model.name, input="hi", tools=[{"type": "function", **TOOL, "strict": False}]
    ) as stream:
        for event in stream:
            kinds.append(event.type)
            assert event.sequence_number == len(kinds) - 1
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output_text == "Looking"
    assert final.usage is not None and (
        final.usage.input_tokens,
        final.usage.input_tokens_details.cached_tokens,
        final.usage.output_tokens,
    ) == (20, 4, 9)
    assert len({item.id for item in final.output}) == 4


@both
def test_openai_reads_completions(to: Target, text: bytes, tools: bytes) -> None:
    gateway = Gateway(to, text, "completions")
    chunks = list(
        openai_of(gateway).completions.create(
            model=to.model.name, prompt="hi", stream=True, max_tokens=7, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "Hello there é!\n"
    assert chunks[0].object == "text_completion" and chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 29
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert gateway.sent["max_tokens"] == 7


@both
def test_text_reaches_every_client_alike(to: Target, text: bytes, tools: bytes) -> None:
    sdk = openai_of(Gateway(to, text, "chat"))
    chat = list(sdk.chat.completions.create(model=to.model.name, messages=[{"role": "user", "content": "hi"}], stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chat) == "Hello there é!\n"
    assert all(len(c.choices) == 1 for c in chat)
    sdk = openai_of(Gateway(to, text, "responses"))
    with sdk.responses.stream(model=to.model.name, input="hi") as stream:
        assert stream.get_final_response().output_text == "Hello there é!\n"
    with anthropic_of(Gateway(to, text, "messages")).messages.stream(
        model=to.model.name, max_tokens=100, messages=[{"role": "user", "content": "hi"}]
    ) as messages:
        assert messages.get_final_text() == "Hello there é!\n"


@both
@pytest.mark.parametrize("kind", ["chat", "responses", "completions"])
def test_openai_raises_a_failure_in_a_stream(to: Target, text: bytes, tools: bytes, kind: str) -> None:
    sdk = openai_of(Gateway(to, text, kind, fail=UpstreamBusy("the provider is overloaded")))
    calls: dict[str, Callable[[], Any]] = {
        "chat": lambda: sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True),
        "responses": lambda: sdk.responses.create(model="m", input="hi", stream=True),
        "completions": lambda: sdk.completions.create(model="m", prompt="hi", stream=True),
    }
    with pytest.raises(openai.APIError, match="overloaded"):
        list(calls[kind]())


@both
def test_anthropic_raises_a_failure_in_a_stream(to: Target, text: bytes, tools: bytes) -> None:
    sdk = anthropic_of(Gateway(to, text, "messages", fail=UpstreamBusy("the provider is overloaded")))
    with pytest.raises(anthropic.APIStatusError, match="overloaded"):
        list(sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=True))


class Answer(BaseModel):
    city: str


WHOLE_CHAT = jsonbytes.dumps({
    "id": "chatcmpl-9", "object": "chat.completion", "created": 5, "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": {"role": "assistant", "content": '{"city":"Oslo"}'}}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29},
})  # fmt: skip
WHOLE_CLAUDE = jsonbytes.dumps({
    "id": "msg_9", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [{"type": "text", "text": '{"city":"Oslo"}'}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 20, "output_tokens": 9},
})  # fmt: skip


@pytest.mark.parametrize(("to", "answer"), [(GPT, WHOLE_CHAT), (CLAUDE, WHOLE_CLAUDE)], ids=["from-openai", "from-anthropic"])
def test_structured_output_whole(to: Target, answer: bytes) -> None:
    gateway = Gateway(to, answer, "chat")
    parsed = openai_of(gateway).chat.completions.parse(
        model=to.model.name, messages=[{"role": "user", "content": "hi"}], response_format=Answer
    )
    assert parsed.choices[0].message.parsed == Answer(city="Oslo")
    schema = gateway.sent["response_format"] if to is GPT else gateway.sent["output_config"]["format"]
    assert schema["type"] == "json_schema"

    gateway = Gateway(to, answer, "responses")
    response = openai_of(gateway).responses.parse(model=to.model.name, input="hi", text_format=Answer)
    assert response.output_parsed == Answer(city="Oslo")
    assert response.usage is not None and response.usage.total_tokens == 29
    assert response.status == "completed"

    gateway = Gateway(to, answer, "messages")
    message = anthropic_of(gateway).messages.create(model=to.model.name, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert message.content[0].text == '{"city":"Oslo"}'  # type: ignore[union-attr]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 20, 9)

    completion = openai_of(Gateway(to, answer, "completions")).completions.create(model=to.model.name, prompt=["hi"])
    assert (completion.object, completion.choices[0].text, completion.choices[0].finish_reason) == (
        "text_completion",
        '{"city":"Oslo"}',
        "stop",
    )
    assert completion.usage is not None and completion.usage.total_tokens == 29
