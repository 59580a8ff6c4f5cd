"""Chat answers, whole and streamed, for clients of Anthropic's Messages API."""

from typing import Any

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.over_chat import OverChatStream, event, spoken
from neuroroute.adapters.shapes import each, obj, word
from neuroroute.adapters.stops import STOP_OF_FINISH
from neuroroute.adapters.tokens_used import as_messages
from neuroroute.core import ids, jsonbytes, sse
from neuroroute.core.errors import NeuroRouteError, UpstreamBroken
from neuroroute.core.types import Usage


def message(chat: dict[str, Any], usage: Usage) -> dict[str, Any]:
    """The Messages answer of a chat.completion."""
    choice = chat["choices"][0]
    thought, text, calls = spoken(obj(choice.get("message")))
    content: list[dict[str, Any]] = []
    if thought:
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text or not calls:
        content.append({"type": "text", "text": text})
    for call in calls:
        function = obj(call.get("function"))
        content.append(
            {
                "type": "tool_use",
                "id": word(call.get("id")) or ids.new_id("toolu"),
                "name": word(function.get("name")),
                "input": _input(function),
            }
        )
    return {
        "id": _message_id(chat.get("id")),
        "type": "message",
        "role": "assistant",
        "model": chat.get("model") or "",
        "content": content,
        "stop_reason": _stop(word(choice.get("finish_reason")), called=bool(calls)),
        "stop_sequence": None,
        "usage": as_messages(usage),
    }


def _stop(finish: str, *, called: bool) -> str:
    """OpenAI says "stop" also of a call that was forced, and others of any call: a client of Anthropic's would not run the tool then."""
    return "tool_use" if called and finish == "stop" else STOP_OF_FINISH.get(finish, "end_turn")


def _input(function: dict[str, Any]) -> dict[str, Any]:
    text = function.get("arguments")
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        found = jsonbytes.loads(text)
    except ValueError:
        return {"arguments": text}
    return found if isinstance(found, dict) else {"arguments": text}


def _message_id(chat_id: Any) -> str:
    given = chat_id if isinstance(chat_id, str) and chat_id else ids.new_id("chatcmpl")
    return given if given.startswith("msg_") else f"msg_{given.removeprefix('chatcmpl-')}"


class MessagesOverChatStream(OverChatStream):
    """Chat chunks -> Messages events: one block open at a time, indices dense."""

    __slots__ = ("_blocks", "_call", "_calls", "_open", "_request_id", "_started")

    def __init__(self, chat: StreamTranslator, request_id: str) -> None:
        super().__init__(chat)
        self._request_id = request_id
        self._started = False
        self._open = ""  # the type of the open block
        self._blocks = 0  # begun so far
        self._call = -1  # the chat index of the open tool_use
        self._calls: set[int] = set()

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        out = b"" if self._started else self._start(chunk)
        for choice in each(chunk.get("choices")):
            thought, text, calls = spoken(obj(choice.get("delta")))
            if thought:
                out += self._in("thinking") + self._delta({"type": "thinking_delta", "thinking": thought})
            if text:
                out += self._in("text") + self._delta({"type": "text_delta", "text": text})
            for call in calls:
                out += self._call_part(call)
        return out

    def _start(self, chunk: dict[str, Any]) -> bytes:
        self._started = True
        begun: dict[str, Any] = {
            "id": _message_id(chunk.get("id")),
            "type": "message",
            "role": "assistant",
            "model": chunk.get("model") or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # Chat tells its usage last; message_delta overwrites these.
            "usage": {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0},
        }
        return event("message_start", {"message": begun})

    def _in(self, kind: str) -> bytes:
        if self._open == kind:
            return b""
        empty = {"type": "thinking", "thinking": "", "signature": ""} if kind == "thinking" else {"type": "text", "text": ""}
        return self._begin(kind, empty)

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        out = self._close_block()
        self._open = kind
        self._blocks += 1
        return out + event("content_block_start", {"index": self._blocks - 1, "content_block": block})

    def _close_block(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return event("content_block_stop", {"index": self._blocks - 1})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("content_block_delta", {"index": self._blocks - 1, "delta": delta})

    def _call_part(self, call: dict[str, Any]) -> bytes:
        index = call["index"] if type(call.get("index")) is int else max(self._call, 0)
        function = obj(call.get("function"))
        out = b""
        if index not in self._calls:
            self._calls.add(index)
            self._call = index
            out = self._begin(
                "tool_use",
                {"type": "tool_use", "id": word(call.get("id")) or ids.new_id("toolu"), "name": word(function.get("name")), "input": {}},
            )
        elif index != self._call or self._open != "tool_use":
            if function.get("arguments") in (None, "", "{}"):  # of a call that text has ended: it has none already
                return b""
            raise UpstreamBroken("the provider mixed the arguments of several tool calls")
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            out += self._delta({"type": "input_json_delta", "partial_json": arguments})
        return out

    def _finish(self) -> bytes:
        out = b""
        if not self._blocks:
            out = self._in("text")
        out += self._close_block()
        stop = _stop(self.finish_reason, called=bool(self._calls))
        delta = {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": as_messages(self.usage)}
        return out + event("message_delta", delta) + event("message_stop", {})

    def failure(self, error: NeuroRouteError) -> bytes:
        return sse.named(b"error", jsonbytes.dumps(error.anthropic(self._request_id)))
