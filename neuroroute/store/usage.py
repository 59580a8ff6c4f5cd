"""Table `usage_records`: one row for each call. Built for ten million rows: every list is a walk along an index."""

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from neuroroute.core import jsonbytes
from neuroroute.core.dataclass import dataclass, field
from neuroroute.store import usage_sums, usage_times
from neuroroute.store.columns import BIGINT_MAX, SMALLINT_MAX, Where, bounded, clean_json, clean_text, count, finite
from neuroroute.store.postgres import BadValue, Queries, Row

INSERT: Final = """
INSERT INTO usage_records (
    request_id, client_request_id, created_at, key_id, user_id, dialect, endpoint, stream, requested_model, model, provider,
    label, difficulty, language, policy, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, tokens_source,
    cost_nanousd, baseline_cost_nanousd, cache, attempts, status, http_status, error_code, latency_ms, ttft_ms, overhead_ms, tags, decision
)
SELECT * FROM json_to_recordset($1::text::json) AS r (
    request_id text, client_request_id text, created_at timestamptz, key_id text, user_id text, dialect text, endpoint text, stream bool,
    requested_model text, model text, provider text, label text, difficulty real, language text, policy text, prompt_tokens bigint,
    completion_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, reasoning_tokens bigint, tokens_source text, cost_nanousd bigint,
    baseline_cost_nanousd bigint, cache text, attempts smallint, status text, http_status smallint, error_code text, latency_ms real,
    ttft_ms real, overhead_ms real, tags jsonb, decision jsonb
)
ORDER BY request_id
ON CONFLICT (request_id) DO NOTHING
"""
"""One text of JSON for all rows: the server takes it apart, so that the loop that serves calls does not (measured: 1 us a row here against 16).
In the order of ids, so that two who write the same calls, as after a worker's death, do not wait for each other in a circle."""
_COLUMNS: Final = """
    request_id, client_request_id, created_at, key_id, user_id, dialect, endpoint, stream, requested_model, model, provider,
    label, difficulty, language, policy, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, tokens_source,
    cost_nanousd, baseline_cost_nanousd, cache, attempts, status, http_status, error_code, latency_ms, ttft_ms, overhead_ms, tags, decision
"""
GET: Final = "SELECT" + _COLUMNS + "FROM usage_records WHERE request_id = $1"
PAGE: Final = "SELECT" + _COLUMNS + "FROM usage_records /*where*/ ORDER BY created_at DESC, request_id DESC"
EACH: Final = "SELECT 1 FROM usage_records /*where*/"
WALK: Final = "SELECT" + _COLUMNS + "FROM usage_records /*where*/ ORDER BY created_at DESC, request_id DESC"
WALK_BACK: Final = "SELECT" + _COLUMNS + "FROM usage_records /*where*/ ORDER BY created_at, request_id"
# a rare tag is found by its index and sorted then; the planner, which does not know how rare it is, would walk along the time
RARE: Final = (
    "WITH found AS MATERIALIZED (SELECT * FROM usage_records /*where*/) SELECT * FROM found ORDER BY created_at DESC, request_id DESC"
)
RARE_BACK: Final = "WITH found AS MATERIALIZED (SELECT * FROM usage_records /*where*/) SELECT * FROM found ORDER BY created_at, request_id"
_RARE: Final = 2_000
SAMPLE: Final = """
SELECT found.* FROM generate_series(0, $4::int - 1) AS slot CROSS JOIN LATERAL (
    SELECT * FROM usage_records
    WHERE created_at >= $1::timestamptz + ($2::timestamptz - $1) * slot / $4
        AND created_at < $1::timestamptz + ($2::timestamptz - $1) * (slot + 1) / $4
    ORDER BY created_at DESC LIMIT $3
) AS found
"""
_SUMS: Final = """
    count(*) AS calls,
    count(*) FILTER (WHERE status NOT IN ('ok', 'client_gone')) AS errors,
    count(*) FILTER (WHERE cache IN ('hit', 'joined')) AS cached_calls,
    coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
    coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
    coalesce(sum(cost_nanousd), 0)::bigint AS cost_nanousd,
    coalesce(sum(baseline_cost_nanousd - cost_nanousd), 0)::bigint AS saved_nanousd,
    count(*) FILTER (WHERE cost_nanousd IS NULL AND prompt_tokens + completion_tokens > 0) AS unpriced_calls,
    avg(latency_ms) AS latency_ms,
    avg(ttft_ms) AS ttft_ms,
    avg(overhead_ms) AS overhead_ms,
    count(*) FILTER (WHERE cache = 'joined') AS joined_calls,
    count(*) FILTER (WHERE cache = 'miss') AS missed_calls,
    coalesce(sum((decision -> 'spared' ->> 0)::numeric) FILTER (WHERE cache IN ('hit', 'joined')), 0)::bigint AS cache_saved_nanousd,
    coalesce(sum((decision -> 'spared' ->> 1)::float8) FILTER (WHERE cache IN ('hit', 'joined')), 0) AS cache_saved_ms
"""
TOTALS: Final = "SELECT NULL AS name," + _SUMS + "FROM usage_records /*where*/"
GROUPED: Final = {
    "hour": "SELECT date_trunc('hour', created_at, 'UTC') AS name," + _SUMS + "FROM usage_records /*where*/ GROUP BY 1 ORDER BY 1",
    "day": "SELECT date_trunc('day', created_at, 'UTC') AS name," + _SUMS + "FROM usage_records /*where*/ GROUP BY 1 ORDER BY 1",
    "model": "SELECT model AS name," + _SUMS + "FROM usage_records /*where*/ GROUP BY 1 ORDER BY cost_nanousd DESC, calls DESC",
    "key": "SELECT key_id AS name," + _SUMS + "FROM usage_records /*where*/ GROUP BY 1 ORDER BY cost_nanousd DESC, calls DESC",
    "user": "SELECT user_id AS name," + _SUMS + "FROM usage_records /*where*/ GROUP BY 1 ORDER BY cost_nanousd DESC, calls DESC",
    "label": "SELECT label AS name," + _SUMS + "FROM usage_records /*where*/ GROUP BY 1 ORDER BY calls DESC",
}
PERCENTILES: Final = """
SELECT percentile_cont($1::float8[]) WITHIN GROUP (ORDER BY latency_ms) AS latency,
    percentile_cont($1::float8[]) WITHIN GROUP (ORDER BY ttft_ms) AS ttft,
    percentile_cont($1::float8[]) WITHIN GROUP (ORDER BY overhead_ms) AS overhead
FROM usage_records /*where*/
"""
EXACT_CALLS: Final = 5000
"""So few calls are read one by one, so that their percentiles are exact; more are read from histograms."""
SPENT: Final = """
SELECT coalesce(sum(cost_nanousd), 0)::bigint FROM usage_records /*where*/
"""
AGGREGATE_TIMEOUT_S: Final = 15.0

Group = Literal["hour", "day", "model", "key", "user", "label"]


@dataclass(slots=True)  # not frozen: that would make it four times as dear to make, once per call
class UsageRecord:
    """
    One call, as it ended. Never changed once it is made.

    prompt_tokens holds cached and cache-write tokens, completion_tokens holds reasoning. cost_nanousd: 10^-9 USD; None = the price is not known.
    status: ok, error, client_gone, cut, interrupted. Times in ms; overhead_ms is the gateway's own share.
    """

    request_id: str
    created_at: datetime
    key_id: str
    user_id: str
    requested_model: str
    client_request_id: str | None = None
    dialect: str = "chat"
    endpoint: str | None = None
    stream: bool = False
    model: str | None = None
    provider: str | None = None
    label: str | None = None
    difficulty: float | None = None
    language: str | None = None
    policy: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_source: str = "none"
    cost_nanousd: int | None = None
    baseline_cost_nanousd: int | None = None
    cache: str = "bypass"
    attempts: int = 0
    status: str = "ok"
    http_status: int = 200
    error_code: str | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None
    _text: bytes | None = field(default=None, init=False, repr=False, compare=False)  # no part of the JSON: its name begins with "_"

    def as_json(self) -> bytes:
        """The record as the journal and the table are given it; made once. Raises TypeError on what is no JSON."""
        if self._text is None:
            self._text = jsonbytes.dumps(self)
        return self._text

    @classmethod
    def of_json(cls, text: bytes) -> "UsageRecord":
        """What `as_json` wrote; fields of another version of the product are left out. Raises ValueError, TypeError, KeyError on what is none."""
        values = {name: value for name, value in jsonbytes.loads(text).items() if name in _KNOWN}
        values["created_at"] = datetime.fromisoformat(str(values["created_at"]))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Written:
    """A record as its JSON alone. What waits for the database is held so: a fifth of the memory, which a busy process walks through all the time."""

    text: bytes

    def as_json(self) -> bytes:
        return self.text


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls; None = all. `since` counts, `until` does not."""

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    provider: str | None = None
    key_id: str | None = None
    user_id: str | None = None
    label: str | None = None
    status: str | None = None
    tag: tuple[str, str] | None = None
    client_request_id: str | None = None


@dataclass(frozen=True, slots=True)
class UsageSums:
    """
    Sums over some calls. `name`: the hour, day (a datetime), model, key id, user id or label; None for totals, and for calls that have none.

    saved_nanousd: what the baseline model would have cost more; unpriced_calls: used tokens whose price is not known. Means in ms.
    cached_calls were answered from the cache, joined_calls of them by a call that ran; missed_calls looked there and found nothing.
    cache_saved_nanousd, cache_saved_ms: what those answers would have cost and taken at the model that gave them.
    """

    name: datetime | str | None
    calls: int
    errors: int
    cached_calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_nanousd: int
    saved_nanousd: int
    unpriced_calls: int
    latency_ms: float | None
    ttft_ms: float | None
    overhead_ms: float | None
    joined_calls: int
    missed_calls: int
    cache_saved_nanousd: int
    cache_saved_ms: float


class BadRows(BadValue):
    """Some records can not be stored; all others of the batch are. `rejected`: each with its reason."""

    def __init__(self, rejected: list[tuple[UsageRecord | Written, BadValue]]) -> None:
        super().__init__(f"{len(rejected)} usage records can not be stored.")
        self.rejected = rejected


class Usage:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def insert_many(self, records: Sequence[UsageRecord | Written], *, timeout_s: float = 10.0) -> int:
        """
        Write records; one that is there already stays as it is. Returns how many are new.

        One that the table refuses is written again with its text cleaned and its numbers bounded, so that hardly any can be bad.
        Raises: BadRows after all others are stored; DatabaseAway
        """
        if not records:
            return 0
        rejected: list[tuple[UsageRecord | Written, BadValue]] = []
        inserted = await self._insert(records, timeout_s, rejected)
        if rejected:
            raise BadRows(rejected)
        return inserted

    async def _insert(
        self, records: Sequence[UsageRecord | Written], timeout_s: float, rejected: list[tuple[UsageRecord | Written, BadValue]]
    ) -> int:
        try:
            return await self._database.execute(INSERT, _array(records), timeout_s=timeout_s)
        except (BadValue, TypeError, ValueError) as error:
            if len(records) == 1:
                return await self._insert_cleaned(records[0], error, timeout_s, rejected)
        middle = len(records) // 2
        return await self._insert(records[:middle], timeout_s, rejected) + await self._insert(records[middle:], timeout_s, rejected)

    async def _insert_cleaned(
        self, record: UsageRecord | Written, fault: Exception, timeout_s: float, rejected: list[tuple[UsageRecord | Written, BadValue]]
    ) -> int:
        """One that the table refused as it is."""
        try:
            whole = UsageRecord.of_json(record.text) if isinstance(record, Written) else record
            return await self._database.execute(INSERT, _array([_cleaned(whole)]), timeout_s=timeout_s)
        except (BadValue, TypeError, ValueError, KeyError, AttributeError):
            rejected.append((record, fault if isinstance(fault, BadValue) else BadValue(str(fault))))
            return 0

    async def get(self, request_id: str) -> UsageRecord | None:
        row = await self._database.fetchrow(GET, request_id)
        return None if row is None else _of(row)

    async def page(self, filters: UsageFilter, *, page: int = 1, limit: int = 50) -> tuple[list[UsageRecord], int]:
        """Newest first, and how many there are (an estimate beyond 100,000)."""
        where = _where(filters)
        sql, args = where.paged(PAGE, page, limit)
        rows = await self._database.fetch(sql, *args, timeout_s=AGGREGATE_TIMEOUT_S)
        return [_of(row) for row in rows], await count(self._database, where, EACH)

    async def walk(self, filters: UsageFilter, *, size: int = 1000) -> AsyncIterator[list[UsageRecord]]:
        """All of them, newest first, page by page along the index: any number of rows in little memory."""
        last: UsageRecord | None = None
        while True:
            where = _where(filters)
            if last is not None:
                where.args.append(last.created_at)
                where.add("(created_at, request_id) < ($at, {})".replace("$at", f"${len(where.args)}"), last.request_id)
            sql, args = where.paged(WALK, 1, size)
            rows = [_of(row) for row in await self._database.fetch(sql, *args, timeout_s=AGGREGATE_TIMEOUT_S)]
            if rows:
                yield rows
            if len(rows) < size:
                return
            last = rows[-1]

    async def sample(self, since: datetime, until: datetime, most: int, *, slots: int = 24) -> list[UsageRecord]:
        """At most so many calls, spread over a time: the newest of each of its slots."""
        return [_of(row) for row in await self._database.fetch(SAMPLE, since, until, most // slots, slots)]

    async def along(
        self,
        filters: UsageFilter,
        limit: int,
        *,
        before: tuple[datetime, str] | None = None,
        after: tuple[datetime, str] | None = None,
        total: int | None = None,
    ) -> list[UsageRecord]:
        """
        The newest of those before a call, or the next ones after it, newest first; a call is (created_at, request_id). As fast on any page.

        total: how many there are at most, where that is known.
        """
        rare = filters.tag is not None and total is not None and total <= _RARE
        common = filters.tag if total is not None and total > _RARE else None
        where = _where(filters if common is None else dataclasses.replace(filters, tag=None))
        where.add("(tags || '{ }') @> {}", None if common is None else {common[0]: common[1]})  # in words that no index knows
        if (mark := before or after) is not None:
            where.args.append(mark[0])
            at = f"${len(where.args)}"
            where.add(f"(created_at, request_id) {'<' if before else '>'} ({at}, {{}})", mark[1])
        forward = before is None and after is not None
        sql, args = where.paged((RARE_BACK if forward else RARE) if rare else WALK_BACK if forward else WALK, 1, limit)
        rows = [_of(row) for row in await self._database.fetch(sql, *args, timeout_s=AGGREGATE_TIMEOUT_S)]
        return rows[::-1] if forward else rows

    async def at_most(self, filters: UsageFilter) -> int | None:
        """How many calls the whole days of a span have: no single call is looked at. None where no such sums are kept."""
        if not self.sums_are_kept(filters):
            return None
        since, until = filters.since, filters.until
        day = timedelta(days=1)
        whole = dataclasses.replace(
            filters,
            since=None if since is None else since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0),
            until=None if until is None else until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + day,
        )
        return (await self.totals(whole)).calls

    def sums_are_kept(self, filters: UsageFilter) -> bool:
        """Whether `totals` need not look at single calls."""
        given = {name: value for name, value in _dimensions(filters) if value is not None}
        single = filters.status is not None or filters.client_request_id is not None
        return not single and usage_sums.query(None, given, filters.tag, filters.since, filters.until) is not None

    @staticmethod
    def hours_are_kept(filters: UsageFilter) -> bool:
        """Whether sums are kept by the hour too; else a span reads the single calls of the days that it begins and ends in."""
        return filters.tag is None and sum(value is not None for _, value in _dimensions(filters)) < 2

    async def totals(self, filters: UsageFilter) -> UsageSums:
        rows = await self._summed(None, filters) or []
        return UsageSums(**dict(rows[0])) if rows else _NO_CALLS

    async def grouped(self, by: Group, filters: UsageFilter) -> list[UsageSums]:
        """Hours and days in their order, the others with the dearest first."""
        return [UsageSums(**dict(row)) for row in await self._summed(by, filters)]

    async def _summed(self, by: Group | None, filters: UsageFilter) -> list[Row]:
        """From the sums that are kept; where there are none of this kind, from single calls."""
        found = None
        if filters.status is None and filters.client_request_id is None:
            given = {name: value for name, value in _dimensions(filters) if value is not None}
            found = usage_sums.query(by, given, filters.tag, filters.since, filters.until)
        if found is not None:
            sql, args = found
            return await self._database.fetch(sql, *args, timeout_s=AGGREGATE_TIMEOUT_S)
        where = _where(filters)
        return await self._database.fetch(where.into(TOTALS if by is None else GROUPED[by]), *where.args, timeout_s=AGGREGATE_TIMEOUT_S)

    async def percentiles(
        self, filters: UsageFilter, calls: int, shares: Sequence[float] = (0.5, 0.95, 0.99)
    ) -> dict[str, list[float | None]]:
        """
        The `latency`, `ttft` and `overhead` in ms at each share; None where there are no calls.

        calls: how many there are; many are read from histograms where those are kept, and right within 5 %.
        """
        found = None
        if calls > EXACT_CALLS and filters.status is None and filters.client_request_id is None:
            given = {name: value for name, value in _dimensions(filters) if value is not None}
            found = usage_times.query(given, filters.tag, filters.since, filters.until)
        if found is not None:
            sql, args = found
            rows = await self._database.fetch(sql, *args, timeout_s=AGGREGATE_TIMEOUT_S)
            of = {metric: [(row["bucket"], row["calls"]) for row in rows if row["metric"] == metric] for metric in usage_times.METRICS}
            return {metric: usage_times.at_shares(buckets, shares) for metric, buckets in of.items()}
        where = Where()
        where.args.append(list(shares))
        _fill(where, filters)
        [row] = await self._database.fetch(where.into(PERCENTILES), *where.args, timeout_s=AGGREGATE_TIMEOUT_S)
        return {metric: list(row[metric] or [None] * len(shares)) for metric in usage_times.METRICS}

    async def spent_nanousd(self, filters: UsageFilter) -> int:
        """The cost of the calls whose price is known."""
        where = _where(filters)
        return int(await self._database.fetchval(where.into(SPENT), *where.args, timeout_s=AGGREGATE_TIMEOUT_S))


_NO_CALLS: Final = UsageSums(None, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, None, 0, 0, 0, 0.0)


def _dimensions(filters: UsageFilter) -> tuple[tuple[str, str | None], ...]:
    return (
        ("key", filters.key_id),
        ("user", filters.user_id),
        ("model", filters.model),
        ("provider", filters.provider),
        ("label", filters.label),
    )


def _array(records: Sequence[UsageRecord | Written]) -> str:
    return f"[{b','.join([record.as_json() for record in records]).decode()}]"


def _where(filters: UsageFilter) -> Where:
    where = Where()
    _fill(where, filters)
    return where


def _fill(where: Where, filters: UsageFilter) -> None:
    where.add("created_at >= {}", filters.since)
    where.add("created_at < {}", filters.until)
    where.add("model = {}", filters.model)
    where.add("provider = {}", filters.provider)
    where.add("key_id = {}", filters.key_id)
    where.add("user_id = {}", filters.user_id)
    where.add("label = {}", filters.label)
    # the index of calls that are not ok is used only where the query says so in these words
    where.add("status = {}" if filters.status == "ok" else "(status <> 'ok' AND status = {})", filters.status)
    # and so with the index of tags: rows without tags are not in it
    where.add("(tags <> '{ }' AND tags @> {})", None if filters.tag is None else {filters.tag[0]: filters.tag[1]})
    where.add("client_request_id = {}", filters.client_request_id)


def _cleaned(record: UsageRecord) -> UsageRecord:
    """The same with text that Postgres can hold, and numbers within the bounds of their columns."""
    values: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(record, name)
        if isinstance(value, str):
            value = clean_text(value)
        elif isinstance(value, Mapping):
            value = clean_json(value)
        elif isinstance(value, float):
            value = finite(value)
        elif type(value) is int:
            value = bounded(value, SMALLINT_MAX if name in ("attempts", "http_status") else BIGINT_MAX)
        values[name] = value
    return UsageRecord(**values)


_FIELDS: Final = tuple(column.name for column in dataclasses.fields(UsageRecord) if column.init)
_KNOWN: Final = frozenset(_FIELDS)


def _of(row: Row) -> UsageRecord:
    return UsageRecord(**{name: row[name] for name in _FIELDS})
