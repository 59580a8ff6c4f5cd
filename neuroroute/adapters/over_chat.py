"""
Dialects that are served by way of chat: request -> chat request, chat answer -> answer.

What speaks to the provider is a chat translator (a relay for OpenAI-type providers, `chat_to_anthropic` for Anthropic), so each dialect is
written once and reaches every protocol. The chat stream that comes out of it is already mended, in one framing, and one event long at least.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from neuroroute.adapters.base import StreamTranslator, Translator
from neuroroute.adapters.refusals import refusal
from neuroroute.adapters.shapes import each, written
from neuroroute.adapters.streams import loads
from neuroroute.core import jsonbytes, sse
from neuroroute.core.errors import NeuroRouteError, UpstreamError
from neuroroute.core.types import ClientRequest, Dialect, Reply, Target, UpstreamRequest, Usage


class OverChat:
    """A dialect over chat. A child gives `_asked` (the chat body), `_answered` (the whole answer), `_opened` (the stream)."""

    def __init__(self, chat: Translator) -> None:
        self._chat = chat

    def request(self, client: ClientRequest, target: Target) -> UpstreamRequest:
        return self._chat.request(self._as_chat(client, self._asked(client.body, target)), target)

    def whole(self, client: ClientRequest, target: Target, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        reply = self._chat.whole(self._as_chat(client, {"model": target.model.name}), target, status, headers, data)
        answer = self._answered(client.body, loads(reply.body), reply.usage, target)
        return Reply(jsonbytes.dumps(answer), reply.usage, reply.status, reply.headers, reply.finish_reason)

    def stream(self, client: ClientRequest, target: Target) -> StreamTranslator:
        options = {"stream_options": client.body["stream_options"]} if client.body.get("stream_options") else {}
        return self._opened(client, target, self._chat.stream(self._as_chat(client, options), target))

    def error(self, status: int, headers: Mapping[str, str], data: bytes) -> UpstreamError:
        return refusal(status, headers, data)

    def _as_chat(self, client: ClientRequest, body: dict[str, Any]) -> ClientRequest:
        raw = written(body)
        return replace(client, dialect=Dialect.CHAT, raw=raw, body=body, path="/chat/completions", query="", method="POST", chunks=None)

    def _asked(self, body: Mapping[str, Any], target: Target) -> dict[str, Any]:
        raise NotImplementedError

    def _answered(self, body: Mapping[str, Any], chat: dict[str, Any], usage: Usage, target: Target) -> dict[str, Any]:
        raise NotImplementedError

    def _opened(self, client: ClientRequest, target: Target, chat: StreamTranslator) -> StreamTranslator:
        raise NotImplementedError


class OverChatStream:
    """A stream over a chat stream. A child gives `_chunk` (one chat chunk -> events), `_finish` (the end's events) and `failure`."""

    __slots__ = ("_chat", "done", "finish_reason", "usage")

    def __init__(self, chat: StreamTranslator) -> None:
        self._chat = chat
        self.usage = chat.usage
        self.finish_reason = ""
        self.done = False

    def feed(self, chunk: bytes) -> bytes:
        return self._turned(self._chat.feed(chunk))

    def end(self) -> bytes:
        return self._turned(self._chat.end())

    def text(self) -> str:
        return self._chat.text()

    def failure(self, error: NeuroRouteError) -> bytes:
        raise NotImplementedError

    def _turned(self, chat_bytes: bytes) -> bytes:
        if not chat_bytes:
            return b""
        self.usage, self.finish_reason = self._chat.usage, self._chat.finish_reason
        out: list[bytes] = []
        for event in chat_bytes.split(b"\n\n"):
            if event == b"data: [DONE]":
                out.append(self._finish())
                self.done = True
            elif event:
                out.append(self._chunk(loads(event[6:])))
        return b"".join(out)

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        raise NotImplementedError

    def _finish(self) -> bytes:
        raise NotImplementedError


def spoken(delta: Mapping[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
    """(reasoning, text, tool calls) of a chat delta or message. A refusal is text; parts of content are joined."""
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    content = delta.get("content")
    if isinstance(content, list):
        content = "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    text = content if isinstance(content, str) and content else delta.get("refusal")
    calls = each(delta.get("tool_calls"))
    if isinstance(delta.get("function_call"), dict):
        calls.append({"index": 0, "id": None, "function": delta["function_call"]})
    return (thought if isinstance(thought, str) else ""), (text if isinstance(text, str) else ""), calls


def event(kind: str, value: Mapping[str, Any]) -> bytes:
    """A named event whose name is also its type."""
    return sse.named(kind.encode(), jsonbytes.dumps({"type": kind, **value}))
