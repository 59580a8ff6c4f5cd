"""
The page of policies: what each of them would choose, and what a changed one would have done with the calls of the last day.

The preview decides a sample of those calls again, spread evenly over the day, so that it takes no longer on a busy gateway.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from neuroroute.chain import changes
from neuroroute.chain.changes import Cause
from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.config import PolicyConfig
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import BadRequest, NeuroRouteError
from neuroroute.core.types import LABELS, Classification
from neuroroute.routing.catalog import Catalog, Policy
from neuroroute.routing.decision import NO_BOUNDS
from neuroroute.routing.health import Health
from neuroroute.routing.offers import policy_of
from neuroroute.routing.replay import Replay
from neuroroute.routing.router import Router
from neuroroute.routing.strategies import STRATEGIES, Field, Present, order, weigh
from neuroroute.store.usage import Usage, UsageFilter
from neuroroute.web import forms, session
from neuroroute.web.bodies import validated
from neuroroute.web.identity import actor
from neuroroute.web.pages import page, render, see
from neuroroute.web.session import PATH, Visitor
from neuroroute.web.state import DATABASE, OFFER, SERVICES, VERSIONS

SAMPLE: Final = 144
"""Calls that a preview decides again, 6 of each hour on a busy gateway. Bounds the time of the page: tests/web/test_dashboard_speed.py."""
_DAY: Final = timedelta(days=1)
_TYPICAL_TOKENS: Final = 500
_WEIGHTS: Final = ("quality", "cost", "latency")
_FIELDS: Final = ("dial", "quality_floor", "quality_slack", "allow", "deny", *_WEIGHTS)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a policy chooses for a typical prompt of a label; model "" where there is none."""

    model: str
    quality: float | None


@page
async def routing_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/routing: the policies, and a form to try a changed one."""
    said = "Saved. It is in force here, and everywhere within seconds." if request.query.get("saved") else ""
    return await show(request, found, dict(request.query), said=said)


@page
async def change(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/routing: try a policy, save it, make it the default, or remove it."""
    fields = await session.form(request, found.csrf)
    action = fields.get("do", "preview")
    if action == "preview":
        return await show(request, found, fields)
    forms.admins_only(found)
    policy, name = fields.get("policy", "").strip(), fields.get("name", "").strip() or fields.get("policy", "")
    try:
        if action == "save":
            patch: dict[str, Any] = {"policies": {name: _whole(as_config(fields))}}
        elif action == "default":
            patch, name = {"policy": policy}, policy
        elif action == "delete":
            patch, name = {"policies": {policy: None}}, request.app[SERVICES].catalog.current.default_policy
        else:
            raise BadRequest("do: preview, save, default or delete is expected", param="do")
        told = {"save": f"policy {name}", "default": f"auto means {policy}", "delete": f"policy {policy} removed"}[action][:200]
        cause = Cause("config.put", told, told)
        await changes.put(request.app[VERSIONS], {"routing": patch}, cause=cause, actor=actor(request, found.principal))
    except forms.MENDABLE as error:
        return await show(request, found, fields, error=error)
    return see(f"{PATH}/routing?" + urlencode({"policy": name, "saved": "1"}))


def _whole(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry that leaves nothing of what was set before."""
    weights = {name: entry.get("weights", {}).get(name) for name in _WEIGHTS}
    return {name: entry.get(name) for name in ("dial", "quality_floor", "quality_slack", "allow", "deny")} | {"weights": weights}


async def show(
    request: web.Request, found: Visitor, given: Mapping[str, str], *, error: NeuroRouteError | None = None, said: str = ""
) -> web.Response:
    """The page with these fields in its form. error: why what was sent could not be done; said: that it was."""
    forms.readers_only(found)
    catalog, offer = request.app[SERVICES].catalog.current, request.app[OFFER]
    name = given.get("policy") or catalog.default_policy
    if name not in catalog.policies:
        name = catalog.default_policy
    form = {
        **as_fields(name, offer.config.routing.policies.get(name), catalog),
        **{field: given[field] for field in _FIELDS if field in given},
    }
    report, fault = None, None
    try:
        report = await _preview(request, tried(name, form, catalog))
    except BadRequest as refused:
        fault = refused
    changed = any(
        form[field].strip() != value for field, value in as_fields(name, offer.config.routing.policies.get(name), catalog).items()
    )
    context = {
        "policies": {
            policy: {
                "text": STRATEGIES[policy][1] if policy in STRATEGIES else "of your own",
                "aim": found_policy.aim,
                "own": policy in offer.config.routing.policies,
            }
            for policy, found_policy in catalog.policies.items()
        },
        "default": catalog.default_policy,
        "policy": name,
        "form": form,
        "given": given,
        "changed": changed,
        "report": report,
        "matrix": _matrix(request.app[SERVICES].router, catalog),
        "rules": [rule.text for rule in catalog.rules],
        "error": error,
        "fault": fault,
        "said": said,
    }
    return render(request, "routing.html", found, context)


def as_fields(name: str, kept: PolicyConfig | None, catalog: Catalog) -> dict[str, str]:
    """A policy as the fields of the form."""
    aim, own = catalog.policies[name].aim, kept or PolicyConfig()
    figures: dict[str, float | None] = {
        "dial": own.dial,
        "quality_floor": aim.quality_floor,
        "quality_slack": aim.quality_slack,
        "quality": aim.quality_weight if own.dial is None else own.weights.quality,
        "cost": aim.cost_weight if own.dial is None else own.weights.cost,
        "latency": aim.latency_weight if own.dial is None else own.weights.latency,
    }
    written = {field: "" if value is None else f"{value:.6g}" for field, value in figures.items()}
    return {**written, "allow": ", ".join(own.allow or ()), "deny": ", ".join(own.deny or ())}


def as_config(fields: Mapping[str, str]) -> dict[str, Any]:
    """The form as an entry of `routing.policies`; what is left empty is not in it."""
    entry: dict[str, Any] = {}
    for name in ("dial", "quality_floor", "quality_slack"):
        if text := fields.get(name, "").strip():
            entry[name] = _figure(name, text)
    weights = {name: _figure(name, text) for name in _WEIGHTS if (text := fields.get(name, "").strip())}
    if weights:
        entry["weights"] = weights
    for name in ("allow", "deny"):
        if names := forms.words(fields.get(name, "")):
            entry[name] = names
    return entry


def _figure(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadRequest(f"{name}: a number is expected", param=name) from None


def tried(name: str, fields: Mapping[str, str], catalog: Catalog) -> Policy:
    """The policy that the form means. Raises: BadRequest naming the field"""
    entry = as_config(fields)
    try:
        made = policy_of(validated(PolicyConfig, entry))
        return Policy(name, made.aim(), frozenset(made.allow), frozenset(made.deny))
    except ValueError as fault:
        raise BadRequest(str(fault), param="policy") from None


async def _preview(request: web.Request, policy: Policy) -> dict[str, Any]:
    """The last day's calls under a policy; `asked`: how many calls that day had, `calls`: how many of them are in the sample."""
    usage, now = Usage(request.app[DATABASE]), utcnow()
    day = UsageFilter(since=now - _DAY, until=now)
    router, catalog = request.app[SERVICES].router, request.app[SERVICES].catalog.current
    present = Present(Health(), router.lengths, 0.0, router.mean_difficulty, router.posteriors.tables(catalog))
    replay = Replay(policy, catalog, present)
    asked = (await usage.totals(day)).calls
    rows = await (usage.along(day, SAMPLE) if asked <= SAMPLE else usage.sample(now - _DAY, now, SAMPLE))
    for row in rows:
        try:
            replay.add(row)
        except (TypeError, ValueError):
            continue  # a decision that this version did not write
    report = replay.report()
    return {**report, "asked": asked, "whole": len(rows) >= asked, "moves": report["moves"][:12]}


def _matrix(router: Router, catalog: Catalog) -> list[tuple[str, list[Choice]]]:
    """For each label what each policy chooses for a typical prompt of it; what rules and conversations would change is left out."""
    present = Present(router.health, router.lengths, monotonic_s(), router.mean_difficulty, router.posteriors.tables(catalog))
    entries = catalog.candidates()
    return [(label, [_choice(policy, label, entries, catalog, present) for policy in catalog.policies.values()]) for label in LABELS]


def _choice(policy: Policy, label: str, entries: Sequence[Any], catalog: Catalog, present: Present) -> Choice:
    posterior = tuple(float(one == label) for one in LABELS)
    seen = Classification(label, 1.0, present.mean_difficulty.get(label, 0.35), "en", frozenset(), _TYPICAL_TOKENS, posterior)
    allow = catalog.matching(policy.allow) if policy.allow else None
    deny = catalog.matching(policy.deny) if policy.deny else frozenset[str]()
    ranked = order(weigh(entries, Field(seen, NO_BOUNDS, allow=allow, deny=deny), present), policy.aim, present)
    standing = [one for one in ranked if not one.closed]
    return Choice(standing[0].entry.name, standing[0].quality) if standing else Choice("", None)
