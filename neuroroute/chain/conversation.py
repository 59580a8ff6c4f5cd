"""
What a request's body says, whatever its dialect: the prompt that the router reads, its size, and what the model must be able to do.

One walk over the messages, no copies of long texts but the last user message. All dialects keep a list of messages whose content is a
string or a list of typed parts; they differ in names alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuroroute.chain.call import Call, Conversation
from neuroroute.core import jsonbytes
from neuroroute.core.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate, estimate_again
from neuroroute.core.types import ClientRequest, Dialect

_PART_NEEDS: Final = {
    "image_url": "vision",
    "input_image": "vision",
    "image": "vision",
    "input_audio": "audio",
    "audio_url": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
}
_EFFORTS: Final = frozenset({"medium", "high", "xhigh", "max"})
"""Reasoning efforts that only a reasoning model can honour; others are hints."""

_STANDING: Final = ("system", "developer")
"""Roles whose texts many calls share."""
_CALLS: Final = "calls"
_OPENING_CHARS: Final = 2000
_SENTENCE_CHARS: Final = 30
"""Shorter answers may well be the same twice."""


def of(call: Call) -> Conversation:
    """The conversation of a parsed call, read at the first question and kept."""
    if call.conversation is None:
        assert call.client is not None
        call.conversation = read(call.client)
    return call.conversation


def read(client: ClientRequest) -> Conversation:
    """Never raises: what a body does not say in a way we know simply is not counted."""
    body = client.body
    needs: set[str] = set()
    last_user, opening, role, tokens, turns, answered, repeats = "", "", "", 0, 0, "", False
    for role, content in _messages(client.dialect, body):
        text, images = _content(content, needs)
        tokens += (estimate_again if role in _STANDING else estimate)(text) + MESSAGE_TOKENS + images * IMAGE_TOKENS
        if turns == 0:
            opening += text[:_OPENING_CHARS]
        if role == "user" and text:
            last_user, turns = text, turns + 1
        elif role == _CALLS:
            turns += 1
        elif role == "assistant":
            turns += 1
            repeats, answered = len(text) >= _SENTENCE_CHARS and text == answered, text
    tools = body.get("tools") or body.get("functions")
    if isinstance(tools, list) and tools:
        needs.add("tools")
        tokens += _tools_tokens(client, tools)
    _needs_of_options(body, needs)
    return Conversation(last_user, tokens, frozenset(needs), turns, max_output(body), opening, role == "tool", repeats)


def transcript(client: ClientRequest) -> str:
    """All that is said, each message under its role; what is no text is named in brackets. Never raises."""
    said = []
    for role, content in _messages(client.dialect, client.body):
        needs: set[str] = set()
        text, _ = _content(content, needs)
        parts = [text, *(f"[{need}]" for need in sorted(needs))]
        if joined := "\n".join(part for part in parts if part):
            said.append(f"{'assistant' if role == _CALLS else role or 'user'}: {joined}")
    return "\n\n".join(said)


def _messages(dialect: Dialect, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(role, content): tools' results have the role tool in every dialect, and what tools are called with has _CALLS."""
    if dialect in (Dialect.CHAT, Dialect.MESSAGES):
        if "system" in body:
            yield "system", body["system"]
        for message in _objects(body.get("messages")):
            role, content = message.get("role", ""), message.get("content")
            if role == "user" and isinstance(content, list) and any(part.get("type") == "tool_result" for part in _objects(content)):
                role = "tool"  # Anthropic's dialect has no such role
            yield role, content
            if calls := message.get("tool_calls"):
                for call in _objects(calls):
                    function = call.get("function")
                    yield _CALLS, function.get("arguments") if isinstance(function, dict) else None
    elif dialect is Dialect.RESPONSES:
        yield "system", body.get("instructions")
        given = body.get("input")
        if isinstance(given, str):
            yield "user", given
        for item in _objects(given):
            yield item.get("role") or _role_of(item.get("type")), item.get("content") or item.get("output") or item.get("arguments")
    elif dialect is Dialect.COMPLETIONS:
        prompt = body.get("prompt")
        yield "user", prompt if isinstance(prompt, str) else [{"type": "text", "text": p} for p in prompt or () if isinstance(p, str)]
    elif dialect is Dialect.EMBEDDINGS:
        given = body.get("input")
        yield "user", given if isinstance(given, str) else "\n".join(t for t in given or () if isinstance(t, str))


def _role_of(kind: object) -> str:
    """Who speaks in an item of the Responses dialect that names no role: function_call, function_call_output and their like."""
    if not isinstance(kind, str):
        return ""
    return "tool" if kind.endswith("_output") else _CALLS if kind.endswith("_call") else ""


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _content(content: Any, needs: set[str]) -> tuple[str, int]:
    """(text, number of images) of one message."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        return "", 0
    texts, images = [], 0
    for part in content:
        if not isinstance(part, dict):
            continue
        need = _PART_NEEDS.get(part.get("type", "")) if isinstance(part.get("type"), str) else None
        if need is not None:
            needs.add(need)
            images += need == "vision"
        text = part.get("text") or part.get("content")
        if part.get("type") == "tool_use":
            text = jsonbytes.dumps(part.get("input")).decode()
        if isinstance(text, str):
            texts.append(text)
        elif isinstance(text, list):  # Anthropic's tool_result holds parts again
            inner, more = _content(text, needs)
            texts.append(inner)
            images += more
    return "\n".join(texts), images


def _tools_tokens(client: ClientRequest, tools: list[Any]) -> int:
    """Tool definitions cost about a token per 4 bytes of their JSON; their share of the body is not dumped again but taken from its size."""
    text_bytes = sum(len(text) for t in _objects(tools) if isinstance(text := t.get("description"), str))
    return min(len(client.raw) // 4, 60 * len(tools) + text_bytes // 4)


def _needs_of_options(body: Mapping[str, Any], needs: set[str]) -> None:
    shape = body.get("response_format")
    if isinstance(shape, dict) and shape.get("type") == "json_schema":
        needs.add("json_schema")
    text = body.get("text")
    if isinstance(text, dict) and isinstance(text.get("format"), dict) and text["format"].get("type") == "json_schema":
        needs.add("json_schema")
    config = body.get("output_config")  # Anthropic's, and the name that it had before
    for wanted in (config.get("format") if isinstance(config, dict) else None, body.get("output_format")):
        if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
            needs.add("json_schema")
    heard = body.get("modalities")
    if isinstance(heard, list) and "audio" in heard:
        needs.add("audio")
    reasoning = body.get("reasoning")
    effort = body.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)
    if isinstance(effort, str) and effort in _EFFORTS:
        needs.add("reasoning")


def max_output(body: Mapping[str, Any]) -> int | None:
    """The client's own bound of the answer's length, in tokens."""
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None
