"""Table `models`: entries of the catalogue that admins added or changed, beside those of the configuration file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.store.columns import clean_json
from neuroroute.store.postgres import Queries, Row

LIST: Final = "SELECT name, config, enabled, created_at, updated_at FROM models ORDER BY name"
GET: Final = "SELECT name, config, enabled, created_at, updated_at FROM models WHERE name = $1"
PUT: Final = """
INSERT INTO models (name, config, enabled, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (name) DO UPDATE SET config = excluded.config, enabled = excluded.enabled, updated_at = excluded.updated_at
RETURNING name, config, enabled, created_at, updated_at
"""
DELETE: Final = "DELETE FROM models WHERE name = $1"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """config: as under `models:` in the configuration file."""

    name: str
    config: Mapping[str, Any]
    enabled: bool
    created_at: datetime
    updated_at: datetime


class Models:
    """`database`: the pool, or a transaction that other changes share."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def all(self) -> list[ModelRow]:
        """In the order of their names."""
        return [_of(row) for row in await self._database.fetch(LIST)]

    async def get(self, name: str) -> ModelRow | None:
        row = await self._database.fetchrow(GET, name)
        return None if row is None else _of(row)

    async def put(self, name: str, config: Mapping[str, Any], *, enabled: bool = True) -> ModelRow:
        """Add or replace."""
        row = await self._database.fetchrow(PUT, name, clean_json(config), enabled, utcnow())
        assert row is not None  # RETURNING of an upsert
        return _of(row)

    async def delete(self, name: str) -> bool:
        """False: there was none."""
        return await self._database.execute(DELETE, name) > 0


def _of(row: Row) -> ModelRow:
    return ModelRow(row["name"], row["config"], row["enabled"], row["created_at"], row["updated_at"])
