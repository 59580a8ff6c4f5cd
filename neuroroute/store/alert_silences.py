"""Table `alert_silences`: what nobody is to be told of for a while."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.ids import new_id
from neuroroute.store.columns import clean_optional, clean_text
from neuroroute.store.postgres import Queries

INSERT: Final = """
INSERT INTO alert_silences (id, name, subject, until, comment, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
LIST: Final = """
SELECT id, name, subject, until, comment, created_by, created_at FROM alert_silences WHERE until > $1 ORDER BY until, id LIMIT 1000
"""
END: Final = "UPDATE alert_silences SET until = $2 WHERE id = $1 AND until > $2"
EXPIRE: Final = "DELETE FROM alert_silences WHERE until < $1"


@dataclass(frozen=True, slots=True)
class Silence:
    """name: of a rule, subject: what its alerts are about; None = all. created_by: a user, None = the command line."""

    id: str
    name: str | None
    subject: str | None
    until: datetime
    comment: str
    created_by: str | None
    created_at: datetime

    def covers(self, name: str, subject: str) -> bool:
        return self.name in (None, name) and self.subject in (None, subject)


class AlertSilences:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def add(
        self, *, name: str | None, subject: str | None, lasts: timedelta, comment: str = "", created_by: str | None = None
    ) -> Silence:
        now = utcnow()
        made = Silence(
            new_id("sil"), clean_optional(name), clean_optional(subject), now + lasts, clean_text(comment, 1000), created_by, now
        )
        await self._database.execute(INSERT, made.id, made.name, made.subject, made.until, made.comment, made.created_by, made.created_at)
        return made

    async def current(self) -> list[Silence]:
        """Those in force, the one that ends first in front."""
        return [Silence(*row.values()) for row in await self._database.fetch(LIST, utcnow())]

    async def end(self, silence_id: str) -> bool:
        """It is over now. False: there is none in force with this id."""
        return await self._database.execute(END, clean_text(silence_id, 64), utcnow()) > 0

    async def expire(self, before: datetime) -> int:
        """Remove those that ended before then; how many."""
        return await self._database.execute(EXPIRE, before)


def silent_until(silences: Iterable[Silence], name: str, subject: str) -> datetime | None:
    """Until when nobody is told of alerts of this rule and subject; None = they are told."""
    return max((one.until for one in silences if one.covers(name, subject)), default=None)
