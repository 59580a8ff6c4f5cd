"""
The shape of a body: what its dialect fixes is checked, and the rest is left to the provider.

Written by hand: 0.3-2 us a body, where a schema model takes 5-50 (measured on 1-100 KB). A message names the field and what is allowed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from neuroroute.core.errors import BadRequest
from neuroroute.core.types import Dialect

_NUMBER: Final = (int, float)
_TYPES: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "stream": ((bool,), "a boolean"),
    "temperature": (_NUMBER, "a number"),
    "top_p": (_NUMBER, "a number"),
    "n": ((int,), "an integer"),
    "max_tokens": ((int,), "an integer"),
    "max_completion_tokens": ((int,), "an integer"),
    "max_output_tokens": ((int,), "an integer"),
    "frequency_penalty": (_NUMBER, "a number"),
    "presence_penalty": (_NUMBER, "a number"),
    "seed": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array of strings"),
    "tools": ((list,), "an array"),
    "tool_choice": ((str, dict), "a string or an object"),
    "response_format": ((dict,), "an object"),
    "stream_options": ((dict,), "an object"),
    "logit_bias": ((dict,), "an object"),
    "metadata": ((dict,), "an object"),
    "user": ((str,), "a string"),
    "parallel_tool_calls": ((bool,), "a boolean"),
    "logprobs": ((bool, int), "a boolean"),
    "neuroroute": ((dict,), "an object"),
}
"""Fields whose type every dialect agrees on. null counts as absent everywhere."""

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_MESSAGES_ROLES: Final = frozenset({"user", "assistant", "system"})
_PARTS: Final = frozenset(
    {
        "text",
        "image_url",
        "input_audio",
        "file",
        "refusal",
        "video_url",
        "audio_url",
        "thinking",
        "input_text",
        "output_text",
        "input_image",
    }
)


_TALK: Final = ("user", "system", "developer")
"""Roles whose message needs nothing but its text. A tuple: what stands in its place may be no string, and have no hash."""


def check(body: Mapping[str, Any], dialect: Dialect) -> None:
    """Raises BadRequest naming the field."""
    for name, value in body.items():
        if value is not None and (rule := _TYPES.get(name)) is not None and not is_a(value, rule[0]):
            raise _mistyped(name, rule[1], value)
    _CHECKS[dialect](body)


def is_a(value: object, types: tuple[type, ...]) -> bool:
    """isinstance, but a boolean is no number."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")


def _mistyped(at: str, expected: str, value: object) -> BadRequest:
    return BadRequest(f"Invalid type for '{at}': expected {expected}, but got {kind_of(value)} instead.", param=at, code="invalid_type")


def _list_of(body: Mapping[str, Any], name: str, *, at_least_one: bool = True) -> list[Any]:
    value = body.get(name)
    if value is None:
        raise BadRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, list):
        raise _mistyped(name, "an array", value)
    if at_least_one and not value:
        raise BadRequest(f"Invalid '{name}': empty array. Expected an array with minimum length 1.", param=name, code="empty_array")
    return value


def _check_chat(body: Mapping[str, Any]) -> None:
    called: set[object] = set()
    for i, message in enumerate(_list_of(body, "messages")):
        if isinstance(message, dict) and message.get("role") in _TALK and isinstance(message.get("content"), str):
            continue  # most of them, and nothing is wrong with them
        at = f"messages[{i}]"
        if not isinstance(message, dict):
            raise _mistyped(at, "an object", message)
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise BadRequest(
                f"Invalid value for '{at}.role': expected one of {', '.join(sorted(_ROLES))}.", param=f"{at}.role", code="invalid_value"
            )
        _check_content(message.get("content"), f"{at}.content")
        if role == "assistant":
            _note_tool_calls(message.get("tool_calls"), called, f"{at}.tool_calls")
        elif role == "tool":
            identity = message.get("tool_call_id")
            if not isinstance(identity, str):
                raise BadRequest(f"Missing required parameter: '{at}.tool_call_id'.", param=f"{at}.tool_call_id")
            if identity not in called:
                text = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise BadRequest(text, param=f"{at}.role")
    _check_tools(body.get("tools"))


def _note_tool_calls(calls: object, called: set[object], at: str) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise _mistyped(at, "an array", calls)
    for j, tool in enumerate(calls):
        if not isinstance(tool, dict) or not isinstance(tool.get("id"), str):
            raise BadRequest(f"Missing required parameter: '{at}[{j}].id'.", param=f"{at}[{j}].id")
        function = tool.get("function")
        if function is not None and (not isinstance(function, dict) or not isinstance(function.get("name"), str)):
            raise BadRequest(f"Missing required parameter: '{at}[{j}].function.name'.", param=f"{at}[{j}].function.name")
        called.add(tool["id"])


def _check_content(content: object, at: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _mistyped(at, "a string or an array of parts", content)
    for j, part in enumerate(content):
        if not isinstance(part, dict):
            raise _mistyped(f"{at}[{j}]", "an object", part)
        kind = part.get("type")
        if not isinstance(kind, str) or kind not in _PARTS:
            known = ", ".join(sorted(_PARTS))
            raise BadRequest(f"Invalid value for '{at}[{j}].type': expected one of {known}.", param=f"{at}[{j}].type", code="invalid_value")
        if kind == "text" and not isinstance(part.get("text"), str):
            raise BadRequest(f"Missing required parameter: '{at}[{j}].text'.", param=f"{at}[{j}].text")
        if kind == "image_url" and not isinstance(part.get("image_url"), (dict, str)):
            raise BadRequest(f"Missing required parameter: '{at}[{j}].image_url'.", param=f"{at}[{j}].image_url")


def _check_tools(tools: object) -> None:
    if not isinstance(tools, list):
        return
    for j, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _mistyped(f"tools[{j}]", "an object", tool)
        function = tool.get("function")
        if (
            tool.get("type") == "function"
            and function is not None
            and (not isinstance(function, dict) or not isinstance(function.get("name"), str))
        ):
            raise BadRequest(f"Missing required parameter: 'tools[{j}].function.name'.", param=f"tools[{j}].function.name")


def _check_messages(body: Mapping[str, Any]) -> None:
    for i, message in enumerate(_list_of(body, "messages")):
        if not isinstance(message, dict):
            raise BadRequest(f"messages.{i}: Input should be an object", param=f"messages.{i}")
        role = message.get("role")
        if not isinstance(role, str) or role not in _MESSAGES_ROLES:
            raise BadRequest(f"messages.{i}.role: Input should be 'user' or 'assistant'", param=f"messages.{i}.role")
        content = message.get("content")
        if not isinstance(content, (str, list)):
            raise BadRequest(f"messages.{i}.content: Input should be a string or an array of blocks", param=f"messages.{i}.content")
        if isinstance(content, list):
            for j, block in enumerate(content):
                if not isinstance(block, dict) or not isinstance(block.get("type"), str):
                    raise BadRequest(f"messages.{i}.content.{j}: Input should be an object with a type", param=f"messages.{i}.content.{j}")
    limit = body.get("max_tokens")
    if limit is None:
        raise BadRequest("max_tokens: Field required", param="max_tokens")
    if limit < 1:
        raise BadRequest("max_tokens: Input should be greater than or equal to 1", param="max_tokens")


def _check_responses(body: Mapping[str, Any]) -> None:
    given = body.get("input")
    if given is not None and not isinstance(given, (str, list)):
        raise _mistyped("input", "a string or an array", given)
    if given is None and body.get("prompt") is None and body.get("previous_response_id") is None and body.get("conversation") is None:
        raise BadRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if isinstance(given, list):
        for i, item in enumerate(given):
            if not isinstance(item, dict):
                raise _mistyped(f"input[{i}]", "an object", item)


def _check_completions(body: Mapping[str, Any]) -> None:
    prompt = body.get("prompt")
    if prompt is None:
        raise BadRequest("Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    if not isinstance(prompt, (str, list)):
        raise _mistyped("prompt", "a string or an array", prompt)


def _check_embeddings(body: Mapping[str, Any]) -> None:
    given = body.get("input")
    if given is None:
        raise BadRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if not isinstance(given, (str, list)) or not given:
        raise BadRequest("Invalid 'input': expected a string, or an array of strings or token ids, not empty.", param="input")


_CHECKS: Final[dict[Dialect, Callable[[Mapping[str, Any]], None]]] = {
    Dialect.CHAT: _check_chat,
    Dialect.MESSAGES: _check_messages,
    Dialect.RESPONSES: _check_responses,
    Dialect.COMPLETIONS: _check_completions,
    Dialect.EMBEDDINGS: _check_embeddings,
}
