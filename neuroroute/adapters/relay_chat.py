"""
Streams of chat and completions chunks from a provider that speaks them: the bytes pass, what breaks clients is mended.

Mended: repeated roles (helpers would join them to "assistantassistant"), Azure's empty first chunk, usage nobody asked for or given with
a chunk of text, `finish_reason: ""`, a second finish_reason of one choice, a tool call without arguments (clients parse them: `{}`), a missing finish_reason
or [DONE] after a proper end.
Source: stream accumulators of openai-py 3.54, npm openai 7.57, LangChain 1.7, Vercel AI SDK 7 (read 2026-11).
"""

import re
from typing import Any, Final

from neuroroute.adapters.naming import Naming
from neuroroute.adapters.refusals import embedded
from neuroroute.adapters.streams import EventStream, inside, loads
from neuroroute.adapters.tokens_used import openai_usage
from neuroroute.core import jsonbytes, sse
from neuroroute.core.errors import StreamCut, UpstreamBroken

_ROLE: Final = re.compile(rb',\s*"role"\s*:\s*"assistant"(?=\s*\})|"role"\s*:\s*"assistant"\s*,?\s*')
_EMPTY_REASON: Final = re.compile(rb'("finish_reason"\s*:\s*)""')
_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")


class ChunkStream(EventStream):
    """wants_usage: the client asked for the usage chunk; otherwise it is read and kept back."""

    __slots__ = ("_bare", "_completions", "_finished", "_last", "_naming", "_roles", "_seen", "_tools", "_usage_event", "_wants_usage")

    def __init__(self, naming: Naming, *, wants_usage: bool, completions: bool = False) -> None:
        super().__init__()
        self._naming, self._wants_usage, self._completions = naming, wants_usage, completions
        self._roles: set[int] = set()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._tools = False
        self._bare: set[tuple[int, int]] = set()  # (choice, call) begun without arguments so far
        self._last: dict[str, Any] = {}  # a chunk to model made ones on
        self._usage_event = b""

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
            if usage.source == "provider":
                self.usage = usage
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices:
            return self._chunk(chunk, choices, data)
        if reported:
            self._begun = True
            data = data if isinstance(choices, list) else jsonbytes.edit(data, {"choices": b"[]"})
            self._usage_event = sse.data(self._naming.in_object(data, chunk.get("model")))
        return b""

    def _chunk(self, chunk: dict[str, Any], choices: list[Any], data: bytes) -> bytes:
        spoken, ends, first_roles, old_roles = 0, 0, 0, 0
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
                spoken += self._note(delta, index)
                if delta.get("role"):
                    old_roles += index in self._roles
                    first_roles += index not in self._roles
                    self._roles.add(index)
            elif self._completions and isinstance(choice.get("text"), str):
                self._text += inside(choice["text"])
                spoken += bool(choice["text"])
            if choice.get("finish_reason"):
                ends += 1
                self._end_choice(index, choice["finish_reason"])
        if already_over and not spoken and (ends or chunk.get("usage")):
            return b""
        self._begun = True
        self._last = chunk
        mended = sse.data(self._mend(chunk, choices, data, first_roles=first_roles, old_roles=old_roles, ends=ends))
        return self._argued() + mended if ends and self._bare else mended

    def _mend(self, chunk: dict[str, Any], choices: list[Any], data: bytes, *, first_roles: int, old_roles: int, ends: int) -> bytes:
        data = self._naming.in_object(data, chunk.get("model"))
        if chunk.get("usage"):
            data = jsonbytes.edit(data, {"usage": None})
        if old_roles and not first_roles:
            data = _ROLE.sub(b"", data)
        elif old_roles:
            for choice in choices[1:]:
                choice.get("delta", {}).pop("role", None)
            data = jsonbytes.dumps({**chunk, "model": self._naming.of(chunk.get("model"))})
        if b'""' in data:
            data = _EMPTY_REASON.sub(rb"\1null", data)
        self._learnable = len(choices) == 1 and not (first_roles or ends or chunk.get("usage"))
        return data

    def _note(self, delta: dict[str, Any], index: int) -> bool:
        """Keep the delta's text; whether it says anything."""
        before = len(self._text)
        for key in _TEXTS:
            value = delta.get(key)
            if value and isinstance(value, str):
                self._text += inside(value)
        calls = delta.get("tool_calls")
        calls = [c for c in calls if isinstance(c, dict)] if isinstance(calls, list) else []
        functions = [c.get("function") for c in calls]
        for call, function in zip(calls, functions, strict=True):
            if isinstance(function, dict) and type(call.get("index")) is int:
                if function.get("arguments"):
                    self._bare.discard((index, call["index"]))
                elif function.get("name"):
                    self._bare.add((index, call["index"]))
        if delta.get("function_call"):
            functions.append(delta["function_call"])
        for function in functions:
            self._tools = True
            if isinstance(function, dict):
                for key in ("name", "arguments"):
                    if isinstance(function.get(key), str):
                        self._text += inside(function[key])
        return len(self._text) > before or bool(functions)

    def _argued(self) -> bytes:
        """Chunks with the arguments that calls of finished choices never got."""
        over = sorted(place for place in self._bare if place[0] in self._finished)
        self._bare.difference_update(over)
        return b"".join(
            self._made({"choices": [{"index": index, "delta": {"tool_calls": [{"index": call, "function": {"arguments": "{}"}}]}, "finish_reason": None}]})
            for index, call in over
        )

    def _end_choice(self, index: int, reason: Any) -> None:
        self._finished.add(index)
        if isinstance(reason, str) and (index == 0 or not self.finish_reason):
            self.finish_reason = reason

    def _done(self) -> bytes:
        """The provider said that all is done: what it left out, the usage chunk if asked for, [DONE]."""
        self.done = True
        ends = b"".join(self._made_end(index) for index in sorted(self._seen - self._finished))
        out = self._argued() + ends
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
        plain = {"prompt_tokens": u.prompt_tokens, "completion_tokens": u.completion_tokens, "total_tokens": u.prompt_tokens + u.completion_tokens}
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
