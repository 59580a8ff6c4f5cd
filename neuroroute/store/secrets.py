"""Table `server_secrets`: random bytes that all replicas must agree on."""

import os
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.store.postgres import Queries

GET: Final = "SELECT value FROM server_secrets WHERE name = $1"
INSERT: Final = "INSERT INTO server_secrets (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING"


class Secrets:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def get_or_make(self, name: str, size_bytes: int = 32) -> bytes:
        """The secret called `name`. Whoever asks first makes it; all others get the same."""
        found = await self._database.fetchval(GET, name)
        if found is None:
            await self._database.execute(INSERT, name, os.urandom(size_bytes), utcnow())
            found = await self._database.fetchval(GET, name)
        return bytes(found)
