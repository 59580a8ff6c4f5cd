"""
Same dialect on both sides: the bytes pass.

Of a request only `model` is set (where the provider calls it otherwise), `stream_options.include_usage` added (to chat and completions
streams whose client did not ask, so that tokens are counted) and our own `neuroroute` member taken out. Of an answer only `model` is
given its public name back, empty arguments of a tool call become `{}`, as clients parse them, and what a choice lacks is put in (`relay_choices`). Everything else, unknown fields, number
formats, white space and order, stays byte for byte.
"""

import base64
import binascii
import re
import sys
from array import array
from collections.abc import AsyncIterable, Mapping
from typing import Any, Final

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.naming import Naming
from neuroroute.adapters.refusals import embedded, refusal
from neuroroute.adapters.relay_chat import ChunkStream
from neuroroute.adapters.relay_choices import answer_choices
from neuroroute.adapters.relay_events import MessageStream, ResponseStream
from neuroroute.adapters.stops import finish_of_response, finish_of_stop
from neuroroute.adapters.streams import loads
from neuroroute.adapters.tokens_used import anthropic_usage, openai_usage
from neuroroute.adapters.upstream import post, url
from neuroroute.core import clock, ids, jsonbytes
from neuroroute.core.errors import UpstreamBroken, UpstreamError
from neuroroute.core.types import ClientRequest, Dialect, Reply, Target, UpstreamRequest, Usage

_PATHS: Final = {
    Dialect.CHAT: "/chat/completions",
    Dialect.COMPLETIONS: "/completions",
    Dialect.EMBEDDINGS: "/embeddings",
    Dialect.RESPONSES: "/responses",
    Dialect.MESSAGES: "/messages",
}
_MODEL_PATHS: Final = frozenset({Dialect.CHAT, Dialect.COMPLETIONS, Dialect.EMBEDDINGS})
_UNSIGNED: Final = re.compile(rb'"signature"\s*:\s*""')
_NO_ARGUMENTS: Final = re.compile(rb'("arguments"\s*:\s*)""')
_INCLUDE_USAGE: Final = b'"stream_options":{"include_usage":true}'


class Relay:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def request(self, client: ClientRequest, target: Target) -> UpstreamRequest:
        path = client.path if client.path.startswith(_PATHS[self._dialect]) else _PATHS[self._dialect]
        body = client.chunks if client.chunks is not None else self._body(client, target)
        request = post(client, target, path, body, dialect=self._dialect)
        if client.query or client.method != "POST":
            return UpstreamRequest(url(target, path, client.query), request.headers, request.body, client.method, request.stream)
        return request

    def _body(self, client: ClientRequest, target: Target) -> bytes | AsyncIterable[bytes]:
        raw, body = client.raw, client.body
        if not body:
            return raw
        if self._dialect is Dialect.MESSAGES and _UNSIGNED.search(raw):
            raw = jsonbytes.edit(raw, {"messages": jsonbytes.dumps(_without_unsigned(body.get("messages")))})
        if "neuroroute" in body:
            raw = jsonbytes.edit(raw, {"neuroroute": None})
        if "model" not in body:
            if client.path not in ("", _PATHS[self._dialect]):  # below a stored response no model is named
                return raw
            raw = _prepend(raw, b'"model":' + jsonbytes.dumps(target.model.upstream_model), alone=len(body) == ("neuroroute" in body))
        elif body["model"] != target.model.upstream_model:
            raw = jsonbytes.set_model(raw, target.model.upstream_model)
        if client.stream and self._dialect in (Dialect.CHAT, Dialect.COMPLETIONS) and not asks_usage(body):
            options = body.get("stream_options")
            if "stream_options" not in body:
                raw = _prepend(raw, _INCLUDE_USAGE)
            else:
                more = options if isinstance(options, dict) else {}
                raw = jsonbytes.edit(raw, {"stream_options": jsonbytes.dumps({**more, "include_usage": True})})
        return raw

    def whole(self, client: ClientRequest, target: Target, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        if client.path not in ("", _PATHS[self._dialect]) and self._dialect in (Dialect.RESPONSES, Dialect.MESSAGES):
            return _side_path(data, status)
        answer = checked(data)
        naming = Naming(target)
        data = naming.in_object(data, answer.get("model"))
        usage = anthropic_usage(answer.get("usage")) if self._dialect is Dialect.MESSAGES else openai_usage(answer.get("usage"))
        if self._dialect is Dialect.EMBEDDINGS:
            return Reply(_vectors_as_asked(client, answer, data, target), usage, status)
        if self._dialect is Dialect.CHAT:
            lacking = {} if answer.keys() >= _FRAME else _frame(answer, naming)
            if answer_choices(_choices(answer)):
                lacking["choices"] = jsonbytes.dumps(answer["choices"])
            if lacking:
                data = jsonbytes.edit(data, lacking)
            if b'"arguments"' in data:
                data = _NO_ARGUMENTS.sub(rb'\1"{}"', data)
        return Reply(data, usage, status, finish_reason=_FINISHED[self._dialect](answer))

    def stream(self, client: ClientRequest, target: Target) -> StreamTranslator:
        if self._dialect is Dialect.RESPONSES:
            return ResponseStream(Naming(target))
        if self._dialect is Dialect.MESSAGES:
            return MessageStream(Naming(target), client.request_id)
        return ChunkStream(Naming(target), wants_usage=asks_usage(client.body), completions=self._dialect is Dialect.COMPLETIONS)

    def error(self, status: int, headers: Mapping[str, str], data: bytes) -> UpstreamError:
        return refusal(status, headers, data, model_call=self._dialect in _MODEL_PATHS)


_FRAME: Final = frozenset({"id", "object", "created", "model"})


def _frame(answer: dict[str, Any], naming: Naming) -> dict[str, bytes]:
    """The members around the choices that an answer lacks."""
    whole = {"id": ids.new_id("chatcmpl"), "object": "chat.completion", "created": int(clock.unix_s()), "model": naming.of(None)}
    return {key: jsonbytes.dumps(value) for key, value in whole.items() if key not in answer}


def checked(data: bytes) -> dict[str, Any]:
    """A whole answer, parsed. Raises UpstreamBroken for an empty one, a page, broken JSON, and an error that came with status 200."""
    if not data.startswith(b"{"):
        start = data[:256].lstrip()[:1]
        if not start and not data.strip():
            raise UpstreamBroken("the provider sent an empty answer")
        if start == b"<":
            raise UpstreamBroken("the provider sent a page where JSON was due")
    answer = loads(data)
    if not isinstance(answer, dict):
        raise UpstreamBroken("the provider sent JSON that is no object")
    if answer.get("error") and answer.get("object") != "response":
        raise embedded(answer["error"])
    if answer.get("type") == "error":
        raise embedded(answer)
    return answer


def asks_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _prepend(raw: bytes, member: bytes, *, alone: bool = False) -> bytes:
    at = raw.index(b"{") + 1
    return raw[:at] + member + (b"" if alone else b",") + raw[at:]


def _without_unsigned(messages: Any) -> Any:
    """Messages without thinking blocks that no Claude signed: another provider thought them in an earlier turn, and Anthropic refuses them."""
    if not isinstance(messages, list):
        return messages
    return [
        {**m, "content": [b for b in m["content"] if not (isinstance(b, dict) and b.get("type") == "thinking" and not b.get("signature"))]}
        if isinstance(m, dict) and isinstance(m.get("content"), list)
        else m
        for m in messages
    ]


def _side_path(data: bytes, status: int) -> Reply:
    """Answers below /responses/{id} and /messages/count_tokens: any object will do."""
    checked(data)  # the usage in a stored response was counted when it was made
    return Reply(data, Usage(), status)


def _choices(answer: dict[str, Any]) -> list[Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamBroken("the provider sent an answer without choices")
    return choices


def _chat_finish(answer: dict[str, Any]) -> str:
    reason = _choices(answer)[0].get("finish_reason")
    return reason if isinstance(reason, str) else ""


def _message_finish(answer: dict[str, Any]) -> str:
    if not isinstance(answer.get("content"), list):
        raise UpstreamBroken("the provider sent a message without content")
    return finish_of_stop(answer.get("stop_reason"))


def _response_finish(answer: dict[str, Any]) -> str:
    if not isinstance(answer.get("output"), list):
        raise UpstreamBroken("the provider sent a response without output")
    return finish_of_response(answer)


_FINISHED: Final = {
    Dialect.CHAT: _chat_finish,
    Dialect.COMPLETIONS: _chat_finish,
    Dialect.RESPONSES: _response_finish,
    Dialect.MESSAGES: _message_finish,
}


def _vectors_as_asked(client: ClientRequest, answer: dict[str, Any], data: bytes, target: Target) -> bytes:
    """
    The vectors as floats where floats were asked for; base64 is of little-endian float32, as OpenAI's SDKs decode it.

    Floats pass when base64 was asked for, as LM Studio answers: the SDKs ask for base64 by themselves and take both.
    """
    rows = answer.get("data")
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict) or not isinstance(rows[0].get("embedding"), (str, list)):
        raise UpstreamBroken("the provider sent no embeddings")
    if isinstance(rows[0]["embedding"], list) or client.body.get("encoding_format") == "base64":
        return data
    try:
        for row in rows:
            row["embedding"] = _decoded(row["embedding"])
    except (KeyError, TypeError, ValueError, binascii.Error) as e:
        raise UpstreamBroken("the provider sent embeddings that are no vectors") from e
    return jsonbytes.edit(data, {"data": jsonbytes.dumps(rows)})


def _decoded(text: str) -> list[float]:
    vector = array("f")
    vector.frombytes(base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tolist()
