"""Where marks for Anthropic's prompt cache are placed, and where none are."""

from typing import Any

import pytest

from neuroroute.adapters import translator_for
from neuroroute.adapters.families import least_cached_tokens
from neuroroute.core import jsonbytes
from neuroroute.core.types import Dialect, Model, Protocol, Provider, Target
from tests.support.transcripts.reader import client

LONG = "All work and no play makes Jack a dull boy. " * 400  # about 4,000 tokens
CHINESE = "东京是日本的首都" * 200  # 1,600 signs, 4,800 bytes
MARK = {"type": "ephemeral"}
USER = {"role": "user", "content": "Who?"}
SAID = [USER, {"role": "assistant", "content": "Jack."}, {"role": "user", "content": "Why?"}]
TOOL = {"type": "function", "function": {"name": "f", "description": LONG, "parameters": {"type": "object"}}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}


def sent(messages: list[Any], model: str = "claude-sonnet-4-5", *, prompt_cache: bool = True, dialect: str = "chat", **body: Any) -> Any:
    provider = Provider("there", Protocol.ANTHROPIC, "https://provider.test", prompt_cache=prompt_cache)
    to = Target(provider, Model(model, "there", model))
    said = {"input" if dialect == "responses" else "messages": messages}
    raw = jsonbytes.dumps({"model": model, **said, **body})
    request = translator_for(Dialect(dialect), to).request(client(dialect, raw), to)
    assert isinstance(request.body, bytes)
    return jsonbytes.loads(request.body)


def marks(out: Any) -> list[str]:
    """Where they stand: tools, system, the number of a message."""
    found = [name for name in ("tools", "system") for block in out.get(name, ()) if "cache_control" in block]
    for place, turn in enumerate(out["messages"]):
        found += [str(place)] * sum("cache_control" in block for block in turn["content"])
    return found


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


@pytest.mark.parametrize(
    ("messages", "body", "expected"),
    [
        ([system(LONG), USER], {}, ["system"]),
        ([system("Be brief."), USER], {}, []),
        ([system(CHINESE), USER], {}, ["system"]),
        ([system(LONG), *SAID], {}, ["system", "0", "2"]),
        ([system("Be brief."), *SAID], {}, []),
        ([{"role": "user", "content": LONG}], {}, []),
        ([{"role": "user", "content": LONG}, *SAID[1:]], {}, ["0", "2"]),
        ([USER, {"role": "assistant", "content": LONG}, SAID[2]], {}, ["2"]),
        ([USER], {"tools": [TOOL, TOOL]}, ["tools"]),
        ([system("Be brief."), USER], {"tools": [TOOL]}, ["tools", "system"]),
        ([system(LONG), USER, CALL, RESULT], {"tools": [TOOL]}, ["tools", "system", "0", "2"]),
        ([system(LONG), *SAID, {"role": "assistant", "content": "Because"}], {}, ["system", "0", "2"]),
    ],
)  # fmt: skip
def test_what_the_next_call_begins_with_is_marked_where_it_is_long_enough(messages: list[Any], body: Any, expected: list[str]) -> None:
    out = sent(messages, **body)
    assert marks(out) == expected and len(expected) <= 4
    marked = [block for part in (out.get("tools", ()), out.get("system", ()), *[t["content"] for t in out["messages"]]) for block in part]
    assert all(block["cache_control"] == MARK for block in marked if "cache_control" in block)
    assert all("cache_control" not in block for block in out.get("tools", ())[:-1]), "the last tool stands for all"


def test_a_mark_changes_nothing_else() -> None:
    messages = [system(LONG), USER, CALL, RESULT]

    def bare(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: bare(value) for name, value in part.items() if name != "cache_control"}
        return [bare(one) for one in part] if isinstance(part, list) else part

    assert bare(sent(messages, tools=[TOOL])) == sent(messages, prompt_cache=False, tools=[TOOL])


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": [{"type": "text", "text": LONG}, {"type": "text", "text": "x", "cache_control": MARK}]}, *SAID],
        [{"role": "system", "content": LONG, "cache_control": MARK}, *SAID],
        [system(LONG), SAID[0], {**SAID[1], "cache_control": MARK}, SAID[2]],
    ],
)
def test_who_places_a_mark_has_placed_them_all(messages: list[Any]) -> None:
    assert len(marks(sent(messages))) == 1
    assert len(marks(sent(messages, prompt_cache=False))) == 1, "and it always travels on"


def test_a_mark_for_the_whole_request_travels_on_and_is_the_only_one() -> None:
    out = sent([system(LONG), *SAID], cache_control={"type": "ephemeral", "ttl": "1h"})
    assert out["cache_control"] == {"type": "ephemeral", "ttl": "1h"} and marks(out) == []


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-3-haiku-20240307", 2048), ("claude-3-5-haiku-latest", 2048), ("claude-3-5-sonnet-20241022", 1024), ("claude-3-7-sonnet", 1024),
        ("claude-opus-4-1-20250805", 1024), ("claude-sonnet-4-20250514", 1024), ("claude-sonnet-4.5", 1024), ("claude-sonnet-4-6", 1024),
        ("claude-haiku-4-5-20251001", 4096), ("claude-opus-4-5", 4096), ("anthropic.claude-opus-4-6-v1", 4096), ("claude-opus-4-7", 2048),
        ("claude-opus-4-8", 1024), ("claude-sonnet-5", 1024), ("claude-opus-5", 512), ("claude-mythos-5", 512), ("qwen2.5-7b", None),
    ],
)  # fmt: skip
def test_how_long_a_beginning_must_be(model: str, tokens: int | None) -> None:
    assert least_cached_tokens(model) == tokens


def test_each_model_has_its_own_least_length() -> None:
    for model, expected in (("claude-opus-4-8", ["system"]), ("claude-haiku-4-5", []), ("qwen2.5-7b", [])):
        assert marks(sent([system(LONG[:5000]), USER], model)) == expected
    assert marks(sent([system(LONG), *SAID], prompt_cache=False)) == []


def test_pictures_count_as_what_they_are_and_not_by_their_data() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 8000}}
    first = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}
    assert marks(sent([first, *SAID[1:]], "claude-opus-4-5")) == [], "1,500 tokens"
    assert marks(sent([first, *SAID[1:]])) == ["0", "2"]


def test_other_dialects_on_their_way_to_anthropic_are_marked_too_and_its_own_is_not_touched() -> None:
    assert marks(sent([USER], dialect="responses", instructions=LONG)) == ["system"]
    raw = {"messages": [USER], "max_tokens": 5, "system": LONG}
    assert sent(**raw, dialect="messages")["system"] == LONG
