"""Table `provider_keys`: the credentials of providers that admins set by the API, encrypted."""

from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.store.postgres import Queries

LIST: Final = "SELECT name, sealed FROM provider_keys ORDER BY name"
PUT: Final = """
INSERT INTO provider_keys (name, sealed, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at
"""
SWAP: Final = "UPDATE provider_keys SET sealed = $3, updated_at = $4 WHERE name = $1 AND sealed = $2"
DELETE: Final = "DELETE FROM provider_keys WHERE name = $1"


class ProviderKeys:
    """`database`: the pool, or a transaction that other changes share."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def all(self) -> dict[str, bytes]:
        """What is sealed, by provider."""
        return {row["name"]: bytes(row["sealed"]) for row in await self._database.fetch(LIST)}

    async def put(self, name: str, sealed: bytes) -> None:
        """Add or replace."""
        await self._database.execute(PUT, name, sealed, utcnow())

    async def swap(self, name: str, old: bytes, new: bytes) -> bool:
        """Replace, unless somebody else did meanwhile; then False."""
        return await self._database.execute(SWAP, name, old, new, utcnow()) > 0

    async def delete(self, name: str) -> bool:
        """False: there was none."""
        return await self._database.execute(DELETE, name) > 0
