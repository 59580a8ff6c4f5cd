"""
Stage `parse`: from the client's bytes to what the later stages need.

Reads the body once, checks the types of what any dialect fixes, and leaves the rest to the provider: an unknown field is none of our
business and travels on.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, Final

from neuroroute.chain import owned, stored
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.chain.shapes import check, kind_of
from neuroroute.chain.steering import header, steering
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, ClientError, WrongMediaType
from neuroroute.core.types import ClientRequest, Dialect, Provider

_ESCAPED: Final = b"\\u006"
"""What stands in "model" where one of its letters is written as an escape."""
_TRAVELLING: Final = ("content-type", "anthropic-version", "anthropic-beta", "openai-beta")
"""The client's headers that a provider may see. All others stay here: by an allow-list, never by a deny-list."""


async def parse(call: Call, s: Services) -> None:
    """Sets `client`, `requested_model`, `steering` and `catalog`. Raises BadRequest naming the field, TooLarge, SlowBody; NotFound for an object of another user."""
    call.catalog = s.catalog.current
    if call.dialect is Dialect.PASS:
        await _parse_pass(call)
        await owned.check(call, s)
        return
    raw = await call.source.read()
    body = _object(raw, call.headers)
    if call.dialect is Dialect.RESPONSES and _names_no_model(body, call.catalog.default_provider):
        call.dialect = Dialect.PASS
        call.client = _client(call, raw, body, body.get("stream") is True)
        call.steering = steering(call.headers, body)
        await owned.check_body(call, s)
        return
    check(body, call.dialect)
    call.requested_model = _model(body, call.dialect)
    stream = body.get("stream") is True and call.dialect is not Dialect.EMBEDDINGS  # those come whole, whatever the field says
    call.client = _client(call, raw, body, stream)
    call.steering = steering(call.headers, body)
    await owned.check_body(call, s)
    if call.dialect is Dialect.RESPONSES:
        await stored.resolve(call, s)


def _names_no_model(body: Mapping[str, Any], provider: Provider | None) -> bool:
    """Whether a response is asked of the default provider's own choice, as a stored prompt or conversation of its may name the model."""
    return (
        "model" not in body and body.get("previous_response_id") is None and provider is not None and Dialect.RESPONSES in provider.speaks
    )


async def _parse_pass(call: Call) -> None:
    """A path that is only passed on: JSON bodies are read to find the model; others (multipart, binary) are never held whole."""
    if call.method in ("GET", "DELETE", "HEAD"):
        call.client = _client(call, b"", {}, False)
    elif call.headers.get("content-type", "").partition(";")[0].strip().lower() in ("application/json", ""):
        raw = await call.source.read()
        body = _object(raw, call.headers) if raw.strip() else {}
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            raise BadRequest("Invalid type for 'model': expected a string.", param="model", code="invalid_type")
        call.requested_model = model or ""
        call.client = _client(call, raw, body, body.get("stream") is True)
        call.steering = steering(call.headers, body)
    else:
        model, chunks = await peek_model(call.source.chunks())
        call.requested_model = model
        restricted = call.principal is not None and call.principal.allowed_models is not None
        call.client = _client(call, b"", {}, False, _with_one_model(chunks) if restricted else chunks)


_FORM_MODEL: Final = re.compile(rb'name="?model"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})\r\n')
_NAMED_MODEL: Final = re.compile(rb"""[;\s]name\*?\s*=\s*["']?(?:utf-8'')?model["'\s;]""", re.IGNORECASE)
_NAMED_BYTES: Final = 64  # a name that is longer is none of a form
_PEEKED_BYTES: Final = 64 << 10


async def peek_model(chunks: AsyncIterable[bytes]) -> tuple[str, AsyncIterable[bytes]]:
    """The `model` field near the beginning of a multipart body, or "", and the whole body to be passed on."""
    pieces = aiter(chunks)
    head = b""
    async for piece in pieces:
        head += piece
        if (found := _FORM_MODEL.search(head)) is not None:
            return found[1].decode("utf-8", "replace"), _chained(head, pieces)
        if len(head) >= _PEEKED_BYTES:
            break
    return "", _chained(head, pieces)


async def _chained(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece


async def _with_one_model(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same body. Raises BadRequest where it names a second model: the key was asked about the first, and the provider may take the other."""
    before, named = b"", 0
    async for piece in chunks:
        window = before + piece
        named += sum(found.end() > len(before) for found in _NAMED_MODEL.finditer(window))
        if named > 1:
            raise BadRequest("Your request names 'model' twice.", param="model")
        yield piece
        before = window[-_NAMED_BYTES:]


def _client(call: Call, raw: bytes, body: dict[str, Any], stream: bool, chunks: AsyncIterable[bytes] | None = None) -> ClientRequest:
    return ClientRequest(
        dialect=call.dialect,
        raw=raw,
        body=body,
        stream=stream,
        method=call.method,
        path=call.path,
        query=call.query,
        headers={name: value for name in _TRAVELLING if (value := header(call.headers, name)) is not None},
        chunks=chunks,
        request_id=call.request_id,
    )


def not_json(headers: Mapping[str, str], error: Exception) -> ClientError:
    """What is wrong with a body that is no JSON: its kind, where its head names another one. What is JSON passes under any name."""
    kind = (header(headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind and not kind.endswith(("/json", "+json")):
        return WrongMediaType(f"Unsupported content type: '{kind[:64]}'. Send JSON, with the header 'Content-Type: application/json'.")
    return BadRequest(f"We could not parse the JSON body of your request: {error}")


def _object(raw: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    try:
        body = jsonbytes.loads(raw)
    except jsonbytes.JSONDecodeError as error:
        raise not_json(headers, error) from None
    except RecursionError:
        raise BadRequest("We could not parse the JSON body of your request: it is nested too deeply") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The body of your request must be a JSON object, but it is {kind_of(body)}.")
    if (raw.count(b'"model"') > 1 or _ESCAPED in raw) and jsonbytes.repeats(raw, "model"):
        raise BadRequest("Your request names 'model' twice.", param="model")  # we might allow the one, and a provider take the other
    return body


def _model(body: Mapping[str, Any], dialect: Dialect) -> str:
    model = body.get("model")
    if model is None and "model" not in body and dialect is Dialect.CHAT:
        return "auto"
    if not isinstance(model, str):
        got = "null" if model is None else kind_of(model)
        raise BadRequest(f"You must provide a model parameter: a string, but got {got}.", param="model", code="invalid_type")
    if not model or len(model) > 256:
        raise BadRequest("You must provide a model parameter of 1 to 256 characters.", param="model")
    return model
