"""Make, rotate and revoke keys; the first admin. Each change and its line in the audit log are one transaction."""

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.ids import key_digest, key_display, new_key
from neuroroute.core.types import Limits, Role
from neuroroute.store.api_keys import ApiKey, ApiKeys
from neuroroute.store.audit import AuditLog
from neuroroute.store.columns import Budget, budget_json, limits_json
from neuroroute.store.postgres import Database, Queries, StillReferenced
from neuroroute.store.secrets import Secrets
from neuroroute.store.users import User, Users

SECRET_NAME: Final = "key_digest"
ADMIN_KEY_CHARS: Final = 8
OVERLAP_MAX: Final = timedelta(days=30)
LOCK_FIRST_START: Final = "SELECT pg_advisory_xact_lock(7239456)"
_log = logging.getLogger("neuroroute.access")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, for the audit log. All None: the command line, or the start."""

    key_id: str | None = None
    user_id: str | None = None
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A key and, this once, what clients send. `secret` is empty where it was not made now."""

    key: ApiKey
    secret: str = field(repr=False)


NOBODY: Final = Actor()


async def digest_secret(database: Queries) -> bytes:
    """What key digests are made with: the same in all replicas."""
    return await Secrets(database).get_or_make(SECRET_NAME)


async def create_key(
    database: Database,
    user_id: str,
    name: str,
    *,
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
    secret: str | None = None,
    actor: Actor = NOBODY,
) -> Made:
    """
    A new key of a user.

    secret: what clients shall send; None = a random one.
    Raises: NotFound where there is no such user; Duplicate where the secret is in use.
    """
    salt = await digest_secret(database)
    shown = secret or new_key()
    async with database.transaction() as change:
        try:
            key = await ApiKeys(change).create(
                user_id, name, digest=key_digest(shown, salt), display=key_display(shown), allowed_models=allowed_models,
                limits=limits, budget=budget, expires_at=expires_at, tags=tags, on_disconnect=on_disconnect, semantic_cache=semantic_cache,
                allowed_routes=allowed_routes, allowed_ips=allowed_ips, store_prompts=store_prompts,
            )  # fmt: skip
        except StillReferenced as error:
            raise NotFound(f"There is no user '{user_id}'.", param="user_id") from error
        await note(change, actor, "api_key.create", key.id, after=key_facts(key))
    return Made(key, shown)


async def update_key(database: Database, before: ApiKey, after: ApiKey, *, actor: Actor = NOBODY) -> ApiKey:
    """
    A key with something of it changed.

    Raises: BadRequest where it is revoked; NotFound; Conflict where somebody else changed it since `before` was read.
    """
    if before.status != "active":
        raise BadRequest("This key is revoked; a revoked key stays as it was.", param="id")
    async with database.transaction() as change:
        changed = await ApiKeys(change).update(after, seen=before.updated_at)
        await note(change, actor, "api_key.update", before.id, before=key_facts(before), after=key_facts(changed))
    return changed


async def rotate_key(database: Database, key_id: str, *, overlap: timedelta = timedelta(0), actor: Actor = NOBODY) -> Made:
    """
    A new secret for a key; the old one works for `overlap` more.

    Raises: NotFound where it does not exist or is revoked; BadRequest on an overlap that is negative or over 30 days.
    """
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise BadRequest("The overlap is from 0 to 30 days.", param="overlap_s")
    salt = await digest_secret(database)
    shown = new_key()
    until = utcnow() + overlap if overlap else None
    async with database.transaction() as change:
        key = await ApiKeys(change).rotate(key_id, digest=key_digest(shown, salt), display=key_display(shown), previous_until=until)
        await note(change, actor, "api_key.rotate", key_id, after={"display": key.display, "previous_until": until})
    return Made(key, shown)


async def revoke_key(database: Database, key_id: str, *, actor: Actor = NOBODY) -> ApiKey:
    """
    End a key, everywhere within a second. A key that is revoked already stays so.

    Raises: NotFound
    """
    async with database.transaction() as change:
        keys = ApiKeys(change)
        if await keys.revoke(key_id):
            await note(change, actor, "api_key.revoke", key_id)
        key = await keys.get(key_id)
    if key is None:
        raise NotFound(f"There is no API key '{key_id}'.")
    return key


async def note(
    change: Queries,
    actor: Actor,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """A line in the audit log."""
    await AuditLog(change).add(
        action, target, actor_key_id=actor.key_id, actor_user_id=actor.user_id, before=before, after=after, address=actor.address,
        request_id=actor.request_id,
    )  # fmt: skip


def key_facts(key: ApiKey) -> dict[str, Any]:
    """A key as the audit log and the admin API show it: no secret, no digest."""
    return {
        "id": key.id,
        "user_id": key.user_id,
        "name": key.name,
        "display": key.display,
        "status": key.status,
        "allowed_models": None if key.allowed_models is None else list(key.allowed_models),
        "allowed_routes": None if key.allowed_routes is None else list(key.allowed_routes),
        "allowed_ips": None if key.allowed_ips is None else list(key.allowed_ips),
        "limits": limits_json(key.limits),
        "budget": budget_json(key.budget),
        "expires_at": key.expires_at,
        "tags": dict(key.tags),
        "on_disconnect": key.on_disconnect,
        "semantic_cache": key.semantic_cache,
        "store_prompts": key.store_prompts,
        "last_used_at": key.last_used_at,
        "previous_until": key.previous_until,
        "created_at": key.created_at,
        "updated_at": key.updated_at,
    }


def user_facts(user: User) -> dict[str, Any]:
    """A user as the audit log and the admin API show it."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role.value,
        "status": user.status,
        "limits": limits_json(user.limits),
        "budget": budget_json(user.budget),
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


@dataclass(frozen=True, slots=True)
class AdminKey:
    """path: the file that holds the key; secret: the key, where it was made now, to be shown once; fresh: this was the first start."""

    path: Path
    secret: str | None = field(repr=False)
    fresh: bool


async def ensure_admin(database: Database, data_dir: Path, wanted: str | None = None) -> AdminKey:
    """
    See to it that an admin can get in; may run in several processes and at each start.

    Where no active admin is: the user `admin` with one key, `wanted` or a random one, kept in `<data-dir>/admin.key`. Else `wanted` is given to the
    first admin, where it is not known yet; one that was revoked stays revoked.
    Raises: BadRequest where `wanted` is too short; DatabaseAway
    """
    if wanted is not None and len(wanted) < ADMIN_KEY_CHARS:
        raise BadRequest(f"NEUROROUTE_ADMIN_KEY: at least {ADMIN_KEY_CHARS} characters.")
    path = data_dir / "admin.key"
    salt = await digest_secret(database)
    async with database.transaction(timeout_s=30) as change:
        await change.execute(LOCK_FIRST_START)
        admin = await Users(change).first_admin()
        if admin is not None and (wanted is None or await ApiKeys(change).has_digest(key_digest(wanted, salt))):
            return AdminKey(path, None, fresh=False)
        fresh = admin is None
        if admin is None:
            admin = await Users(change).create("admin", role=Role.ADMIN)
            await note(change, NOBODY, "user.create", admin.id, after=user_facts(admin))
        secret = wanted or new_key()
        name = "first admin key" if fresh else "NEUROROUTE_ADMIN_KEY"
        key = await ApiKeys(change).create(admin.id, name, digest=key_digest(secret, salt), display=key_display(secret))
        await note(change, NOBODY, "api_key.create", key.id, after=key_facts(key))
        if fresh or not path.exists():
            keep_secret(path, secret)
    return AdminKey(path, secret, fresh)


def keep_secret(path: Path, secret: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
