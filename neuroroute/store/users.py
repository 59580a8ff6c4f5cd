"""Table `users`: who owns keys."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import Conflict, NotFound
from neuroroute.core.ids import new_id
from neuroroute.core.types import Limits, Role
from neuroroute.store.columns import Budget, Where, budget_json, budget_of, count, like, limits_json, limits_of
from neuroroute.store.postgres import Queries, Row

INSERT: Final = """
INSERT INTO users (id, name, email, role, status, limits, budget, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
"""
GET: Final = "SELECT id, name, email, role, status, limits, budget, created_at, updated_at FROM users WHERE id = $1"
GET_BY_EMAIL: Final = "SELECT id, name, email, role, status, limits, budget, created_at, updated_at FROM users WHERE email = $1"
FIRST_ADMIN: Final = """
SELECT id, name, email, role, status, limits, budget, created_at, updated_at FROM users
WHERE role = 'admin' AND status = 'active' ORDER BY created_at, id LIMIT 1
"""
LIST: Final = """
SELECT id, name, email, role, status, limits, budget, created_at, updated_at FROM users /*where*/ ORDER BY created_at DESC, id DESC
"""
EACH: Final = "SELECT 1 FROM users /*where*/"
# The admins are locked in the order of their ids before one stops to be one: of two that demote each other, the second waits, and sees what
# the first did.
UPDATE: Final = """
WITH admins AS MATERIALIZED (SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR UPDATE)
UPDATE users SET name = $2, email = $3, role = $4, status = $5, limits = $6, budget = $7, updated_at = $8
WHERE id = $1 AND ($9::timestamptz IS NULL OR updated_at = $9) AND (
    ($4 = 'admin' AND $5 = 'active')
    OR EXISTS (SELECT FROM admins WHERE admins.id <> $1)
    OR NOT EXISTS (SELECT FROM admins WHERE admins.id = $1)
)
"""
DELETE: Final = """
WITH admins AS MATERIALIZED (SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR UPDATE)
DELETE FROM users
WHERE id = $1 AND (EXISTS (SELECT FROM admins WHERE admins.id <> $1) OR NOT EXISTS (SELECT FROM admins WHERE admins.id = $1))
"""


class LastAdmin(Conflict):
    """The last active admin can not be removed, demoted or disabled."""

    def __init__(self) -> None:
        super().__init__("This is the last active admin: make another one first.", code="last_admin")


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    email: str | None
    role: Role
    status: str  # active, disabled
    limits: Limits
    budget: Budget | None
    created_at: datetime
    updated_at: datetime


class Users:
    """`database`: the pool, or a transaction that other changes share."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def create(
        self, name: str, *, email: str | None = None, role: Role = Role.USER, limits: Limits | None = None, budget: Budget | None = None
    ) -> User:
        """Raises: Duplicate where the email is taken."""
        now = utcnow()
        user = User(new_id("usr"), name, _email(email), role, "active", limits or Limits(), budget, now, now)
        await self._database.execute(INSERT, *_values(user), now)
        return user

    async def get(self, user_id: str) -> User | None:
        return _user(await self._database.fetchrow(GET, user_id))

    async def by_email(self, email: str) -> User | None:
        return _user(await self._database.fetchrow(GET_BY_EMAIL, _email(email)))

    async def first_admin(self) -> User | None:
        """The oldest active admin."""
        return _user(await self._database.fetchrow(FIRST_ADMIN))

    async def page(
        self, *, page: int = 1, limit: int = 50, role: str | None = None, status: str | None = None, search: str | None = None
    ) -> tuple[list[User], int]:
        """Newest first, and how many there are. search: part of the name or the email."""
        where = Where()
        where.add("role = {}", role)
        where.add("status = {}", status)
        where.add("(name ILIKE {} OR email ILIKE {})", None if search is None else like(search))
        sql, args = where.paged(LIST, page, limit)
        rows = await self._database.fetch(sql, *args)
        return [_of(row) for row in rows], await count(self._database, where, EACH)

    async def update(self, user: User, *, seen: datetime | None = None) -> User:
        """
        Write all of `user` but its times. seen: the `updated_at` that the change is based on; None = whatever is there.

        Raises: NotFound, LastAdmin, Duplicate where the email is taken; Conflict where it was changed since `seen`.
        """
        now = utcnow()
        changed = replace(user, email=_email(user.email), updated_at=now)
        if not await self._database.execute(UPDATE, *_values(changed), now, seen):
            await self._refused(user.id, seen)
        return changed

    async def delete(self, user_id: str) -> None:
        """
        Remove the user and all of its keys. Its usage stays on the books.

        Raises: NotFound, LastAdmin
        """
        if not await self._database.execute(DELETE, user_id):
            await self._refused(user_id)

    async def _refused(self, user_id: str, seen: datetime | None = None) -> None:
        user = await self.get(user_id)
        if user is None:
            raise NotFound(f"There is no user '{user_id}'.")
        if seen is not None and user.updated_at != seen:
            raise Conflict("Somebody else changed this user just now: read it again.")
        raise LastAdmin


def _email(email: str | None) -> str | None:
    return email.strip().lower() or None if email is not None else None


def _values(user: User) -> tuple[object, ...]:
    return user.id, user.name, user.email, user.role.value, user.status, limits_json(user.limits), budget_json(user.budget)


def _user(row: Row | None) -> User | None:
    return None if row is None else _of(row)


def _of(row: Mapping[str, Any] | Row) -> User:
    return User(
        row["id"], row["name"], row["email"], Role(row["role"]), row["status"], limits_of(row["limits"]), budget_of(row["budget"]),
        row["created_at"], row["updated_at"],
    )  # fmt: skip
