"""Streams of /v1/responses and /v1/messages from a provider that speaks them: named events pass, usage and the end are read on the way."""

import re
from typing import Any, Final

from neuroroute.adapters.naming import Naming
from neuroroute.adapters.refusals import embedded
from neuroroute.adapters.stops import finish_of_response, finish_of_stop
from neuroroute.adapters.streams import EventStream, loads
from neuroroute.adapters.tokens_used import anthropic_usage, openai_usage
from neuroroute.core import jsonbytes, sse
from neuroroute.core.errors import NeuroRouteError, StreamCut, UpstreamBroken

_DELTA: Final = re.compile(rb'"delta"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_TEXT_KEYS: Final = ("text", "thinking", "partial_json")
_SEQUENCE: Final = re.compile(rb'"sequence_number"\s*:\s*(\d+)')


class ResponseStream(EventStream):
    """OpenAI's Responses events. A provider's response.failed is raised, and told by `failure` in a form that every SDK raises."""

    __slots__ = ("_last", "_naming")

    def __init__(self, naming: Naming) -> None:
        super().__init__()
        self._naming = naming
        self._last = b""  # the bytes that went last: they hold the last sequence number

    def feed(self, chunk: bytes) -> bytes:
        # Each event has a number of its own, so no template fits; but a delta needs no look beyond its name and its text.
        if self._begun and chunk.endswith(b"}\n\n") and self._splitter.idle and not self.done and self._failed is None:
            head, _, rest = chunk.partition(b"\n")
            if head.startswith(b"event: response.") and head.endswith(b".delta") and rest.startswith(b"data: {") and rest.count(b"\n") == 2:
                hit = _DELTA.search(rest)
                if hit is not None and b"\r" not in chunk:
                    self._text += hit[1]
                    self._last = chunk
                    return chunk
        out = super().feed(chunk)
        self._last = out or self._last
        return out

    def _event(self, name: bytes, data: bytes) -> bytes:
        if name.endswith(b".delta"):
            hit = _DELTA.search(data)
            if hit is not None:
                self._text += hit[1]
                return sse.named(name, data)
        if data.strip() == b"[DONE]":  # some servers end this dialect like the other one
            return b""
        event = loads(data)
        if not isinstance(event, dict):
            raise UpstreamBroken("the provider sent an event that is no object")
        kind = event.get("type")
        if kind == "error" or (event.get("error") and not isinstance(kind, str)):
            raise embedded(event.get("error") or event)
        self._begun = True
        response = event.get("response")
        if isinstance(response, dict):
            data = self._snapshot(str(kind), event, response, data)
        if isinstance(kind, str) and not name:
            name = kind.encode()
        return sse.named(name, data)

    def _snapshot(self, kind: str, event: dict[str, Any], response: dict[str, Any], data: bytes) -> bytes:
        if kind == "response.failed":
            raise embedded(response.get("error") or "the provider's response failed")
        usage = openai_usage(response.get("usage"))
        if usage.source != "none":
            self.usage = usage
        if kind in ("response.completed", "response.incomplete"):
            self.done = True
            self.finish_reason = finish_of_response(response)
        said = response.get("model")
        if isinstance(said, str) and said and self._naming.of(said) != said:
            data = jsonbytes.dumps({**event, "response": {**response, "model": self._naming.of(said)}})
        return data

    def failure(self, error: NeuroRouteError) -> bytes:
        numbers = _SEQUENCE.findall(self._last)
        return response_error(error, int(numbers[-1]) + 1 if numbers else 0)


def response_error(error: NeuroRouteError, number: int) -> bytes:
    """
    The `error` event of a failed Responses stream.

    Flat fields are the documented form; the nested `error` is what makes openai-py raise (flat alone, it yields an ordinary event).
    """
    nested: Any = error.openai()["error"]
    flat = {"code": error.code, "message": error.message, "param": error.param}
    return sse.named(b"error", jsonbytes.dumps({"type": "error", "sequence_number": number, **flat, "error": nested}))


class MessageStream(EventStream):
    """Anthropic's Messages events."""

    __slots__ = ("_naming", "_reported", "_request_id")

    def __init__(self, naming: Naming, request_id: str = "") -> None:
        super().__init__()
        self._naming, self._request_id = naming, request_id
        self._reported: dict[str, Any] = {}

    def _event(self, name: bytes, data: bytes) -> bytes:
        event = loads(data)
        if not isinstance(event, dict):
            raise UpstreamBroken("the provider sent an event that is no object")
        kind = event.get("type")
        if kind == "error" or name == b"error" or event.get("error"):
            raise embedded(event.get("error") or event)
        if kind == "ping":
            return sse.named(b"ping", data) if self._begun else b""
        if kind == "content_block_delta":
            self._note(event.get("delta"))
        elif kind == "content_block_start":
            block = event.get("content_block")
            self._note(block)
        elif kind == "message_start":
            data = self._start(event, data)
        elif kind == "message_delta":
            self._delta(event)
        elif kind == "message_stop":
            if not self._begun:
                raise UpstreamBroken("the provider ended a message that never began")
            self.done = True
        return sse.named(name or str(kind).encode(), data)

    def _start(self, event: dict[str, Any], data: bytes) -> bytes:
        message = event.get("message")
        if not isinstance(message, dict):
            raise UpstreamBroken("the provider began a message without a message")
        self._begun = True
        reported = message.get("usage")
        self._reported = reported if isinstance(reported, dict) else {}
        self.usage = anthropic_usage(self._reported)
        said = message.get("model")
        if isinstance(said, str) and said and self._naming.of(said) != said:
            return jsonbytes.dumps({**event, "message": {**message, "model": self._naming.of(said)}})
        return data

    def _delta(self, event: dict[str, Any]) -> None:
        usage = anthropic_usage(event.get("usage"), self._reported)
        if usage.source != "none":
            self.usage = usage
        delta = event.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason"):
            self.finish_reason = finish_of_stop(delta["stop_reason"])

    def _note(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        for key in _TEXT_KEYS:
            value = part.get(key)
            if isinstance(value, str) and value:
                self._text += jsonbytes.dumps(value)[1:-1]
                self._learnable = part.get("type") in ("text_delta", "thinking_delta", "input_json_delta")
        if isinstance(part.get("name"), str):
            self._text += jsonbytes.dumps(part["name"])[1:-1]

    def failure(self, error: NeuroRouteError) -> bytes:
        return sse.named(b"error", jsonbytes.dumps(error.anthropic(self._request_id)))

    def _close(self) -> bytes:
        raise StreamCut("the provider's stream ended before the message did")
