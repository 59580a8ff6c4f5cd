"""
Streams of chat and completions chunks from a provider that speaks them: the bytes pass, what breaks clients is mended.

Mended: repeated roles (helpers would join them to "assistantassistant"), Azure's empty first chunk, usage nobody asked for or given with
a chunk of text, `finish_reason: ""`, another `object` (helpers drop such chunks), an id or time that changes or is missing, a second
finish_reason of one choice, several tool calls in one chunk, a tool call without arguments (clients parse them: `{}`), a missing
finish_reason or [DONE] after a proper end, and what `relay_choices` names.
Source: stream accumulators of openai-py 3.54, npm openai 7.57, LangChain 1.7, Vercel AI SDK 7 (read 2026-11).
"""

import re
from typing import Any, Final

from neuroroute.adapters.naming import Naming
from neuroroute.adapters.refusals import embedded
from neuroroute.adapters.relay_choices import ChunkChoices
from neuroroute.adapters.shapes import obj
from neuroroute.adapters.streams import EventStream, inside, loads
from neuroroute.adapters.tokens_used import openai_usage
from neuroroute.core import clock, ids, jsonbytes, sse
from neuroroute.core.errors import StreamCut, UpstreamBroken

_ROLE: Final = re.compile(rb',\s*"role"\s*:\s*"assistant"(?=\s*\})|"role"\s*:\s*"assistant"\s*,?\s*')
_EMPTY_REASON: Final = re.compile(rb'("finish_reason"\s*:\s*)""')
_CHUNK: Final = "chat.completion.chunk"
_Place = tuple[int, int]  # (choice, call): their indices
_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")


class ChunkStream(EventStream):
    """wants_usage: the client asked for the usage chunk; otherwise it is read and kept back."""

    __slots__ = (
        "_bare",
        "_calls",
        "_choices",
        "_completions",
        "_created",
        "_finished",
        "_id",
        "_last",
        "_naming",
        "_roles",
        "_seen",
        "_tools",
        "_usage_event",
        "_wants_usage",
    )

    def __init__(self, naming: Naming, *, wants_usage: bool, completions: bool = False) -> None:
        super().__init__()
        self._naming, self._wants_usage, self._completions = naming, wants_usage, completions
        self._roles: set[int] = set()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._tools = False
        self._choices = ChunkChoices(completions=completions)
        self._id: Any = None  # of all chunks: the first one's
        self._created: Any = None
        self._calls: set[_Place] = set()
        self._bare: set[_Place] = set()  # those without arguments so far
        self._last: dict[str, Any] = {}  # a chunk to model made ones on
        self._usage_event = b""

    @property
    def usage_event(self) -> bytes:
        """The provider's usage chunk, whether the client asked for it or not."""
        return self._usage_event

    def _event(self, name: bytes, data: bytes) -> bytes:
        if data.strip() == b"[DONE]":
            if not self._begun:
                raise UpstreamBroken("the provider sent an empty stream")
            return self._done()
        chunk = loads(data)
        if not isinstance(chunk, dict):
            raise UpstreamBroken("the provider sent an event that is no object")
        if chunk.get("error"):
            raise embedded(chunk["error"])
        if name == b"error":
            raise embedded(chunk)
        reported = chunk.get("usage")
        if reported:
            usage = openai_usage(reported)
            if usage.source != "none":
                self.usage = usage
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices:
            changed, renumbered = self._choices.mend(choices)
            if renumbered:
                self._templates.clear()  # they say which call they belong to
            return self._chunk(chunk, choices, jsonbytes.dumps(chunk) if changed else data)
        if reported:
            self._begun = True
            data = data if isinstance(choices, list) else jsonbytes.edit(data, {"choices": b"[]"})
            self._usage_event = sse.data(self._naming.in_object(self._framed(chunk, data), chunk.get("model")))
        return b""

    def _framed(self, chunk: dict[str, Any], data: bytes) -> bytes:
        """The chunk with the id and the time that all chunks of this stream have."""
        if self._id is None:
            self._id = chunk.get("id") or ids.new_id("chatcmpl")
            self._created = chunk["created"] if type(chunk.get("created")) is int else int(clock.unix_s())
        if chunk.get("id") == self._id and chunk.get("created") == self._created:
            return data
        chunk["id"], chunk["created"] = self._id, self._created
        return jsonbytes.edit(data, {"id": jsonbytes.dumps(self._id), "created": jsonbytes.dumps(self._created)})

    def _chunk(self, chunk: dict[str, Any], choices: list[Any], data: bytes) -> bytes:
        if b'"tool_calls"' in data and (parts := _one_call_each(chunk, choices)):
            return b"".join(self._chunk(part, part["choices"], jsonbytes.dumps(part)) for part in parts)
        spoken, ends, first_roles = 0, 0, 0
        repeated: list[dict[str, Any]] = []
        late: list[_Place] = []
        already_over = True
        for choice in choices:
            if not isinstance(choice, dict):
                raise UpstreamBroken("the provider sent a choice that is no object")
            index = choice.get("index")
            index = index if type(index) is int else 0
            already_over &= index in self._finished
            self._seen.add(index)
            delta = choice.get("delta")
            if isinstance(delta, dict):
                spoken += self._note(delta, index, late)
                if delta.get("role"):
                    if index in self._roles:
                        repeated.append(delta)
                    else:
                        first_roles += 1
                        self._roles.add(index)
            elif self._completions and isinstance(choice.get("text"), str):
                self._text += inside(choice["text"])
                spoken += bool(choice["text"])
            if choice.get("finish_reason"):
                ends += 1
                self._end_choice(index, choice["finish_reason"])
                late += sorted(place for place in self._bare if place[0] == index)
        if already_over and not spoken and (ends or chunk.get("usage")):
            return b""
        self._begun = True
        self._last = chunk
        self._learnable = len(choices) == 1 and not (first_roles or ends or late or self._choices.begins or chunk.get("usage"))
        mended = sse.data(self._mend(chunk, data, repeated, mixed=bool(first_roles)))
        return self._argued(late) + mended if late else mended

    def _mend(self, chunk: dict[str, Any], data: bytes, repeated: list[dict[str, Any]], *, mixed: bool) -> bytes:
        """repeated: the deltas that give a role once more; mixed: others give theirs for the first time."""
        if repeated and mixed:
            for delta in repeated:
                del delta["role"]
            data = jsonbytes.dumps(chunk)
        elif repeated:
            data = _ROLE.sub(b"", data)
        data = self._naming.in_object(self._framed(chunk, data), chunk.get("model"))
        if "model" not in chunk:
            data = jsonbytes.edit(data, {"model": jsonbytes.dumps(self._naming.of(None))})
        if chunk.get("usage"):
            data = jsonbytes.edit(data, {"usage": None})
        if chunk.get("object") != _CHUNK and not self._completions:
            data = jsonbytes.edit(data, {"object": b'"%b"' % _CHUNK.encode()})
        return _EMPTY_REASON.sub(rb"\1null", data) if b'""' in data else data

    def _note(self, delta: dict[str, Any], index: int, late: list[_Place]) -> bool:
        """Keep the delta's text; whether it says anything. late: gets the calls that are over and have no arguments."""
        before = len(self._text)
        for key in _TEXTS:
            value = delta.get(key)
            if value and isinstance(value, str):
                self._text += inside(value)
        calls = delta.get("tool_calls")
        functions = []
        for call in calls if isinstance(calls, list) else []:
            if isinstance(call, dict) and isinstance(call.get("function"), dict):
                functions.append(call["function"])
                number = call.get("index")
                self._follow((index, number if type(number) is int else 0), call["function"], late)
        if isinstance(delta.get("function_call"), dict):
            functions.append(delta["function_call"])
        for function in functions:
            self._tools = True
            for key in ("name", "arguments"):
                if isinstance(function.get(key), str):
                    self._text += inside(function[key])
        return len(self._text) > before or bool(functions)

    def _follow(self, place: _Place, function: dict[str, Any], late: list[_Place]) -> None:
        if function.get("arguments"):
            self._bare.discard(place)
        if function.get("name") and place not in self._calls:
            self._calls.add(place)
            late += sorted(other for other in self._bare if other[0] == place[0])
            if not function.get("arguments"):
                self._bare.add(place)

    def _argued(self, late: list[_Place]) -> bytes:
        """Chunks with the arguments that these calls never got."""
        self._bare.difference_update(late)
        return b"".join(
            self._made(
                {
                    "choices": [
                        {"index": index, "delta": {"tool_calls": [{"index": call, "function": {"arguments": "{}"}}]}, "finish_reason": None}
                    ]
                }
            )
            for index, call in late
        )

    def _end_choice(self, index: int, reason: Any) -> None:
        self._finished.add(index)
        if isinstance(reason, str) and (index == 0 or not self.finish_reason):
            self.finish_reason = reason

    def _done(self) -> bytes:
        """The provider said that all is done: what it left out, the usage chunk if asked for, [DONE]."""
        self.done = True
        out = self._argued(sorted(self._bare)) if self._bare else b""
        out += b"".join(self._made_end(index) for index in sorted(self._seen - self._finished))
        if self._wants_usage:
            out += self._usage_event or self._made_usage()
        return out + sse.DONE

    def _made_end(self, index: int) -> bytes:
        reason = "tool_calls" if self._tools else "stop"
        self._end_choice(index, reason)
        said: dict[str, Any] = {"text": ""} if self._completions else {"delta": {}}
        return self._made({"choices": [{"index": index, **said, "logprobs": None, "finish_reason": reason}]})

    def _made_usage(self) -> bytes:
        if self.usage.source != "provider":
            return b""
        used, u = self._last.get("usage"), self.usage
        plain = {
            "prompt_tokens": u.prompt_tokens,
            "completion_tokens": u.completion_tokens,
            "total_tokens": u.prompt_tokens + u.completion_tokens,
        }
        return self._made({"choices": [], "usage": used or plain})

    def _made(self, members: dict[str, Any]) -> bytes:
        frame = {key: self._last[key] for key in ("id", "object", "created", "model", "system_fingerprint") if key in self._last}
        if "model" in frame:
            frame["model"] = self._naming.of(frame["model"])
        return sse.data(jsonbytes.dumps(frame | members))

    def _close(self) -> bytes:
        if self._finished and self._finished >= self._seen:
            return self._done()
        raise StreamCut("the provider's stream ended before the answer did")


def _one_call_each(chunk: dict[str, Any], choices: list[Any]) -> list[dict[str, Any]]:
    """
    A chunk with several tool calls as chunks with one each (LlamaIndex reads the first alone), or none if it is fine as it is.

    A call that comes without arguments in the very chunk that ends the choice is set apart from the end, too, so that they can come between.
    """
    choice = choices[0]
    delta = choice.get("delta") if isinstance(choice, dict) and len(choices) == 1 else None
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    if not isinstance(delta, dict) or not isinstance(calls, list) or not calls:
        return []
    finish = choice.get("finish_reason")
    bare = any(isinstance(call, dict) and not obj(call.get("function")).get("arguments") for call in calls)
    if len(calls) < 2 and not (finish and bare):
        return []
    usage = {"usage": chunk["usage"]} if "usage" in chunk else {}
    chunk = {key: value for key, value in chunk.items() if key != "usage"}
    first = {key: value for key, value in delta.items() if key != "tool_calls"}
    deltas = [{**(first if k == 0 else {}), "tool_calls": [call]} for k, call in enumerate(calls)]
    made = [{**chunk, "choices": [{**choice, "delta": one, "finish_reason": None}]} for one in deltas]
    if finish:
        made.append({**chunk, "choices": [{**choice, "delta": {}}]})
    made[-1].update(usage)
    return made
