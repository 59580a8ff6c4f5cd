"""
The Responses API over chat: the request. Items it refers to are already in place (see responses_items.splice).

Source: OpenAI Responses API reference (2026-11).
"""

from collections.abc import Mapping
from typing import Any, Final

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.families import openai_reasoning
from neuroroute.adapters.over_chat import OverChat
from neuroroute.adapters.responses_answers import ResponsesOverChatStream, response
from neuroroute.adapters.responses_items import input_items, is_reference
from neuroroute.adapters.shapes import each, listed, obj, word, written
from neuroroute.core.errors import BadRequest
from neuroroute.core.types import ClientRequest, Protocol, Target, Usage

_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})
_DROPPED: Final = frozenset({"reasoning", "compaction"})
_REFUSED: Final = (("previous_response_id", "no stored response has this id"), ("conversation", "this model keeps no conversations"),
                   ("prompt", "this model has no stored prompts"), ("background", "this model does not answer in the background"))  # fmt: skip
_FREE_TEXT: Final = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}


class ResponsesOverChat(OverChat):
    def _asked(self, body: Mapping[str, Any], target: Target) -> dict[str, Any]:
        return chat_body(body, target)

    def _answered(self, body: Mapping[str, Any], chat: dict[str, Any], usage: Usage, target: Target) -> dict[str, Any]:
        return response(body, chat, usage)

    def _opened(self, client: ClientRequest, target: Target, chat: StreamTranslator) -> StreamTranslator:
        return ResponsesOverChatStream(chat, client.body)


def chat_body(body: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """The chat request for a Responses request. Raises BadRequest."""
    for field, why in _REFUSED:
        if body.get(field):
            raise BadRequest(f"{field}: {why}", param=field)
    anthropic = target.provider.protocol is Protocol.ANTHROPIC
    reasoning = openai_reasoning(target.model.upstream_model)
    out: dict[str, Any] = {"model": target.model.upstream_model, "messages": _messages(body, "developer" if reasoning else "system")}
    if body.get("max_output_tokens") is not None:
        out["max_completion_tokens" if reasoning or anthropic else "max_tokens"] = body["max_output_tokens"]
    if not reasoning:
        out |= {key: body[key] for key in ("temperature", "top_p") if body.get(key) is not None}
    tools = [_tool(tool, i) for i, tool in enumerate(listed(body, "tools"))]
    if tools:
        out["tools"] = tools
        choice = _choice(body.get("tool_choice"))
        if choice is not None:
            out["tool_choice"] = choice
        if body.get("parallel_tool_calls") is not None:
            out["parallel_tool_calls"] = body["parallel_tool_calls"]
    text = body.get("text")
    if isinstance(text, dict):
        _shape(text, reasoning and not anthropic, out)
    effort = obj(body.get("reasoning")).get("effort")
    if effort and (reasoning or anthropic or "reasoning" in target.model.abilities):
        out["reasoning_effort"] = effort
    if isinstance(body.get("user"), str):
        out["user"] = body["user"]
    if body.get("stream"):
        out["stream"] = True
    return out


def _shape(text: Mapping[str, Any], verbosity: bool, out: dict[str, Any]) -> None:
    wanted = text.get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        kept = {key: wanted[key] for key in ("name", "description", "schema", "strict") if wanted.get(key) is not None}
        out["response_format"] = {"type": "json_schema", "json_schema": kept}
    elif isinstance(wanted, dict) and wanted.get("type") == "json_object":
        out["response_format"] = {"type": "json_object"}
    if verbosity and text.get("verbosity"):
        out["verbosity"] = text["verbosity"]


def _tool(tool: Any, i: int) -> dict[str, Any]:
    """Function tools are flat here. A custom tool takes free text, so it becomes a function of one string."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in ("function", "custom") or not isinstance(tool.get("name"), str):
        raise BadRequest(
            f"tools[{i}]: {kind!r} is a tool that runs at OpenAI; this model takes function and custom tools", param=f"tools[{i}]"
        )
    function: dict[str, Any] = {"name": tool["name"]}
    about = tool.get("description") or ""
    if kind == "custom":
        rule = obj(tool.get("format"))
        if rule.get("definition"):
            about = f"{about}\n\nThe input must satisfy this {rule.get('syntax', '')} grammar:\n{rule['definition']}".strip()
        function["parameters"] = _FREE_TEXT
    else:
        function["parameters"] = tool.get("parameters") or {"type": "object", "properties": {}}
        if isinstance(tool.get("strict"), bool):
            function["strict"] = tool["strict"]
    if about:
        function["description"] = about
    return {"type": "function", "function": function}


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, dict):
        return None
    if choice.get("type") in ("function", "custom"):
        return {"type": "function", "function": {"name": choice.get("name")}}
    if choice.get("type") == "allowed_tools":
        named = [{"type": "function", "function": {"name": t.get("name")}} for t in each(choice.get("tools"))]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": named}}
    raise BadRequest(f"tool_choice: {choice.get('type')!r} is a tool that this model does not have", param="tool_choice")


def _messages(body: Mapping[str, Any], developer: str) -> list[dict[str, Any]]:
    """developer: the role for a developer's message: chat templates of open models know "system" alone."""
    given = body.get("input")
    if not isinstance(given, (str, list)) or not given:
        raise BadRequest("input: text or a list of items is needed", param="input")
    if isinstance(given, list) and not all(isinstance(item, dict) for item in given):
        raise BadRequest("input: each item must be an object", param="input")
    out: list[dict[str, Any]] = []
    if isinstance(body.get("instructions"), str) and body["instructions"]:
        out.append({"role": "system", "content": body["instructions"]})
    shown: list[dict[str, Any]] = []  # pictures that tools gave: they follow the results
    for i, item in enumerate(input_items(body)):
        where = f"input[{i}]"
        kind = item.get("type", "message")
        if is_reference(item):
            raise BadRequest(f"{where}: no stored item has the id {item['id']!r}", param=where)
        if kind in ("function_call_output", "custom_tool_call_output"):
            text, pictures = _result(item.get("output"), where)
            out.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
            shown += pictures
            continue
        if shown:
            out.append({"role": "user", "content": shown})
            shown = []
        if kind == "message" and word(item.get("role")) in _ROLES:
            out += _message({**item, "role": developer} if item["role"] == "developer" else item, where)
        elif kind in ("function_call", "custom_tool_call"):
            _call(item, kind, out)
        elif word(kind) not in _DROPPED:
            raise BadRequest(f"{where}: this model does not take items of type {kind!r}", param=where)
    if shown:
        out.append({"role": "user", "content": shown})
    if not out:
        raise BadRequest("input: at least one message is needed", param="input")
    return out


def _message(item: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    content = item.get("content")
    if isinstance(content, str):
        return [{"role": item["role"], "content": content}]
    if not isinstance(content, list):
        raise BadRequest(f"{where}.content: text or a list of parts is needed", param=f"{where}.content")
    parts = [_part(part, f"{where}.content[{k}]") for k, part in enumerate(content)]
    if item["role"] == "assistant" or (len(parts) == 1 and parts[0]["type"] == "text"):
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        return [{"role": item["role"], "content": text}] if text or item["role"] != "assistant" else []
    return [{"role": item["role"], "content": parts}]


def _call(item: Mapping[str, Any], kind: str, out: list[dict[str, Any]]) -> None:
    """A call joins the assistant message before it: chat has text and calls of one turn in one message."""
    free = kind == "custom_tool_call"
    arguments = written({"input": item.get("input", "")}).decode() if free else item.get("arguments") or "{}"
    call = {"id": item.get("call_id"), "type": "function", "function": {"name": item.get("name"), "arguments": arguments}}
    if out and out[-1]["role"] == "assistant":
        out[-1].setdefault("tool_calls", []).append(call)
    else:
        out.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _result(output: Any, where: str) -> tuple[str, list[dict[str, Any]]]:
    if isinstance(output, str) or output is None:
        return output or "", []
    if not isinstance(output, list):
        return written(output).decode(), []
    parts = [_part(part, f"{where}.output[{k}]") for k, part in enumerate(output)]
    return "".join(p["text"] for p in parts if p["type"] == "text"), [p for p in parts if p["type"] != "text"]


def _part(part: Any, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return {"type": "text", "text": str(part.get("text", ""))}
    if kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal", ""))}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        return {"type": "file", "file": {"filename": part.get("filename") or "document.pdf", "file_data": part["file_data"]}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise BadRequest(f"{where}: this model does not take {kind!r} parts of this kind", param=where)
