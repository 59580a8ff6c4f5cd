"""Table `providers`: providers that admins added or changed, beside those of the configuration file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.store.columns import clean_json
from neuroroute.store.postgres import Queries, Row

LIST: Final = "SELECT name, config, sealed_key, enabled, created_at, updated_at FROM providers ORDER BY name"
GET: Final = "SELECT name, config, sealed_key, enabled, created_at, updated_at FROM providers WHERE name = $1"
PUT: Final = """
INSERT INTO providers (name, config, sealed_key, enabled, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (name) DO UPDATE SET config = excluded.config, sealed_key = excluded.sealed_key, enabled = excluded.enabled, updated_at = excluded.updated_at
RETURNING name, config, sealed_key, enabled, created_at, updated_at
"""
DELETE: Final = "DELETE FROM providers WHERE name = $1"
CHANNEL: Final = "neuroroute_catalog"
"""Notified with the name after each change of a provider or model."""


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """config: as under `providers:` in the configuration file, without the key; sealed_key: the provider's key, encrypted."""

    name: str
    config: Mapping[str, Any]
    sealed_key: bytes | None = field(repr=False)
    enabled: bool
    created_at: datetime
    updated_at: datetime


class Providers:
    """`database`: the pool, or a transaction that other changes share."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def all(self) -> list[ProviderRow]:
        """In the order of their names."""
        return [_of(row) for row in await self._database.fetch(LIST)]

    async def get(self, name: str) -> ProviderRow | None:
        row = await self._database.fetchrow(GET, name)
        return None if row is None else _of(row)

    async def put(self, name: str, config: Mapping[str, Any], *, sealed_key: bytes | None = None, enabled: bool = True) -> ProviderRow:
        """Add or replace."""
        row = await self._database.fetchrow(PUT, name, clean_json(config), sealed_key, enabled, utcnow())
        assert row is not None  # RETURNING of an upsert
        return _of(row)

    async def delete(self, name: str) -> bool:
        """False: there was none."""
        return await self._database.execute(DELETE, name) > 0


def _of(row: Row) -> ProviderRow:
    return ProviderRow(row["name"], row["config"], row["sealed_key"], row["enabled"], row["created_at"], row["updated_at"])
