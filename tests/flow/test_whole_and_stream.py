"""Calls by name, whole and streamed, and what the books say of them."""

import openai
import pytest

from neuroroute.store.usage import UsageRecord
from tests.support import fakes
from tests.support.gateway import HELLO, gateway, model, provider
from tests.support.upstream import Upstream, sse, whole

CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
USAGE = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50, "prompt_tokens_details": {"cached_tokens": 10}}


def piece(text: str | None = None, finish: str | None = None, **more: object) -> dict[str, object]:
    return {**CHUNK, "choices": [{"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": finish}], **more}


async def test_a_whole_call_passes_and_is_on_the_books(database_url: str) -> None:
    async with (
        Upstream() as up,
        gateway(database_url, {"providers": {"p": provider(up.url + "/v1")}, "models": {"m": model("p", "up")}}) as gw,
    ):
        up.will(whole({"id": "x", "object": "chat.completion", "model": "up", "created": 5, "extra": [1.0, None],
                       "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], "usage": USAGE}))  # fmt: skip
        async with gw.chat(temperature=0.70, unknown={"a": None}) as response:
            body = await response.json()
            assert response.status == 200, body
            assert body["choices"][0]["message"]["content"] == "hi" and body["extra"] == [1.0, None]
            assert response.headers["x-neuroroute-model"] == "m" and response.headers["x-neuroroute-provider"] == "p"
            assert response.headers["x-neuroroute-attempts"] == "1" and response.headers["x-request-id"].startswith("req_")
            assert response.headers["x-neuroroute-cost-usd"] == "0.000065"
        assert up.seen[0].json == {"model": "up", "messages": HELLO, "temperature": 0.7, "unknown": {"a": None}}
        assert up.seen[0].headers["authorization"] == "Bearer sk-upstream-secret"
        [row] = await gw.rows(1)
        assert_booked(row)
        assert (row.status, row.http_status, row.stream, row.requested_model, row.model, row.provider) == ("ok", 200, False, "m", "m", "p")
        assert row.request_id == response.headers["x-request-id"]


def assert_booked(row: UsageRecord) -> None:
    """20 uncached tokens at 1 USD, 10 cached at 0.5, 20 out at 2: per million."""
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.tokens_source) == (30, 20, 10, "provider")
    assert row.cost_nanousd == 20 * 1000 + 10 * 500 + 20 * 2000
    assert row.label is not None and row.latency_ms is not None and row.overhead_ms is not None and row.overhead_ms < row.latency_ms


async def test_a_stream_keeps_its_bytes_and_shows_usage_only_if_asked(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, {"providers": {"p": provider(up.url + "/v1")}, "models": {"m": model("p")}}) as gw:
        events = [piece("Hel"), piece("lo"), piece(finish="stop"), {**CHUNK, "choices": [], "usage": USAGE}]
        up.will(sse(*events), sse(*events))
        async with gw.chat(stream=True) as response:
            text = await response.text()
            assert response.headers["content-type"].startswith("text/event-stream")
        assert '"usage"' not in text and text.endswith("data: [DONE]\n\n") and text.count("data: {") == 3
        assert up.seen[0].json["stream_options"] == {"include_usage": True}
        async with gw.chat(stream=True, stream_options={"include_usage": True}, seed=2) as response:
            assert '"usage"' in await response.text()
        for row in await gw.rows(2):
            assert_booked(row)
            assert row.stream and row.status == "ok" and row.ttft_ms is not None


@pytest.mark.parametrize("kind", ["openai", "anthropic", "lmstudio"])
async def test_the_sdk_is_answered_by_every_kind_of_provider(database_url: str, kind: str) -> None:
    async with Upstream(getattr(fakes, kind)) as up:
        base = up.url if kind == "anthropic" else up.url + "/v1"
        protocol = "anthropic" if kind == "anthropic" else "openai"
        config = {
            "providers": {"p": provider(base, protocol)},
            "models": {"m": model("p", "claude-sonnet-4-5" if kind == "anthropic" else "gpt-4o")},
        }
        async with gateway(database_url, config) as gw, gw.openai() as client:
            answer = await client.chat.completions.create(model="m", messages=HELLO)
            assert answer.choices[0].message.content == "Echo: hello there" and answer.usage is not None and answer.usage.total_tokens > 0
            text, finish = "", None
            async for chunk in await client.chat.completions.create(model="auto", messages=HELLO, stream=True, seed=1):
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
            assert (text, finish) == ("Echo: hello there", "stop")
            first, second = await gw.rows(2)
            assert first.prompt_tokens > 0 and first.completion_tokens > 0 and first.tokens_source == "provider"
            assert second.requested_model == "auto" and second.model == "m" and second.policy == "balanced" and second.cost_nanousd
            assert second.completion_tokens == first.completion_tokens


async def test_errors_are_in_the_sdks_own_classes(database_url: str) -> None:
    async with (
        Upstream(fakes.openai) as up,
        gateway(database_url, {"providers": {"p": provider(up.url + "/v1")}, "models": {"mistral-small": model("p")}}) as gw,
    ):
        async with gw.openai() as client:
            with pytest.raises(openai.NotFoundError, match="mistral-small"):
                await client.chat.completions.create(model="mistral-smal", messages=HELLO)
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(model="mistral-small", messages=[])
            assert caught.value.param == "messages"
        async with gw.openai("nr_wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="auto", messages=HELLO)
        assert not up.seen


async def test_a_silent_stream_is_kept_alive_by_comments_alone(database_url: str) -> None:
    config = {"models": {"m": model("p")}}
    async with (
        Upstream() as up,
        gateway(database_url, {"providers": {"p": provider(up.base_url)}, **config}, keepalive_comment_s=0.2) as gw,
    ):
        up.will(sse(piece("Hel"), 1.0, piece("lo"), piece(finish="stop")))
        async with gw.chat(stream=True) as response:
            events = (await response.text()).split("\n\n")
        assert events.count(": ping") >= 2 and events.index(": ping") == 1 and events[-2] == "data: [DONE]"
        assert [event[:5] for event in events if event and event != ": ping"] == ["data:"] * 4
