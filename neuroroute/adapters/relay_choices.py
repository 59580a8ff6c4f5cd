"""
The choices of chat answers, whole and streamed, as clients need them; what is in order is not touched.

Mended: an index, delta or finish_reason that is left out, a finish_reason of the provider's own, a role that is missing or another word,
arguments that are no text, tool calls without a type, an id or a number of their own, and those that tell their id and name with every piece
(accumulators join them to "call_1call_1").
Source: stream accumulators and schemas of openai-py 3.57, npm openai 7.57, Vercel AI SDK 7 (read 2026-11); finish reasons: TGI, Gemini, Mistral.
"""

from collections.abc import Iterable
from typing import Any, Final

from neuroroute.adapters.shapes import each, word
from neuroroute.core import ids, jsonbytes
from neuroroute.core.errors import UpstreamBroken

_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_MEANT: Final = {
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
}
"""finish_reasons of providers' own, in lower case; all others mean "stop"."""


class _Called:
    __slots__ = ("id", "is_named", "number")

    def __init__(self, number: int, identity: str) -> None:
        self.number, self.id, self.is_named = number, identity, False


class ChunkChoices:
    """The choices of one stream's chunks. begins: the last ones that were mended begin a call."""

    __slots__ = ("_begun", "_calls", "_completions", "_counts", "begins")

    def __init__(self, *, completions: bool) -> None:
        self._completions = completions
        self._begun: set[int] = set()
        self._calls: dict[tuple[int, Any], _Called] = {}  # by choice and the provider's own number
        self._counts: dict[int, int] = {}  # calls of each choice
        self.begins = False

    def mend(self, choices: Iterable[Any]) -> tuple[bool, bool]:
        """Mends in place. (whether anything was changed, whether a call got another number than the provider's)"""
        changed = renumbered = self.begins = False
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if type(index) is not int:
                index, changed = 0, True
                choice["index"] = 0
            reason = choice.get("finish_reason", "")
            if reason and (not isinstance(reason, str) or reason not in _REASONS):
                choice["finish_reason"], changed = _meant(reason), True
            elif "finish_reason" not in choice:
                choice["finish_reason"], changed = None, True
            if self._completions:
                continue
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                delta = choice["delta"] = {}
                changed = True
            changed |= self._role(delta, choice, index)
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    was, now = self._call(call, index)
                    changed |= was
                    renumbered |= now
        return changed, renumbered

    def _role(self, delta: dict[str, Any], choice: dict[str, Any], index: int) -> bool:
        role = delta.get("role")
        if index in self._begun:
            if role in (None, "assistant"):
                return False
            del delta["role"]
            return True
        self._begun.add(index)
        if role == "assistant":
            return False
        choice["delta"] = delta | {"role": "assistant"} if "role" in delta else {"role": "assistant", **delta}
        return True

    def _call(self, call: dict[str, Any], choice: int) -> tuple[bool, bool]:
        given, identity = call.get("index"), word(call.get("id"))
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        place = (choice, given if type(given) is int else None)
        known = self._calls.get(place)
        name = word(function.get("name"))
        if known is None or (identity and identity != known.id) or (not identity and name and place[1] is None):
            self.begins = True
            changed = _completed(call, function)
            known = self._calls[place] = _Called(self._counts.get(choice, 0), call["id"])
            known.is_named = bool(name)
            self._counts[choice] = known.number + 1
        else:
            changed = bool(identity) or (bool(name) and known.is_named)
            if identity:
                del call["id"]
                call.pop("type", None)
            if name and known.is_named:
                del function["name"]
            known.is_named |= bool(name)
        changed |= _arguments_as_text(function)
        if known.number == given:
            return changed, False
        call["index"] = known.number
        return True, True


def answer_choices(choices: list[Any]) -> bool:
    """Mends the choices of a whole answer in place. Whether anything was changed. Raises UpstreamBroken for one without a message."""
    changed = False
    for number, choice in enumerate(choices):
        said = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(said, dict):
            raise UpstreamBroken("the provider sent a choice without a message")
        if type(choice.get("index")) is not int:
            choice["index"], changed = number, True
        if said.get("role") != "assistant" or "content" not in said:
            said["role"], changed = "assistant", True
            said.setdefault("content", None)
        calls = said.get("tool_calls")
        for call in each(calls) if calls else ():
            function = call.get("function")
            if isinstance(function, dict):
                changed |= _completed(call, function) | _arguments_as_text(function)
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or reason not in _REASONS:
            choice["finish_reason"], changed = (_meant(reason) if reason else "tool_calls" if calls else "stop"), True
    return changed


def _completed(call: dict[str, Any], function: dict[str, Any]) -> bool:
    """The first piece of a call, or all of it, with what clients need. Whether anything was missing."""
    changed = False
    if not word(call.get("id")):
        call["id"], changed = ids.new_id("call"), True
    if function:
        if not word(call.get("type")):
            call["type"], changed = "function", True
        if function.get("arguments") is None:
            function["arguments"], changed = "", True
    return changed


def _arguments_as_text(function: dict[str, Any]) -> bool:
    arguments = function.get("arguments")
    if arguments is None or isinstance(arguments, str):
        return False
    function["arguments"] = jsonbytes.dumps(arguments).decode()
    return True


def _meant(reason: Any) -> str:
    said = word(reason).lower()
    return said if said in _REASONS else _MEANT.get(said, "stop")
