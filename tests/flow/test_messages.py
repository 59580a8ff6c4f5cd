"""The Anthropic SDK against Anthropic and OpenAI-type providers: whole, streamed, tools, errors, counting."""

from typing import Any

import anthropic
import pytest

from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream, anthropic_error, error

TOOL: Any = {
    "name": "weather",
    "description": "the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def config(up: Upstream, kind: str) -> dict[str, Any]:
    if kind == "anthropic":
        return {"providers": {"p": provider(up.url, "anthropic")}, "models": {"m": model("p", "claude-sonnet-4-5")}}
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o")}}


def sdk(gw: Gateway, key: str | None = None) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gw.url, api_key=key or gw.key, max_retries=0)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_messages_whole_streamed_and_with_tools(database_url: str, kind: str) -> None:
    async with Upstream(getattr(fakes, kind)) as up, gateway(database_url, config(up, kind)) as gw, sdk(gw) as client:
        whole = await client.messages.create(model="m", max_tokens=100, messages=[{"role": "user", "content": "hello"}])
        assert whole.content[0].type == "text" and whole.content[0].text == "Echo: hello" and whole.stop_reason == "end_turn"
        assert whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0
        async with client.messages.stream(model="auto", max_tokens=100, messages=[{"role": "user", "content": "again"}]) as stream:
            assert "".join([text async for text in stream.text_stream]) == "Echo: again"
            assert (await stream.get_final_message()).usage.output_tokens > 0
        turn: list[Any] = [{"role": "user", "content": "use the tool"}]
        async with client.messages.stream(model="m", max_tokens=100, messages=turn, tools=[TOOL]) as stream:
            called = await stream.get_final_message()
        [use] = [block for block in called.content if block.type == "tool_use"]
        assert called.stop_reason == "tool_use" and isinstance(use.input, dict) and "city" in use.input
        turn += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in called.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]},
        ]
        answered = await client.messages.create(model="m", max_tokens=100, messages=turn, tools=[TOOL])
        assert answered.content[0].type == "text" and "sunny" in answered.content[0].text
        rows = await gw.rows(4)
        assert {row.dialect for row in rows} == {"messages"} and all(row.cost_nanousd for row in rows)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_errors_have_anthropics_shape(database_url: str, kind: str) -> None:
    async with Upstream(getattr(fakes, kind)) as up, gateway(database_url, config(up, kind)) as gw, sdk(gw) as client:
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.messages.create(model="nope", max_tokens=1, messages=[{"role": "user", "content": "x"}])
        assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model="m", max_tokens=1, messages=[])
        up.will(error(529, "overloaded", "overloaded_error"), error(529, "overloaded", "overloaded_error"))
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            await client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
        assert overloaded.value.status_code in (503, 529)
        async with sdk(gw, "nr_bad") as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])


async def test_tokens_are_counted_for_every_model(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, config(up, "openai")) as gw, sdk(gw) as client:
        few = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hello"}])
        many = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hello " * 500}], tools=[TOOL])
        assert 1 < few.input_tokens < 30
        assert 50 * few.input_tokens < many.input_tokens < 1500 and not up.seen  # other tests taught the gateway how this "m" counts
    async with Upstream(fakes.anthropic) as up, gateway(database_url, config(up, "anthropic")) as gw, sdk(gw) as client:
        assert (await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hello"}])).input_tokens > 0
        assert up.seen[-1].path == "/v1/messages/count_tokens"


async def test_the_count_of_tokens_fails_in_anthropics_shape(database_url: str) -> None:
    async with Upstream(fakes.anthropic) as up, gateway(database_url, config(up, "anthropic")) as gw:
        spent = (await gw.new_key(budget={"usd": 0, "period": "day"}))["key"]
        for key, status, kind in ((spent, 429, "rate_limit_error"), (gw.key, 400, "invalid_request_error")):
            up.will(anthropic_error(400, "no", "invalid_request_error"))
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            async with gw.post("/v1/messages/count_tokens", body, key=key) as response:
                told = await response.json()
                assert response.status == status and told["type"] == "error" and told["error"]["type"] == kind
                assert told["request_id"] == response.headers["request-id"]


async def test_models_are_listed_in_anthropics_shape(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, config(up, "openai")) as gw, sdk(gw) as client:
        names = [entry.id async for entry in client.models.list()]
        assert "m" in names and "auto" in names and (await client.models.retrieve("m")).display_name == "m"
