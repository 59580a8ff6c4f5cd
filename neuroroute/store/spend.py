"""What this hour has cost, beside the same hour of past weeks; and how much of each budget is spent. Out of the sums by hour and by day."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.money import Budget
from neuroroute.store.postgres import Queries

WEEKS: Final = 8
HOURS: Final = """
SELECT a AS subject, at, sum(cost_nanousd)::float8 / 1e9 AS usd
FROM usage_hourly WHERE part = $1 AND at = ANY($2::timestamptz[]) GROUP BY 1, 2
"""
FIRST: Final = "SELECT min(at) FROM usage_hourly WHERE part = 'all'"
SPENT: Final = """
SELECT owned.scope, owned.subject, owned.name, owned.period, owned.usd, found.usd AS spent_usd
FROM (
    SELECT 'key' AS scope, id AS subject, name, (budget->>'usd')::float8 AS usd, budget->>'period' AS period, id AS a, '' AS b
    FROM api_keys WHERE budget IS NOT NULL AND status = 'active'
    UNION ALL
    SELECT 'user', id, name, (budget->>'usd')::float8, budget->>'period', id, '' FROM users WHERE budget IS NOT NULL AND status = 'active'
    UNION ALL
    SELECT 'tag', tag || '=' || value, tag || '=' || value, usd, period, tag, value
    FROM unnest($3::text[], $4::text[], $5::float8[], $6::text[]) AS tags (tag, value, usd, period)
) AS owned
CROSS JOIN LATERAL (
    SELECT coalesce(sum(cost_nanousd), 0)::float8 / 1e9 AS usd FROM usage_daily AS sums
    WHERE sums.part = owned.scope AND sums.a = owned.a AND sums.b = owned.b
        AND sums.at >= CASE owned.period WHEN 'total' THEN '-infinity' ELSE date_trunc(owned.period, $1::timestamptz, 'UTC') END
) AS found
WHERE found.usd * 100 > owned.usd * $2
ORDER BY found.usd / nullif(owned.usd, 0) DESC NULLS FIRST LIMIT 500
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """One budget. subject: a key's or user's id, or name=value of a tag; name: what people call it."""

    scope: str
    subject: str
    name: str
    period: str
    limit_usd: float
    spent_usd: float

    @property
    def percent(self) -> float:
        return 100.0 * self.spent_usd / self.limit_usd if self.limit_usd else 100.0


@dataclass(frozen=True, slots=True)
class Hour:
    """What this hour has cost so far, and the same hour of each past week of which there is anything on record; in USD."""

    subject: str
    usd: float
    past_usd: tuple[float, ...]


class Spend:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def hours(self, part: str, now: datetime) -> list[Hour]:
        """Every subject that cost anything in this hour. part: all, key, user, model, provider, label."""
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        first = await self._database.fetchval(FIRST)
        weeks = [hour - timedelta(weeks=number) for number in range(WEEKS + 1)]
        known = [at for at in weeks[1:] if first is not None and at >= first]
        costs: dict[str, dict[datetime, float]] = {}
        for row in await self._database.fetch(HOURS, part, weeks):
            costs.setdefault(row["subject"], {})[row["at"]] = row["usd"]
        return [
            Hour(subject, found[hour], tuple([found.get(at, 0.0) for at in known]))
            for subject, found in costs.items()
            if found.get(hour, 0.0) > 0
        ]

    async def budgets(self, tags: Sequence[Budget], now: datetime, from_percent: float) -> list[Spent]:
        """The budgets of keys, users and these tags of which more than `from_percent` is spent, the fullest first; at most 500."""
        named = [budget.subject.partition("=") for budget in tags]
        rows = await self._database.fetch(
            SPENT, now, from_percent, [name for name, _, _ in named], [value for _, _, value in named],
            [budget.limit_nanousd / 1e9 for budget in tags], [budget.period.value for budget in tags],
        )  # fmt: skip
        return [Spent(row["scope"], row["subject"], row["name"], row["period"], row["usd"], row["spent_usd"]) for row in rows]
