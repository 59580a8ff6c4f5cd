"""A conversation whose model stalls goes on with a better one, and stays there."""

from typing import Any

import pytest

from tests.flow.test_learning import said, two_models
from tests.support import fakes
from tests.support.gateway import Gateway, gateway
from tests.support.upstream import Upstream

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}
LOOP = "The answer is that the answer is what it is. " * 30


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


async def talk(gw: Gateway, messages: list[dict[str, str]], **fields: Any) -> tuple[str, str]:
    """Says it, hears the answer into `messages`: (the model that answered, why)"""
    body = {"model": "auto:cheap", "messages": messages, **fields}
    async with gw.post("/v1/chat/completions", body) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        messages.append(answer["choices"][0]["message"])
        return response.headers["x-neuroroute-model"], response.headers["x-neuroroute-route"]


async def after(gw: Gateway, up: Upstream, answer: str, then: str, **fields: Any) -> tuple[str, str]:
    """Who answers `then`, in a conversation that began with this answer."""
    up.will(said(answer))
    messages = [turn("user", "Tell me something of the rivers of Europe")]
    assert (await talk(gw, messages, **fields))[0] == "small"
    messages.append(turn("user", then))
    up.will(said("Well, the Rhine is a long river."))
    return await talk(gw, messages, **fields)


@pytest.mark.parametrize(
    ("answer", "then", "fields"),
    [
        ("I'm sorry, but I can't help with that.", "And of its lakes?", {}),
        (LOOP, "And of its lakes?", {}),
        ("no JSON at all", "And of its lakes?", {"response_format": SCHEMA}),
        ("The Rhine flows to Rome.", "No, that's wrong.", {}),
        ("Der Rhein fließt nach Rom.", "Das stimmt nicht, versuch es noch einmal", {}),
        ("Le Rhin coule à Rome.", "C'est faux, réessaie", {}),
        ("莱茵河流到罗马。", "不对", {}),
    ],
)
@pytest.mark.parametrize("learning", [True, False])
async def test_a_model_that_stalls_is_replaced_by_a_better_one(
    database_url: str, answer: str, then: str, fields: dict[str, Any], learning: bool
) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up, learning={"enabled": learning})) as gw:
        model, why = await after(gw, up, answer, then, **fields)
        assert model == "large" and "escalated" in why


async def test_a_good_answer_is_no_reason_to_escalate(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        for then in (
            "Thanks! And of its lakes?",
            "No, thank you, that was all.",
            "Is 'that is wrong' right?",
            "Ist das falsch geschrieben?",
        ):
            model, why = await after(gw, up, "The Rhine flows to the North Sea.", then, neuroroute={"cache": "no-store"})
            assert model == "small" and "escalated" not in why, then


async def test_what_was_escalated_stays_with_the_better_model(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        messages = [turn("user", "Tell me something of the rivers of Europe")]
        assert (await talk(gw, messages))[0] == "small"
        messages.append(turn("user", "That's not right, try again"))
        assert (await talk(gw, messages))[0] == "large"
        messages.append(turn("user", "Thanks, and of its lakes?"))
        assert await talk(gw, messages) == ("large", "cheap: factual_qa, the conversation stays")
        other = [turn("user", "Tell me something of the hills of Europe")]
        assert (await talk(gw, other))[0] == "small", "another conversation begins as ever"


async def test_the_same_answer_twice_is_a_stall(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        messages = [turn("user", "Tell me something of the rivers of Europe")]
        for then in ("And the next one?", "And another one?"):
            up.will(said("The Rhine flows to the North Sea, as everybody knows."))
            assert (await talk(gw, messages))[0] == "small"
            messages.append(turn("user", then))
        model, why = await talk(gw, messages)
        assert model == "large" and "escalated" in why


async def test_a_session_is_escalated_without_its_history(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        up.will(said("I'm sorry, but I can't help with that."))
        for text, expected in (("Tell me of rivers", "small"), ("Tell me of lakes", "large")):
            model, _ = await talk(gw, [turn("user", text)], neuroroute={"session": "s"})
            assert model == expected


RESULT = {
    "messages": [
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "No, that's wrong: 21 degrees"}]},
    ],
    "responses": [
        {"role": "user", "content": "What is the weather in Rome?"},
        {"type": "function_call", "call_id": "t1", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "t1", "output": "No, that's wrong: 21 degrees"},
    ],
    "chat/completions": [
        {"role": "user", "content": "What is the weather in Rome?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "No, that's wrong: 21 degrees"},
    ],
}


@pytest.mark.parametrize("dialect", RESULT)
async def test_a_tool_loop_keeps_its_model_in_every_dialect(database_url: str, dialect: str) -> None:
    """What a tool says is neither the user's word nor an objection; and the loop stays whatever the policy says meanwhile."""
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        turns: Any = RESULT[dialect]
        heard = []
        for policy, until in (("cheap", 1), ("best", 3)):
            body: dict[str, Any] = {
                "model": f"auto:{policy}",
                "max_tokens": 99,
                ("input" if dialect == "responses" else "messages"): turns[:until],
            }
            if dialect == "responses":
                body["max_output_tokens"] = body.pop("max_tokens")
            async with gw.post(f"/v1/{dialect}", {**body, "neuroroute": {"explain": True}}) as response:
                answer = await response.json()
                assert response.status == 200, answer
                heard.append(
                    (response.headers["x-neuroroute-model"], answer["neuroroute"]["kept"], answer["neuroroute"]["classification"]["label"])
                )
        assert heard == [("small", False, heard[0][2]), ("small", True, heard[0][2])]
