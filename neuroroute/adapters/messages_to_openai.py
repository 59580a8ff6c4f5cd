"""
Anthropic's Messages API over chat: the request.

Thinking blocks, cache marks and citations have no counterpart and go; tools that Anthropic runs itself are refused by name.
Source: Anthropic Messages API reference (2026-11).
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.families import openai_reasoning
from neuroroute.adapters.messages_answers import MessagesOverChatStream, message
from neuroroute.adapters.over_chat import OverChat
from neuroroute.adapters.shapes import listed, obj, word, written
from neuroroute.core.errors import BadRequest
from neuroroute.core.types import ClientRequest, Target, Usage

_MOST_USER_CHARS: Final = 64  # OpenAI refuses a longer `user`
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_DROPPED: Final = frozenset({"thinking", "redacted_thinking", "server_tool_use", "fallback", "compaction", "container_upload"})


class MessagesOverChat(OverChat):
    def _asked(self, body: Mapping[str, Any], target: Target) -> dict[str, Any]:
        return chat_body(body, target)

    def _answered(self, body: Mapping[str, Any], chat: dict[str, Any], usage: Usage, target: Target) -> dict[str, Any]:
        return message(chat, usage)

    def _opened(self, client: ClientRequest, target: Target, chat: StreamTranslator) -> StreamTranslator:
        return MessagesOverChatStream(chat, client.request_id)


def chat_body(body: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """The chat request for a Messages request. Raises BadRequest."""
    reasoning = openai_reasoning(target.model.upstream_model)
    out: dict[str, Any] = {"model": target.model.upstream_model, "messages": _messages(body)}
    asked = body.get("max_tokens")
    if asked is not None:
        if type(asked) is not int or asked < 1:
            raise BadRequest("max_tokens: a whole number above 0 is needed", param="max_tokens")
        most = target.model.max_output_tokens
        out["max_completion_tokens" if reasoning else "max_tokens"] = min(asked, most) if most else asked
    if not reasoning:
        out |= {key: body[key] for key in ("temperature", "top_p") if body.get(key) is not None}
        if body.get("stop_sequences"):
            out["stop"] = body["stop_sequences"]
    tools = [_tool(tool, i) for i, tool in enumerate(listed(body, "tools"))]
    if tools:
        out["tools"] = tools
        _choose(body.get("tool_choice"), out)
    config = body.get("output_config")
    wanted = obj(config).get("format") or body.get("output_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        out["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted.get("schema"), "strict": True}}
    if reasoning or "reasoning" in target.model.abilities:
        effort = _effort(body.get("thinking"), config)
        if effort:
            out["reasoning_effort"] = effort
    user = word(obj(body.get("metadata")).get("user_id"))
    if user:
        out["user"] = user if len(user) <= _MOST_USER_CHARS else hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()
    if body.get("stream"):
        out["stream"] = True
    return out


def _choose(choice: Any, out: dict[str, Any]) -> None:
    if not isinstance(choice, dict):
        return
    if choice.get("type") == "tool":
        out["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif word(choice.get("type")) in _CHOICES:
        out["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        out["parallel_tool_calls"] = False


def _effort(thinking: Any, config: Any) -> str | None:
    effort = word(obj(config).get("effort"))
    if effort in _EFFORTS:
        return _EFFORTS[effort]
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    budget = budget if type(budget) is int else 8192
    return "low" if budget <= 4096 else "medium" if budget <= 16_384 else "high"


def _tool(tool: Any, i: int) -> dict[str, Any]:
    kind = tool.get("type", "custom") if isinstance(tool, dict) else None
    if kind not in ("custom", None) or not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise BadRequest(
            f"tools[{i}]: {kind!r} is a tool that runs at Anthropic; this model takes tools with an input_schema", param=f"tools[{i}]"
        )
    function: dict[str, Any] = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object", "properties": {}}}
    if tool.get("description"):
        function["description"] = tool["description"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise BadRequest("messages: a list with at least one message is needed", param="messages")
    out: list[dict[str, Any]] = []
    system = _text(body.get("system"), "system")
    if system:
        out.append({"role": "system", "content": system})
    for i, said in enumerate(given):
        where = f"messages.{i}"
        role = said.get("role") if isinstance(said, dict) else None
        content = said.get("content") if isinstance(said, dict) else None
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list) or not all(isinstance(b, dict) for b in blocks):
            raise BadRequest(f"{where}.content: text or a list of blocks is needed", param=f"{where}.content")
        if role == "assistant":
            out += _assistant(blocks)
        elif role == "user":
            out += _user(blocks, where)
        elif role == "system":
            out.append({"role": "system", "content": _text(blocks, where)})
        else:
            raise BadRequest(f"{where}.role: {role!r} is not known", param=f"{where}.role")
    return out


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadRequest(f"{where}: text or a list of text blocks is needed", param=where)
    return "\n\n".join(b["text"] for b in content if isinstance(b, dict) and isinstance(b.get("text"), str) and b["text"])


def _assistant(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    texts = [str(b.get("text", "")) for b in blocks if b.get("type") == "text"]
    calls = [
        {
            "id": b.get("id"),
            "type": "function",
            "function": {"name": b.get("name"), "arguments": written(b.get("input") or {}).decode()},
        }
        for b in blocks
        if b.get("type") == "tool_use"
    ]
    if not calls and not any(texts):
        return []
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        said["tool_calls"] = calls
    return [said]


def _user(blocks: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """Results of tools as messages of their own, then what the user says, the pictures in the results included."""
    results: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for k, block in enumerate(blocks):
        place = f"{where}.content.{k}"
        if block.get("type") == "tool_result":
            content = block.get("content")
            inner = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
            told = [p for j, b in enumerate(inner) if (p := _part(b, f"{place}.content.{j}")) is not None]
            text = "".join(p["text"] for p in told if p["type"] == "text")
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
            shown += [p for p in told if p["type"] != "text"]
        else:
            part = _part(block, place)
            if part is not None:
                parts.append(part)
    parts = shown + parts
    if not parts:
        return results
    plain = len(parts) == 1 and parts[0]["type"] == "text"
    return [*results, {"role": "user", "content": parts[0]["text"] if plain else parts}]


def _part(block: Any, where: str) -> dict[str, Any] | None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return {"type": "text", "text": str(block.get("text", ""))}
    source = block.get("source") if isinstance(block, dict) else None
    if kind == "image" and isinstance(source, dict) and source.get("type") in ("base64", "url"):
        link = source.get("url") if source["type"] == "url" else f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": link}}
    if kind == "document" and isinstance(source, dict):
        if source.get("type") == "text":
            return {"type": "text", "text": str(source.get("data", ""))}
        if source.get("type") == "base64":
            data = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "file", "file": {"filename": block.get("title") or "document.pdf", "file_data": data}}
    if word(kind) in _DROPPED:
        return None
    if kind == "search_result":
        return {"type": "text", "text": f"{block.get('title', '')}\n{block.get('source', '')}\n{_text(block.get('content'), where)}"}
    raise BadRequest(f"{where}: this model does not take {kind!r} blocks of this kind", param=where)
