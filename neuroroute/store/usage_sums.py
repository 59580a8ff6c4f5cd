"""
Tables `usage_daily` and `usage_hourly`: sums of `usage_records`, kept by the database as rows arrive.

A span of time is put together from whole days, whole hours at its ends, and single calls at the ends of those, so that a sum is exact to the
moment and reads some hundred rows where it would have read millions. Where no sums are kept for what is asked, single calls are read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass

_DIMENSIONS: Final = ("key", "user", "model", "provider", "label")
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "all": (),
    "key": ("key",),
    "user": ("user",),
    "model": ("model",),
    "provider": ("provider",),
    "label": ("label",),
    "key model": ("key", "model"),
    "key label": ("key", "label"),
    "user key": ("user", "key"),
    "user model": ("user", "model"),
    "user label": ("user", "label"),
    "model label": ("model", "label"),
    "tag": ("tag_name", "tag_value"),
}
"""What sums are kept of, and the dimensions that stand in their columns a and b."""
COLUMNS: Final = {"key": "key_id", "user": "user_id", "model": "model", "provider": "provider", "label": "label"}

_SUMS: Final = (
    "calls", "errors", "cached_calls", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cost_nanousd", "saved_nanousd",
    "unpriced_calls", "latency_ms", "latency_calls", "ttft_ms", "ttft_calls", "overhead_ms", "overhead_calls",
    "joined_calls", "missed_calls", "cache_saved_nanousd", "cache_saved_ms",
)  # fmt: skip
_SINGLE: Final = """
    1 AS calls,
    (status NOT IN ('ok', 'client_gone'))::int AS errors,
    (cache IN ('hit', 'joined'))::int AS cached_calls,
    prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
    coalesce(cost_nanousd, 0) AS cost_nanousd,
    coalesce(baseline_cost_nanousd::numeric - cost_nanousd, 0) AS saved_nanousd,
    (cost_nanousd IS NULL AND prompt_tokens::numeric + completion_tokens > 0)::int AS unpriced_calls,
    coalesce(latency_ms, 0) AS latency_ms, (latency_ms IS NOT NULL)::int AS latency_calls,
    coalesce(ttft_ms, 0) AS ttft_ms, (ttft_ms IS NOT NULL)::int AS ttft_calls,
    coalesce(overhead_ms, 0) AS overhead_ms, (overhead_ms IS NOT NULL)::int AS overhead_calls,
    (cache = 'joined')::int AS joined_calls, (cache = 'miss')::int AS missed_calls,
    CASE WHEN cache IN ('hit', 'joined') THEN coalesce((decision -> 'spared' ->> 0)::numeric, 0) ELSE 0 END AS cache_saved_nanousd,
    CASE WHEN cache IN ('hit', 'joined') THEN coalesce((decision -> 'spared' ->> 1)::float8, 0) ELSE 0 END AS cache_saved_ms
"""
_TOTAL: Final = """
SELECT name,
    coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(errors), 0)::bigint AS errors, coalesce(sum(cached_calls), 0)::bigint AS cached_calls,
    least(coalesce(sum(prompt_tokens), 0), 9e18)::bigint AS prompt_tokens,
    least(coalesce(sum(completion_tokens), 0), 9e18)::bigint AS completion_tokens,
    least(coalesce(sum(cached_tokens), 0), 9e18)::bigint AS cached_tokens,
    least(coalesce(sum(reasoning_tokens), 0), 9e18)::bigint AS reasoning_tokens,
    least(coalesce(sum(cost_nanousd), 0), 9e18)::bigint AS cost_nanousd,
    greatest(least(coalesce(sum(saved_nanousd), 0), 9e18), -9e18)::bigint AS saved_nanousd,
    coalesce(sum(unpriced_calls), 0)::bigint AS unpriced_calls,
    sum(latency_ms) / nullif(sum(latency_calls), 0) AS latency_ms,
    sum(ttft_ms) / nullif(sum(ttft_calls), 0) AS ttft_ms,
    sum(overhead_ms) / nullif(sum(overhead_calls), 0) AS overhead_ms,
    coalesce(sum(joined_calls), 0)::bigint AS joined_calls, coalesce(sum(missed_calls), 0)::bigint AS missed_calls,
    least(coalesce(sum(cache_saved_nanousd), 0), 9e18)::bigint AS cache_saved_nanousd,
    coalesce(sum(cache_saved_ms), 0)::float8 AS cache_saved_ms
FROM (/*pieces*/) AS found
"""
_ORDERS: Final = {"hour": "ORDER BY 1", "day": "ORDER BY 1", "label": "ORDER BY calls DESC"}
_DEAREST: Final = "ORDER BY cost_nanousd DESC, calls DESC"
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A span that one table answers. None: without end."""

    table: str
    since: datetime | None
    until: datetime | None

    @property
    def is_empty(self) -> bool:
        return self.since is not None and self.until is not None and self.since >= self.until


def query(
    by: str | None, where: Mapping[str, str], tag: tuple[str, str] | None, since: datetime | None, until: datetime | None
) -> tuple[str, list[object]] | None:
    """
    The statement and its arguments that sum up calls by hour, day or a dimension (None: all in one row); None where single calls must be read.

    where: dimension -> the value that it must have.
    """
    part = _part(by, where, tag)
    if part is None:
        return None
    given: dict[str, str] = dict(where)
    if tag is not None:
        given |= {"tag_name": tag[0], "tag_value": tag[1]}
    args: list[object] = []
    found = [
        _piece_sql(piece, by, part, given, tag, args)
        for piece in pieces(since, until, hourly=len(_PARTS[part]) < 2, daily=by != "hour")
        if not piece.is_empty
    ]
    if not found:
        found = [_piece_sql(Piece("single", utcnow(), utcnow() - _DAY), by, part, given, tag, args)]
    sql = _TOTAL.replace("/*pieces*/", " UNION ALL ".join(found))
    return sql + ("GROUP BY 1 " + _ORDERS.get(by, _DEAREST) if by is not None else "GROUP BY 1"), args


def _part(by: str | None, where: Mapping[str, str], tag: tuple[str, str] | None) -> str | None:
    """The least sums that know all dimensions of the question."""
    wanted = {*where, *([by] if by in _DIMENSIONS else []), *(["tag_name", "tag_value"] if tag is not None else [])}
    fitting = [part for part, dimensions in _PARTS.items() if wanted <= set(dimensions)]
    part = min(fitting, key=lambda part: len(_PARTS[part]), default=None)
    return None if part is not None and by == "hour" and len(_PARTS[part]) > 1 else part


def pieces(since: datetime | None, until: datetime | None, *, hourly: bool, daily: bool) -> Iterator[Piece]:
    """The span as days in the middle, hours around them, single calls at the ends; without hours, or without days."""
    grains = [("usage_daily", _DAY)] if daily else []
    grains += [("usage_hourly", _HOUR)] if hourly else []
    yield from _split(since, until, grains)


def _split(since: datetime | None, until: datetime | None, grains: Sequence[tuple[str, timedelta]]) -> Iterator[Piece]:
    if not grains:
        yield Piece("single", since, until)
        return
    table, step = grains[0]
    first = None if since is None else _floor(since + step - timedelta(microseconds=1), step)
    last = None if until is None else _floor(until, step)
    if first is not None and last is not None and first >= last:
        yield from _split(since, until, grains[1:])
        return
    if since is not None:
        yield from _split(since, first, grains[1:])
    yield Piece(table, first, last)
    if until is not None:
        yield from _split(last, until, grains[1:])


def tagged(piece: Piece, tag: tuple[str, str], bind: Callable[[object], str]) -> str:
    """The condition of single calls. At the ends of a span its few hours are read, not all calls that ever had the tag."""
    if piece.since is not None and piece.until is not None:
        return f"tags ->> {bind(tag[0])}::text = {bind(tag[1])}"
    return f"(tags <> '{{ }}' AND tags @> {bind({tag[0]: tag[1]})})"


def _floor(at: datetime, step: timedelta) -> datetime:
    whole = at.replace(minute=0, second=0, microsecond=0)
    return whole if step == _HOUR else whole.replace(hour=0)


def _piece_sql(piece: Piece, by: str | None, part: str, given: Mapping[str, str], tag: tuple[str, str] | None, args: list[object]) -> str:
    """SQL of constants; only the numbers of arguments are filled in."""

    def bind(value: object) -> str:
        args.append(value)
        return f"${len(args)}"

    dimensions = _PARTS[part]
    conditions = []
    if piece.table == "single":
        at, source, sums = "created_at", "usage_records", _SINGLE
        name = COLUMNS.get(by or "", "")
        conditions += [f"{COLUMNS[dimension]} = {bind(value)}" for dimension, value in given.items() if dimension in COLUMNS]
        if tag is not None:
            conditions.append(tagged(piece, tag, bind))
    else:
        at, source, sums = "at", piece.table, ", ".join(_SUMS)
        columns = dict(zip(dimensions, ("a", "b"), strict=False))
        name = f"nullif({columns[by]}, '')" if by in columns else ""
        conditions.append(f"part = {bind(part)}")
        conditions += [f"{columns[dimension]} = {bind(value)}" for dimension, value in given.items()]
    if by in ("hour", "day"):
        name = f"date_trunc('{by}', {at}, 'UTC')"
    if piece.since is not None:
        conditions.append(f"{at} >= {bind(piece.since)}")
    if piece.until is not None:
        conditions.append(f"{at} < {bind(piece.until)}")
    where = " WHERE " + " AND ".join(conditions) if conditions else ""
    return f"SELECT {name or 'NULL::text'} AS name, {sums} FROM {source}{where}"  # noqa: S608 - constants and $n
