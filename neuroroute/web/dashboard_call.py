"""The page of one call: where its time went, what was weighed, how to send it again, and what should have happened."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from neuroroute.core import jsonbytes
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import BadRequest, NeuroRouteError
from neuroroute.core.types import LABELS, Role
from neuroroute.core.value import utilities_of
from neuroroute.routing import trail
from neuroroute.store.api_keys import ApiKeys
from neuroroute.store.feedback import Feedback
from neuroroute.store.usage import UsageRecord
from neuroroute.store.users import Users
from neuroroute.web import feedback, forms, pages_chart, usage
from neuroroute.web.bodies import validated
from neuroroute.web.pages import page, render, see
from neuroroute.web.session import PATH, Visitor
from neuroroute.web.state import DATABASE, SERVICES

_KEPT: Final = {
    "thread": "The conversation kept the model that it had.",
    "tool_loop": "A run of tools kept the model that it began with.",
    "raised": "The conversation stayed with the better model that it was given when another stalled.",
    "aside": "Better ranked models had refused or limited us a moment before.",
}
_UNREADABLE: Final = (TypeError, ValueError, AttributeError)
"""What a row's decision raises that this version did not write."""
_PROMPT: Final = "Hello"
_BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "responses": {"input": _PROMPT},
    "messages": {"max_tokens": 1024, "messages": [{"role": "user", "content": _PROMPT}]},
    "completions": {"prompt": _PROMPT},
    "embeddings": {"input": _PROMPT},
}
_CHAT: Final[Mapping[str, Any]] = {"messages": [{"role": "user", "content": _PROMPT}]}


@dataclass(frozen=True, slots=True)
class Alternative:
    """A model that was weighed, with what was expected of it. score: its utility under the policy as that is now; None: not known."""

    name: str
    quality: float
    cost_usd: float | None
    latency_ms: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """candidates: the choice first. why: in words, where it was not the ranking's. explored: it was chosen to learn about it."""

    candidates: list[Alternative]
    why: str
    explored: bool
    needs: list[str]
    unsure: bool


@page
async def request_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/requests/{id} for a browser"""
    return await _call(request, found, await usage.found_call(request, found.principal))


async def _call(
    request: web.Request, found: Visitor, record: UsageRecord, *, error: NeuroRouteError | None = None, given: Mapping[str, str] = {}
) -> web.Response:
    facts, database = usage.all_facts(record), request.app[DATABASE]
    cost, baseline = facts["cost_usd"], facts["baseline_cost_usd"]
    key, user = await ApiKeys(database).get(record.key_id), await Users(database).get(record.user_id)
    catalog = request.app[SERVICES].catalog.current
    context = {
        "call": facts,
        "saved_usd": baseline - cost if cost is not None and baseline is not None else None,
        "weighed": _weighed(request, record),
        "waterfall": _waterfall(record),
        "text": await usage.text_of(request, found.principal, record),
        "curl": as_curl(record, request.app[SERVICES].settings.api_url),
        "key_name": key.name if key is not None else None,
        "user_name": user.name if user is not None else None,
        "said": await Feedback(database).get(record.request_id, found.principal.key_id),
        "may_say": found.principal.role is not Role.VIEWER and record.model is not None,
        "models": [entry.name for entry in catalog.candidates() if catalog.may_name(entry.name, found.principal.allowed_models)],
        "labels": LABELS,
        "error": error,
        "given": given,
    }
    return render(request, "request.html", found, context)


@page
async def say(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/requests/{id}/feedback: how good the answer was, and who should have given it."""
    fields = await forms.of_changer(request, found)
    record = await usage.found_call(request, found.principal)
    body: dict[str, Any] = {"request_id": record.request_id, "score": fields.get("score", "")}
    body |= forms.filled(fields, ("correct_model", "label", "comment"))
    try:
        body["score"] = {"good": 1.0, "bad": -1.0}[body["score"]]
        await feedback.noted(request, found.principal, record, validated(feedback.FeedbackBody, body))
    except KeyError:
        return await _call(request, found, record, error=BadRequest("score: good or bad is expected", param="score"), given=fields)
    except BadRequest as error:
        return await _call(request, found, record, error=error, given=fields)
    return see(f"{PATH}/requests/{record.request_id}#say")


def as_curl(record: UsageRecord, api_url: str) -> str:
    """A command that sends such a call again: without the key, and with a prompt of its own, since prompts are not kept."""
    body: dict[str, Any]
    if record.endpoint == "/prompt":
        path, body = "/prompt", {"prompt": _PROMPT, "model_id": record.requested_model}
    else:
        path = record.endpoint or "/v1/chat/completions"
        body = {"model": record.requested_model, **_BODIES.get(record.dialect, _CHAT)}
    if record.stream:
        body["stream"] = True
    lines = [f"curl {shlex.quote(api_url + path)}", '-H "Authorization: Bearer $NEUROROUTE_KEY"', "-H 'Content-Type: application/json'"]
    if record.tags:
        tags = ",".join(f"{name}={value}" for name, value in record.tags.items())
        lines.append(f"-H {shlex.quote(f'x-neuroroute-tags: {tags}')}")
    lines.append(f"-d {shlex.quote(jsonbytes.dumps(body).decode())}")
    return " \\\n  ".join(lines)


def _waterfall(record: UsageRecord) -> pages_chart.Waterfall | None:
    """The stages of a call after each other, its attempts below the stage that made them; None where its row does not tell."""
    try:
        times = trail.times(record.decision)
    except _UNREADABLE:
        return None
    if not times.stages:
        return None
    spans, at_ms = [], 0.0
    for stage, took_ms in times.stages:
        spans.append(
            pages_chart.Span(
                _STAGES.get(stage, stage.replace("_", " ")), "stage" if stage != "model_generation" else "wait", at_ms, took_ms
            )
        )
        at_ms += took_ms
    for number, tried in enumerate(times.tries, 1):
        good = tried.outcome == "ok"
        note = "" if good else f" ({tried.outcome})"
        spans.append(pages_chart.Span(f"attempt {number}: {tried.target}{note}", "good" if good else "bad", tried.began_ms, tried.took_ms))
    total_ms = max(record.latency_ms or 0.0, at_ms)
    if record.stream and record.ttft_ms is not None and total_ms > record.ttft_ms:
        spans.append(pages_chart.Span("answer streams", "kept", record.ttft_ms, total_ms - record.ttft_ms))
    return pages_chart.waterfall(spans, total_ms)


_STAGES: Final[Mapping[str, str]] = {
    "auth": "key",
    "parse": "read the request",
    "rate_limit": "limits",
    "cache": "look in the cache",
    "classification": "read the prompt",
    "routing": "choose a model",
    "reserve": "set money aside",
    "model_generation": "model",
}
"""What the stages are called for people."""


def _weighed(request: web.Request, record: UsageRecord) -> Weighed | None:
    """What the router weighed for a call, as far as its row still tells it; None where a model was named."""
    try:
        kept = trail.read(record.decision)
    except _UNREADABLE:
        return None
    if kept is None or not kept.candidates:
        return None
    scores: list[float | None] = [None] * len(kept.candidates)
    policy = request.app[SERVICES].catalog.current.policy(record.policy or "")
    costs = [one.cost_nanousd for one in kept.candidates if one.cost_nanousd is not None]
    if policy is not None and len(costs) == len(kept.candidates):
        latencies = [one.latency_ms for one in kept.candidates]
        scores = list(utilities_of([one.quality for one in kept.candidates], costs, latencies, policy.aim)[0])
    candidates = [
        Alternative(one.name, one.quality, None if one.cost_nanousd is None else one.cost_nanousd / 1e9, one.latency_ms, score)
        for one, score in zip(kept.candidates, scores, strict=True)
    ]
    return Weighed(candidates, _KEPT.get(kept.kept, ""), kept.explored is not None, sorted(kept.needs), kept.unsure)
