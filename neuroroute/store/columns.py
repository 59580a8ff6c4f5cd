"""What the table files share: budgets and limits as jsonb, text that Postgres can hold, WHERE clauses from optional filters."""

import math
from collections.abc import Mapping
from typing import Any, Final, LiteralString

from neuroroute.core import jsonbytes, money
from neuroroute.core.dataclass import dataclass
from neuroroute.core.types import Limits
from neuroroute.store.postgres import Queries

COUNT_MAX: Final = 100_000  # rows are counted one by one up to here (10 ms); beyond it the planner's estimate is told
BIGINT_MAX: Final = 2**63 - 1
SMALLINT_MAX: Final = 2**15 - 1
REFUSE: Final = "refuse"


@dataclass(frozen=True, slots=True)
class Budget:
    """
    What may be spent: `usd` in each `period` (day, week, month, total).

    when_spent: `refuse`, or `policy:<name>`: `auto` goes on by that policy.
    """

    usd: float
    period: str
    when_spent: str = REFUSE

    def of(self, scope: str, subject: str) -> money.Budget:
        """As those who count it have it."""
        policy = self.when_spent.removeprefix("policy:") if self.when_spent != REFUSE else ""
        return money.Budget(scope, subject, round(self.usd * 1e9), money.Period(self.period), policy)


def limits_of(stored: Mapping[str, Any] | None) -> Limits:
    """From jsonb; members that are not known are left out."""
    found = stored or {}
    return Limits(found.get("requests_per_minute"), found.get("tokens_per_minute"), found.get("concurrency"))


def limits_json(limits: Limits) -> dict[str, int]:
    """For jsonb: what is set, and nothing else."""
    pairs = {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrency": limits.concurrency,
    }
    return {name: value for name, value in pairs.items() if value is not None}


def budget_of(stored: Mapping[str, Any] | None) -> Budget | None:
    return None if stored is None else Budget(float(stored["usd"]), str(stored["period"]), str(stored.get("when_spent", REFUSE)))


def budget_json(budget: Budget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    return {"usd": budget.usd, "period": budget.period, **({"when_spent": budget.when_spent} if budget.when_spent != REFUSE else {})}


def clean_text(text: str, max_chars: int = 256) -> str:
    """`text` as Postgres takes it: no NUL, no lone surrogate (U+FFFD instead), cut at `max_chars`."""
    if len(text) > max_chars:
        text = text[:max_chars]
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_optional(text: str | None, max_chars: int = 256) -> str | None:
    return None if text is None else clean_text(text, max_chars)


def clean_json(value: Any, depth: int = 20) -> Any:
    """`value` as jsonb takes it: clean text all through, no NaN or infinity, no depth that breaks the parser."""
    if isinstance(value, str):
        return clean_text(value, 100_000)
    if depth <= 0:
        return None
    if type(value) is dict or isinstance(value, Mapping):
        return {clean_text(str(name)): clean_json(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_json(item, depth - 1) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= BIGINT_MAX else None
    return value


def bounded(value: int, most: int = BIGINT_MAX) -> int:
    """Into 0..most: a provider can report anything."""
    return value if 0 <= value <= most else min(max(value, 0), most)


def finite(value: float | None) -> float | None:
    """None for NaN, infinity, and what a `real` can not hold."""
    return value if value is not None and math.isfinite(value) and abs(value) < 1e37 else None


def like(text: str) -> str:
    """The pattern that finds `text` anywhere."""
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


class Where:
    """
    Conditions that all must hold, with their arguments.

    Conditions are constants of the table files; only the number of the argument is filled in, where `{}` stands.
    """

    def __init__(self) -> None:
        self.args: list[object] = []
        self._conditions: list[str] = []

    def add(self, condition: LiteralString, value: object) -> None:
        """Add `condition` unless `value` is None: the filter is not set."""
        if value is not None:
            self.args.append(value)
            self._conditions.append(condition.replace("{}", f"${len(self.args)}"))

    def into(self, sql: LiteralString) -> str:
        """`sql` with the conditions at `/*where*/`."""
        return sql.replace("/*where*/", "WHERE " + " AND ".join(self._conditions) if self._conditions else "")

    def paged(self, sql: LiteralString, page: int, limit: int) -> tuple[str, list[object]]:
        """`sql` with the conditions and a window: `page` counts from 1."""
        count = len(self.args)
        return self.into(sql) + f" LIMIT ${count + 1} OFFSET ${count + 2}", [*self.args, limit, (page - 1) * limit]


COUNT: Final = "SELECT count(*) FROM (/*rows*/) AS found"
EXPLAIN: Final = "EXPLAIN (FORMAT JSON) /*rows*/"


async def count(database: Queries, where: Where, sql: LiteralString) -> int:
    """
    Rows that `where` finds: exact up to COUNT_MAX, the planner's estimate beyond.

    sql: `SELECT 1 FROM table /*where*/`
    """
    bounded_sql, args = where.paged(sql, 1, COUNT_MAX + 1)
    found = int(await database.fetchval(COUNT.replace("/*rows*/", bounded_sql), *args, timeout_s=10))
    if found <= COUNT_MAX:
        return found
    plan = jsonbytes.loads(await database.fetchval(EXPLAIN.replace("/*rows*/", where.into(sql)), *where.args, timeout_s=10))
    return max(found, int(plan[0]["Plan"]["Plan Rows"]))
