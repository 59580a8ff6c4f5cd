"""
/admin/api-keys: what clients call with.

Admins manage all keys, viewers see them, users see and manage their own. Nobody gets further by a key than with the one they call with: what a user
makes or rotates is never wider, and limits are not had anew by another key.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from aiohttp import web

from neuroroute.access import keys
from neuroroute.access.keys import key_facts
from neuroroute.core.clock import utcnow
from neuroroute.core.errors import BadRequest, Forbidden, NotFound
from neuroroute.core.gate import beyond_ips, beyond_routes
from neuroroute.core.money import Budget
from neuroroute.core.types import Limits, Principal, Role
from neuroroute.limits.budget import began
from neuroroute.store.api_keys import ApiKey, ApiKeys
from neuroroute.store.budgets import Holds
from neuroroute.store.users import Users
from neuroroute.web.bodies import answer, budget_of, listed, one_of, paging, plain, read_body
from neuroroute.web.identity import actor, caller
from neuroroute.web.schemas import KeyCreate, KeyRotate, KeyUpdate
from neuroroute.web.state import DATABASE, SERVICES

_OF_USERS = {"name", "tags", "store_prompts"}
_Beyond = Callable[[Iterable[str], Iterable[str]], str | None]


def shown(key: ApiKey) -> dict[str, Any]:
    """A key as the API shows it: its beginning, never itself."""
    return {"object": "api_key", **key_facts(key)}


async def list_keys(request: web.Request) -> web.Response:
    """GET /admin/api-keys?user_id=&status=&search=&page=&limit=: the keys, newest first; to a user their own."""
    principal = await caller(request, "admin")
    page, limit = paging(request)
    rows, total = await ApiKeys(request.app[DATABASE]).page(
        page=page,
        limit=limit,
        user_id=principal.user_id if principal.role is Role.USER else plain(request, "user_id", 64),
        status=one_of(request, "status", ("active", "revoked")),
        search=plain(request, "search"),
    )
    return listed([shown(key) for key in rows], total, page, limit)


async def get_key(request: web.Request) -> web.Response:
    """GET /admin/api-keys/{id}: a key, with what it spent of its budget and what is left."""
    principal = await caller(request, "admin")
    key = await found(request, principal)
    return answer({**shown(key), **await money(request, key)})


async def create_key(request: web.Request) -> web.Response:
    """POST /admin/api-keys: the key itself is in this answer alone, as `key`."""
    principal = await _changer(request)
    made = await created(request, principal, await read_body(request, KeyCreate))
    return answer({**shown(made.key), "key": made.secret}, 201)


async def created(request: web.Request, principal: Principal, body: KeyCreate) -> keys.Made:
    """A new key, as wide as `principal` may make it. Raises Forbidden, BadRequest."""
    database = request.app[DATABASE]
    if principal.role is Role.VIEWER:
        raise Forbidden("A viewer's key changes nothing.")
    if principal.role is Role.ADMIN:
        user_id, expires_at = body.user_id or principal.user_id, body.expires_at
        if await Users(database).get(user_id) is None:
            raise BadRequest(f"There is no user '{user_id}'.", param="user_id")
        limits = body.limits.limits() if body.limits is not None else Limits()
        budget = budget_of(request, body.budget)
        models, routes, ips = body.allowed_models, body.allowed_routes, body.allowed_ips
    else:
        own = await _own(request, principal)
        if body.user_id not in (None, principal.user_id):
            raise Forbidden("Users make keys for themselves only.", param="user_id")
        if body.limits is not None or body.budget is not None:
            raise Forbidden("Limits and budgets are set by admins.", param="limits" if body.limits is not None else "budget")
        if own.limits != Limits() or own.budget is not None:
            raise Forbidden("The key that you call with has limits of its own, so it makes no further keys: ask an admin.")
        user_id, limits, budget = own.user_id, own.limits, own.budget
        models = _narrowed("allowed_models", body.allowed_models, own.allowed_models, _beyond_models)
        routes = _narrowed("allowed_routes", body.allowed_routes, own.allowed_routes, beyond_routes)
        ips = _narrowed("allowed_ips", body.allowed_ips, own.allowed_ips, beyond_ips)
        expires_at = min((moment for moment in (body.expires_at, own.expires_at) if moment is not None), default=None)
    if expires_at is not None and expires_at <= utcnow():
        raise BadRequest("expires_at: must lie in the future", param="expires_at")
    return await keys.create_key(
        database,
        user_id,
        body.name,
        allowed_models=models,
        allowed_routes=routes,
        allowed_ips=ips,
        limits=limits,
        budget=budget,
        expires_at=expires_at,
        tags=body.tags,
        on_disconnect=body.on_disconnect,
        semantic_cache=body.semantic_cache,
        store_prompts=body.store_prompts,
        actor=actor(request, principal),
    )


async def update_key(request: web.Request) -> web.Response:
    """PUT /admin/api-keys/{id}: what is sent changes, the rest stays."""
    principal = await _changer(request)
    body = await read_body(request, KeyUpdate)
    return answer(shown(await updated(request, principal, await found(request, principal), body)))


async def updated(request: web.Request, principal: Principal, key: ApiKey, body: KeyUpdate) -> ApiKey:
    """A key with what is sent changed. Raises Forbidden, BadRequest."""
    sent = body.model_fields_set
    if principal.role is not Role.ADMIN and sent - _OF_USERS:
        raise Forbidden("Users change name, tags and store_prompts of their keys; the rest is set by admins.", param=min(sent - _OF_USERS))
    changed = replace(
        key,
        name=body.name if body.name is not None else key.name,
        allowed_models=_tuple(body.allowed_models) if "allowed_models" in sent else key.allowed_models,
        allowed_routes=_tuple(body.allowed_routes) if "allowed_routes" in sent else key.allowed_routes,
        allowed_ips=_tuple(body.allowed_ips) if "allowed_ips" in sent else key.allowed_ips,
        limits=(body.limits.limits() if body.limits is not None else Limits()) if "limits" in sent else key.limits,
        budget=budget_of(request, body.budget) if "budget" in sent else key.budget,
        expires_at=body.expires_at if "expires_at" in sent else key.expires_at,
        tags=(body.tags or {}) if "tags" in sent else key.tags,
        on_disconnect=body.on_disconnect or key.on_disconnect,
        semantic_cache=body.semantic_cache if "semantic_cache" in sent else key.semantic_cache,
        store_prompts=key.store_prompts if body.store_prompts is None else body.store_prompts,
    )
    return await keys.update_key(request.app[DATABASE], key, changed, actor=actor(request, principal))


async def rotate_key(request: web.Request) -> web.Response:
    """POST /admin/api-keys/{id}/rotate: a new secret; the old one works for `overlap_s` seconds more."""
    principal = await _changer(request)
    body = await read_body(request, KeyRotate, optional=True)
    made = await rotated(request, principal, await found(request, principal), timedelta(seconds=body.overlap_s))
    return answer({**shown(made.key), "key": made.secret})


async def rotated(request: web.Request, principal: Principal, key: ApiKey, overlap: timedelta) -> keys.Made:
    """A key with a new secret. Raises Forbidden: nobody gets at a wider key by a bounded one."""
    if principal.role is not Role.ADMIN and key.id != principal.key_id and _bounded(await _own(request, principal)):
        raise Forbidden("The key that you call with is bounded, so it rotates itself alone: ask an admin.")
    return await keys.rotate_key(request.app[DATABASE], key.id, overlap=overlap, actor=actor(request, principal))


async def revoke_key(request: web.Request) -> web.Response:
    """DELETE /admin/api-keys/{id}: the key opens nothing any more, on any worker, within a second. Its row stays for the books."""
    principal = await _changer(request)
    key = await found(request, principal)
    await keys.revoke_key(request.app[DATABASE], key.id, actor=actor(request, principal))
    request.app[SERVICES].cache.drop(f"key:{key.id}")
    return answer({"object": "api_key.deleted", "id": key.id, "deleted": True})


async def money(request: web.Request, key: ApiKey) -> dict[str, float | None]:
    """What the key has spent in its budget's present period (without a budget: this month), and what is left of it."""
    budget = key.budget.of("key", key.id) if key.budget is not None else Budget("key", key.id, 0)
    spent = await Holds(request.app[DATABASE]).spent_nanousd(budget, began(budget.period, utcnow()))
    spent = max(spent, request.app[SERVICES].budgets.spent_nanousd(budget)) if key.budget is not None else spent
    left = max(budget.limit_nanousd - spent, 0) / 1e9 if key.budget is not None else None
    return {"spent_usd": spent / 1e9, "left_usd": left}


async def _changer(request: web.Request) -> Principal:
    principal = await caller(request, "admin")
    if principal.role is Role.VIEWER:
        raise Forbidden("A viewer's key changes nothing.")
    return principal


async def found(request: web.Request, principal: Principal) -> ApiKey:
    """The key of the path. Another user's key does not exist for a user."""
    key_id = request.match_info["id"][:64]
    key = await ApiKeys(request.app[DATABASE]).get(key_id)
    if key is None or (principal.role is Role.USER and key.user_id != principal.user_id):
        raise NotFound(f"There is no API key '{key_id}'.", param="id")
    return key


async def _own(request: web.Request, principal: Principal) -> ApiKey:
    """The key that is called with."""
    own = await ApiKeys(request.app[DATABASE]).get(principal.key_id)
    if own is None:
        raise Forbidden("The key that you call with does not exist any more.")
    return own


def _bounded(key: ApiKey) -> bool:
    narrow = (key.allowed_models, key.allowed_routes, key.allowed_ips, key.budget, key.expires_at)
    return key.limits != Limits() or any(one is not None for one in narrow)


def _narrowed(name: str, wanted: list[str] | None, own: tuple[str, ...] | None, beyond: _Beyond) -> list[str] | None:
    """What a new key may use: what is asked for, within what the caller's key may use. `beyond` gives the first that is not."""
    if own is None:
        return wanted
    if wanted is None:
        return list(own)
    if (wider := beyond(wanted, own)) is not None:
        raise Forbidden(f"The key that you call with may not use {wider!r} itself.", param=name)
    return wanted


def _beyond_models(wanted: Iterable[str], own: Iterable[str]) -> str | None:
    return min(set(wanted) - set(own), default=None)


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
