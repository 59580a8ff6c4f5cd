"""Table `owned_objects`: which user made which object at a provider. The first who is noted stays its owner."""

from collections.abc import Collection
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.store.columns import clean_text
from neuroroute.store.postgres import Queries

CLAIM: Final = """
INSERT INTO owned_objects (id, user_id, provider, created_at) SELECT unnest($1::text[]), $2, $3, $4 ON CONFLICT (id) DO NOTHING
"""
OWNER: Final = "SELECT user_id FROM owned_objects WHERE id = $1"
OWNED: Final = "SELECT id FROM owned_objects WHERE id = ANY($1::text[]) AND user_id = $2"
FOREIGN: Final = "SELECT id FROM owned_objects WHERE id = ANY($1::text[]) AND user_id <> $2 LIMIT 1"
_ID_MAX: Final = 256


class OwnedObjects:
    """`database`: the pool, or a transaction. Every method raises DatabaseAway."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def claim(self, user_id: str, provider: str, ids: Collection[str]) -> None:
        """Note the owner of new objects."""
        await self._database.execute(CLAIM, _clean(ids), user_id, provider, utcnow())

    async def owner(self, object_id: str) -> str | None:
        """None: nobody made it here."""
        found = await self._database.fetchval(OWNER, clean_text(object_id)[:_ID_MAX])
        return None if found is None else str(found)

    async def owned(self, user_id: str, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are this user's."""
        return frozenset(row["id"] for row in await self._database.fetch(OWNED, _clean(ids), user_id))

    async def foreign(self, user_id: str, ids: Collection[str]) -> str | None:
        """One of `ids` that is another user's."""
        found = await self._database.fetchval(FOREIGN, _clean(ids), user_id)
        return None if found is None else str(found)


def _clean(ids: Collection[str]) -> list[str]:
    return [clean_text(object_id)[:_ID_MAX] for object_id in ids]
