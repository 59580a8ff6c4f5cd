"""
The built-in `demo` provider: three simulated models of rising price and quality, and one for embeddings.

It speaks OpenAI's dialect and lives in the process: a `Lane` without sockets, reached by the URL scheme `demo:`. Answers depend on the
request alone; they come with the small delays of a real provider, so that routing, streaming, caching and accounting can be seen at once.
"""

import asyncio
import base64
import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from neuroroute.adapters.demo_text import Answer, answer, tokens
from neuroroute.adapters.lane_base import UpstreamResponse
from neuroroute.core.clock import unix_s
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.core.types import ABILITIES, LABELS, Dialect, Model, Price, Protocol, Provider, Timeouts, UpstreamRequest

SCHEME: Final = "demo"
PROVIDER: Final = Provider(
    name="demo",
    protocol=Protocol.DEMO,
    base_url="demo:",
    speaks=frozenset({Dialect.CHAT, Dialect.COMPLETIONS, Dialect.EMBEDDINGS, Dialect.PASS}),
)
_CREATED: Final = 1_764_000_000
_HARD: Final = frozenset({"code", "math", "reasoning"})
_PLAIN: Final = frozenset({"chat", "translation", "rewriting", "summarization", "extraction", "classification"})
"""Work that a small model does nearly as well as a large one, so that `balanced` can be seen to save where nothing is lost."""
_DIMENSIONS: Final = 256
_MAX_CHOICES: Final = 8


@dataclass(frozen=True, slots=True)
class _Pace:
    """Seconds of a simulated model at pace 1."""

    first_s: float
    token_s: float


_PACES: Final = (_Pace(0.05, 0.003), _Pace(0.12, 0.006), _Pace(0.25, 0.010))


def _quality(default: float, plain: float, hard: float) -> dict[str, float]:
    return {"default": default} | {label: hard if label in _HARD else plain if label in _PLAIN else default for label in LABELS}


MODELS: Final = (
    Model(
        name="demo-small",
        provider="demo",
        upstream_model="demo-small",
        price=Price.of(0.10, 0.40, 0.05),
        context_window_tokens=16_384,
        max_output_tokens=4_096,
        abilities=frozenset({"tools", "json_schema"}),
        quality=_quality(0.76, 0.946, 0.55),
        created=_CREATED,
    ),
    Model(
        name="demo-medium",
        provider="demo",
        upstream_model="demo-medium",
        price=Price.of(0.80, 3.20, 0.20),
        context_window_tokens=65_536,
        max_output_tokens=8_192,
        abilities=frozenset({"tools", "json_schema", "vision"}),
        quality=_quality(0.88, 0.952, 0.85),
        created=_CREATED,
    ),
    Model(
        name="demo-large",
        provider="demo",
        upstream_model="demo-large",
        price=Price.of(5.00, 20.00, 1.25),
        context_window_tokens=200_000,
        max_output_tokens=32_768,
        abilities=frozenset(ABILITIES),
        quality=_quality(0.94, 0.96, 0.93),
        created=_CREATED,
    ),
    Model(
        name="demo-embedding",
        provider="demo",
        upstream_model="demo-embedding",
        kind="embedding",
        price=Price.of(0.02, 0.0),
        context_window_tokens=8_192,
        created=_CREATED,
    ),
)
_CHAT_TIERS: Final = {"demo-small": 0, "demo-medium": 1, "demo-large": 2}


class DemoLane:
    """Answers without a socket. pace: 1 = the delays of a provider, 0 = none."""

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace

    async def send(self, request: UpstreamRequest, timeouts: Timeouts) -> UpstreamResponse:
        """An error of the request is an answer like any other, with its status."""
        path = request.url.partition("?")[0].partition(":")[2].strip("/")
        raw = request.body if isinstance(request.body, bytes) else b"".join([piece async for piece in request.body])
        if request.method == "GET":
            return _catalogue(path)
        endpoint = _ENDPOINTS.get(path)
        if endpoint is None:
            return _refused(404, f"The demo provider has no /{path}.", None, "not_found")
        try:
            body = loads(raw)
        except ValueError:
            return _refused(400, "The body is not JSON.")
        if not isinstance(body, dict):
            return _refused(400, "The body must be a JSON object.")
        try:
            return endpoint(body, self._pace)
        except (TypeError, ValueError, AttributeError, LookupError, OverflowError):  # fields of other types than the API has
            return _refused(400, "The demo provider can not read this request.")

    async def close(self) -> None:
        """Nothing is held."""


class DemoResponse:
    """`pieces` are handed out one by one, each after its own delay in seconds."""

    __slots__ = ("_open", "_pieces", "headers", "status")

    def __init__(self, status: int, kind: str, pieces: Iterable[tuple[float, bytes]]) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": kind}
        self._pieces = iter(pieces)
        self._open = True

    async def read(self) -> bytes:
        data = []
        while piece := await self.readany():
            data.append(piece)
        return b"".join(data)

    async def readany(self) -> bytes:
        if not self._open:
            return b""
        delay_s, piece = next(self._pieces, (0.0, b""))
        await asyncio.sleep(delay_s)
        return piece

    def close(self) -> None:
        self._open = False


def _whole(value: object, status: int = 200, delay_s: float = 0.0) -> DemoResponse:
    return DemoResponse(status, "application/json", [(delay_s, dumps(value))])


def _refused(status: int, message: str, param: str | None = None, code: str | None = None) -> DemoResponse:
    return _whole({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}, status)


def _catalogue(path: str) -> DemoResponse:
    listed = [{"id": m.name, "object": "model", "created": m.created, "owned_by": "neuroroute"} for m in MODELS]
    if path == "models":
        return _whole({"object": "list", "data": listed})
    one = next((entry for entry in listed if path == f"models/{entry['id']}"), None)
    return _whole(one) if one else _refused(404, f"The demo provider has no /{path}.", None, "not_found")


def _chat(body: dict[str, Any], pace: float) -> DemoResponse:
    model = body.get("model")
    if model not in _CHAT_TIERS:
        return _refused(404, f"The demo provider has no chat model {model!r}.", "model", "model_not_found")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return _refused(400, "'messages' must be a list with at least one message.", "messages")
    tier = _CHAT_TIERS[model]
    reply = answer(body, model, tier)
    wanted = body.get("n")
    count = wanted if isinstance(wanted, int) and 1 <= wanted <= _MAX_CHOICES else 1
    head = {"id": f"chatcmpl-demo{_digest(body)}", "created": int(unix_s()), "model": model, "system_fingerprint": "fp_demo"}
    delays = _Pace(_PACES[tier].first_s * pace, _PACES[tier].token_s * pace)
    if body.get("stream") is True:
        return DemoResponse(200, "text/event-stream", _chat_events(head, reply, count, _wants_usage(body), delays))
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.calls else reply.text, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [_call(call.id, call.name, call.arguments) for call in reply.calls]
    choices = [{"index": at, "message": message, "logprobs": None, "finish_reason": reply.finish_reason} for at in range(count)]
    took_s = delays.first_s + delays.token_s * reply.completion_tokens
    return _whole(head | {"object": "chat.completion", "choices": choices, "usage": _usage(reply, count)}, delay_s=took_s)


def _chat_events(head: dict[str, Any], reply: Answer, count: int, wants_usage: bool, delays: _Pace) -> Iterator[tuple[float, bytes]]:
    head = head | {"object": "chat.completion.chunk"}
    silent = {"usage": None} if wants_usage else {}

    def event(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event(head | {"choices": [choice]} | silent)

    for index in range(count):
        yield delays.first_s, event(index, {"role": "assistant", "content": None if reply.calls else "", "refusal": None})
        for piece in reply.pieces:
            yield delays.token_s, event(index, {"content": piece})
        for at, call in enumerate(reply.calls):
            yield delays.token_s, event(index, {"tool_calls": [{"index": at, **_call(call.id, call.name, "")}]})
            for piece in tokens(call.arguments):
                yield delays.token_s, event(index, {"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        yield delays.token_s, event(index, {}, reply.finish_reason)
    tail = _event(head | {"choices": [], "usage": _usage(reply, count)}) if wants_usage else b""
    yield 0.0, tail + b"data: [DONE]\n\n"


def _completion(body: dict[str, Any], pace: float) -> DemoResponse:
    """The older text completion: the prompt is one user message."""
    model, prompt = body.get("model"), body.get("prompt")
    if model not in _CHAT_TIERS:
        return _refused(404, f"The demo provider has no model {model!r}.", "model", "model_not_found")
    text = prompt if isinstance(prompt, str) else prompt[0] if isinstance(prompt, list) and prompt and isinstance(prompt[0], str) else ""
    bounds: dict[str, Any] = {key: body[key] for key in ("max_tokens", "stop") if key in body}
    tier = _CHAT_TIERS[model]
    reply = answer({"messages": [{"role": "user", "content": text}], **bounds}, model, tier)
    head = {"id": f"cmpl-demo{_digest(body)}", "object": "text_completion", "created": int(unix_s()), "model": model}
    delays = _Pace(_PACES[tier].first_s * pace, _PACES[tier].token_s * pace)

    def choice(text: str, finish: str | None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]}

    if body.get("stream") is not True:
        whole = head | choice(reply.text, reply.finish_reason) | {"usage": _usage(reply)}
        return _whole(whole, delay_s=delays.first_s + delays.token_s * reply.completion_tokens)

    def events() -> Iterator[tuple[float, bytes]]:
        for at, piece in enumerate(reply.pieces):
            yield delays.token_s if at else delays.first_s, _event(head | choice(piece, None))
        tail = _event(head | {"choices": [], "usage": _usage(reply)}) if _wants_usage(body) else b""
        yield delays.token_s, _event(head | choice("", reply.finish_reason)) + tail + b"data: [DONE]\n\n"

    return DemoResponse(200, "text/event-stream", events())


def _embeddings(body: dict[str, Any], pace: float) -> DemoResponse:
    if body.get("model") != "demo-embedding":
        return _refused(404, f"The demo provider has no embedding model {body.get('model')!r}.", "model", "model_not_found")
    given = body.get("input")
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    if not all(isinstance(text, (str, list)) and text for text in inputs):
        return _refused(400, "'input' must be a text, a list of texts, or tokens.", "input")
    wanted = body.get("dimensions")
    dimensions = wanted if isinstance(wanted, int) and 1 <= wanted <= 4096 else _DIMENSIONS
    data = []
    count = 0
    for at, text in enumerate(inputs):
        words = tokens(text) if isinstance(text, str) else [str(token) for token in text]
        count += len(words)
        vector = unit_vector(words, dimensions)
        packed = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": at, "embedding": packed})
    usage = {"prompt_tokens": count, "total_tokens": count}
    return _whole({"object": "list", "model": "demo-embedding", "data": data, "usage": usage}, delay_s=_PACES[0].first_s * pace)


def unit_vector(words: list[str], dimensions: int) -> list[float]:
    """Length 1; texts that share words point in similar directions."""
    vector = [0.0] * dimensions
    for word in words:
        digest = hashlib.sha256(word.strip().lower().encode("utf-8", "replace")).digest()
        for at in range(0, 32, 8):
            place = int.from_bytes(digest[at : at + 4], "little") % dimensions
            vector[place] += 1.0 if digest[at + 4] & 1 else -1.0
    length = math.sqrt(sum(x * x for x in vector))
    if not length:
        vector[0] = length = 1.0
    return [x / length for x in vector]


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(reply: Answer, count: int = 1) -> dict[str, Any]:
    completion = reply.completion_tokens * count
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": reply.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _event(value: object) -> bytes:
    return b"data: " + dumps(value) + b"\n\n"


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(dumps(body)).hexdigest()[:24]


_ENDPOINTS: Final[dict[str, Callable[[dict[str, Any], float], DemoResponse]]] = {
    "chat/completions": _chat,
    "completions": _completion,
    "embeddings": _embeddings,
}
