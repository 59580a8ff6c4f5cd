"""
Chat requests for Anthropic's Messages API; the answers come back through `anthropic_answers`.

Fields of the chat API that Anthropic has no counterpart for are left out (it answers unknown ones with 400); a field that would change what
the caller gets (n, audio input, files by id) is refused by name.
Source: Anthropic Messages API reference, version 2023-06-01 (2026-11).
"""

from collections.abc import Mapping
from typing import Any, Final

from neuroroute.adapters.anthropic_answers import AnthropicChatStream, chat_completion
from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.chat_messages import conversation
from neuroroute.adapters.families import Claude, claude
from neuroroute.adapters.naming import Naming
from neuroroute.adapters.prompt_cache import mark
from neuroroute.adapters.refusals import refusal
from neuroroute.adapters.relay import asks_usage, checked
from neuroroute.adapters.shapes import each, listed, number, obj, word, written
from neuroroute.adapters.upstream import post
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, UpstreamError
from neuroroute.core.types import ClientRequest, Dialect, Reply, Target, UpstreamRequest

_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 32_000}
_EFFORTS: Final = {"none": "low", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_LEAST_ANSWER_TOKENS: Final = 4096
_JSON_ONLY: Final = "Answer with one JSON object and nothing else: no prose, no code fence."


class ChatToAnthropic:
    def request(self, client: ClientRequest, target: Target) -> UpstreamRequest:
        body = written(translated(client.body, target, stream=client.stream, raw_bytes=len(client.raw)))
        return post(client, target, "/messages", body, dialect=Dialect.MESSAGES)

    def whole(self, client: ClientRequest, target: Target, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        answer, usage, finish = chat_completion(checked(data), Naming(target))
        return Reply(jsonbytes.dumps(answer), usage, status, finish_reason=finish)

    def stream(self, client: ClientRequest, target: Target) -> StreamTranslator:
        return AnthropicChatStream(Naming(target), wants_usage=asks_usage(client.body))

    def error(self, status: int, headers: Mapping[str, str], data: bytes) -> UpstreamError:
        return refusal(status, headers, data)


def translated(body: Mapping[str, Any], target: Target, *, stream: bool, raw_bytes: int = 0) -> dict[str, Any]:
    """The Messages request for a chat request. Raises BadRequest."""
    family = claude(target.model.upstream_model)
    if body.get("n") not in (None, 1):
        raise BadRequest("n: this model gives one answer per request", param="n")
    if body.get("audio") or "audio" in listed(body, "modalities"):
        raise BadRequest("modalities: this model gives no audio", param="modalities")
    system, messages, used_tools = conversation(body.get("messages"))
    tools = _tools(body, used_tools)
    out: dict[str, Any] = {
        "model": target.model.upstream_model,
        "max_tokens": _max_tokens(body, target, family, raw_bytes),
        "messages": messages,
    }
    system += _format(body.get("response_format"), family, out)
    if system:
        out["system"] = system
    if tools:
        out["tools"] = tools
    _reason(body, family, messages, out)
    if tools:
        _choose(body, family, out)
    _sample(body, family, out)
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else listed(body, "stop")
    stops = [s for s in stops if isinstance(s, str) and s.strip()]
    if stops:
        out["stop_sequences"] = stops
    if isinstance(body.get("user"), str) and body["user"]:
        out["metadata"] = {"user_id": body["user"]}
    if stream:
        out["stream"] = True
    if isinstance(body.get("cache_control"), dict):
        out["cache_control"] = body["cache_control"]
    if target.provider.prompt_cache:
        mark(out, target.model.upstream_model, raw_bytes)
    return out


def _max_tokens(body: Mapping[str, Any], target: Target, family: Claude, raw_bytes: int) -> int:
    for key in ("max_completion_tokens", "max_tokens"):
        asked = body.get(key)
        if asked is not None:
            if type(asked) is not int or asked < 1:
                raise BadRequest(f"{key}: a whole number above 0 is needed", param=key)
            most = target.model.max_output_tokens
            return min(asked, most) if most else asked
    most = target.model.max_output_tokens or family.max_output_tokens
    window = target.model.context_window_tokens
    if window:  # older models refuse input + max_tokens beyond the window; 3 bytes a token is a safe guess of the input
        most = min(most, max(window - raw_bytes // 3, _LEAST_ANSWER_TOKENS))
    return most


def _tools(body: Mapping[str, Any], used: dict[str, None]) -> list[dict[str, Any]]:
    """The tools; where the history uses tools and the request has none, the least definitions that make it valid."""
    tools: list[dict[str, Any]] = []
    given = [*listed(body, "tools"), *({"type": "function", "function": f} for f in listed(body, "functions"))]
    for i, tool in enumerate(given):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            kind = tool.get("type") if isinstance(tool, dict) else None
            raise BadRequest(f"tools[{i}]: this model takes function tools, not {kind!r}", param=f"tools[{i}]")
        made: dict[str, Any] = {"name": function["name"]}
        if function.get("description"):
            made["description"] = function["description"]
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        if isinstance(schema, dict) and "type" not in schema:
            schema = {"type": "object", **schema}
        made["input_schema"] = schema
        if isinstance(function.get("strict"), bool):
            made["strict"] = function["strict"]
        if tool.get("cache_control"):
            made["cache_control"] = tool["cache_control"]
        tools.append(made)
    if not tools:
        tools = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in used]
    return tools


def _choose(body: Mapping[str, Any], family: Claude, out: dict[str, Any]) -> None:
    choice = body.get("tool_choice") or body.get("function_call")
    given = bool(body.get("tools") or body.get("functions"))
    made: dict[str, Any] | None = None
    if choice == "none" or not given:
        made = {"type": "none"}
    elif choice == "auto":
        made = {"type": "auto"}
    elif choice == "required":
        made = {"type": "any"}
    elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        _allow(choice, out)
        made = {"type": "any" if _allowed_mode(choice) == "required" else "auto"}
    elif isinstance(choice, dict):
        name = word((obj(choice.get("function")) or choice).get("name"))
        made = {"type": "tool", "name": name} if name else {"type": "auto"}
    if made is not None and made["type"] in ("any", "tool") and not family.forced_tools:
        made = {"type": "auto"}
    if body.get("parallel_tool_calls") is False and (made is None or made["type"] != "none"):
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    if made is not None:
        out["tool_choice"] = made


def _allow(choice: dict[str, Any], out: dict[str, Any]) -> None:
    """allowed_tools: only the named ones are shown."""
    named = each(choice.get("tools") or obj(choice.get("allowed_tools")).get("tools"))
    names = {word((obj(tool.get("function")) or tool).get("name")) for tool in named}
    kept = [tool for tool in out["tools"] if tool["name"] in names]
    if kept:
        out["tools"] = kept


def _format(wanted: Any, family: Claude, out: dict[str, Any]) -> list[dict[str, Any]]:
    """response_format: as output_config where the model has it, otherwise as an instruction, which is given back."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return [{"type": "text", "text": _JSON_ONLY}]
    if kind != "json_schema":
        return []
    schema = obj(wanted.get("json_schema")).get("schema")
    if not isinstance(schema, dict):
        raise BadRequest("response_format.json_schema.schema: an object is needed", param="response_format")
    if family.formats:
        out.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
        return []
    return [{"type": "text", "text": f"{_JSON_ONLY} It must satisfy this JSON schema:\n{written(schema).decode()}"}]


def _reason(body: Mapping[str, Any], family: Claude, messages: list[dict[str, Any]], out: dict[str, Any]) -> None:
    """Thinking as asked for. A forced tool comes before it: Claude refuses the two together."""
    effort = word(body.get("reasoning_effort"))
    forced = family.forced_tools and _forces(body)
    if family.thinks == "default" and (forced or effort == "none"):
        out["thinking"] = {"type": "disabled"}
    elif effort not in _EFFORTS or forced or (effort == "none" and family.thinks == "asked"):
        return
    elif family.thinking == "effort":
        plain = family.sampling == "one" and effort == "xhigh"  # the oldest of this kind does not know the word
        out.setdefault("output_config", {})["effort"] = "high" if plain else _EFFORTS[effort]
        out["thinking"] = {"type": "adaptive"} if family.sampling == "one" else {"type": "adaptive", "display": "summarized"}
    elif family.thinking == "budget" and not _in_a_tool_turn(messages):
        # A budget wants the thinking of earlier tool calls back with its signature, which chat clients do not have.
        budget = min(_BUDGETS[effort], out["max_tokens"] - 1)
        if budget >= 1024:
            out["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _forces(body: Mapping[str, Any]) -> bool:
    choice = body.get("tool_choice") or body.get("function_call")
    if not (body.get("tools") or body.get("functions")):
        return False
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or _allowed_mode(choice) == "required"
    return bool(choice == "required")


def _allowed_mode(choice: dict[str, Any]) -> Any:
    return choice.get("mode") or obj(choice.get("allowed_tools")).get("mode")


def _in_a_tool_turn(messages: list[dict[str, Any]]) -> bool:
    last = messages[-1]["content"] if messages else []
    return bool(last) and isinstance(last, list) and last[0].get("type") == "tool_result"


def _sample(body: Mapping[str, Any], family: Claude, out: dict[str, Any]) -> None:
    if family.sampling == "none" or out.get("thinking", {}).get("type") == "enabled":
        return
    temperature, top_p = number(body, "temperature"), number(body, "top_p")
    if temperature is not None:
        out["temperature"] = max(0, min(temperature, 1))
    if top_p is not None and (temperature is None or family.sampling == "both"):
        out["top_p"] = max(0, min(top_p, 1))
