"""Anthropic's answers, whole and streamed, for chat clients."""

from typing import Any, Final

from neuroroute.adapters.naming import Naming
from neuroroute.adapters.refusals import embedded
from neuroroute.adapters.stops import finish_of_stop
from neuroroute.adapters.streams import EventStream, inside, loads
from neuroroute.adapters.tokens_used import anthropic_usage, as_chat
from neuroroute.core import clock, jsonbytes, sse
from neuroroute.core.errors import StreamCut, UpstreamBroken
from neuroroute.core.types import Usage

_VALUES: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def chat_completion(message: dict[str, Any], naming: Naming) -> tuple[dict[str, Any], Usage, str]:
    """(chat.completion, usage, finish_reason) of a Messages answer. Raises UpstreamBroken."""
    content = message.get("content")
    if not isinstance(content, list):
        raise UpstreamBroken("the provider sent a message without content")
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking", "")))
        elif kind == "tool_use":
            arguments = jsonbytes.dumps(block.get("input") or {}).decode()
            calls.append({"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}})
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None, "refusal": None}
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    finish = finish_of_stop(message.get("stop_reason")) or "stop"
    usage = anthropic_usage(message.get("usage"))
    answer: dict[str, Any] = {
        "id": str(message.get("id") or "chatcmpl-unknown"),
        "object": "chat.completion",
        "created": int(clock.unix_s()),
        "model": naming.of(message.get("model")),
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
    }
    if usage.source == "provider":
        answer["usage"] = as_chat(usage)
    return answer, usage, finish


class AnthropicChatStream(EventStream):
    """Messages events -> chat chunks."""

    __slots__ = ("_calls", "_empty_call", "_frame", "_naming", "_ours", "_reported", "_wants_usage")

    def __init__(self, naming: Naming, *, wants_usage: bool) -> None:
        super().__init__()
        self._naming, self._wants_usage = naming, wants_usage
        self._frame = b""  # a chunk up to its choices
        self._reported: dict[str, Any] = {}
        self._calls = 0
        self._ours = False  # the open block is a call for the client, and no tool that Anthropic runs itself
        self._empty_call = False  # a call is open that has no arguments yet

    def _event(self, name: bytes, data: bytes) -> bytes:
        event = loads(data)
        if not isinstance(event, dict):
            raise UpstreamBroken("the provider sent an event that is no object")
        kind = event.get("type")
        if kind == "error" or name == b"error" or (event.get("error") and not kind):
            raise embedded(event.get("error") or event)
        if kind == "message_start":
            return self._start(event.get("message"))
        if kind == "ping":
            return b""
        if not self._begun:
            raise UpstreamBroken("the provider sent a message without its beginning")
        if kind == "content_block_delta":
            return self._delta(event.get("delta"))
        if kind == "content_block_start":
            return self._block(event.get("content_block"))
        if kind == "content_block_stop" and self._empty_call:
            return self._argue("{}")
        if kind == "message_delta":
            return self._stop(event)
        if kind == "message_stop":
            return self._end_message()
        return b""

    def _start(self, message: Any) -> bytes:
        if not isinstance(message, dict):
            raise UpstreamBroken("the provider began a message without a message")
        self._begun = True
        reported = message.get("usage")
        self._reported = reported if isinstance(reported, dict) else {}
        self.usage = anthropic_usage(self._reported)
        frame = {
            "id": str(message.get("id") or "chatcmpl-unknown"),
            "object": "chat.completion.chunk",
            "created": int(clock.unix_s()),
            "model": self._naming.of(message.get("model")),
        }
        self._frame = jsonbytes.dumps(frame)[:-1] + b',"choices":['
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + self._frame + jsonbytes.dumps(choice) + b"]}\n\n"

    def _block(self, block: Any) -> bytes:
        if not isinstance(block, dict):
            return b""
        self._ours = block.get("type") == "tool_use"
        if self._ours:
            out = self._argue("{}") if self._empty_call else b""
            name = str(block.get("name", ""))
            self._text += inside(name)
            call = {"index": self._calls, "id": block.get("id"), "type": "function", "function": {"name": name, "arguments": ""}}
            self._calls += 1
            self._empty_call = True
            self._templates.clear()  # they say which call they belong to
            out += self._chunk({"tool_calls": [call]})
            if block.get("input"):
                out += self._argue(jsonbytes.dumps(block["input"]).decode())
            return out
        if block.get("type") == "text" and block.get("text"):
            return self._say("content", str(block["text"]))
        return b""

    def _delta(self, delta: Any) -> bytes:
        kind = delta.get("type") if isinstance(delta, dict) else None
        key = _VALUES.get(str(kind))
        value = delta.get(key) if key else None
        if not isinstance(value, str) or not value:
            return b""
        self._learnable = True
        if kind == "text_delta":
            return self._say("content", value)
        if kind == "thinking_delta":
            return self._say("reasoning_content", value)
        return self._argue(value) if self._ours else b""

    def _say(self, key: str, value: str) -> bytes:
        self._text += inside(value)
        return self._chunk({key: value})

    def _argue(self, arguments: str) -> bytes:
        """Arguments of the call that is open."""
        self._empty_call = False
        self._text += inside(arguments)
        return self._chunk({"tool_calls": [{"index": max(self._calls - 1, 0), "function": {"arguments": arguments}}]})

    def _stop(self, event: dict[str, Any]) -> bytes:
        usage = anthropic_usage(event.get("usage"), self._reported)
        if usage.source != "none":
            self.usage = usage
        delta = event.get("delta")
        if not isinstance(delta, dict) or not delta.get("stop_reason") or self.finish_reason:
            return b""
        out = self._argue("{}") if self._empty_call else b""
        self.finish_reason = finish_of_stop(delta["stop_reason"])
        return out + self._chunk({}, self.finish_reason)

    def _end_message(self) -> bytes:
        out = b""
        if not self.finish_reason:
            out = self._argue("{}") if self._empty_call else b""
            self.finish_reason = "tool_calls" if self._calls else "stop"
            out += self._chunk({}, self.finish_reason)
        self.done = True
        if self._wants_usage and self.usage.source == "provider":
            out += b"data: " + self._frame + b'],"usage":' + jsonbytes.dumps(as_chat(self.usage)) + b"}\n\n"
        return out + sse.DONE

    def _close(self) -> bytes:
        raise StreamCut("the provider's stream ended before the message did")
