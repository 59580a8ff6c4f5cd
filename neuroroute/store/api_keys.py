"""Table `api_keys`: what clients call with. Keys themselves are never stored, only their digests."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import Conflict, NotFound
from neuroroute.core.ids import new_id
from neuroroute.core.types import Limits, Role
from neuroroute.store.columns import Budget, Where, budget_json, budget_of, count, like, limits_json, limits_of
from neuroroute.store.postgres import Queries, Row

INSERT: Final = """
INSERT INTO api_keys (
    id, user_id, name, allowed_models, limits, budget, expires_at, tags, status, on_disconnect, created_at, updated_at, digest, display,
    semantic_cache, allowed_routes, allowed_ips, store_prompts
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14, $15, $16, $17)
"""
GET: Final = """
SELECT id, user_id, name, display, previous_until, allowed_models, limits, budget, expires_at, tags, status, on_disconnect, semantic_cache,
    last_used_at, created_at, updated_at, allowed_routes, allowed_ips, store_prompts
FROM api_keys WHERE id = $1
"""
LIST: Final = """
SELECT id, user_id, name, display, previous_until, allowed_models, limits, budget, expires_at, tags, status, on_disconnect, semantic_cache,
    last_used_at, created_at, updated_at, allowed_routes, allowed_ips, store_prompts
FROM api_keys /*where*/ ORDER BY created_at DESC, id DESC
"""
EACH: Final = "SELECT 1 FROM api_keys /*where*/"
UPDATE: Final = """
UPDATE api_keys SET user_id = $2, name = $3, allowed_models = $4, limits = $5, budget = $6, expires_at = $7, tags = $8, status = $9,
    on_disconnect = $10, updated_at = $11, semantic_cache = $13, allowed_routes = $14, allowed_ips = $15, store_prompts = $16
WHERE id = $1 AND ($12::timestamptz IS NULL OR updated_at = $12)
"""
REVOKE: Final = """
UPDATE api_keys SET status = 'revoked', previous_digest = NULL, previous_until = NULL, updated_at = $2 WHERE id = $1 AND status = 'active'
"""
# The key before the last one stops at once: at most two work at a time.
ROTATE: Final = """
UPDATE api_keys SET
    digest = $2, display = $3, updated_at = $5,
    previous_digest = CASE WHEN $4::timestamptz IS NULL THEN NULL ELSE digest END, previous_until = $4
WHERE id = $1 AND status = 'active'
"""
DELETE: Final = "DELETE FROM api_keys WHERE id = $1"
USED: Final = """
UPDATE api_keys SET last_used_at = $2 WHERE id = ANY($1) AND (last_used_at IS NULL OR last_used_at < $2)
"""
HAS_DIGEST: Final = "SELECT EXISTS (SELECT FROM api_keys WHERE digest = $1 OR previous_digest = $1)"
_ACCESS: Final = """
SELECT k.id AS key_id, k.user_id, k.digest, k.previous_digest, k.previous_until, k.allowed_models, k.limits, k.budget, k.expires_at, k.tags,
    k.on_disconnect, k.semantic_cache, k.allowed_routes, k.allowed_ips, k.store_prompts, u.role, u.limits AS user_limits, u.budget AS user_budget
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.status = 'active' AND u.status = 'active'
"""
ACCESS_PAGE: Final = _ACCESS + " AND k.id > $1 ORDER BY k.id LIMIT $2"
ACCESS_OF_KEY: Final = _ACCESS + " AND k.id = $1"
ACCESS_OF_USER: Final = _ACCESS + " AND k.user_id = $1"
ACCESS_BY_DIGEST: Final = _ACCESS + " AND (k.digest = $1 OR (k.previous_digest = $1 AND k.previous_until > $2))"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """previous_until: how long the key before the last rotation still works."""

    id: str
    user_id: str
    name: str
    display: str
    status: str  # active, revoked
    created_at: datetime
    updated_at: datetime
    allowed_models: tuple[str, ...] | None = None  # None = all
    limits: Limits = field(default_factory=Limits)
    budget: Budget | None = None
    expires_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    on_disconnect: str = "cancel"  # cancel, finish, detach
    last_used_at: datetime | None = None
    previous_until: datetime | None = None
    semantic_cache: bool | None = None  # None = as configured
    allowed_routes: tuple[str, ...] | None = None  # as core.gate reads them; None = all
    allowed_ips: tuple[str, ...] | None = None
    store_prompts: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """What a usable key opens, and to whom: a row of the access snapshot."""

    key_id: str
    user_id: str
    role: Role
    digest: bytes
    previous_digest: bytes | None
    previous_until: datetime | None
    allowed_models: frozenset[str] | None
    limits: Limits
    user_limits: Limits
    budget: Budget | None
    user_budget: Budget | None
    expires_at: datetime | None
    tags: Mapping[str, str]
    on_disconnect: str
    semantic_cache: bool | None = None
    allowed_routes: tuple[str, ...] | None = None
    allowed_ips: tuple[str, ...] | None = None
    store_prompts: bool = True


class ApiKeys:
    """`database`: the pool, or a transaction that other changes share. All processes are told of each change by the database."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def create(
        self,
        user_id: str,
        name: str,
        *,
        digest: bytes,
        display: str,
        allowed_models: Iterable[str] | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        expires_at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        on_disconnect: str = "cancel",
        semantic_cache: bool | None = None,
        allowed_routes: Iterable[str] | None = None,
        allowed_ips: Iterable[str] | None = None,
        store_prompts: bool = True,
    ) -> ApiKey:
        """Raises: StillReferenced where there is no such user; Duplicate where the key is taken."""
        now = utcnow()
        key = ApiKey(
            new_id("key"), user_id, name, display, "active", now, now, _tuple(allowed_models), limits or Limits(), budget, expires_at,
            dict(tags or {}), on_disconnect, semantic_cache=semantic_cache, allowed_routes=_tuple(allowed_routes),
            allowed_ips=_tuple(allowed_ips), store_prompts=store_prompts,
        )  # fmt: skip
        await self._database.execute(INSERT, *_values(key), now, digest, display, *_more(key))
        return key

    async def get(self, key_id: str) -> ApiKey | None:
        row = await self._database.fetchrow(GET, key_id)
        return None if row is None else _of(row)

    async def page(
        self,
        *,
        page: int = 1,
        limit: int = 50,
        user_id: str | None = None,
        status: str | None = None,
        search: str | None = None,
        tag: tuple[str, str] | None = None,
    ) -> tuple[list[ApiKey], int]:
        """Newest first, and how many there are. search: part of the name or of the shown beginning."""
        where = Where()
        where.add("user_id = {}", user_id)
        where.add("status = {}", status)
        where.add("(name ILIKE {} OR display ILIKE {})", None if search is None else like(search))
        where.add("tags @> {}", None if tag is None else {tag[0]: tag[1]})
        sql, args = where.paged(LIST, page, limit)
        rows = await self._database.fetch(sql, *args)
        return [_of(row) for row in rows], await count(self._database, where, EACH)

    async def update(self, key: ApiKey, *, seen: datetime | None = None) -> ApiKey:
        """
        Write all of `key` but its times and its secret. seen: the `updated_at` that the change is based on; None = whatever is there.

        Raises: NotFound, StillReferenced; Conflict where it was changed since `seen`.
        """
        now = utcnow()
        if not await self._database.execute(UPDATE, *_values(key), now, seen, *_more(key)):
            if seen is not None and await self.get(key.id) is not None:
                raise Conflict("Somebody else changed this key just now: read it again.")
            raise _unknown(key.id)
        return replace(key, updated_at=now)

    async def rotate(self, key_id: str, *, digest: bytes, display: str, previous_until: datetime | None) -> ApiKey:
        """
        Give the key a new secret; the old one works until `previous_until` (None: not any more).

        Raises: NotFound where it does not exist or is revoked.
        """
        if not await self._database.execute(ROTATE, key_id, digest, display, previous_until, utcnow()):
            raise _unknown(key_id)
        key = await self.get(key_id)
        if key is None:
            raise _unknown(key_id)
        return key

    async def revoke(self, key_id: str) -> bool:
        """End the key for good. False: there is no such active key."""
        return await self._database.execute(REVOKE, key_id, utcnow()) > 0

    async def delete(self, key_id: str) -> bool:
        """Remove the row. False: there was none."""
        return await self._database.execute(DELETE, key_id) > 0

    async def has_digest(self, digest: bytes) -> bool:
        """Whether a key has it, usable or not."""
        return bool(await self._database.fetchval(HAS_DIGEST, digest))

    async def used(self, key_ids: Iterable[str], at: datetime) -> None:
        """Note the last use of several keys."""
        await self._database.execute(USED, sorted(key_ids), at)

    async def access_page(self, after: str = "", limit: int = 1000) -> list[Access]:
        """Usable keys in the order of their ids, beginning behind `after`."""
        return [_access(row) for row in await self._database.fetch(ACCESS_PAGE, after, limit)]

    async def access_of(self, id_: str) -> list[Access]:
        """The usable keys behind a `key_` or `usr_` id."""
        sql = ACCESS_OF_USER if id_.startswith("usr_") else ACCESS_OF_KEY
        return [_access(row) for row in await self._database.fetch(sql, id_)]

    async def access_by_digest(self, digest: bytes, *, timeout_s: float | None = None) -> Access | None:
        """The usable key with this digest."""
        row = await self._database.fetchrow(ACCESS_BY_DIGEST, digest, utcnow(), timeout_s=timeout_s)
        return None if row is None else _access(row)


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"There is no active API key '{key_id}'.")


def _tuple(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts)


def _values(key: ApiKey) -> tuple[object, ...]:
    models = None if key.allowed_models is None else list(key.allowed_models)
    return (
        key.id, key.user_id, key.name, models, limits_json(key.limits), budget_json(key.budget), key.expires_at, dict(key.tags), key.status,
        key.on_disconnect,
    )  # fmt: skip


def _more(key: ApiKey) -> tuple[object, ...]:
    return (key.semantic_cache, key.allowed_routes, key.allowed_ips, key.store_prompts)


def _of(row: Row) -> ApiKey:
    return ApiKey(
        row["id"], row["user_id"], row["name"], row["display"], row["status"], row["created_at"], row["updated_at"],
        _tuple(row["allowed_models"]), limits_of(row["limits"]), budget_of(row["budget"]), row["expires_at"], row["tags"],
        row["on_disconnect"], row["last_used_at"], row["previous_until"], row["semantic_cache"], _tuple(row["allowed_routes"]),
        _tuple(row["allowed_ips"]), row["store_prompts"],
    )  # fmt: skip


def _access(row: Row) -> Access:
    models: list[Any] | None = row["allowed_models"]
    return Access(
        row["key_id"], row["user_id"], Role(row["role"]), row["digest"], row["previous_digest"], row["previous_until"],
        None if models is None else frozenset(models), limits_of(row["limits"]), limits_of(row["user_limits"]),
        budget_of(row["budget"]), budget_of(row["user_budget"]), row["expires_at"], row["tags"], row["on_disconnect"],
        row["semantic_cache"], _tuple(row["allowed_routes"]), _tuple(row["allowed_ips"]),
        row["store_prompts"],
    )  # fmt: skip
