"""
POST /prompt: one question, one answer, and everything that was decided on the way, in one flat JSON.

A prompt becomes a chat call and lives the same life; only its sink is another one.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from neuroroute.adapters.over_chat import spoken
from neuroroute.chain.call import Call, Source
from neuroroute.chain.classify import read
from neuroroute.chain.life import live
from neuroroute.chain.parse import not_json
from neuroroute.chain.shapes import is_a
from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import BadRequest
from neuroroute.core.types import Dialect
from neuroroute.web.inference import opened
from neuroroute.web.sink import HttpSink
from neuroroute.web.state import LIFECYCLE, SERVICES

_OWN: Final = frozenset({"prompt", "model_id", "policy", "system", "cache"})


async def prompt(request: web.Request) -> web.Response:
    """Answers with the response, the model, tokens, cost, classification and the time of each stage."""
    s, lifecycle = request.app[SERVICES], request.app[LIFECYCLE]
    call, edge = opened(request, Dialect.CHAT, "/chat/completions", group="prompt")
    call.source = _PromptSource(call.source, request.headers)
    sink = _Kept(edge)
    lifecycle.live_calls += 1
    try:
        await live(call, sink, s)
    finally:
        lifecycle.live_calls -= 1
        edge.close()
    if sink.status < 400 and call.classification is None:  # answered from the cache, before it was classified
        read(call, s)
    body = sink.body if sink.status >= 400 else jsonbytes.dumps(_answer(call, sink.body))
    return web.Response(status=sink.status, body=body, headers=dict(sink.headers))


class _PromptSource:
    """The body of /prompt, read as the chat body that it means."""

    def __init__(self, body: Source, headers: Mapping[str, str]) -> None:
        self._body, self._headers = body, headers

    async def read(self) -> bytes:
        return jsonbytes.dumps(_chat_body(await self._body.read(), self._headers))

    def chunks(self) -> AsyncIterable[bytes]:
        return _nothing()

    def address(self) -> str | None:
        return self._body.address()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _chat_body(raw: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    try:
        body = jsonbytes.loads(raw)
    except jsonbytes.JSONDecodeError as error:
        raise not_json(headers, error) from None
    if not isinstance(body, dict):
        raise BadRequest("The body of your request must be a JSON object.")
    text = body.get("prompt")
    if not isinstance(text, str) or not text.strip():
        raise BadRequest(
            "Missing required parameter: 'prompt', a string that is not empty.", param="prompt", code="missing_required_parameter"
        )
    for name in ("model_id", "system"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise BadRequest(f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type")
    if body.get("policy") is not None and not is_a(body["policy"], (str, int, float)):
        raise BadRequest("Invalid type for 'policy': expected a string, or a number from 0 to 10.", param="policy", code="invalid_type")
    messages = [{"role": "user", "content": text}]
    if body.get("system"):
        messages.insert(0, {"role": "system", "content": body["system"]})
    chat = {name: value for name, value in body.items() if name not in _OWN and name != "stream"}
    steering = {name: body[name] for name in ("policy", "cache") if body.get(name) is not None}
    if steering:
        chat["neuroroute"] = {**steering, **(chat.get("neuroroute") or {})}
    return {**chat, "model": body.get("model_id") or "auto", "messages": messages}


class _Kept:
    """A sink that keeps the whole answer. edge: where the client is."""

    def __init__(self, edge: HttpSink) -> None:
        self._edge = edge
        self.status, self.body = 500, b""
        self.headers: Mapping[str, str] = {}

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        raise AssertionError("a prompt is never streamed")

    async def write(self, chunk: bytes) -> None:
        raise AssertionError("a prompt is never streamed")

    async def end(self) -> None:
        raise AssertionError("a prompt is never streamed")

    def abort(self) -> None:
        raise AssertionError("a prompt is never streamed")

    def stay(self, left: Callable[[], None]) -> None:
        self._edge.stay(left)


def _answer(call: Call, body: bytes) -> dict[str, Any]:
    chat = jsonbytes.loads(body)
    message = chat["choices"][0]["message"]
    seen, used, target = call.classification, call.usage, call.target
    assert target is not None
    total_s = monotonic_s() - call.started_s
    return {
        "response": spoken(message)[1],
        "tool_calls": message.get("tool_calls"),
        "model_used": target.model.name,
        "provider": target.provider.name,
        "tokens": {
            "prompt": used.prompt_tokens,
            "completion": used.completion_tokens,
            "total": used.prompt_tokens + used.completion_tokens,
        },
        "cost_usd": None if call.cost_nanousd is None else call.cost_nanousd / 1e9,
        "classification": None
        if seen is None
        else {
            "label": seen.label,
            "difficulty": round(seen.difficulty, 4),
            "confidence": round(seen.confidence, 4),
            "language": seen.language,
            "abilities": sorted(seen.abilities),
            "tokens_estimated": seen.prompt_tokens,
        },
        "processing_time": {name: round(took_s * 1000, 3) for name, took_s in [("total", total_s), *call.stages]},
        "cached": call.is_paid_elsewhere,
        "request_id": call.request_id,
        **({"neuroroute": chat["neuroroute"]} if call.steering.explain and "neuroroute" in chat else {}),
    }
