"""
Table `semantic_answers`: vectors of answered prompts, and under which key of the cache the answer is. No text of prompts or answers.

It needs the extension `vector` (pgvector), which not every server has: so no migration makes it, but `prepare`, when the feature is first used.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.store.postgres import Database

MOST_OF_SCOPE: Final = 2000
"""Answers that are remembered of one scope: a search looks at each of them."""
FIND_EXTENSION: Final = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)"
FIND_TABLE: Final = "SELECT to_regclass('semantic_answers') IS NOT NULL"
LOCK: Final = "SELECT pg_advisory_xact_lock(7239460)"
MAKE_EXTENSION: Final = "CREATE EXTENSION IF NOT EXISTS vector"
MAKE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS semantic_answers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope bytea NOT NULL,
    cache_key bytea NOT NULL,
    embedding vector NOT NULL,
    marks bytea NOT NULL,
    request_id text NOT NULL,
    tags text[] NOT NULL,
    expires_at timestamptz NOT NULL,
    UNIQUE (scope, cache_key)
)
"""
MAKE_INDEX: Final = "CREATE INDEX IF NOT EXISTS semantic_answers_by_time ON semantic_answers (expires_at)"
NEAREST: Final = """
SELECT cache_key, marks, request_id, 1 - (embedding <=> $2::text::vector) AS similarity
FROM semantic_answers WHERE scope = $1 AND expires_at > $3
ORDER BY embedding <=> $2::text::vector LIMIT $4
"""
INSERT: Final = """
INSERT INTO semantic_answers (scope, cache_key, embedding, marks, request_id, tags, expires_at)
VALUES ($1, $2, $3::text::vector, $4, $5, $6, $7)
ON CONFLICT (scope, cache_key) DO UPDATE SET
    embedding = excluded.embedding, marks = excluded.marks, request_id = excluded.request_id, tags = excluded.tags,
    expires_at = excluded.expires_at
"""
BOUND: Final = """
DELETE FROM semantic_answers WHERE scope = $1 AND id <= (
    SELECT id FROM semantic_answers WHERE scope = $1 ORDER BY id DESC OFFSET $2 LIMIT 1
)
"""
FORGET: Final = "DELETE FROM semantic_answers WHERE scope = $1 AND cache_key = $2"
DROP: Final = "DELETE FROM semantic_answers WHERE $1::text IS NULL OR tags @> ARRAY[$1::text]"
DROP_PREFIX: Final = "DELETE FROM semantic_answers WHERE EXISTS (SELECT FROM unnest(tags) AS tag WHERE starts_with(tag, $1))"
EXPIRE: Final = "DELETE FROM semantic_answers WHERE expires_at <= $1"


@dataclass(frozen=True, slots=True)
class Near:
    """An answered prompt and how like it is to the one that was asked for: 1 = the same direction."""

    cache_key: bytes
    marks: bytes
    request_id: str
    similarity: float


class SemanticAnswers:
    """Every method raises DatabaseAway, and DatabaseFault where `prepare` was not done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self) -> bool:
        """Make the table, where it is not there. False: this server has no pgvector. Raises DatabaseFault where the role may not."""
        if await self._database.fetchval(FIND_TABLE):
            return True
        if not await self._database.fetchval(FIND_EXTENSION, "vector"):
            return False
        async with self._database.transaction(timeout_s=10.0) as change:
            await change.execute(LOCK)
            for sql in (MAKE_EXTENSION, MAKE_TABLE, MAKE_INDEX):
                await change.execute(sql)
        return True

    async def nearest(self, scope: bytes, vector: Sequence[float], limit: int = 4) -> list[Near]:
        rows = await self._database.fetch(NEAREST, scope, _text(vector), utcnow(), limit)
        return [Near(row["cache_key"], row["marks"], row["request_id"], row["similarity"]) for row in rows]

    async def put(
        self,
        scope: bytes,
        cache_key: bytes,
        vector: Sequence[float],
        *,
        marks: bytes,
        request_id: str,
        tags: Sequence[str],
        expires_at: datetime,
    ) -> None:
        await self._database.execute(INSERT, scope, cache_key, _text(vector), marks, request_id, list(tags), expires_at)
        await self._database.execute(BOUND, scope, MOST_OF_SCOPE)

    async def forget(self, scope: bytes, cache_key: bytes) -> None:
        await self._database.execute(FORGET, scope, cache_key)

    async def drop(self, tag: str | None) -> int:
        """Those with this tag, None = all; `prefix:gpt-` = those of models whose names begin so. Nothing where there is no table."""
        if not await self._database.fetchval(FIND_TABLE):
            return 0
        if tag is not None and tag.startswith("prefix:"):
            return await self._database.execute(DROP_PREFIX, "model:" + tag.removeprefix("prefix:"))
        return await self._database.execute(DROP, tag)

    async def expire(self) -> int:
        return await self._database.execute(EXPIRE, utcnow()) if await self._database.fetchval(FIND_TABLE) else 0


def _text(vector: Sequence[float]) -> str:
    """As pgvector reads it."""
    return "[" + ",".join(map(repr, vector)) + "]"
