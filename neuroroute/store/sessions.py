"""Table `sessions`: who is signed in to the pages. Tokens themselves are never stored, only their digests."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.store.postgres import Queries

INSERT: Final = "INSERT INTO sessions (digest, key_id, key_digest, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)"
GET: Final = "SELECT key_id, key_digest, created_at, expires_at FROM sessions WHERE digest = $1 AND expires_at > $2"
DELETE: Final = "DELETE FROM sessions WHERE digest = $1"
EXPIRE: Final = "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT 1000)"


@dataclass(frozen=True, slots=True)
class Session:
    """key_digest: what is stored of the key that was signed in with."""

    key_id: str
    key_digest: bytes
    created_at: datetime
    expires_at: datetime


class Sessions:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def create(self, token: str, *, key_id: str, key_digest: bytes, lasts: timedelta) -> Session:
        """Begin a session under `token`; sessions whose time is over are removed on this occasion."""
        now = utcnow()
        await self._database.execute(EXPIRE, now)
        await self._database.execute(INSERT, _digest(token), key_id, key_digest, now, now + lasts)
        return Session(key_id, key_digest, now, now + lasts)

    async def get(self, token: str) -> Session | None:
        row = await self._database.fetchrow(GET, _digest(token), utcnow())
        return None if row is None else Session(row["key_id"], row["key_digest"], row["created_at"], row["expires_at"])

    async def delete(self, token: str) -> bool:
        """End a session. False: there was none."""
        return await self._database.execute(DELETE, _digest(token)) > 0


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
