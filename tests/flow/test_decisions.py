"""A decision as clients ask for it and see it: in every dialect, whole and streamed, and what is refused on the way."""

from typing import Any

import anthropic
import pytest

from tests.flow.test_learning import two_models
from tests.support import fakes
from tests.support.gateway import Gateway, gateway
from tests.support.upstream import Upstream

HELLO: list[Any] = [{"role": "user", "content": 'Say "usage": {} and message_delta'}]
EXPLAINED = {"neuroroute": {"explain": True, "policy": "cheap", "cache": "no-store"}}


async def route(gw: Gateway, **fields: Any) -> tuple[int, dict[str, Any]]:
    async with gw.post("/v1/route", {"messages": HELLO, **fields}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("usage", [True, False])
async def test_streams_of_every_dialect_end_with_the_decision(database_url: str, usage: bool) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw, gw.openai() as client:
        asked: Any = {"stream_options": {"include_usage": True}} if usage else {}
        chat: Any = await client.chat.completions.create(model="auto", messages=HELLO, stream=True, extra_body=EXPLAINED, **asked)
        told = [chunk.model_extra["neuroroute"] async for chunk in chat if "neuroroute" in chunk.model_extra]
        old: Any = await client.completions.create(model="auto", prompt="Say hello", stream=True, extra_body=EXPLAINED, **asked)
        told += [chunk.model_extra["neuroroute"] async for chunk in old if "neuroroute" in chunk.model_extra]
        events: Any = await client.responses.create(model="auto", input="Say hello", stream=True, extra_body=EXPLAINED)
        told += [event.response.model_extra["neuroroute"] async for event in events if event.type == "response.completed"]
        claude = anthropic.AsyncAnthropic(base_url=gw.url, api_key=gw.key, max_retries=0)
        body: Any = {"model": "auto", "max_tokens": 50, "messages": HELLO}
        async with claude, claude.messages.stream(**body, extra_body=EXPLAINED) as stream:
            ends = [event async for event in stream if event.type == "message_delta"]
        told += [ends[0].model_extra["neuroroute"]]  # type: ignore[index]
        assert [one["policy"] for one in told] == ["cheap"] * 4 and all(one["cost_usd"] > 0 for one in told)
        assert len({one["request_id"] for one in told}) == 4 and all(one["candidates"] for one in told)


async def test_prompt_explains_too(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        async with gw.post("/prompt", {"prompt": "Say hello", **EXPLAINED}) as response:
            assert (await response.json())["neuroroute"]["policy"] == "cheap"
        async with gw.post("/prompt", {"prompt": "Say hello", "policy": 10}) as response:
            answer = await response.json()
            assert answer["model_used"] == "large" and "neuroroute" not in answer
        async with gw.post("/prompt", {"prompt": "Say hello", "policy": True}) as response:
            assert response.status == 400 and (await response.json())["error"]["param"] == "policy"


async def test_an_answer_from_the_cache_says_why_no_model_was_asked(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        for state, reason in (("miss", "balanced: "), ("hit", "answered before"), ("hit", "answered before")):
            async with gw.chat("auto") as response:
                assert response.headers["x-neuroroute-cache"] == state and response.headers["x-neuroroute-route"].startswith(reason)


@pytest.mark.parametrize(("dial", "chosen"), [(0, "small"), (10, "large"), (2.5, "small"), (10.0, "large")])
async def test_the_dial_may_be_a_number(database_url: str, dial: float, chosen: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        status, decision = await route(gw, neuroroute={"policy": dial})
        assert (status, decision["model"], decision["policy"]) == (200, chosen, f"{dial:g}")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"policy": 11}, "policy"), ({"policy": -1}, "policy"), ({"policy": True}, "policy"), ({"policy": "x"}, "policy"),
        ({"explain": "yes"}, "explain"), ({"explain": 1}, "explain"), ({"resumable": "no"}, "resumable"),
        ({"store_prompts": "false"}, "store_prompts"), ({"quality_floor": 1.5}, "quality_floor"),
    ],
)  # fmt: skip
async def test_a_wish_that_can_not_be_understood_is_refused(database_url: str, asked: dict[str, Any], param: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        status, answer = await route(gw, neuroroute=asked)
        assert (status, answer["error"]["param"]) == (400, f"neuroroute.{param}")


async def test_an_answer_to_be_heard_needs_a_model_that_speaks(database_url: str) -> None:
    async with Upstream(fakes.openai) as up:
        config = two_models(up)
        for one in config["models"].values():
            one["abilities"] = ["tools", "vision"]
        async with gateway(database_url, config) as gw:
            status, answer = await route(gw, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
            assert status == 400 and "audio closed" in answer["error"]["message"]
            assert (await route(gw, modalities=["text"]))[0] == 200


async def test_a_schema_asked_for_in_anthropics_dialect_is_a_gate(database_url: str) -> None:
    async with Upstream(fakes.openai) as up:
        config = two_models(up)
        config["models"]["small"]["abilities"] = ["tools"]
        async with gateway(database_url, config) as gw:
            shape = {"type": "json_schema", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}
            for asked in ({"output_config": {"format": shape}}, {"output_format": shape}):
                body = {"model": "auto:cheap", "max_tokens": 50, "messages": HELLO, **asked, **EXPLAINED}
                async with gw.post("/v1/messages", body) as response:
                    answer = await response.json()
                    assert answer["neuroroute"]["gates"]["closed"] == {"p/small": ["json_schema"]}, answer
