"""`neuroroute usage`: what calls used and cost, from the database."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from neuroroute.cli.out import Fault, load, show, with_database
from neuroroute.core import jsonbytes

if TYPE_CHECKING:
    from neuroroute.store.postgres import Database
    from neuroroute.store.usage import UsageSums

COLUMNS: Final = ("calls", "errors", "cached_calls", "prompt_tokens", "completion_tokens", "cost_usd", "saved_usd", "latency_ms")
GROUPS: Final = ("hour", "day", "model", "key", "user", "label")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def usage(
    by: Annotated[str, typer.Option(help="hour, day, model, key, user or label.")] = "model",
    since: Annotated[str, typer.Option(help="From when on: 30m, 24h, 7d, 2w, or a date (UTC).")] = "7d",
    until: Annotated[str | None, typer.Option(help="Until when, written likewise; default: now.")] = None,
    model: Annotated[str | None, typer.Option(help="Only calls that this model answered.")] = None,
    key: Annotated[str | None, typer.Option(help="Only calls of this key (its id).")] = None,
    user: Annotated[str | None, typer.Option(help="Only calls of this user (its id).")] = None,
    tag: Annotated[str | None, typer.Option(help="Only calls with this tag, as team=search.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Calls, tokens, money and savings, with a total. Money in USD; what has no known price is not in it."""
    if by not in GROUPS:
        raise Fault(f"--by is one of {', '.join(GROUPS)}.")
    name, found, value = (tag or "").partition("=")
    if tag is not None and not found:
        raise Fault("--tag is written name=value.")

    begin, end = span(since, until)

    async def work(database: "Database") -> tuple[list[dict[str, Any]], dict[str, Any]]:
        from neuroroute.store.usage import Usage, UsageFilter

        filters = UsageFilter(
            since=begin,
            until=end,
            model=model,
            key_id=key,
            user_id=user,
            tag=None if tag is None else (name, value),
        )
        books = Usage(database)
        rows = [{by: sums.name, **_facts(sums)} for sums in await books.grouped(by, filters)]  # type: ignore[arg-type]  # one of GROUPS
        return rows, _facts(await books.totals(filters))

    rows, total = with_database(load(), work)
    if json:
        print(jsonbytes.dumps_pretty({"data": rows, "total": total}))
    else:
        told = [
            {**row, "cost_usd": dollars(row["cost_usd"]), "saved_usd": dollars(row["saved_usd"]), "latency_ms": _rounded(row["latency_ms"])}
            for row in [*rows, {by: "total", **total}]
        ]
        show(told, (by, *COLUMNS), as_json=False)


def _facts(sums: "UsageSums") -> dict[str, Any]:
    return {
        "calls": sums.calls,
        "errors": sums.errors,
        "cached_calls": sums.cached_calls,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "cached_tokens": sums.cached_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "cost_usd": sums.cost_nanousd / 1e9,
        "saved_usd": sums.saved_nanousd / 1e9,
        "unpriced_calls": sums.unpriced_calls,
        "latency_ms": sums.latency_ms,
        "ttft_ms": sums.ttft_ms,
        "overhead_ms": sums.overhead_ms,
    }


def dollars(usd: float) -> str:
    """Without an exponent, as money is written."""
    return f"{usd:.9f}".rstrip("0").rstrip(".")


def _rounded(ms: float | None) -> int | None:
    return None if ms is None else round(ms)


def span(since: str, until: str | None) -> tuple[datetime, datetime | None]:
    """Both ends of a time. Raises: Fault where it ends before it begins"""
    from neuroroute.core.clock import utcnow

    begin, end = moment(since, "--since"), None if until is None else moment(until, "--until")
    if begin >= (end or utcnow()):
        raise Fault("--since lies in the future." if end is None else "--until lies before --since.")
    return begin, end


def moment(text: str, option: str) -> datetime:
    """`7d` before now, or an ISO date or time; without a zone it is UTC."""
    from neuroroute.core.clock import utcnow

    span = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if span is not None:
        return utcnow() - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Fault(f"{option} {text}: 30m, 24h, 7d, 2w or a date such as 2026-11-01 is expected.") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
