"""The pages that show what happened: overview, usage, calls, models; and signing in and out."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from neuroroute.core.clock import utcnow
from neuroroute.core.errors import BadRequest, NeuroRouteError, NotFound
from neuroroute.core.types import LABELS, Role
from neuroroute.store.api_keys import ApiKeys
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from neuroroute.store.users import Users
from neuroroute.web import admin_alerts, dashboard_call, pages_chart, session, usage
from neuroroute.web.bodies import one_of, paging, plain
from neuroroute.web.pages import ms, number, page, percent, render, see, usd, wants_html
from neuroroute.web.session import Visitor, visitor
from neuroroute.web.state import DATABASE, SERVICES

RANGES: Final = {"24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90)}
_COUNTED: Final = 50_000
"""Of so many calls those at the ends of a span are read one by one, to tell how many there are."""


async def sign_in_page(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/sign-in: the form that a key is signed in with."""
    try:
        if await visitor(request) is not None:
            return see(session.safe_next(request.query.get("next")))
    except NeuroRouteError as error:
        return _sign_in_form(request, error)
    return _sign_in_form(request, None)


def _sign_in_form(request: web.Request, error: NeuroRouteError | None) -> web.Response:
    token = request.cookies.get(session.FORM_COOKIE) or session.new_form_token()
    context = {"seal": session.sign_in_seal(token), "error": error, "next": request.query.get("next", "")}
    response = render(request, "sign_in.html", None, context)
    session.give(request, response, session.FORM_COOKIE, token)
    return response


async def sign_in(request: web.Request) -> web.StreamResponse:
    """POST /dashboard/sign-in: a key becomes a session."""
    try:
        fields = await session.form(request, session.sign_in_seal(request.cookies.get(session.FORM_COOKIE, "")))
        token = await session.sign_in(request, fields.get("key", "").strip())
    except NeuroRouteError as error:
        return _sign_in_form(request, error)
    response = see(session.safe_next(request.query.get("next")))
    session.give(request, response, session.COOKIE, token)
    session.take(request, response, session.FORM_COOKIE)
    return response


@page
async def sign_out(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/sign-out: the session ends."""
    await session.form(request, found.csrf)
    await session.sign_out(request, found)
    response = see(f"{session.PATH}/sign-in")
    session.take(request, response, session.COOKIE)
    return response


async def stats(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/stats?from=&to=: totals and percentiles, of the last 24 hours and of a given time; the overview for a browser."""
    return await (overview(request) if wants_html(request) else usage.stats(request))


async def sums(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/usage?from=&to=&group_by=&format=: sums by hour, day, model, key, user or label; JSON, CSV, or the page for a browser."""
    return await (sums_page(request) if wants_html(request) and not usage.wants_csv(request) else usage.usage(request))


async def models(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/models?from=&to=: each model with price, quality, latency, error rate, breaker, share; the page for a browser."""
    return await (models_page(request) if wants_html(request) else usage.models(request))


async def requests(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/requests?from=&to=&model=&key_id=&user_id=&label=&status=&tag=&page=&limit=: the calls; the page for a browser."""
    return await (requests_page(request) if wants_html(request) else usage.requests(request))


async def one_request(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/requests/{id}: one call with its facts and its decision; the page for a browser."""
    return await (dashboard_call.request_page(request) if wants_html(request) else usage.one_request(request))


async def missing(request: web.Request) -> web.StreamResponse:
    """GET of any other path below /dashboard"""
    if not wants_html(request):
        raise _no_page(request)
    return await missing_page(request)


@page
async def missing_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """What a browser gets where there is no page."""
    if request.path == session.PATH + "/":
        return see(session.PATH)
    raise _no_page(request)


def _no_page(request: web.Request) -> NotFound:
    return NotFound(f"There is no page {request.path[:200]!r}.")


def _range(request: web.Request, default: str = "24h") -> tuple[str, usage.Span]:
    """The time that a page shows: one of RANGES by `range`, or `from` and `to`, then called ""."""
    if request.query.get("from") or request.query.get("to"):
        return "", usage.span(request)
    name = one_of(request, "range", ("", *RANGES)) or default
    now = utcnow()  # whole hours, that are kept as sums: at ten million calls a part of an hour is 14,000 rows to read
    since, until = [at.replace(minute=0, second=0, microsecond=0) for at in (now - RANGES[name], now + timedelta(hours=1))]
    return name, usage.Span(since, until)


async def _charts(request: web.Request, chosen: UsageFilter, when: usage.Span) -> dict[str, Any]:
    group = pages_chart.step_of(when.length)
    rows = await usage.groups_of(request, chosen, group)
    slots = pages_chart.filled(rows, group, when.since, when.until)
    calls = pages_chart.stacked(
        slots,
        group,
        lambda row: (("good", row["calls"] - row["errors"] - row["cached_calls"]), ("kept", row["cached_calls"]), ("bad", row["errors"])),
        number,
        lambda row: f"{number(row['calls'])} calls, {number(row['errors'])} failed, {number(row['cached_calls'])} from the cache",
    )
    money = pages_chart.stacked(
        slots,
        group,
        lambda row: (("good", row["cost_usd"]), ("saved", row["saved_usd"])),
        usd,
        lambda row: f"{usd(row['cost_usd'])} spent, {usd(row['saved_usd'])} saved",
    )
    times = pages_chart.lines(
        slots,
        group,
        lambda row: (("good", row["mean_latency_ms"]), ("saved", row["mean_ttft_ms"])),
        ms,
        lambda row: (
            f"{ms(row['mean_latency_ms'])} for the whole answer, {ms(row['mean_ttft_ms'])} to the first token, {ms(row['mean_overhead_ms'])} own"
        ),
    )
    return {"calls_chart": calls, "money_chart": money, "times_chart": times, "step": group}


@page
async def overview(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard: calls, money, cache, errors and times at a glance."""
    name, when = _range(request)
    chosen = usage.filters(request, found.principal, when)
    sees_all = usage.own(found.principal) is None
    stats, models_used, charts, firing = await asyncio.gather(  # none waits for another: the page takes as long as the longest
        usage.stats_of(request, chosen),
        usage.models_of(request, found.principal, when),
        _charts(request, chosen, when),
        admin_alerts.alerts_of(request.app, limit=20, firing=True) if sees_all else _nothing(),
    )
    context = {
        "stats": {**stats, "calls_per_minute": f"{stats['calls'] / (when.length.total_seconds() / 60):,.1f} a minute"},
        "when": when,
        "range": name,
        "ranges": list(RANGES),
        "top": [model for model in models_used[:6] if model["calls"]],
        "firing": firing.alerts if firing is not None else (),
        "live": request.query.get("live") == "1",
        "api_url": request.app[SERVICES].settings.api_url,
        **charts,
    }
    return render(request, "overview.html", found, context)


async def _nothing() -> None:
    """In the place of what a user does not see."""


@page
async def sums_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/usage for a browser"""
    group = one_of(request, "group_by", usage.GROUPS) or "day"
    name, when = _range(request, "7d" if group == "hour" else "30d")  # 30 days of hours would be more than the page shows
    rows = await usage.groups_of(request, usage.filters(request, found.principal, when), group)
    names = await _names(request, rows, group)
    context = {
        "rows": rows[:500],
        "group": group,
        "groups": usage.GROUPS,
        "range": name,
        "ranges": list(RANGES),
        "names": names,
        "when": when,
    }
    return render(request, "usage.html", found, context)


async def _names(request: web.Request, rows: list[dict[str, Any]], group: str) -> dict[str, str]:
    """What the keys or users of a table are called; ids that are gone have no name."""
    database = request.app[DATABASE]
    names: dict[str, str] = {}
    for row in rows[:100]:
        if group == "key" and (key := await ApiKeys(database).get(row["key_id"])) is not None:
            names[key.id] = key.name
        elif group == "user" and (user := await Users(database).get(row["user_id"])) is not None:
            names[user.id] = user.name
    return names


@page
async def requests_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/requests for a browser"""
    name, when = _range(request, "7d")
    chosen = usage.filters(request, found.principal, when)
    usage_, (_, limit) = Usage(request.app[DATABASE]), paging(request)
    before, after = _cursor(request, "before"), _cursor(request, "after")
    most = await usage_.at_most(chosen)
    rows = [] if most == 0 else await usage_.along(chosen, limit + 1, before=before, after=None if before else after, total=most)
    # of a tag, and of two things at once, sums are kept by the day alone: of many such calls is told how many this page shows
    exact = most is not None and (usage_.hours_are_kept(chosen) or (most <= _COUNTED and chosen.tag is None))
    total = 0 if most == 0 else (await usage_.totals(chosen)).calls if exact else None
    more, rows = len(rows) > limit, rows[:limit] if after is None or before else rows[-limit:]
    forward = after is not None and before is None
    context = {
        "rows": [usage.call_facts(row) for row in rows],
        "total": total,
        "first": _mark(rows[0]) if rows else "",
        "newer": before is not None or (forward and more),
        "older": _mark(rows[-1]) if rows and (more or forward) else "",
        "range": name,
        "ranges": list(RANGES),
        "when": when,
        "statuses": usage.STATUSES,
        "labels": LABELS,
        "models": sorted(request.app[SERVICES].catalog.current.entries),
        **await _who(request, found),
        "filtered": any(request.query.get(field) for field in ("model", "label", "status", "tag", "key_id", "user_id")),
    }
    return render(request, "requests.html", found, context)


async def _who(request: web.Request, found: Visitor) -> dict[str, dict[str, str]]:
    """What the newest keys and users are called that somebody may look at, by id."""
    database = request.app[DATABASE]
    keys, _ = await ApiKeys(database).page(limit=200, user_id=usage.own(found.principal))
    users = (await Users(database).page(limit=200))[0] if found.principal.role is not Role.USER else []
    return {"keys": {key.id: key.name for key in keys}, "users": {user.id: user.name for user in users}}


def _mark(row: UsageRecord) -> str:
    """Where a list goes on: `before` or `after` this call."""
    return f"{row.created_at.isoformat()},{row.request_id}"


def _cursor(request: web.Request, name: str) -> tuple[datetime, str] | None:
    text = plain(request, name)
    if text is None:
        return None
    at, _, request_id = text.partition(",")
    try:
        moment = datetime.fromisoformat(at.replace(" ", "+"))
        if moment.tzinfo is None or not request_id:
            raise ValueError
    except ValueError:
        raise BadRequest(f"Invalid '{name}': expected the mark of a call as the list's own links have it.", param=name) from None
    return moment, request_id


@page
async def models_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/models for a browser"""
    name, when = _range(request)
    rows = await usage.models_of(request, found.principal, when)
    context = {"rows": rows, "range": name, "ranges": list(RANGES), "when": when, "percent": percent}
    return render(request, "models.html", found, context)
