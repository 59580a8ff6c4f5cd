"""Table `stored_responses`: what the Responses API promises to remember, for KEPT_DAYS, per user."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.store.columns import clean_text
from neuroroute.store.postgres import Queries, Row

KEPT_DAYS: Final = 30
"""As OpenAI keeps responses. Source: OpenAI, guide "Conversation state", 2026-11."""

PUT: Final = """
INSERT INTO stored_responses (id, user_id, provider, response, input, conversation, item_ids, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO NOTHING
"""
FOREIGN: Final = "SELECT EXISTS (SELECT FROM stored_responses WHERE id = $1 AND user_id <> $2)"
GET: Final = "SELECT id, provider, response, input, conversation FROM stored_responses WHERE id = $1 AND user_id = $2 AND expires_at > $3"
WITH_ITEMS: Final = """
SELECT id, provider, response, input, conversation FROM stored_responses WHERE item_ids && $1 AND user_id = $2 AND expires_at > $3 LIMIT 100
"""
DELETE: Final = "DELETE FROM stored_responses WHERE id = $1 AND user_id = $2"
EXPIRE: Final = (
    "DELETE FROM stored_responses WHERE id IN (SELECT id FROM stored_responses WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """conversation: everything up to and with this response, in order; None: the provider keeps it, the row says only which one."""

    id: str
    provider: str
    response: Mapping[str, Any] | None = None
    input: Sequence[dict[str, Any]] | None = None
    conversation: Sequence[dict[str, Any]] | None = None


class StoredResponses:
    """`database`: the pool, or a transaction. Every look-up names the user: what is another's is not there."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def put(self, user_id: str, stored: StoredResponse) -> None:
        now = utcnow()
        items = [item["id"] for item in stored.conversation or () if isinstance(item.get("id"), str)]
        await self._database.execute(
            PUT,
            clean_text(stored.id),
            user_id,
            stored.provider,
            None if stored.response is None else dumps(stored.response),
            None if stored.input is None else dumps(list(stored.input)),
            None if stored.conversation is None else dumps(list(stored.conversation)),
            [clean_text(item_id) for item_id in items],
            now,
            now + timedelta(days=KEPT_DAYS),
        )

    async def get(self, user_id: str, response_id: str) -> StoredResponse | None:
        row = await self._database.fetchrow(GET, response_id[:256], user_id, utcnow())
        return None if row is None else _of(row)

    async def foreign(self, user_id: str, response_id: str) -> bool:
        """Whether it is another user's: then it must not be asked for at its provider either, where all users are one."""
        return bool(await self._database.fetchval(FOREIGN, response_id[:256], user_id))

    async def with_items(self, user_id: str, item_ids: Sequence[str]) -> list[StoredResponse]:
        """The responses in whose conversation any of these items stands."""
        rows = await self._database.fetch(WITH_ITEMS, [item_id[:256] for item_id in item_ids], user_id, utcnow())
        return [_of(row) for row in rows]

    async def delete(self, user_id: str, response_id: str) -> bool:
        """False: there was none."""
        return await self._database.execute(DELETE, response_id[:256], user_id) > 0

    async def expire(self, limit: int = 1000) -> int:
        """Remove the oldest of those whose time is over; how many."""
        return await self._database.execute(EXPIRE, utcnow(), limit, timeout_s=30)


def _of(row: Row) -> StoredResponse:
    response, given, conversation = (None if row[name] is None else loads(row[name]) for name in ("response", "input", "conversation"))
    return StoredResponse(row["id"], row["provider"], response, given, conversation)
