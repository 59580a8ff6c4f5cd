"""
Stage `parse`: from the client's bytes to what the later stages need.

Reads the body once, checks the types of what any dialect fixes, and leaves the rest to the provider: an unknown field is none of our
business and travels on. The checks are written by hand: 0.3-2 us a body, where a schema model takes 5-50 (measured on 1-100 KB).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from neuroroute.chain.call import NO_STEERING, Call, Steering
from neuroroute.chain.services import Services
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest
from neuroroute.core.types import ClientRequest, Dialect

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
_MAX_STEERING_CHARS: Final = 4096
_TRAVELLING: Final = ("content-type", "anthropic-version", "anthropic-beta", "openai-beta")
"""The client's headers that a provider may see. All others stay here: by an allow-list, never by a deny-list."""


async def parse(call: Call, s: Services) -> None:
    """Sets `client`, `requested_model`, `steering` and `catalog`. Raises BadRequest naming the field, TooLarge, SlowBody."""
    call.catalog = s.catalog.current
    if call.dialect is Dialect.PASS:
        await _parse_pass(call)
        return
    raw = await call.source.read()
    body = _object(raw)
    for name, value in body.items():
        if value is not None and (rule := _TYPES.get(name)) is not None and not _is(value, rule[0]):
            raise BadRequest(
                f"Invalid type for '{name}': expected {rule[1]}, but got {_kind(value)} instead.", param=name, code="invalid_type"
            )
    call.requested_model = _model(body, call.dialect)
    _CHECKS[call.dialect](body)
    stream = body.get("stream") is True
    if body.get("stream_options") is not None and not stream and call.dialect is Dialect.CHAT:
        raise BadRequest("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    call.client = _client(call, raw, body, stream)
    call.steering = steering(call.headers, body)


async def _parse_pass(call: Call) -> None:
    """A path that is only passed on: JSON bodies are read to find the model; others (multipart, binary) are never held whole."""
    if call.method in ("GET", "DELETE", "HEAD"):
        call.client = _client(call, b"", {}, False)
    elif call.headers.get("content-type", "").partition(";")[0].strip().lower() in ("application/json", ""):
        raw = await call.source.read()
        body = _object(raw) if raw.strip() else {}
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            raise BadRequest("Invalid type for 'model': expected a string.", param="model", code="invalid_type")
        call.requested_model = model or ""
        call.client = _client(call, raw, body, body.get("stream") is True)
        call.steering = steering(call.headers, body)
    else:
        call.client = _client(call, b"", {}, False, chunked=True)


def _client(call: Call, raw: bytes, body: dict[str, Any], stream: bool, *, chunked: bool = False) -> ClientRequest:
    return ClientRequest(
        dialect=call.dialect,
        raw=raw,
        body=body,
        stream=stream,
        method=call.method,
        path=call.path,
        query=call.query,
        headers={name: value for name in _TRAVELLING if (value := call.headers.get(name)) is not None},
        chunks=call.source.chunks() if chunked else None,
        request_id=call.request_id,
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = jsonbytes.loads(raw)
    except jsonbytes.JSONDecodeError as error:
        raise BadRequest(f"We could not parse the JSON body of your request: {error}") from None
    except RecursionError:
        raise BadRequest("We could not parse the JSON body of your request: it is nested too deeply") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The body of your request must be a JSON object, but it is {_kind(body)}.")
    return body


def _model(body: Mapping[str, Any], dialect: Dialect) -> str:
    model = body.get("model")
    if model is None and "model" not in body and dialect is Dialect.CHAT:
        return "auto"
    if not isinstance(model, str):
        got = "null" if model is None else _kind(model)
        raise BadRequest(f"You must provide a model parameter: a string, but got {got}.", param="model", code="invalid_type")
    if not model or len(model) > 256:
        raise BadRequest("You must provide a model parameter of 1 to 256 characters.", param="model")
    return model


def _is(value: object, types: tuple[type, ...]) -> bool:
    """isinstance, but a boolean is no number."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")


def _list_of(body: Mapping[str, Any], name: str, *, at_least_one: bool = True) -> list[Any]:
    value = body.get(name)
    if value is None:
        raise BadRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, list):
        raise BadRequest(f"Invalid type for '{name}': expected an array, but got {_kind(value)} instead.", param=name, code="invalid_type")
    if at_least_one and not value:
        raise BadRequest(f"Invalid '{name}': empty array. Expected an array with minimum length 1.", param=name, code="empty_array")
    return value


def _check_chat(body: Mapping[str, Any]) -> None:
    called: set[object] = set()
    for i, message in enumerate(_list_of(body, "messages")):
        at = f"messages[{i}]"
        if not isinstance(message, dict):
            raise BadRequest(
                f"Invalid type for '{at}': expected an object, but got {_kind(message)} instead.", param=at, code="invalid_type"
            )
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
        raise BadRequest(f"Invalid type for '{at}': expected an array, but got {_kind(calls)} instead.", param=at, code="invalid_type")
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
        raise BadRequest(
            f"Invalid type for '{at}': expected a string or an array of parts, but got {_kind(content)} instead.",
            param=at,
            code="invalid_type",
        )
    for j, part in enumerate(content):
        if not isinstance(part, dict):
            raise BadRequest(
                f"Invalid type for '{at}[{j}]': expected an object, but got {_kind(part)} instead.", param=f"{at}[{j}]", code="invalid_type"
            )
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
            raise BadRequest(
                f"Invalid type for 'tools[{j}]': expected an object, but got {_kind(tool)} instead.",
                param=f"tools[{j}]",
                code="invalid_type",
            )
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
        raise BadRequest(
            f"Invalid type for 'input': expected a string or an array, but got {_kind(given)} instead.", param="input", code="invalid_type"
        )
    if given is None and body.get("prompt") is None and body.get("previous_response_id") is None and body.get("conversation") is None:
        raise BadRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if isinstance(given, list):
        for i, item in enumerate(given):
            if not isinstance(item, dict):
                raise BadRequest(
                    f"Invalid type for 'input[{i}]': expected an object, but got {_kind(item)} instead.",
                    param=f"input[{i}]",
                    code="invalid_type",
                )


def _check_completions(body: Mapping[str, Any]) -> None:
    prompt = body.get("prompt")
    if prompt is None:
        raise BadRequest("Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    if not isinstance(prompt, (str, list)):
        raise BadRequest(
            f"Invalid type for 'prompt': expected a string or an array, but got {_kind(prompt)} instead.",
            param="prompt",
            code="invalid_type",
        )


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


def steering(headers: Mapping[str, str], body: Mapping[str, Any]) -> Steering:
    """What headers and the body's `neuroroute` member ask of us; the body wins. Raises BadRequest naming the field."""
    asked = body.get("neuroroute")
    policy = headers.get("x-neuroroute-policy")
    cache = headers.get("x-neuroroute-cache")
    tags = headers.get("x-neuroroute-tags")
    if asked is None and policy is None and cache is None and tags is None:
        return NO_STEERING
    own: Mapping[str, Any] = asked or {}
    if unknown := own.keys() - _STEERING_FIELDS:
        names = ", ".join(sorted(_STEERING_FIELDS))
        raise BadRequest(
            f"Unknown field 'neuroroute.{min(map(str, unknown))[:64]}': expected one of {names}.",
            param="neuroroute",
            code="unknown_parameter",
        )
    return Steering(
        policy=_text(own, "policy") or policy,
        quality_floor=_bound(own, "quality_floor", 1.0),
        max_cost_usd=_bound(own, "max_cost_usd", 1e6),
        max_latency_ms=_bound(own, "max_latency_ms", 1e9),
        allow=_names(own, "allow"),
        deny=_names(own, "deny"),
        session=_text(own, "session"),
        cache=_cache(own.get("cache", cache)),
        cache_ttl_s=_ttl(own.get("cache_ttl_s")),
        tags=_tags(own.get("tags", tags)),
        explain=own.get("explain") is True,
    )


_STEERING_FIELDS: Final = frozenset(
    {"policy", "quality_floor", "max_cost_usd", "max_latency_ms", "allow", "deny", "session", "cache", "cache_ttl_s", "tags", "explain"}
)


def _text(own: Mapping[str, Any], name: str) -> str | None:
    value = own.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= 256):
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected a string of 1 to 256 characters.", param=f"neuroroute.{name}")
    return value


def _bound(own: Mapping[str, Any], name: str, most: float) -> float | None:
    value = own.get(name)
    if value is None:
        return None
    if not _is(value, _NUMBER) or not 0 <= value <= most:
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected a number from 0 to {most:g}.", param=f"neuroroute.{name}")
    return float(value)


def _names(own: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = own.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 100 or not all(isinstance(v, str) for v in value):
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected an array of at most 100 model names.", param=f"neuroroute.{name}")
    return tuple(value)


def _cache(value: object) -> str:
    if value is None:
        return "default"
    if value not in ("default", "no-store", "refresh", "only"):
        raise BadRequest(
            "Invalid 'neuroroute.cache': expected default, no-store, refresh or only.", param="neuroroute.cache", code="invalid_value"
        )
    return str(value)


def _ttl(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 30 * 86400:
        raise BadRequest("Invalid 'neuroroute.cache_ttl_s': expected seconds from 1 to 2592000.", param="neuroroute.cache_ttl_s")
    return value


def _tags(value: object) -> dict[str, str]:
    """{"team": "search"} or "team=search,env=prod"."""
    if value is None:
        return {}
    fault = BadRequest(
        "Invalid 'neuroroute.tags': expected at most 16 of name=value, names to 64 and values to 256 characters.", param="neuroroute.tags"
    )
    if isinstance(value, str):
        if len(value) > _MAX_STEERING_CHARS:
            raise fault
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        found = {name.strip(): text.strip() for name, _, text in pairs}
    elif isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        found = dict(value)
    else:
        raise fault
    if len(found) > 16 or not all(0 < len(k) <= 64 and len(v) <= 256 for k, v in found.items()):
        raise fault
    return found
