"""Requests between dialects: what is refused by name, what each family of models gets, and that turns survive a change of provider."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.adapters import translator_for
from neuroroute.adapters.families import claude, openai_reasoning
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest
from neuroroute.core.types import Dialect, Target
from tests.support.transcripts.reader import client, play, target

USER = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def asked(dialect: str, body: dict[str, Any], to: Target) -> Any:
    raw = jsonbytes.dumps({"model": to.model.name, **body})
    request = translator_for(Dialect(dialect), to).request(client(dialect, raw, stream=bool(body.get("stream"))), to)
    assert isinstance(request.body, bytes)
    return jsonbytes.loads(request.body)


def chat(model: str = "claude-sonnet-4-5", to: Target | None = None, **body: Any) -> Any:
    return asked("chat", {"messages": USER, **body}, to or target("anthropic", model))


@pytest.mark.parametrize(
    ("dialect", "protocol", "body", "param"),
    [
        ("chat", "anthropic", {"messages": USER, "n": 2}, "n"),
        ("chat", "anthropic", {"messages": []}, "messages"),
        ("chat", "anthropic", {"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ("chat", "anthropic", {"messages": ["x"]}, "messages[0]"),
        ("chat", "anthropic", {"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
        ("chat", "anthropic", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ("chat", "anthropic", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        (
            "chat",
            "anthropic",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "messages[0].content[0]",
        ),
        (
            "chat",
            "anthropic",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]},
            "messages[0].content[0]",
        ),
        ("chat", "anthropic", {"messages": [*USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ("chat", "anthropic", {"messages": USER, "tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        ("chat", "anthropic", {"messages": USER, "max_tokens": "9"}, "max_tokens"),
        ("chat", "anthropic", {"messages": USER, "modalities": ["audio"]}, "modalities"),
        ("chat", "anthropic", {"messages": USER, "response_format": {"type": "json_schema"}}, "response_format"),
        ("messages", "openai", {"messages": USER, "max_tokens": 0}, "max_tokens"),
        ("messages", "openai", {"messages": []}, "messages"),
        ("messages", "openai", {"messages": USER, "tools": [{"type": "web_search_20260209", "name": "web_search"}]}, "tools[0]"),
        (
            "messages",
            "openai",
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages.0.content.0",
        ),
        ("messages", "openai", {"messages": [{"role": "x", "content": "y"}]}, "messages.0.role"),
        ("responses", "openai", {"input": ""}, "input"),
        ("responses", "openai", {"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ("responses", "anthropic", {"input": "x", "conversation": "conv_1"}, "conversation"),
        ("responses", "anthropic", {"input": "x", "background": True}, "background"),
        ("responses", "anthropic", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ("responses", "anthropic", {"input": [{"id": "msg_1"}]}, "input[0]"),
        ("responses", "openai", {"input": [{"type": "computer_call"}]}, "input[0]"),
        ("responses", "openai", {"input": [5]}, "input"),
        ("responses", "openai", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
        ("responses", "openai", {"input": "x", "tools": [{"type": "web_search"}]}, "tools[0]"),
        (
            "responses",
            "openai",
            {"input": "x", "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "file_search"}},
            "tool_choice",
        ),
        ("completions", "openai", {"prompt": ["a", "b"]}, "prompt"),
        ("completions", "openai", {"prompt": [1, 2]}, "prompt"),
        ("completions", "openai", {"prompt": "a", "suffix": "b"}, "suffix"),
        ("completions", "anthropic", {"prompt": "a", "echo": True}, "echo"),
        ("completions", "anthropic", {"prompt": "a", "logprobs": 3}, "logprobs"),
        ("completions", "anthropic", {"prompt": "a", "best_of": 2}, "best_of"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(dialect: str, protocol: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(dialect, body, target(protocol, "claude-sonnet-4-5"))
    assert caught.value.param == param
    assert caught.value.message.startswith(param.split("[")[0].split(".")[0])


@pytest.mark.parametrize(
    "model", ["claude-3-5-sonnet-latest", "claude-opus-4-1", "claude-sonnet-4-6", "claude-opus-5", "claude-fable-5-2", "claude-next-9"]
)
def test_a_temperature_succeeds_on_every_claude(model: str) -> None:
    sent = chat(model, temperature=1.5, top_p=0.5)
    sampling = {k: sent[k] for k in ("temperature", "top_p") if k in sent}
    assert sampling == {"both": {"temperature": 1, "top_p": 0.5}, "one": {"temperature": 1}, "none": {}}[claude(model).sampling]
    assert "top_k" not in sent


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        ("claude-3-5-haiku", "high", None, None),
        ("claude-sonnet-4-5", "low", {"type": "enabled", "budget_tokens": 2048}, None),
        ("claude-sonnet-4-5", "none", None, None),
        ("claude-opus-4-6", "xhigh", {"type": "adaptive"}, {"effort": "high"}),
        ("claude-opus-4-8", "xhigh", {"type": "adaptive", "display": "summarized"}, {"effort": "xhigh"}),
        ("claude-opus-5", "none", {"type": "disabled"}, None),
        ("claude-opus-5-5", "none", {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
        ("claude-opus-5-5", None, None, None),
    ],
)
def test_reasoning_in_the_way_of_each_family(model: str, effort: str | None, thinking: Any, config: Any) -> None:
    sent = chat(model, temperature=0.5, **({"reasoning_effort": effort} if effort else {}))
    assert (sent.get("thinking"), sent.get("output_config")) == (thinking, config)
    assert not (thinking == {"type": "enabled"} and "temperature" in sent)
    if thinking and thinking["type"] == "enabled":
        assert thinking["budget_tokens"] < sent["max_tokens"] and "temperature" not in sent


def test_no_budget_that_has_no_room() -> None:
    assert "thinking" not in chat(reasoning_effort="high", max_tokens=1000)
    assert chat(reasoning_effort="high", max_tokens=3000)["thinking"]["budget_tokens"] == 2999
    turn = [
        *USER,
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a"},
    ]
    assert "thinking" not in chat(reasoning_effort="high", messages=turn)


@pytest.mark.parametrize(
    ("choice", "model", "wanted"),
    [
        (None, "claude-sonnet-4-5", None),
        ("auto", "claude-sonnet-4-5", {"type": "auto"}),
        ("none", "claude-sonnet-4-5", {"type": "none"}),
        ("required", "claude-sonnet-4-5", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, "claude-sonnet-4-5", {"type": "tool", "name": "f"}),
        ("required", "claude-opus-5-5", {"type": "auto"}),
        ({"type": "function", "function": {"name": "f"}}, "claude-fable-5-1", {"type": "auto"}),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}, "claude-sonnet-4-5", {"type": "any"}),
    ],
)
def test_the_choice_of_tools(choice: Any, model: str, wanted: Any) -> None:
    sent = chat(model, tools=[TOOL], **({"tool_choice": choice} if choice else {}))
    assert sent.get("tool_choice") == wanted
    assert "tool_choice" not in chat(model, tool_choice="required")
    alone = chat(model, tools=[TOOL], parallel_tool_calls=False, **({"tool_choice": choice} if choice else {}))["tool_choice"]
    assert alone.get("disable_parallel_tool_use", False) is (choice != "none")


def test_a_forced_tool_comes_before_thinking() -> None:
    for model in ("claude-sonnet-4-5", "claude-opus-4-6", "claude-sonnet-5"):
        sent = chat(model, tools=[TOOL], tool_choice="required", reasoning_effort="high")
        assert sent["tool_choice"] == {"type": "any"}
        assert sent.get("thinking", {"type": "disabled"}) == {"type": "disabled"}


def test_how_long_an_answer_may_be() -> None:
    assert chat(max_tokens=7)["max_tokens"] == 7
    assert chat(max_tokens=7, max_completion_tokens=8)["max_tokens"] == 8
    small = target("anthropic", "claude-x", max_output_tokens=5000)
    assert chat(to=small)["max_tokens"] == 5000
    assert chat(to=small, max_tokens=9000)["max_tokens"] == 5000
    assert chat(to=target("anthropic", "unheard-of"))["max_tokens"] >= 4096
    tight = target("anthropic", "claude-x", max_output_tokens=64_000, context_window_tokens=70_000)
    assert chat(to=tight, messages=[{"role": "user", "content": "x" * 90_000}])["max_tokens"] < 41_000


def test_structured_output_of_old_and_new_claudes() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "title": "T"}}}
    assert chat("claude-opus-5", response_format=wanted)["output_config"] == {
        "format": {"type": "json_schema", "schema": {"type": "object", "title": "T"}}
    }
    old = chat("claude-3-5-sonnet", response_format=wanted)
    assert "output_config" not in old and '"title":"T"' in old["system"][-1]["text"]
    assert "JSON" in chat(response_format={"type": "json_object"})["system"][-1]["text"]
    assert "system" not in chat(response_format={"type": "text"})


def test_tools_of_the_history_are_defined() -> None:
    history = [
        *USER,
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "not json"}}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}]},
    ]
    sent = chat(messages=history)
    assert sent["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert sent["tool_choice"] == {"type": "none"}
    assert sent["messages"][1]["content"][0]["input"] == {"arguments": "not json"}


def test_functions_of_the_old_kind_meet_their_results() -> None:
    history = [
        *USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
    ]
    turns = chat(messages=history)["messages"]
    assert turns[1]["content"][0]["id"] == turns[2]["content"][0]["tool_use_id"]


def test_results_come_first_in_their_turn() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    turns = chat(messages=[*USER, call, {"role": "user", "content": "wait"}, {"role": "tool", "tool_call_id": "a", "content": "x"}])[
        "messages"
    ]
    assert [b["type"] for b in turns[2]["content"]] == ["tool_result", "text"]


def test_files_and_text_files() -> None:
    parts = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,aGk="}},
        {"type": "image_url", "image_url": "https://x.test/a.png"},
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}},
    ]
    assert chat(messages=[{"role": "user", "content": parts}])["messages"][0]["content"] == [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
    ]


def test_tools_that_anthropic_runs_are_no_calls_of_the_client() -> None:
    """Their arguments would be those of a call without a name, or of the call before."""
    ours = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    theirs = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_1", "model": "claude-sonnet-4-5"}}]
    for number, block in enumerate((theirs, ours, theirs)):
        delta = {"type": "input_json_delta", "partial_json": f'{{"of":{number}}}'}
        events += [
            {"type": "content_block_start", "index": number, "content_block": block},
            {"type": "content_block_delta", "index": number, "delta": delta},
            {"type": "content_block_stop", "index": number},
        ]
    events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    to = target("anthropic", "claude-sonnet-4-5")
    stream = translator_for(Dialect.CHAT, to).stream(client("chat", b"{}", stream=True), to)
    got, error = play(stream, [b"event: %b\ndata: %b\n\n" % (e["type"].encode(), jsonbytes.dumps(e)) for e in events])
    assert error is None and got.count(b'"tool_calls":[') == 2 and got.count(b'{\\"of\\":1}') == 1 and b"of" in got and b":0}" not in got


@pytest.mark.parametrize("model", ["o3", "gpt-5-mini", "gpt-6"])
def test_reasoning_models_of_openai_get_what_they_take(model: str) -> None:
    assert openai_reasoning(model)
    to = target("openai", model)
    plain = {"temperature": 0.1, "top_p": 0.5}
    sent = asked(
        "messages",
        {"messages": USER, "max_tokens": 50, "stop_sequences": ["x"], "thinking": {"type": "enabled", "budget_tokens": 9000}, **plain},
        to,
    )
    assert sent["max_completion_tokens"] == 50 and sent["reasoning_effort"] == "medium"
    assert not {"max_tokens", "temperature", "top_p", "stop"} & set(sent)
    sent = asked("completions", {"prompt": "x", "max_tokens": 50, "stop": ["x"], **plain}, to)
    assert sent["max_completion_tokens"] == 50 and not {"max_tokens", "temperature", "top_p", "stop"} & set(sent)
    sent = asked(
        "responses", {"input": "x", "max_output_tokens": 50, "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}, **plain}, to
    )
    assert sent["max_completion_tokens"] == 50 and sent["reasoning_effort"] == "low" and sent["verbosity"] == "low"
    assert not {"max_tokens", "temperature", "top_p"} & set(sent)


def test_other_models_get_no_reasoning_they_do_not_have() -> None:
    body = {"messages": USER, "max_tokens": 50, "thinking": {"type": "enabled", "budget_tokens": 9000}}
    assert "reasoning_effort" not in asked("messages", body, target("openai", "gpt-4o"))
    able = target("openai", "qwen3", abilities=frozenset({"reasoning"}))
    assert asked("messages", body, able)["reasoning_effort"] == "medium"


def test_limits_of_openai() -> None:
    to = target("openai", "gpt-4o", max_output_tokens=16_384)
    sent = asked("messages", {"messages": USER, "max_tokens": 32_000, "metadata": {"user_id": "u" * 200}}, to)
    assert sent["max_tokens"] == 16_384 and len(sent["user"]) == 64


def test_responses_reach_claude() -> None:
    body = {
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "reasoning": {"effort": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "done"},
        ],
    }
    sent = asked("responses", body, target("anthropic", "claude-opus-5"))
    assert sent == {
        "model": "claude-opus-5",
        "max_tokens": 99,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "done"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "output_config": {"effort": "low"},
        "thinking": {"type": "adaptive", "display": "summarized"},
    }


IDS = st.text(min_size=1, max_size=12)


ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers(-(2**53), 2**53) | st.text(max_size=4), max_size=2)


@settings(deadline=None)
@given(st.lists(st.tuples(IDS, ARGUMENTS), min_size=1, max_size=3, unique_by=lambda call: call[0]))
def test_a_tool_turn_survives_the_way_there_and_back(calls: list[tuple[str, dict[str, Any]]]) -> None:
    """chat -> Messages -> chat: calls, their arguments and their results still belong together."""
    history = [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": "Calling",
            "tool_calls": [
                {"id": i, "type": "function", "function": {"name": "f", "arguments": jsonbytes.dumps(a).decode()}} for i, a in calls
            ],
        },
        *({"role": "tool", "tool_call_id": i, "content": f"result {n}"} for n, (i, _) in enumerate(calls)),
        {"role": "user", "content": "and now?"},
    ]
    there = chat(messages=history, tools=[TOOL])
    back = asked("messages", {**there, "stream": False}, target("openai", "gpt-4o"))["messages"]
    assert [m["role"] for m in back] == [m["role"] for m in history]
    said = back[1]["tool_calls"]
    assert [jsonbytes.loads(c["function"]["arguments"]) for c in said] == [a for _, a in calls]
    assert [m["tool_call_id"] for m in back[2:-1]] == [c["id"] for c in said]
    assert len({c["id"] for c in said}) == len(calls)
    assert [m["content"] for m in back[2:]] == [m["content"] for m in history[2:]]
