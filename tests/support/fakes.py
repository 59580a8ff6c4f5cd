"""
Providers that answer by themselves: `Upstream(fakes.openai)`, `Upstream(fakes.anthropic)`, `Upstream(fakes.lmstudio)`.

The answers depend on the request alone. The text is "Echo: " and the last user text; after a tool result "The tool said: " and the result.
With tools and a user's turn, the first tool is called (or the one that tool_choice names; none with "none", or with "no tool" in the text), with a
minimal instance of its schema as arguments; two calls where the text says "twice". Usage counts words, so tests can name it. "refuse me" ends in content_filter.
"""

import base64
import json
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.upstream import Seen, Step, anthropic_error, dumps, error, named_sse, sse, whole

CREATED = 1_760_000_000
MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")


def openai(seen: Seen) -> Step:
    """OpenAI: chat, completions, embeddings, models, moderations, images, audio, files, and 404 for the rest."""
    path = seen.path.removeprefix("/v1")
    if not seen.headers.get("authorization", "").startswith("Bearer "):
        return error(401, "You didn't provide an API key.", "invalid_request_error", "invalid_api_key")
    if seen.method == "GET" and path == "/models":
        return whole({"object": "list", "data": [_model(name) for name in MODELS]})
    if seen.method == "GET" and path.startswith("/models/"):
        return whole(_model(path.removeprefix("/models/")))
    if seen.method == "GET" and path.endswith("/content"):
        return whole(b"file \x00\xff content", content_type="application/octet-stream")
    answer = _OPENAI.get(path)
    if seen.method != "POST" or answer is None:
        return error(404, f"Invalid URL ({seen.method} {seen.path})", "invalid_request_error")
    return answer(seen)


def lmstudio(seen: Seen) -> Step:
    """LM Studio: role in every delta, floats for any encoding, status 200 with a plain string for what it does not know, and facts on models."""
    if seen.path == "/api/v0/models":
        return whole({"object": "list", "data": LMSTUDIO_MODELS})
    path = seen.path.removeprefix("/v1")
    if path == "/models":
        return whole(
            {"object": "list", "data": [{"id": m["id"], "object": "model", "owned_by": "organization_owner"} for m in LMSTUDIO_MODELS]}
        )
    if path == "/chat/completions":
        return chat(seen, repeat_role=True)
    if path == "/embeddings":
        body = seen.json
        return embeddings(Seen(seen.method, seen.path, "", {}, dumps({**body, "encoding_format": "float"}), seen.at_s))
    return whole({"error": f"Unexpected endpoint or method. ({seen.method} {seen.path})"})


LMSTUDIO_MODELS: list[dict[str, Any]] = [
    {
        "id": "qwen2.5-7b-instruct",
        "object": "model",
        "type": "llm",
        "publisher": "qwen",
        "arch": "qwen2",
        "compatibility_type": "gguf",
        "quantization": "Q4_K_M",
        "state": "loaded",
        "max_context_length": 32768,
        "loaded_context_length": 8192,
        "capabilities": ["tool_use"],
    },
    {
        "id": "qwen2-vl-7b-instruct",
        "object": "model",
        "type": "vlm",
        "publisher": "qwen",
        "arch": "qwen2_vl",
        "state": "not-loaded",
        "max_context_length": 16384,
    },
    {
        "id": "text-embedding-nomic-embed-text-v1.5",
        "object": "model",
        "type": "embeddings",
        "state": "not-loaded",
        "max_context_length": 2048,
    },
]


def anthropic(seen: Seen) -> Step:
    """Anthropic: messages whole and streamed, count_tokens, models."""
    if "x-api-key" not in seen.headers and "authorization" not in seen.headers:
        return anthropic_error(401, "x-api-key header is required", "authentication_error")
    if "anthropic-version" not in seen.headers:
        return anthropic_error(400, "anthropic-version: header is required", "invalid_request_error")
    if seen.path == "/v1/models":
        model = {"type": "model", "id": "claude-sonnet-5-5", "display_name": "Claude Sonnet 5.5", "created_at": "2026-09-01T00:00:00Z"}
        return whole({"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]})
    if seen.path == "/v1/messages/count_tokens":
        return whole({"input_tokens": _words(seen.json)})
    if seen.path == "/v1/messages":
        return messages(seen)
    return anthropic_error(404, f"Not found: {seen.path}", "not_found_error")


# ---- chat completions


def chat(seen: Seen, repeat_role: bool = False) -> Step:
    body = seen.json
    text, calls, finish = _reply(body["messages"], [t["function"] for t in body.get("tools") or []], _choice(body.get("tool_choice")))
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    if schema is not None:
        text, calls, finish = dumps(instance(schema)).decode(), [], "stop"
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    words = text.split(" ")
    if limit and len(words) > limit:
        text, finish = " ".join(words[:limit]), "length"
    usage = _usage(_words(body["messages"]), max(1, len(text.split()) + sum(len(name.split()) + 1 for _, name, _ in calls)))
    head = {"id": "chatcmpl-fake1", "created": CREATED, "model": body["model"], "system_fingerprint": "fp_fake"}
    if body.get("stream"):
        return sse(*_chat_events(head, text, calls, finish, body, usage, repeat_role))
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []}
    if calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}} for call_id, name, arguments in calls
        ]
    choices = [{"index": at, "message": message, "logprobs": None, "finish_reason": finish} for at in range(body.get("n") or 1)]
    return whole(head | {"object": "chat.completion", "choices": choices, "usage": usage})


Call = tuple[str, str, str]
"""A tool call: id, name, arguments as JSON text."""


def _chat_events(
    head: dict[str, Any], text: str, calls: list[Call], finish: str, body: dict[str, Any], usage: dict[str, Any], repeat_role: bool
) -> Iterator[dict[str, Any]]:
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    role = {"role": "assistant"} if repeat_role else {}

    def event(delta: dict[str, Any], index: int, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return head | {"object": "chat.completion.chunk", "choices": [choice]} | ({"usage": None} if wants_usage else {})

    for index in range(body.get("n") or 1):
        yield event({"role": "assistant", "content": "" if text else None}, index)
        for piece in _pieces(text):
            yield event(role | {"content": piece}, index)
        for at, (call_id, name, arguments) in enumerate(calls):
            function = {"index": at, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            yield event(role | {"tool_calls": [function]}, index)
            for start in range(0, len(arguments), 7):
                part = {"index": at, "function": {"arguments": arguments[start : start + 7]}}
                yield event(role | {"tool_calls": [part]}, index)
        yield event({}, index, finish)
    if wants_usage:
        yield head | {"object": "chat.completion.chunk", "choices": [], "usage": usage}


def _reply(turns: list[dict[str, Any]], tools: list[dict[str, Any]], choice: str) -> tuple[str, list[Call], str]:
    """Text, calls and OpenAI's finish reason."""
    last = turns[-1]
    text = _text(last.get("content"))
    if last["role"] == "tool":
        return f"The tool said: {text}", [], "stop"
    if "refuse me" in text:
        return "", [], "content_filter"
    if tools and choice != "none" and "no tool" not in text:
        tool = next((tool for tool in tools if tool["name"] == choice), tools[0])
        arguments = dumps(instance(tool.get("parameters") or {"type": "object"})).decode()
        return "", [(f"call_fake{at}", tool["name"], arguments) for at in range(2 if "twice" in text else 1)], "tool_calls"
    return f"Echo: {text}", [], "stop"


def _choice(choice: Any) -> str:
    if isinstance(choice, dict):
        return str(choice.get("name") or (choice.get("function") or {}).get("name") or choice.get("type"))
    return choice or "auto"


def instance(schema: dict[str, Any]) -> Any:
    """The smallest value that a JSON schema allows, as far as these tests need."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return instance(schema[key][0])
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {"type": "string"}))]
    return {"string": "Paris", "integer": 7, "number": 1.5, "boolean": True, "null": None}[kind]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(_text(part.get("text", part.get("content", ""))) for part in content or [] if isinstance(part, dict))


def _words(value: Any) -> int:
    """Words in all strings of a body."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return sum(_words(part) for part in value.values())
    return sum(_words(part) for part in value) if isinstance(value, list) else 0


def _pieces(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


# ---- the rest of OpenAI


def completions(seen: Seen) -> Step:
    body = seen.json
    prompt = body["prompt"] if isinstance(body["prompt"], str) else "tokens"
    text = f"Echo: {prompt}"
    head = {"id": "cmpl-fake1", "object": "text_completion", "created": CREATED, "model": body["model"]}
    usage = _usage(_words(prompt), len(text.split()))
    if not body.get("stream"):
        return whole(head | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}], "usage": usage})
    parts = _pieces(text)
    last = {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    events = [head | {"choices": [last | {"text": part, "finish_reason": None}]} for part in parts] + [head | {"choices": [last]}]
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append(head | {"choices": [], "usage": usage})
    return sse(*events)


def embeddings(seen: Seen) -> Step:
    body = seen.json
    given = body["input"]
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    vectors = [[0.5, -0.25, float(at), 1.0][: body.get("dimensions") or 4] for at in range(len(inputs))]
    if body.get("encoding_format") == "base64":
        data: list[Any] = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    else:
        data = vectors
    tokens = sum(len(text.split()) if isinstance(text, str) else len(text) for text in inputs)
    return whole(
        {
            "object": "list",
            "model": body["model"],
            "data": [{"object": "embedding", "index": at, "embedding": value} for at, value in enumerate(data)],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "openai"}


def _moderations(seen: Seen) -> Step:
    result = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}}
    return whole({"id": "modr-fake", "model": "omni-moderation-latest", "results": [result]})


def _images(seen: Seen) -> Step:
    return whole({"created": CREATED, "data": [{"b64_json": base64.b64encode(b"png").decode()}]})


def _file(seen: Seen) -> Step:
    return whole(
        {"id": "file-fake", "object": "file", "bytes": len(seen.body), "created_at": CREATED, "filename": "a.jsonl", "purpose": "batch"}
    )


_OPENAI: dict[str, Callable[[Seen], Step]] = {
    "/chat/completions": chat,
    "/completions": completions,
    "/embeddings": embeddings,
    "/moderations": _moderations,
    "/images/generations": _images,
    "/images/edits": _images,
    "/files": _file,
    "/audio/speech": lambda seen: whole(b"ID3\x04\x00 not really music \xff\xfb" * 100, content_type="audio/mpeg"),
    "/audio/transcriptions": lambda seen: whole({"text": f"{len(seen.body)} bytes heard"}),
}


# ---- Anthropic messages


def messages(seen: Seen) -> Step:
    body = seen.json
    turn = body["messages"][-1]
    results = (
        [part for part in turn["content"] if isinstance(part, dict) and part.get("type") == "tool_result"]
        if isinstance(turn["content"], list)
        else []
    )
    last = {"role": "tool", "content": results[0].get("content")} if results else turn
    tools = [{"name": tool["name"], "parameters": tool.get("input_schema")} for tool in body.get("tools") or []]
    text, calls, finish = _reply([last], tools, _choice(body.get("tool_choice")))
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    if schema is not None:
        text, calls, finish = dumps(instance(schema)).decode(), [], "stop"
    words = text.split(" ")
    if len(words) > body["max_tokens"]:
        text, finish = " ".join(words[: body["max_tokens"]]), "length"
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}[finish]
    usage = {
        "input_tokens": _words(body["messages"]) + _words(body.get("system")),
        "output_tokens": max(1, len(text.split()) + 2 * len(calls)),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    head: dict[str, Any] = {"id": "msg_fake1", "type": "message", "role": "assistant", "model": body["model"]}
    if body.get("stream"):
        return named_sse(*_message_events(head, text, calls, reason, usage))

    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": call.replace("call", "toolu"), "name": name, "input": json.loads(given)} for call, name, given in calls
    ]
    return whole(head | {"content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage})


def _message_events(head: dict[str, Any], text: str, calls: list[Call], reason: str, usage: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = head | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    index = 0
    if text:
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield {"type": "ping"}
        for piece in _pieces(text):
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        yield {"type": "content_block_stop", "index": 0}
        index = 1
    for call_id, name, given in calls:
        block = {"type": "tool_use", "id": call_id.replace("call", "toolu"), "name": name, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for at in range(0, len(given), 7):
            delta = {"type": "input_json_delta", "partial_json": given[at : at + 7]}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
        index += 1
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": usage["output_tokens"]},
    }
    yield {"type": "message_stop"}
