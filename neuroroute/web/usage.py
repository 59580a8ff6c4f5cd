"""
/dashboard/stats, /dashboard/usage, /dashboard/models, /dashboard/requests: the figures, as JSON for programs; the pages show the same.

Users see their own calls only; admins and viewers see all.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast, get_args

from aiohttp import web

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import BadRequest, Forbidden, NotFound
from neuroroute.core.types import Principal, Role
from neuroroute.store.call_texts import CallText, CallTexts
from neuroroute.store.usage import Group, Usage, UsageFilter, UsageRecord, UsageSums
from neuroroute.web import models as catalogue
from neuroroute.web.bodies import answer, listed, one_of, paging, plain
from neuroroute.web.session import reader
from neuroroute.web.state import DATABASE, SERVICES

GROUPS: Final[tuple[str, ...]] = get_args(Group)
STATUSES: Final = ("ok", "error", "client_gone", "cut", "interrupted")
DAY: Final = timedelta(days=1)
LONG: Final = timedelta(days=3660)
SHARES: Final = (0.5, 0.95, 0.99)
_VARY: Final = "Accept, Cookie"


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` on, up to and without `until`."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.since


def span(request: web.Request, default: timedelta = DAY) -> Span:
    """`from` and `to` of the query. Raises BadRequest."""
    until = moment_of(request, "to") or utcnow()
    since = moment_of(request, "from") or until - default
    if since >= until:
        raise BadRequest("Invalid 'from': expected a moment before 'to'.", param="from")
    return Span(since, until)


def moment_of(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name, "").strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text[:40].replace(" ", "+") if "T" in text else text[:40])
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"Invalid '{name}': expected a date or a moment such as 2026-11-23T18:00:00Z.", param=name) from None
    if not 2000 <= found.year <= 2200:
        raise BadRequest(f"Invalid '{name}': expected a year from 2000 to 2200.", param=name)
    return found


def own(principal: Principal) -> str | None:
    """Whose calls somebody may see; None = everybody's."""
    return principal.user_id if principal.role is Role.USER else None


def filters(request: web.Request, principal: Principal, when: Span | None) -> UsageFilter:
    """The filters of the query, never wider than the caller may look. Raises BadRequest, Forbidden."""
    wanted = plain(request, "user_id", 64)
    if principal.role is Role.USER and wanted not in (None, principal.user_id):
        raise Forbidden("Users see their own calls only.", param="user_id")
    tag = plain(request, "tag", 400)
    pair: tuple[str, str] | None = None
    if tag is not None:
        name, sign, value = tag.partition("=") if "=" in tag else tag.partition(":")
        if not (name and sign):
            raise BadRequest("Invalid 'tag': expected name=value.", param="tag")
        pair = (name.strip(), value.strip())
    return UsageFilter(
        since=when.since if when is not None else None,
        until=when.until if when is not None else None,
        model=plain(request, "model"),
        key_id=plain(request, "key_id", 64),
        user_id=own(principal) or wanted,
        label=plain(request, "label", 64),
        status=one_of(request, "status", ("", *STATUSES)) or None,
        tag=pair,
    )


async def stats_of(request: web.Request, chosen: UsageFilter) -> dict[str, Any]:
    """Totals and percentiles of the calls of a filter. Money in USD, times in ms, shares 0..1."""
    usage = Usage(request.app[DATABASE])
    totals = await usage.totals(chosen)
    found = await usage.percentiles(chosen, totals.calls, SHARES)
    return {
        "from": chosen.since,
        "to": chosen.until,
        **sums(totals),
        "latency_ms": _percentiles(found["latency"], totals.latency_ms),
        "ttft_ms": _percentiles(found["ttft"], totals.ttft_ms),
        "overhead_ms": _percentiles(found["overhead"], totals.overhead_ms),
    }


def _percentiles(found: Sequence[float | None], mean: float | None) -> dict[str, float | None]:
    named = {"p50": found[0], "p95": found[1], "p99": found[2], "mean": mean}
    return {name: None if value is None else round(value, 3) for name, value in named.items()}


def sums(row: UsageSums) -> dict[str, Any]:
    """
    Sums as JSON has them. cost_usd counts calls whose price is known; unpriced_calls are those whose is not.

    cached_calls were answered from the cache, joined_calls of them by a call that ran; missed_calls were looked for there. cache_saved_usd and _s:
    what those answers would have cost and taken at their models.
    """
    return {
        "calls": row.calls,
        "errors": row.errors,
        "error_rate": row.errors / row.calls if row.calls else 0.0,
        "cached_calls": row.cached_calls,
        "cache_share": row.cached_calls / row.calls if row.calls else 0.0,
        "joined_calls": row.joined_calls,
        "missed_calls": row.missed_calls,
        "cache_saved_usd": row.cache_saved_nanousd / 1e9,
        "cache_saved_s": row.cache_saved_ms / 1000,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.prompt_tokens + row.completion_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_usd": row.cost_nanousd / 1e9,
        "saved_usd": row.saved_nanousd / 1e9,
        "unpriced_calls": row.unpriced_calls,
    }


def call_facts(record: UsageRecord) -> dict[str, Any]:
    """One call as the lists show it. Money in USD, null = not known."""
    return {
        "request_id": record.request_id,
        "client_request_id": record.client_request_id,
        "created_at": record.created_at,
        "key_id": record.key_id,
        "user_id": record.user_id,
        "requested_model": record.requested_model,
        "model": record.model,
        "provider": record.provider,
        "label": record.label,
        "difficulty": record.difficulty,
        "policy": record.policy,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "cached_tokens": record.cached_tokens,
        "reasoning_tokens": record.reasoning_tokens,
        "tokens_source": record.tokens_source,
        "cost_usd": _usd(record.cost_nanousd),
        "baseline_cost_usd": _usd(record.baseline_cost_nanousd),
        "cache": record.cache,
        "attempts": record.attempts,
        "status": record.status,
        "http_status": record.http_status,
        "latency_ms": record.latency_ms,
        "ttft_ms": record.ttft_ms,
        "overhead_ms": record.overhead_ms,
        "tags": dict(record.tags),
    }


def all_facts(record: UsageRecord) -> dict[str, Any]:
    """One call with everything that is on record of it."""
    return {
        **call_facts(record),
        "dialect": record.dialect,
        "endpoint": record.endpoint,
        "stream": record.stream,
        "language": record.language,
        "cache_write_tokens": record.cache_write_tokens,
        "error_code": record.error_code,
        "decision": None if record.decision is None else dict(record.decision),
    }


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / 1e9


async def models_of(request: web.Request, principal: Principal, when: Span) -> list[dict[str, Any]]:
    """Each model that somebody may use, with its live state and its share of the calls of a time; the busiest first."""
    catalog = request.app[SERVICES].catalog.current
    rows = await Usage(request.app[DATABASE]).grouped("model", UsageFilter(since=when.since, until=when.until, user_id=own(principal)))
    used = {row.name: row for row in rows}
    total = sum(row.calls for row in rows)
    found = []
    for entry in catalog.entries.values():
        if not catalog.may_name(entry.name, principal.allowed_models):
            continue
        row = used.get(entry.model.name)
        calls = row.calls if row is not None else 0
        found.append(
            {
                **catalogue.shown(entry, request),
                "calls": calls,
                "share": calls / total if total else 0.0,
                "error_rate": row.errors / calls if row is not None and calls else None,
                "cost_usd": row.cost_nanousd / 1e9 if row is not None else 0.0,
                "mean_latency_ms": row.latency_ms if row is not None else None,
            }
        )
    return sorted(found, key=lambda model: -model["calls"])


async def stats(request: web.Request) -> web.Response:
    """GET /dashboard/stats?from=&to=: totals of the last 24 hours and of a given time."""
    principal = await reader(request)
    when = span(request)
    chosen = filters(request, principal, when)
    now = utcnow()
    asked = await stats_of(request, chosen)
    last = asked if "from" not in request.query and "to" not in request.query else None
    last = last or await stats_of(request, replace(chosen, since=now - DAY, until=now))
    return _said({"object": "stats", **asked, "last_24h": last})


async def usage(request: web.Request) -> web.Response:
    """GET /dashboard/usage?from=&to=&group_by=&format=: sums by hour, day, model, key, user or label; as JSON or CSV."""
    principal = await reader(request)
    when = span(request, timedelta(days=30))
    group = one_of(request, "group_by", GROUPS) or "day"
    rows = await groups_of(request, filters(request, principal, when), group)
    if wants_csv(request):
        return as_csv(rows, group)
    page, limit = paging(request)
    return listed(rows[(page - 1) * limit : page * limit], len(rows), page, limit)


def wants_csv(request: web.Request) -> bool:
    """Whether a file for spreadsheets is asked for: by `format`, or by Accept where that says nothing. Raises BadRequest."""
    wanted = one_of(request, "format", ("json", "csv"))
    return wanted == "csv" or (wanted is None and "text/csv" in request.headers.get("Accept", ""))


async def groups_of(request: web.Request, chosen: UsageFilter, group: str) -> list[dict[str, Any]]:
    """One row for each hour, day, model, ... with calls. The name stands under the group's own name: {"model": "gpt-4o", "calls": 3, ...}."""
    rows = await Usage(request.app[DATABASE]).grouped(cast("Group", group), chosen)
    field = {"key": "key_id", "user": "user_id"}.get(group, group)
    means = ("latency_ms", "ttft_ms", "overhead_ms")
    return [{field: row.name, **sums(row), **{f"mean_{name}": getattr(row, name) for name in means}} for row in rows]


def as_csv(rows: Sequence[Mapping[str, Any]], group: str) -> web.Response:
    """The rows as a file for spreadsheets; no cell can be taken for a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if rows:
        writer.writerow(rows[0])
        writer.writerows([[_cell(value) for value in row.values()] for row in rows])
    headers = {
        "content-type": "text/csv; charset=utf-8",
        "content-disposition": f'attachment; filename="usage-by-{group}.csv"',
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return web.Response(text=out.getvalue(), headers=headers)


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


async def models(request: web.Request) -> web.Response:
    """GET /dashboard/models?from=&to=: each model with price, quality, latency, error rate, breaker and share of the calls."""
    principal = await reader(request)
    rows = await models_of(request, principal, span(request))
    page, limit = paging(request)
    return listed(rows[(page - 1) * limit : page * limit], len(rows), page, limit)


async def requests(request: web.Request) -> web.Response:
    """GET /dashboard/requests?from=&to=&model=&key_id=&user_id=&label=&status=&tag=&page=&limit=: the calls, newest first."""
    principal = await reader(request)
    when = span(request, LONG) if "from" in request.query or "to" in request.query else None
    page, limit = paging(request)
    rows, total = await Usage(request.app[DATABASE]).page(filters(request, principal, when), page=page, limit=limit)
    return listed([call_facts(row) for row in rows], total, page, limit)


async def one_request(request: web.Request) -> web.Response:
    """GET /dashboard/requests/{id}: one call, with its decision."""
    principal = await reader(request)
    record = await found_call(request, principal)
    kept = await text_of(request, principal, record)
    text = {} if kept is None else {"prompt": kept.prompt, "answer": kept.answer}
    return _said({"object": "request", **all_facts(record), **text})


async def text_of(request: web.Request, principal: Principal, record: UsageRecord) -> CallText | None:
    """What a call said, where that was kept, for admins and whose call it is."""
    if principal.role is not Role.ADMIN and principal.user_id != record.user_id:
        return None
    return await CallTexts(request.app[DATABASE]).get(record.request_id)


async def found_call(request: web.Request, principal: Principal) -> UsageRecord:
    """The call of the path. Another user's call does not exist for a user."""
    request_id = request.match_info["id"][:64]
    record = await Usage(request.app[DATABASE]).get(request_id)
    if record is None or own(principal) not in (None, record.user_id):
        raise NotFound(f"There is no call '{request_id}'.", param="id")
    return record


def _said(value: object) -> web.Response:
    response = answer(value)
    response.headers["vary"] = _VARY
    return response
