"""
Chat answers, whole and streamed, for clients of the Responses API.

Source: OpenAI Responses API reference and the accumulators of openai-py 3.54 (lib/streaming/responses) and Vercel AI SDK 7 (read 2026-11).
"""

from collections.abc import Mapping
from typing import Any, Final

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.over_chat import OverChatStream, event, spoken
from neuroroute.adapters.relay_events import response_error
from neuroroute.adapters.responses_items import Item, previous_of
from neuroroute.adapters.shapes import each, obj, word
from neuroroute.adapters.tokens_used import as_responses
from neuroroute.core import clock, ids, jsonbytes
from neuroroute.core.errors import NeuroRouteError, UpstreamBroken
from neuroroute.core.types import Usage

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Final[tuple[tuple[str, Any], ...]] = (
    ("instructions", None), ("max_output_tokens", None), ("max_tool_calls", None), ("metadata", {}), ("parallel_tool_calls", True),
    ("reasoning", {"effort": None, "summary": None}), ("store", True), ("temperature", None), ("text", {"format": {"type": "text"}}),
    ("tool_choice", "auto"), ("tools", []), ("top_p", None), ("truncation", "disabled"), ("user", None),
)  # fmt: skip


def response(body: Mapping[str, Any], chat: Mapping[str, Any], usage: Usage) -> dict[str, Any]:
    """The response object of a chat.completion."""
    choice = chat["choices"][0]
    said = obj(choice.get("message"))
    thought, text, calls = spoken(said)
    output: list[Item] = []
    if thought:
        output.append(_reasoning(ids.new_id("rs"), thought))
    if text or not calls:
        output.append(_message(ids.new_id("msg"), text, "completed"))
    free = custom_tools(body)
    for call in calls:
        function = obj(call.get("function"))
        call_id = word(call.get("id")) or ids.new_id("call")
        output.append(
            _call(ids.new_id("fc"), call_id, word(function.get("name")), word(function.get("arguments")) or "{}", "completed", free)
        )
    return _object(ids.new_id("resp"), body, chat.get("model"), int(clock.unix_s()), output, word(choice.get("finish_reason")), usage)


def custom_tools(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of the tools that take free text: their calls go back as custom_tool_call."""
    return frozenset(t["name"] for t in each(body.get("tools")) if t.get("type") == "custom" and isinstance(t.get("name"), str))


def _object(
    response_id: str, body: Mapping[str, Any], model: Any, created_at: int, output: list[Item], finish: str | None, usage: Usage | None
) -> dict[str, Any]:
    """A response; finish None = it is still in progress."""
    reason = _INCOMPLETE.get(word(finish))
    echoed = {key: default if body.get(key) is None else body[key] for key, default in _ECHOED}
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress" if finish is None else "incomplete" if reason else "completed",
        "completed_at": None if finish is None or reason else int(clock.unix_s()),
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": model or "",
        "output": output,
        "previous_response_id": previous_of(body),
        "usage": None if usage is None else as_responses(usage),
        **echoed,
    }


def _reasoning(item_id: str, text: str) -> Item:
    return {"id": item_id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(item_id: str, text: str, status: str) -> Item:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": [_text_part(text)]}


def _call(item_id: str, call_id: str, name: str, arguments: str, status: str, free: frozenset[str]) -> Item:
    item = {"id": item_id, "call_id": call_id, "name": name, "status": status}
    if name in free:
        return {**item, "type": "custom_tool_call", "input": _free_text(arguments)}
    return {**item, "type": "function_call", "arguments": arguments}


def _free_text(arguments: str) -> str:
    try:
        found = jsonbytes.loads(arguments)
    except ValueError:
        return arguments
    return found["input"] if isinstance(found, dict) and isinstance(found.get("input"), str) else arguments


class ResponsesOverChatStream(OverChatStream):
    """
    Chat chunks -> Responses events: one item open at a time.

    answer: the final response object once it is complete, for those who keep items.
    """

    __slots__ = (
        "_body",
        "_call_index",
        "_calls",
        "_created_at",
        "_free",
        "_id",
        "_item",
        "_model",
        "_number",
        "_output",
        "_said",
        "answer",
    )

    def __init__(self, chat: StreamTranslator, body: Mapping[str, Any]) -> None:
        super().__init__(chat)
        self._body, self._free = body, custom_tools(body)
        self._id = ids.new_id("resp")
        self._created_at = int(clock.unix_s())
        self._model: Any = None
        self._number = 0  # of the next event
        self._output: list[Item] = []
        self._item: Item | None = None  # the open one
        self._said: list[str] = []  # its text
        self._calls: set[int] = set()
        self._call_index = -1
        self.answer: dict[str, Any] | None = None

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        out = b"" if self._number else self._start(chunk)
        for choice in each(chunk.get("choices")):
            thought, text, calls = spoken(obj(choice.get("delta")))
            if thought:
                out += self._open("reasoning") + self._more(thought)
            if text:
                out += self._open("message") + self._more(text)
            for call in calls:
                out += self._call_part(call)
        return out

    def _event(self, kind: str, **value: Any) -> bytes:
        self._number += 1
        return event(kind, {"sequence_number": self._number - 1, **value})

    def _at(self, **value: Any) -> dict[str, Any]:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self._output), **value}

    def _start(self, chunk: dict[str, Any]) -> bytes:
        self._model = chunk.get("model")
        begun = _object(self._id, self._body, self._model, self._created_at, [], None, None)
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _open(self, kind: str) -> bytes:
        if self._item is not None and self._item["type"] == kind:
            return b""
        out = self._close_item()
        if kind == "reasoning":
            out += self._add({"id": ids.new_id("rs"), "type": "reasoning", "summary": []})
            return out + self._event(
                "response.reasoning_summary_part.added", **self._at(summary_index=0, part={"type": "summary_text", "text": ""})
            )
        out += self._add({"id": ids.new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []})
        return out + self._event("response.content_part.added", **self._at(content_index=0, part=_text_part("")))

    def _add(self, item: Item) -> bytes:
        self._item, self._said = item, []
        return self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _more(self, text: str) -> bytes:
        assert self._item is not None
        self._said.append(text)
        kind = self._item["type"]
        if kind == "message":
            return self._event("response.output_text.delta", **self._at(content_index=0, delta=text, logprobs=[]))
        if kind == "reasoning":
            return self._event("response.reasoning_summary_text.delta", **self._at(summary_index=0, delta=text))
        if kind == "function_call":
            return self._event("response.function_call_arguments.delta", **self._at(delta=text))
        return b""  # free text comes wrapped in JSON: it can be told only when it is whole

    def _call_part(self, call: dict[str, Any]) -> bytes:
        index = call["index"] if type(call.get("index")) is int else max(self._call_index, 0)
        function = obj(call.get("function"))
        out = b""
        if index not in self._calls:
            self._calls.add(index)
            self._call_index = index
            out = self._close_item()
            name = word(function.get("name"))
            out += self._add(_call(ids.new_id("fc"), word(call.get("id")) or ids.new_id("call"), name, "", "in_progress", self._free))
        elif index != self._call_index or self._item is None or not self._item["type"].endswith("_call"):
            if function.get("arguments") in (None, "", "{}"):  # of a call that text has ended: it has none already
                return b""
            raise UpstreamBroken("the provider mixed the arguments of several tool calls")
        arguments = function.get("arguments")
        return out + self._more(arguments) if isinstance(arguments, str) and arguments else out

    def _close_item(self, status: str = "completed") -> bytes:
        item = self._item
        if item is None:
            return b""
        text = "".join(self._said)
        if item["type"] == "message":
            done = _message(item["id"], text, status)
            out = self._event("response.output_text.done", **self._at(content_index=0, text=text, logprobs=[]))
            out += self._event("response.content_part.done", **self._at(content_index=0, part=_text_part(text)))
        elif item["type"] == "reasoning":
            done = _reasoning(item["id"], text)
            out = self._event("response.reasoning_summary_text.done", **self._at(summary_index=0, text=text))
            out += self._event("response.reasoning_summary_part.done", **self._at(summary_index=0, part=done["summary"][0]))
        else:
            done = _call(item["id"], item["call_id"], item["name"], text or "{}", status, self._free)
            out = self._call_done(done)
        out += self._event("response.output_item.done", output_index=len(self._output), item=done)
        self._output.append(done)
        self._item = None
        return out

    def _call_done(self, done: Item) -> bytes:
        if done["type"] == "function_call":
            return self._event("response.function_call_arguments.done", **self._at(name=done["name"], arguments=done["arguments"]))
        whole = self._event("response.custom_tool_call_input.delta", **self._at(delta=done["input"]))
        return whole + self._event("response.custom_tool_call_input.done", **self._at(input=done["input"]))

    def _finish(self) -> bytes:
        out = b""
        if self._item is None and not self._output:
            out = self._open("message")
        incomplete = self.finish_reason in _INCOMPLETE
        out += self._close_item("incomplete" if incomplete else "completed")
        self.answer = _object(self._id, self._body, self._model, self._created_at, self._output, self.finish_reason, self.usage)
        return out + self._event("response.incomplete" if incomplete else "response.completed", response=self.answer)

    def failure(self, error: NeuroRouteError) -> bytes:
        return response_error(error, self._number)
