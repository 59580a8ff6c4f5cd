"""
One answer in both of its forms: whole, and as the stream that says the same.

For OpenAI's chat completions and completions. `assemble` reads a stream's events, `emit` writes them; `assemble(emit(answer)) == answer`, save
that a message without `content` gets a null one and tool calls lose their `index`, which only streams have. Whatever else an answer carries,
known or not, travels along: members of the answer in its first chunk, those of a message in its first delta, those of a choice in its last chunk.

Source: accumulators of openai-py 3.54 and the chunk order of api.openai.com (2026-11).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from neuroroute.core import jsonbytes, sse
from neuroroute.core.types import Usage

_WHOLE: Final = "chat.completion"
_CHUNK: Final = "chat.completion.chunk"
_FRAME: Final = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
"""What every chunk repeats."""
_SPOKEN: Final = ("reasoning_content", "reasoning", "content", "refusal")
"""Texts of a message, in the order in which they are streamed."""
_GIVEN_ONCE: Final = frozenset({"id", "type", "name", "role", "object", "model"})
_USAGE_MARK: Final = b'"usage"'


def assemble(stream: bytes, usage: bytes = b"") -> bytes | None:
    """
    The whole answer that a stream's events tell, as JSON; None if they tell none.

    usage: the value of its member `usage`, where the events do not have it.
    """
    splitter = sse.Splitter()
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for _, data in (*splitter.feed(stream), *splitter.end()):
        if data.strip() == b"[DONE]":
            break
        try:
            chunk = jsonbytes.loads(data)
        except ValueError:
            return None
        if not isinstance(chunk, dict):
            return None
        for choice in chunk.pop("choices", None) or ():
            if isinstance(choice, dict):
                index = choice.get("index")
                _add(choices.setdefault(index if type(index) is int else 0, {}), choice)
        chunk.pop("obfuscation", None)  # random padding against listeners: it says nothing
        for name, value in chunk.items():
            if name not in answer or (value is not None and not (name in _FRAME and answer[name])):
                answer[name] = value
    if not choices:
        return None
    if answer.get("usage") is None:
        answer.pop("usage", None)
    if answer.get("object") == _CHUNK:
        answer["object"] = _WHOLE
    answer["choices"] = [_whole_choice(choices[index]) for index in sorted(choices)]
    if usage and "usage" not in answer:
        answer["usage"] = jsonbytes.loads(usage)
    return jsonbytes.dumps(answer)


def emit(whole: bytes) -> tuple[bytes, bytes] | None:
    """
    (the stream that says the same, up to and with [DONE]; the usage event, to be put before [DONE] where it was asked for).

    None if `whole` is no answer with choices.
    """
    try:
        answer = jsonbytes.loads(whole)
    except ValueError:
        return None
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices) or not choices:
        return None
    frame = {name: answer[name] for name in _FRAME if name in answer}
    if frame.get("object", _WHOLE) == _WHOLE:
        frame["object"] = _CHUNK
    more = {name: value for name, value in answer.items() if name not in frame and name not in ("choices", "usage")}
    chunks = [{**frame, "choices": [piece]} for choice in choices for piece in _pieces(choice)]
    chunks[0].update(more)
    events = b"".join([sse.data(jsonbytes.dumps(chunk)) for chunk in chunks])
    used = answer.get("usage")
    usage = sse.data(jsonbytes.dumps({**frame, "choices": [], "usage": used})) if isinstance(used, dict) else b""
    return events + sse.DONE, usage


def split_usage(stream: bytes, from_byte: int = 0) -> tuple[bytes, bytes]:
    """(the stream without its usage event, that event or b""). It stands right before [DONE], and not before `from_byte`."""
    head, mark, tail = stream.rpartition(sse.DONE.rstrip())
    at = head.rfind(b"data: ", from_byte, len(head))
    if not mark or at < 0 or _USAGE_MARK not in head[at:]:
        return stream, b""
    try:
        chunk = jsonbytes.loads(head[at + 6 :])
    except ValueError:
        return stream, b""
    if chunk.get("choices") or not chunk.get("usage"):
        return stream, b""
    return head[:at] + mark + tail, head[at:]


def with_usage(stream: bytes, usage_event: bytes) -> bytes:
    """The stream with its usage event before [DONE]."""
    if not usage_event or not stream.endswith(sse.DONE):
        return stream
    return stream[: -len(sse.DONE)] + usage_event + sse.DONE


def usage_value(event: bytes) -> bytes:
    """The value of `usage` in a usage event."""
    return jsonbytes.dumps(jsonbytes.loads(event[6:])["usage"]) if event else b""


def usage_json(usage: Usage) -> bytes:
    """Reported figures as OpenAI writes them; b"" where the provider reported none."""
    if usage.source != "provider":
        return b""
    return jsonbytes.dumps(
        {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }
    )


def usage_event(stream: bytes, usage: bytes) -> bytes:
    """A usage event for a stream that has none. usage: the value of its member."""
    if not usage:
        return b""
    end = stream.find(b"\n\n")
    try:
        first = jsonbytes.loads(stream[:end].partition(b"data:")[2])
    except ValueError:
        return b""
    frame = {name: first[name] for name in _FRAME if name in first}
    return sse.data(jsonbytes.dumps({**frame, "choices": [], "usage": jsonbytes.loads(usage)}))


def _add(into: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Texts grow, lists grow or meet by their `index`, objects are joined, the rest is replaced; null changes nothing."""
    for name, value in piece.items():
        had = into.get(name)
        if had is None:
            into[name] = _grown(value)
        elif value is None:
            continue
        elif isinstance(value, str) and isinstance(had, str):
            into[name] = (value or had) if name in _GIVEN_ONCE else had + value
        elif isinstance(value, dict) and isinstance(had, dict):
            _add(had, value)
        elif isinstance(value, list) and isinstance(had, list):
            _extend(had, value)
        else:
            into[name] = value


def _grown(value: Any) -> Any:
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        _add(made, value)
        return made
    if isinstance(value, list):
        listed: list[Any] = []
        _extend(listed, value)
        return listed
    return value


def _extend(had: list[Any], value: Iterable[Any]) -> None:
    for item in value:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((one for one in had if isinstance(one, dict) and one.get("index") == index), None) if type(index) is int else None
        if same is not None and isinstance(item, dict):
            _add(same, item)
        else:
            had.append(_grown(item))


def _whole_choice(choice: dict[str, Any]) -> dict[str, Any]:
    if "delta" not in choice:
        return choice
    message = choice.pop("delta") or {}
    message.setdefault("role", "assistant")
    message.setdefault("content", None)
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        ordered = sorted(calls, key=_place)
        message["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in ordered]
    return {"index": choice.pop("index", 0), "message": message, **choice}


def _place(call: Any) -> int:
    index = call.get("index") if isinstance(call, dict) else None
    return index if type(index) is int else 0


def _pieces(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a choice says, in chunks: role first, texts, tool calls one by one, the reason of its end last."""
    index = choice.get("index", 0)
    end = {name: value for name, value in choice.items() if name not in ("index", "message", "text", "finish_reason", "logprobs")}
    logprobs = {"logprobs": choice["logprobs"]} if "logprobs" in choice else {}
    nothing = dict.fromkeys(logprobs)
    reason = choice.get("finish_reason")
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        said = [{"index": index, "text": text, **logprobs, "finish_reason": None}] if text else []
        return [*said, {"index": index, "text": "", **(nothing if said else logprobs), "finish_reason": reason, **end}]
    deltas = _deltas(message)
    pieces = [{"index": index, "delta": delta, **nothing, "finish_reason": None} for delta in deltas]
    spoken = next((piece for piece in pieces if piece["delta"].get("content")), pieces[0])
    spoken.update(logprobs)
    return [*pieces, {"index": index, "delta": {}, **nothing, "finish_reason": reason, **end}]


def _deltas(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    several = isinstance(calls, list) and bool(calls) and all(isinstance(call, dict) for call in calls)
    texts = [name for name in _SPOKEN if message.get(name) and isinstance(message[name], str)]
    first = {name: value for name, value in message.items() if name not in texts and not (several and name == "tool_calls")}
    first = {"role": first.pop("role", "assistant"), **({"content": ""} if "content" in texts else {}), **first}
    deltas = [first, *({name: message[name]} for name in texts)]
    if several and isinstance(calls, list):
        deltas += [{"tool_calls": [{"index": place, **_without_index(call)}]} for place, call in enumerate(calls)]
    return deltas


def _without_index(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name != "index"}
