"""Table `config_versions`: what admins changed of the configuration. Each change adds a version; the last one is in force."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import Conflict
from neuroroute.store.columns import Where, clean_json, clean_text, count
from neuroroute.store.postgres import Duplicate, Queries, Row

CHANNEL: Final = "neuroroute_config"
"""Notified with the new version's number."""
CURRENT: Final = "SELECT version, config, author, comment, created_at FROM config_versions ORDER BY version DESC LIMIT 1"
NUMBER: Final = "SELECT coalesce(max(version), 0) FROM config_versions"
GET: Final = "SELECT version, config, author, comment, created_at FROM config_versions WHERE version = $1"
LIST: Final = "SELECT version, config, author, comment, created_at FROM config_versions /*where*/ ORDER BY version DESC"
EACH: Final = "SELECT 1 FROM config_versions /*where*/"
INSERT: Final = "INSERT INTO config_versions (version, config, author, comment, created_at) VALUES ($1, $2, $3, $4, $5)"


class ConfigChanged(Conflict):
    """Somebody else changed the configuration meanwhile."""

    def __init__(self) -> None:
        super().__init__("The configuration was changed by somebody else meanwhile: read it again.", code="config_changed")


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """author: the id of the user who made it."""

    version: int
    config: Mapping[str, Any]
    author: str
    comment: str
    created_at: datetime


class ConfigVersions:
    """`database`: the pool, or a transaction that other changes share."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def current(self) -> ConfigVersion | None:
        """The version in force; None = nothing was ever changed."""
        row = await self._database.fetchrow(CURRENT)
        return None if row is None else _of(row)

    async def number(self) -> int:
        """The version in force; 0 = nothing was ever changed."""
        return int(await self._database.fetchval(NUMBER))

    async def get(self, version: int) -> ConfigVersion | None:
        row = await self._database.fetchrow(GET, version)
        return None if row is None else _of(row)

    async def page(self, *, page: int = 1, limit: int = 50) -> tuple[list[ConfigVersion], int]:
        """Newest first, and how many there are."""
        where = Where()
        sql, args = where.paged(LIST, page, limit)
        rows = await self._database.fetch(sql, *args)
        return [_of(row) for row in rows], await count(self._database, where, EACH)

    async def add(self, config: Mapping[str, Any], *, after: int, author: str, comment: str = "") -> ConfigVersion:
        """
        Put the next version in force.

        after: the version that `config` was made from; 0 = there was none.
        Raises: ConfigChanged where that is not the last one any more.
        """
        made = ConfigVersion(after + 1, clean_json(config), author, clean_text(comment, 1000), utcnow())
        try:
            await self._database.execute(INSERT, made.version, made.config, made.author, made.comment, made.created_at)
        except Duplicate as error:
            raise ConfigChanged from error
        return made


def _of(row: Row) -> ConfigVersion:
    return ConfigVersion(row["version"], row["config"], row["author"], row["comment"], row["created_at"])
