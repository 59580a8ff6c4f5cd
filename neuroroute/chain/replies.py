"""What every answer carries besides its body: the decision headers, the error bodies of each dialect, and the explanation where it was asked for."""

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s, unix_s
from neuroroute.core.errors import NeuroRouteError, Unauthenticated
from neuroroute.core.types import Dialect, Reply
from neuroroute.routing import explain

_JSON: Final = "application/json"
_SPARED: Final = {"hit": "answered before", "joined": "asked by another call at the same time"}
"""Why an answer came from no model, where nothing else was decided."""
_UNFIT: Final = dict.fromkeys(range(32)) | {127: None}


@lru_cache(maxsize=4096)  # names of models and providers, reasons: few
def header_safe(text: str) -> str:
    """`text` as a header can carry it: no control characters, Latin-1 at most."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_UNFIT).encode("latin-1", "replace").decode("latin-1")


def _common(call: Call) -> dict[str, str]:
    """The headers of every answer, refusals included."""
    headers = {"x-neuroroute-cache": call.cache_state}
    if call.client_request_id is not None:
        headers["x-client-request-id"] = call.client_request_id
    if call.target is not None:
        headers["x-neuroroute-model"] = header_safe(call.target.model.name)
        headers["x-neuroroute-provider"] = header_safe(call.target.provider.name)
    if call.kept_entry is not None and call.kept_entry.why:
        headers["x-neuroroute-route"] = call.kept_entry.why
    elif call.decision is not None:
        headers["x-neuroroute-route"] = header_safe(call.decision.reason)
    elif call.cache_state in _SPARED:
        headers["x-neuroroute-route"] = _SPARED[call.cache_state]
    headers["x-neuroroute-attempts"] = str(len(call.tried))
    return headers | own(call)


def own(call: Call) -> dict[str, str]:
    """Those that differ between two calls of the same request: its id, its time, and what its limits have left."""
    headers = {
        "x-request-id": call.request_id,
        "x-neuroroute-overhead-ms": f"{(monotonic_s() - call.started_s - call.upstream_s) * 1000:.2f}",
    }
    if _is_anthropics(call):
        headers["request-id"] = call.request_id
    if call.verdict is not None:
        headers |= call.verdict.headers()
    return headers


def whole_headers(call: Call, reply: Reply) -> dict[str, str]:
    """Those of a whole answer: what it cost and what it saved stand among them, where prices are known."""
    headers = {**reply.headers, **_common(call)}
    headers["content-type"] = reply.headers.get("content-type", _JSON)
    _money(call, headers)
    return headers


def stream_headers(call: Call, own: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Those of a stream, known when it begins: what it costs is not. own: the stream's, where it is none of events."""
    return {**own, **_common(call)}


def _money(call: Call, headers: dict[str, str]) -> None:
    if call.cost_nanousd is not None:
        headers["x-neuroroute-cost-usd"] = usd(call.cost_nanousd)
        if call.baseline_cost_nanousd is not None:
            headers["x-neuroroute-saved-usd"] = usd(call.baseline_cost_nanousd - call.cost_nanousd)


@lru_cache(maxsize=4096)  # the answers of a cache save the same again and again
def usd(nanousd: int) -> str:
    """1500 -> "0.0000015": dollars, exact, without exponent. What was saved is below zero where the baseline had cost less."""
    if nanousd < 0:
        return f"-{usd(-nanousd)}"
    text = f"{nanousd // 10**9}.{nanousd % 10**9:09d}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def error_headers(call: Call, error: NeuroRouteError) -> dict[str, str]:
    """Those of a refusal: when to come back, and whether that can help."""
    headers = _common(call) | {"content-type": _JSON}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after_s * 1000)))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return headers


def error_body(call: Call, error: NeuroRouteError) -> bytes:
    """The error as the client's dialect has it."""
    return jsonbytes.dumps(error.anthropic(call.request_id) if _is_anthropics(call) else error.openai())


def _is_anthropics(call: Call) -> bool:
    """Whether Anthropic's clients ask: also on what is only passed on, as their count of tokens."""
    return call.dialect is Dialect.MESSAGES or (call.dialect is Dialect.PASS and call.path.startswith("/messages"))


def with_explanation(call: Call, reply: Reply, s: Services) -> bytes:
    """The body of a whole answer; with the decision as its `neuroroute` member where the call asked for it."""
    if not call.steering.explain or call.decision is None:
        return reply.body
    return jsonbytes.edit(reply.body, {"neuroroute": jsonbytes.dumps(explained(call, s))})


def explained(call: Call, s: Services) -> dict[str, object]:
    """The decision, its reasons, and what became of it."""
    assert call.decision is not None
    return explain.explain(call.decision, router_of(s)) | {
        "request_id": call.request_id,
        "cache": call.cache_state,
        "why": (call.kept_entry.why or None) if call.kept_entry is not None else None,
        "attempts": [{"target": t.target.name, "outcome": t.outcome, "ms": round(t.took_s * 1000, 2)} for t in call.tried],
        "cost_usd": None if call.cost_nanousd is None else call.cost_nanousd / 1e9,
        "baseline_cost_usd": None if call.baseline_cost_nanousd is None else call.baseline_cost_nanousd / 1e9,
    }


def router_of(s: Services) -> dict[str, object]:
    """What an explanation says of the classifier: its version and measured figures."""
    card = s.classifier.card
    return {"version": card["version"], "metrics": card["summary"]}


def last_chunk(call: Call, held: bytes, s: Services) -> bytes:
    """
    The last bytes of a stream; with the decision where the call asked for it: in the event that tells the usage, or where there is none
    in one of its own before the end marker.

    held: all that was kept back since that event came.
    """
    if not explains(call):
        return held
    explanation = explained(call, s)
    events = held.split(b"\n\n")
    for i in reversed(range(len(events))):
        if (told := _with_decision(call, events[i], explanation)) is not None:
            events[i] = told
            return b"\n\n".join(events)
    if call.dialect not in _OWN_CHUNKS:
        return held
    assert call.target is not None
    own = {
        "id": call.request_id,
        "object": _OWN_CHUNKS[call.dialect],
        "created": int(unix_s()),
        "model": call.target.model.name,
        "choices": [],
        "neuroroute": explanation,
    }
    head, mark, tail = held.rpartition(b"data: [DONE]")
    return head + b"data: " + jsonbytes.dumps(own) + b"\n\n" + mark + tail


_OWN_CHUNKS: Final = {Dialect.CHAT: "chat.completion.chunk", Dialect.COMPLETIONS: "text_completion"}
_TELLING: Final[Mapping[Dialect, tuple[bytes, ...]]] = {
    Dialect.CHAT: (b'"usage":{', b'"usage": {'),
    Dialect.COMPLETIONS: (b'"usage":{', b'"usage": {'),
    Dialect.MESSAGES: (b"message_delta",),
    Dialect.RESPONSES: (b"response.completed", b"response.incomplete"),
}
"""What the event that tells the usage of a stream is known by."""


def explains(call: Call) -> bool:
    """Whether the stream's end carries the decision."""
    return call.steering.explain and call.decision is not None and call.dialect in _TELLING


def tells(call: Call, chunk: bytes) -> bool:
    """Whether the event that the decision goes with is in these bytes of a stream that explains itself."""
    return any(mark in chunk for mark in _TELLING[call.dialect])


def _with_decision(call: Call, event: bytes, explanation: Mapping[str, object]) -> bytes | None:
    """The event with the decision in it; None where it is not the one that tells the usage."""
    head, mark, data = event.rpartition(b"data: ")
    if not mark or not data.startswith(b"{") or not tells(call, event):
        return None
    try:
        told = jsonbytes.loads(data)
    except jsonbytes.JSONDecodeError:
        return None
    inside = told
    if call.dialect in (Dialect.MESSAGES, Dialect.RESPONSES):
        if not str(told.get("type")).encode() in _TELLING[call.dialect]:
            return None
        inside = told["response"] if call.dialect is Dialect.RESPONSES else told
    inside["neuroroute"] = explanation
    return head + mark + jsonbytes.dumps(told)
