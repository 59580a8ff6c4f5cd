"""
Tables `alerts`, `alert_reports` and `alert_watch`: what is and was wrong, what each machine measures, and who judges it.

Leases and ages go by the database's clock, which all machines share.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.store.columns import Where, clean_json, clean_text, count
from neuroroute.store.postgres import Queries, Row

FIRE: Final = """
INSERT INTO alerts (id, name, rule, subject, value, above, unit, message, instance, fired_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING
"""
RESOLVE: Final = "UPDATE alerts SET resolved_at = $2 WHERE id = $1 AND resolved_at IS NULL"
RESOLVE_OPEN: Final = "UPDATE alerts SET resolved_at = $3 WHERE name = $1 AND subject = $2 AND resolved_at IS NULL"
TOLD: Final = "UPDATE alerts SET told_at = $2, telling_failed = $3 WHERE id = $1"
ACKNOWLEDGE: Final = """
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, $2), acknowledged_by = coalesce(acknowledged_by, $3) WHERE id = $1
"""
_COLUMNS: Final = """
SELECT id, name, rule, subject, value, above, unit, message, instance, fired_at, resolved_at, acknowledged_at, acknowledged_by, told_at,
    telling_failed
FROM alerts
"""
GET: Final = _COLUMNS + "WHERE id = $1"
GET_OPEN: Final = _COLUMNS + "WHERE name = $1 AND subject = $2 AND resolved_at IS NULL"
OPEN: Final = _COLUMNS + "WHERE resolved_at IS NULL ORDER BY fired_at, id LIMIT 1000"
LIST: Final = _COLUMNS + "/*where*/ ORDER BY fired_at DESC, id DESC"
EACH: Final = "SELECT 1 FROM alerts /*where*/"
EXPIRE: Final = "DELETE FROM alerts WHERE resolved_at < $1"

REPORT: Final = """
INSERT INTO alert_reports (instance, at, report) VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (instance) DO UPDATE SET at = excluded.at, report = excluded.report
"""
REPORTS: Final = "SELECT report FROM alert_reports WHERE at > clock_timestamp() - $1::interval ORDER BY instance"
FORGET: Final = "DELETE FROM alert_reports WHERE instance = $1 OR at < clock_timestamp() - interval '1 hour'"
# who holds the watch keeps it; another takes it over once its time is up
WATCH: Final = """
INSERT INTO alert_watch AS kept (holder, until, at, rules) VALUES ($1, clock_timestamp() + $2::interval, clock_timestamp(), $3)
ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, until = excluded.until, at = excluded.at, rules = excluded.rules
WHERE kept.holder = excluded.holder OR kept.until < clock_timestamp()
"""
LEAVE: Final = "UPDATE alert_watch SET until = '-infinity' WHERE holder = $1"
RULES: Final = "SELECT at, rules FROM alert_watch"


@dataclass(frozen=True, slots=True)
class Alert:
    """
    Something that a rule found wrong. name: of the rule, rule: its kind; subject: what it is about, empty = the gateway as a whole.

    value, above: when it fired, in `unit`. told_at: when the webhook took it; telling_failed: why it did not.
    """

    id: str
    name: str
    rule: str
    subject: str
    value: float
    above: float
    unit: str
    message: str
    instance: str
    fired_at: datetime
    resolved_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    told_at: datetime | None = None
    telling_failed: str | None = None


class Alerts:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def fire(self, alert: Alert) -> bool:
        """Note that it fires. False: there is an open one of this rule and subject already."""
        added = await self._database.execute(
            FIRE, alert.id, clean_text(alert.name), alert.rule, clean_text(alert.subject), alert.value, alert.above, alert.unit,
            clean_text(alert.message, 1000), clean_text(alert.instance), alert.fired_at,
        )  # fmt: skip
        return added > 0

    async def resolve(self, alert_id: str, at: datetime) -> bool:
        """False: it is not open."""
        return await self._database.execute(RESOLVE, alert_id, at) > 0

    async def resolve_open(self, name: str, subject: str, at: datetime) -> None:
        """The open one of this rule and subject, whoever added it."""
        await self._database.execute(RESOLVE_OPEN, clean_text(name), clean_text(subject), at)

    async def told(self, alert_id: str, at: datetime | None, failed: str | None) -> None:
        await self._database.execute(TOLD, alert_id, at, failed)

    async def acknowledge(self, alert_id: str, user_id: str) -> Alert | None:
        """Somebody takes care of it; the first one stays. None: there is no such alert."""
        await self._database.execute(ACKNOWLEDGE, alert_id, utcnow(), user_id)
        return await self.get(alert_id)

    async def get(self, alert_id: str) -> Alert | None:
        row = await self._database.fetchrow(GET, alert_id)
        return None if row is None else _of(row)

    async def get_open(self, name: str, subject: str) -> Alert | None:
        row = await self._database.fetchrow(GET_OPEN, clean_text(name), clean_text(subject))
        return None if row is None else _of(row)

    async def open(self) -> list[Alert]:
        """Those that fire, the oldest first."""
        return [_of(row) for row in await self._database.fetch(OPEN)]

    async def page(
        self, *, page: int = 1, limit: int = 50, firing: bool | None = None, name: str | None = None, rule: str | None = None
    ) -> tuple[list[Alert], int]:
        """The newest first, and how many there are. firing: None = the resolved ones too."""
        where = Where()
        where.add("(resolved_at IS NULL) = {}", firing)
        where.add("name = {}", name)
        where.add("rule = {}", rule)
        sql, args = where.paged(LIST, page, limit)
        rows = await self._database.fetch(sql, *args)
        return [_of(row) for row in rows], await count(self._database, where, EACH)

    async def expire(self, before: datetime) -> int:
        """Remove what was resolved before then; how many."""
        return await self._database.execute(EXPIRE, before)


class AlertWatch:
    """Who judges, and on which figures. `database`: the pool."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def report(self, instance: str, report: Mapping[str, Any]) -> None:
        """What one machine measured; replaces what it said before."""
        await self._database.execute(REPORT, instance, clean_json(report))

    async def reports(self, young: timedelta) -> list[Mapping[str, Any]]:
        """What every machine said within the last moments."""
        return [row["report"] for row in await self._database.fetch(REPORTS, young)]

    async def take(self, holder: str, lasts: timedelta, rules: Sequence[Mapping[str, Any]]) -> bool:
        """Judge for this long, and tell how the rules stand. False: another process does."""
        return await self._database.execute(WATCH, holder, lasts, clean_json(rules)) > 0

    async def leave(self, holder: str, instance: str) -> None:
        """Another process may judge at once; what this machine measured is forgotten."""
        await self._database.execute(LEAVE, holder)
        await self.forget(instance)

    async def forget(self, instance: str = "") -> None:
        """What a machine measured, and what those measured that have not been heard of for an hour."""
        await self._database.execute(FORGET, instance)

    async def rules(self) -> tuple[datetime | None, list[dict[str, Any]]]:
        """How the rules stood when they were last judged, and when that was."""
        row = await self._database.fetchrow(RULES)
        return (None, []) if row is None else (row["at"], list(row["rules"]))


def _of(row: Row) -> Alert:
    return Alert(*row.values())
