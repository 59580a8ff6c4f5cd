"""Table `audit_log`: who changed what. Rows are only ever added."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.ids import new_id
from neuroroute.store.columns import Where, clean_json, clean_optional, clean_text, count
from neuroroute.store.postgres import Queries, Row

INSERT: Final = """
INSERT INTO audit_log (id, created_at, actor_key_id, actor_user_id, action, target, before, after, address, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
LIST: Final = """
SELECT id, created_at, actor_key_id, actor_user_id, action, target, before, after, address, request_id
FROM audit_log /*where*/ ORDER BY created_at DESC, id DESC
"""
EACH: Final = "SELECT 1 FROM audit_log /*where*/"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """before, after: what changed, with secrets masked. actor_user_id: None = the command line."""

    id: str
    created_at: datetime
    actor_key_id: str | None
    actor_user_id: str | None
    action: str  # user.create, api_key.revoke, config.put, ...
    target: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    address: str | None
    request_id: str | None


class AuditLog:
    """`database`: the pool, or the transaction of the change itself, so that neither is there without the other."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def add(
        self,
        action: str,
        target: str,
        *,
        actor_key_id: str | None = None,
        actor_user_id: str | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        address: str | None = None,
        request_id: str | None = None,
    ) -> str:
        """Note a change; callers mask secrets. Returns the entry's id."""
        entry_id = new_id("aud")
        await self._database.execute(
            INSERT, entry_id, utcnow(), actor_key_id, actor_user_id, action, clean_text(target),
            None if before is None else clean_json(before), None if after is None else clean_json(after), clean_optional(address), request_id,
        )  # fmt: skip
        return entry_id

    async def page(
        self,
        *,
        page: int = 1,
        limit: int = 50,
        actor_user_id: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[list[AuditEntry], int]:
        """Newest first, and how many there are."""
        where = Where()
        where.add("actor_user_id = {}", actor_user_id)
        where.add("action = {}", action)
        where.add("target = {}", target)
        where.add("created_at >= {}", since)
        where.add("created_at < {}", until)
        sql, args = where.paged(LIST, page, limit)
        rows = await self._database.fetch(sql, *args)
        return [_of(row) for row in rows], await count(self._database, where, EACH)


def _of(row: Row) -> AuditEntry:
    return AuditEntry(
        row["id"], row["created_at"], row["actor_key_id"], row["actor_user_id"], row["action"], row["target"], row["before"], row["after"],
        row["address"], row["request_id"],
    )  # fmt: skip
