"""
Every other path of a provider: method, path, query, body and answer pass as they are, multipart and binary included.

Only a JSON body is looked into: for `model` (set where the provider calls it otherwise; a multipart field stays as the client sent it)
and `neuroroute`. Usage is read where a JSON answer or a server-sent event reports it.
"""

import re
from collections.abc import AsyncIterable, Mapping
from typing import Any, Final

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.refusals import embedded, refusal
from neuroroute.adapters.tokens_used import anthropic_usage, openai_usage
from neuroroute.adapters.upstream import passing_headers, shown_headers, url
from neuroroute.core import jsonbytes, sse
from neuroroute.core.errors import NeuroRouteError, UpstreamError
from neuroroute.core.types import ClientRequest, Protocol, Reply, Target, UpstreamRequest, Usage

_MOST_LOOKED_INTO_BYTES: Final = 32 << 20
_ERROR: Final = re.compile(rb'\s*\{\s*"(?:error|type)"')
_ERROR_KEYS: Final = frozenset({"error", "type", "request_id"})


class PassThrough:
    def request(self, client: ClientRequest, target: Target) -> UpstreamRequest:
        headers = passing_headers(client, target)
        body: bytes | AsyncIterable[bytes] = client.raw
        if client.chunks is not None:
            body = client.chunks
        elif client.body:
            headers.setdefault("content-type", "application/json")
            raw = jsonbytes.edit(client.raw, {"neuroroute": None}) if "neuroroute" in client.body else client.raw
            named = client.body.get("model")
            body = (
                jsonbytes.set_model(raw, target.model.upstream_model) if named == target.model.name != target.model.upstream_model else raw
            )
        return UpstreamRequest(url(target, client.path, client.query), headers, body, client.method, client.stream)

    def whole(self, client: ClientRequest, target: Target, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        shown = shown_headers(headers)
        usage = Usage()
        if "json" in shown.get("content-type", "") and len(data) <= _MOST_LOOKED_INTO_BYTES:
            _refuse_error(data)
            usage = _usage_in(data, target)
        return Reply(data, usage, status, shown)

    def stream(self, client: ClientRequest, target: Target) -> StreamTranslator:
        return PassingStream(target)

    def error(self, status: int, headers: Mapping[str, str], data: bytes) -> UpstreamError:
        return refusal(status, headers, data, model_call=False)


def _refuse_error(data: bytes) -> None:
    """Raises the error that came with status 200, as LM Studio answers for paths that it does not have. Objects may have an `error` of their own."""
    if not _ERROR.match(data):
        return
    try:
        answer = jsonbytes.loads(data)
    except ValueError:
        return
    if isinstance(answer, dict) and answer.keys() <= _ERROR_KEYS and answer.get("error"):
        raise embedded(answer["error"])


def _usage_in(data: bytes, target: Target) -> Usage:
    if b'"usage"' not in data:
        return Usage()
    try:
        answer = jsonbytes.loads(data)
    except ValueError:
        return Usage()
    if isinstance(answer, dict) and isinstance(answer.get("response"), dict):
        answer = answer["response"]
    reported: Any = answer.get("usage") if isinstance(answer, dict) else None
    return anthropic_usage(reported) if target.provider.protocol is Protocol.ANTHROPIC else openai_usage(reported)


class PassingStream:
    """Bytes as they come. Events are split beside them, to read usage and to notice an error before the first byte has gone."""

    def __init__(self, target: Target) -> None:
        self.usage = Usage()
        self.finish_reason = ""
        self.done = False
        self._target = target
        self._events: sse.Splitter | None = None
        self._begun = False
        self._head: bytes | None = b""  # the first bytes, until they tell whether these are events

    def feed(self, chunk: bytes) -> bytes:
        if self._events is not None:
            self._look(chunk)
        elif self._head is not None:
            self._tell(self._head + chunk)
        self._begun = self._begun or bool(chunk)
        return chunk

    def _tell(self, head: bytes) -> None:
        start = head.lstrip()[:6]
        if start.startswith((b"data:", b"event:", b":")):
            self._events, self._head = sse.Splitter(), None
            self._look(head)
        elif b"data:".startswith(start) or b"event:".startswith(start):
            self._head = head
        else:
            self._head = None

    def end(self) -> bytes:
        return b""

    def failure(self, error: NeuroRouteError) -> bytes:
        """An event where the stream is made of events; nothing else can be said inside of bytes."""
        return sse.data(jsonbytes.dumps(error.openai())) if self._events is not None else b""

    def text(self) -> str:
        return ""

    def _look(self, chunk: bytes) -> None:
        assert self._events is not None
        try:
            found = self._events.feed(chunk)
        except sse.EventTooLarge:  # what passes is not judged: it goes on unread
            self._events = None
            return
        for name, data in found:
            usage = _usage_in(data, self._target)
            if usage.source != "none":
                self.usage = usage
            if not self._begun and (name == b"error" or data.startswith(b'{"error"')):
                raise embedded(_error_in(data))


def _error_in(data: bytes) -> Any:
    try:
        value = jsonbytes.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
    return (value.get("error") or value) if isinstance(value, dict) else value
