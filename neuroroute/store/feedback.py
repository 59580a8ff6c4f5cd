"""Table `feedback`: what clients say of answers."""

from datetime import datetime
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.ids import new_id
from neuroroute.store.columns import Where, clean_optional, clean_text, count
from neuroroute.store.postgres import Queries, Row

PUT: Final = """
INSERT INTO feedback (id, request_id, key_id, user_id, score, correct_model, label, comment, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (request_id, key_id) DO UPDATE SET
    score = excluded.score, correct_model = excluded.correct_model, label = excluded.label, comment = excluded.comment,
    created_at = excluded.created_at
RETURNING id, request_id, key_id, user_id, score, correct_model, label, comment, created_at
"""
LIST: Final = """
SELECT id, request_id, key_id, user_id, score, correct_model, label, comment, created_at FROM feedback /*where*/ ORDER BY created_at DESC, id DESC
"""
ONE: Final = """
SELECT id, request_id, key_id, user_id, score, correct_model, label, comment, created_at FROM feedback WHERE request_id = $1 AND key_id = $2
"""
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
EACH: Final = "SELECT 1 FROM feedback /*where*/"


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """score: -1..1; correct_model: what should have answered; label: what kind of work it was."""

    id: str
    request_id: str
    key_id: str
    user_id: str
    score: float
    correct_model: str | None
    label: str | None
    comment: str | None
    created_at: datetime


class Feedback:
    """`database`: the pool, or a transaction."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def get(self, request_id: str, key_id: str) -> FeedbackRow | None:
        """What a key said of a call."""
        row = await self._database.fetchrow(ONE, request_id, key_id)
        return None if row is None else _of(row)

    async def put(
        self,
        request_id: str,
        *,
        key_id: str,
        user_id: str,
        score: float,
        correct_model: str | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> FeedbackRow:
        """
        Note an opinion; a key's second one on the same call replaces its first.

        Raises: BadValue where the score is not in -1..1.
        """
        row = await self._database.fetchrow(
            PUT,
            new_id("fbk"),
            clean_text(request_id),
            key_id,
            user_id,
            score,
            clean_optional(correct_model),
            clean_optional(label),
            clean_optional(comment, 4000),
            utcnow(),
        )
        assert row is not None  # RETURNING of an upsert
        return _of(row)

    async def replace(
        self,
        request_id: str,
        *,
        key_id: str,
        user_id: str,
        score: float,
        correct_model: str | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> tuple[FeedbackRow, FeedbackRow | None]:
        """
        `put`, and what the key said before: None where this is its first. In a transaction of its own, whose end the next one waits for.

        Raises: BadValue
        """
        await self._database.fetchval(LOCK, f"{request_id} {key_id}")
        before = await self.get(request_id, key_id)
        said = await self.put(
            request_id, key_id=key_id, user_id=user_id, score=score, correct_model=correct_model, label=label, comment=comment
        )
        return said, before

    async def page(
        self,
        *,
        page: int = 1,
        limit: int = 50,
        user_id: str | None = None,
        request_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[list[FeedbackRow], int]:
        """Newest first, and how many there are."""
        where = Where()
        where.add("user_id = {}", user_id)
        where.add("request_id = {}", request_id)
        where.add("created_at >= {}", since)
        where.add("created_at < {}", until)
        sql, args = where.paged(LIST, page, limit)
        rows = await self._database.fetch(sql, *args)
        return [_of(row) for row in rows], await count(self._database, where, EACH)


def _of(row: Row) -> FeedbackRow:
    return FeedbackRow(
        row["id"],
        row["request_id"],
        row["key_id"],
        row["user_id"],
        row["score"],
        row["correct_model"],
        row["label"],
        row["comment"],
        row["created_at"],
    )
