"""
Tables `learned_versions` and `learned_counts`: what feedback and outcomes taught of models, shared by all processes.

Counts always go to the version in force, whichever that is when they arrive: a worker need not know of a change.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import Conflict
from neuroroute.store.columns import clean_json, clean_text
from neuroroute.store.postgres import Database, Duplicate, Queries, Row

CHANNEL: Final = "neuroroute_learned"
"""Notified with the number of the version that came into force."""
KEPT: Final = 1000.0
"""Counts of a cell beyond this are scaled down as new ones come, so that what was learned long ago fades. Guess."""

ADD: Final = """
INSERT INTO learned_counts AS c (version, model, label, tercile, good, bad, updated_at)
SELECT (SELECT coalesce(max(version), 0) FROM learned_versions), model, label, tercile, good, bad, $6
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::float8[], $5::float8[]) AS new (model, label, tercile, good, bad)
ORDER BY model, label, tercile
ON CONFLICT (version, model, label, tercile) DO UPDATE SET
    good = c.good * least(1, greatest($7 - excluded.good - excluded.bad, 0) / nullif(c.good + c.bad, 0)) + excluded.good,
    bad = c.bad * least(1, greatest($7 - excluded.good - excluded.bad, 0) / nullif(c.good + c.bad, 0)) + excluded.bad,
    updated_at = excluded.updated_at
"""
VERSION: Final = "SELECT version, origin, priors, report, created_at FROM learned_versions ORDER BY version DESC LIMIT 1"
GET: Final = "SELECT version, origin, priors, report, created_at FROM learned_versions WHERE version = $1"
LIST: Final = "SELECT version, origin, priors, report, created_at FROM learned_versions ORDER BY version DESC LIMIT $1"
COUNTS: Final = "SELECT model, label, tercile, good, bad FROM learned_counts WHERE version = $1 AND (good > 0 OR bad > 0)"
INSERT: Final = "INSERT INTO learned_versions (version, origin, priors, report, created_at) VALUES ($1, $2, $3, $4, $5)"
COPY: Final = """
INSERT INTO learned_counts (version, model, label, tercile, good, bad, updated_at)
SELECT $2, model, label, tercile, good, bad, $3 FROM learned_counts WHERE version = $1
"""


class Cell(NamedTuple):
    """Where evidence belongs. model: provider/model; label: `default` where the classifier was not sure; tercile of difficulty: 0 easy .. 2 hard."""

    model: str
    label: str
    tercile: int


class Counts(NamedTuple):
    """Answers that were good and bad; parts of one where the evidence is weak."""

    good: float
    bad: float


@dataclass(frozen=True, slots=True)
class LearnedVersion:
    """priors: {provider/model: {label: quality}}, in place of the catalogue's. report: the figures that it was promoted for."""

    version: int
    origin: str
    priors: Mapping[str, Mapping[str, float]]
    report: Mapping[str, Any]
    created_at: datetime


class LearnedChanged(Conflict):
    """Another version came into force meanwhile."""

    def __init__(self) -> None:
        super().__init__("Another version came into force meanwhile: look again.", code="learned_changed")


class Learned:
    """`database`: the pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, counts: Mapping[Cell, Counts]) -> None:
        """Add to the counts of the version in force. Raises: DatabaseAway: then it is not known whether they were added."""
        if counts:
            cells = list(counts.items())
            await self._database.execute(
                ADD,
                [clean_text(cell.model, 512) for cell, _ in cells],
                [clean_text(cell.label) for cell, _ in cells],
                [cell.tercile for cell, _ in cells],
                [count.good for _, count in cells],
                [count.bad for _, count in cells],
                utcnow(),
                KEPT,
            )

    async def current(self) -> tuple[LearnedVersion | None, dict[Cell, Counts]]:
        """The version in force (None: the catalogue's own priors) and its counts."""
        row = await self._database.fetchrow(VERSION)
        version = None if row is None else _of(row)
        return version, await self._counts(self._database, 0 if version is None else version.version)

    async def get(self, version: int) -> LearnedVersion | None:
        row = await self._database.fetchrow(GET, version)
        return None if row is None else _of(row)

    async def versions(self, limit: int = 50) -> list[LearnedVersion]:
        """Newest first."""
        return [_of(row) for row in await self._database.fetch(LIST, limit)]

    async def promote(self, priors: Mapping[str, Mapping[str, float]], report: Mapping[str, Any], *, after: int) -> LearnedVersion:
        """
        Put new priors in force, with no counts yet: the evidence is in the priors.

        after: the version that they were made from. Raises: LearnedChanged
        """
        return await self._add_version(self._database, after, "refit", priors, report)

    async def roll_back(self, to: int) -> LearnedVersion:
        """
        The priors and the counts of an earlier version, as they were when the next one came, as a new version; 0 = the catalogue's own priors.

        Version 0 comes back without counts: it is the way to forget all. Raises: LearnedChanged; LookupError where there is no such version.
        """
        async with self._database.transaction() as change:
            row = await change.fetchrow(VERSION)
            now = 0 if row is None else int(row["version"])
            found = await change.fetchrow(GET, to)
            if found is None and to != 0:
                raise LookupError(f"There is no version {to}.")
            priors = {} if found is None else found["priors"]
            made = await self._add_version(change, now, "rollback", priors, {"to": to})
            if to:
                await change.execute(COPY, to, made.version, made.created_at)
            return made

    async def _counts(self, database: Queries, version: int) -> dict[Cell, Counts]:
        rows: Sequence[Row] = await database.fetch(COUNTS, version, timeout_s=10)
        return {Cell(row["model"], row["label"], row["tercile"]): Counts(max(row["good"], 0.0), max(row["bad"], 0.0)) for row in rows}

    async def _add_version(
        self, database: Queries, after: int, origin: str, priors: Mapping[str, Mapping[str, float]], report: Mapping[str, Any]
    ) -> LearnedVersion:
        made = LearnedVersion(after + 1, origin, clean_json(priors), clean_json(report), utcnow())
        try:
            await database.execute(INSERT, made.version, made.origin, made.priors, made.report, made.created_at)
        except Duplicate as error:
            raise LearnedChanged from error
        return made


def _of(row: Row) -> LearnedVersion:
    return LearnedVersion(row["version"], row["origin"], row["priors"], row["report"], row["created_at"])
