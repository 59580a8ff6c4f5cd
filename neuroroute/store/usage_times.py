"""
View `usage_times` of the table `usage_histograms`: how long calls took, kept by the database as rows arrive, and the percentiles read from it.

A span is put together as in `usage_sums`: whole days, whole hours around them where they are kept, single calls at the ends. What comes out
is right within 5 %: a bucket is a tenth wide.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from neuroroute.store.usage_sums import COLUMNS, Piece, pieces, tagged

METRICS: Final = ("latency", "ttft", "overhead")
_PARTS: Final = ("key", "user", "model", "label")
_WIDTH: Final = 1.1  # as the function time_bucket has it
_SPANS: Final = {"usage_daily": "day", "usage_hourly": "hour"}


def query(
    where: Mapping[str, str], tag: tuple[str, str] | None, since: datetime | None, until: datetime | None
) -> tuple[str, list[object]] | None:
    """The statement and its arguments that give (metric, bucket, calls), in order; None where no histograms of this kind are kept."""
    if len(where) + (tag is not None) > 1 or any(dimension not in _PARTS for dimension in where):
        return None
    args: list[object] = []
    part, a, b = ("tag", *tag) if tag is not None else next(((name, value, "") for name, value in where.items()), ("all", "", ""))
    found = [_piece_sql(piece, part, a, b, args) for piece in pieces(since, until, hourly=part == "all", daily=True) if not piece.is_empty]
    if not found:
        return None
    union = " UNION ALL ".join(found)
    sql = f"SELECT metric, bucket, sum(calls)::bigint AS calls FROM ({union}) AS found GROUP BY 1, 2 ORDER BY 1, 2"  # noqa: S608 - constants and $n
    return sql, args


def _piece_sql(piece: Piece, part: str, a: str, b: str, args: list[object]) -> str:
    """SQL of constants; only the numbers of arguments are filled in."""

    def bind(value: object) -> str:
        args.append(value)
        return f"${len(args)}"

    if piece.table == "single":
        at = "created_at"
        taken = "(VALUES ('latency', latency_ms), ('ttft', ttft_ms), ('overhead', overhead_ms)) AS taken (metric, ms)"
        sql = f"SELECT metric, time_bucket(ms) AS bucket, 1 AS calls FROM usage_records CROSS JOIN LATERAL {taken} WHERE ms IS NOT NULL"  # noqa: S608
        if part == "tag":
            sql += f" AND {tagged(piece, (a, b), bind)}"
        elif part != "all":
            sql += f" AND {COLUMNS[part]} = {bind(a)}"
    else:
        at = "at"
        sql = "SELECT metric, bucket, calls FROM usage_times"
        sql += f" WHERE part = {bind(part)} AND a = {bind(a)} AND b = {bind(b)} AND span = '{_SPANS[piece.table]}'"
    if piece.since is not None:
        sql += f" AND {at} >= {bind(piece.since)}"
    if piece.until is not None:
        sql += f" AND {at} < {bind(piece.until)}"
    return sql


def at_shares(buckets: Iterable[tuple[int, int]], shares: Sequence[float]) -> list[float | None]:
    """Milliseconds at each share, from (bucket, calls) in order; inside of a bucket calls are taken to lie evenly. None: no calls."""
    filled = list(buckets)
    total = sum(calls for _, calls in filled)
    return [_at(filled, share * total) if total else None for share in shares]


def _at(filled: Sequence[tuple[int, int]], rank: float) -> float:
    below = 0
    for bucket, calls in filled:
        if below + calls >= rank:
            return math.pow(_WIDTH, bucket + max(rank - below, 0.0) / calls)
        below += calls
    return math.pow(_WIDTH, filled[-1][0] + 1)
