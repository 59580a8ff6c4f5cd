"""Providers that say a good answer in an odd way: their clients get a good answer."""

import json
from typing import Any

import pytest

from tests.support import fakes
from tests.support.gateway import gateway, model, provider
from tests.support.upstream import CUT, RESET, STALL, End, Step, Upstream, dumps, sse, stream, whole


def one(up: Upstream) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url, timeouts={"idle_s": 0.5})}, "models": {"m": model("p", "gpt-4o")}}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [choice]}


BEGIN, TEXT, END = chunk({"role": "assistant", "content": ""}), chunk({"content": "hi"}), chunk({}, "stop")
EVENTS = b"".join(b"data: " + dumps(c) + b"\n\n" for c in (BEGIN, TEXT, END)) + b"data: [DONE]\n\n"

ODD: dict[str, Step] = {
    "a stream called a page": stream(EVENTS, content_type="text/html; charset=utf-8"),
    "a stream called JSON": stream(EVENTS, content_type="application/json"),
    "a stream called bytes": stream(EVENTS, content_type="application/octet-stream"),
    "empty events": stream(EVENTS.replace(b"}\n\n", b"}\n\ndata:\n\ndata: \n\n")),
    "no end marker": sse(BEGIN, TEXT, END, done=False),
}


@pytest.mark.parametrize("step", ODD.values(), ids=ODD.keys())
async def test_a_stream_comes_whole(database_url: str, step: Step) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(step)
        async with gw.chat(stream=True) as response:
            assert response.status == 200 and response.headers["content-type"].startswith("text/event-stream")
            events = [e.removeprefix(b"data: ") for e in (await response.read()).split(b"\n\n") if e and not e.startswith(b":")]
        assert [json.loads(e) for e in events[:-1]] == [{**c, "model": "m"} for c in (BEGIN, TEXT, END)] and events[-1] == b"[DONE]"
        (row,) = await gw.rows(1)
        assert row.status == "ok"


@pytest.mark.parametrize("end", [CUT, RESET, STALL])
async def test_a_line_that_breaks_before_the_end_marker_is_told(database_url: str, end: End) -> None:
    """Every choice has ended, but a cut is a cut: nobody knows what was to follow."""
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(BEGIN, TEXT, END, 0.05, end))
        async with gw.chat(stream=True) as response:
            said = await response.read()
        assert b'data: {"error":' in said and b"[DONE]" not in said


@pytest.mark.parametrize("body", [fakes.openai, {"error": "no such method"}, "<html>", ""], ids=["whole", "error", "page", "nothing"])
async def test_what_is_no_stream_is_told_before_one_begins(database_url: str, body: Any) -> None:
    async with Upstream() as up, gateway(database_url, one(up), upstream_max_retries=0) as gw:
        up.will(whole({"id": "c", "choices": [{"message": {"role": "assistant", "content": "x"}}]} if callable(body) else body))
        async with gw.chat(stream=True) as response:
            assert (response.status, response.headers["content-type"]) == (502, "application/json")
            assert (await response.json())["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_that_was_forced_is_run_by_clients_of_messages(database_url: str, streamed: bool) -> None:
    """OpenAI ends a forced call with "stop"."""
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = {**END, "object": "chat.completion"}
    answer["choices"] = [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "stop"}]
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(BEGIN, chunk({"tool_calls": [call]}), END) if streamed else whole(answer))
        body = {"model": "m", "max_tokens": 9, "stream": streamed, "messages": [{"role": "user", "content": "x"}]}
        async with gw.post("/v1/messages", body) as response:
            said = await response.text()
    assert '"stop_reason":"tool_use"' in said and "end_turn" not in said


@pytest.mark.parametrize(
    "message",
    [{"content": [{"type": "text", "text": "hi"}, {"type": "thinking"}]}, {"content": None, "refusal": "hi"}, {"content": "hi"}],
    ids=["parts", "refusal", "text"],
)
async def test_the_response_to_a_prompt_is_always_text(database_url: str, message: dict[str, Any]) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(whole({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}))
        async with gw.post("/prompt", {"prompt": "x", "model_id": "m"}) as response:
            assert (await response.json())["response"] == "hi"
