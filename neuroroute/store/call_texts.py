"""Table `call_texts`: what was asked and answered, where STORE_PROMPTS is on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.store.columns import clean_text
from neuroroute.store.postgres import Queries

# What a user asked who is gone meanwhile is not kept.
PUT: Final = """
INSERT INTO call_texts (request_id, user_id, prompt, answer, created_at)
SELECT new.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[]) AS new (request_id, user_id, prompt, answer, created_at)
JOIN users ON users.id = new.user_id
ON CONFLICT (request_id) DO NOTHING
"""
MOST_CHARS: Final = 100_000
GET: Final = "SELECT request_id, user_id, prompt, answer, created_at FROM call_texts WHERE request_id = $1"
EXPIRE: Final = """
DELETE FROM call_texts WHERE request_id IN (SELECT request_id FROM call_texts WHERE created_at < $1 ORDER BY created_at LIMIT $2)
"""


@dataclass(frozen=True, slots=True)
class CallText:
    """What one call said, as it is shown: shortened and masked."""

    request_id: str
    user_id: str
    prompt: str
    answer: str
    created_at: datetime


class CallTexts:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def put_many(self, texts: Sequence[CallText]) -> None:
        """One that is there already stays as it is."""
        await self._database.execute(
            PUT,
            [one.request_id for one in texts],
            [one.user_id for one in texts],
            [clean_text(one.prompt, MOST_CHARS) for one in texts],
            [clean_text(one.answer, MOST_CHARS) for one in texts],
            [one.created_at for one in texts],
        )

    async def get(self, request_id: str) -> CallText | None:
        row = await self._database.fetchrow(GET, request_id)
        return None if row is None else CallText(row["request_id"], row["user_id"], row["prompt"], row["answer"], row["created_at"])

    async def expire(self, before: datetime, limit: int = 1000) -> int:
        """Remove the oldest of those that are older than `before`. How many were removed."""
        return await self._database.execute(EXPIRE, before, limit)
