"""The pages that change who may call: keys and users. What may be done is decided where the admin API decides it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from neuroroute.access import keys
from neuroroute.core.clock import utcnow
from neuroroute.core.errors import BadRequest, NeuroRouteError
from neuroroute.core.types import Role
from neuroroute.store.api_keys import ApiKeys
from neuroroute.store.usage import Usage, UsageFilter, UsageSums
from neuroroute.store.users import Users
from neuroroute.web import admin_keys, admin_users, forms, session
from neuroroute.web.bodies import one_of, paging, plain, validated
from neuroroute.web.identity import actor
from neuroroute.web.pages import page, render, see
from neuroroute.web.schemas import KeyCreate, KeyUpdate, UserCreate, UserUpdate
from neuroroute.web.session import PATH, Visitor
from neuroroute.web.state import DATABASE, SERVICES

_LISTS = ("allowed_models", "allowed_routes", "allowed_ips")
_WORDS = ("kept", "never")


@page
async def keys_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/keys: the keys, and a form for a new one."""
    return await _keys(request, found)


async def _keys(
    request: web.Request,
    found: Visitor,
    *,
    error: NeuroRouteError | None = None,
    made: keys.Made | None = None,
    given: Mapping[str, str] = {},
) -> web.Response:
    database, principal = request.app[DATABASE], found.principal
    number, limit = paging(request)
    own = principal.user_id if principal.role is Role.USER else None
    rows, total = await ApiKeys(database).page(
        page=number,
        limit=limit,
        user_id=own or plain(request, "user_id", 64),
        status=one_of(request, "status", ("", "active", "revoked")) or None,
        search=plain(request, "search"),
    )
    users = (await Users(database).page(limit=200, status="active"))[0] if principal.role is not Role.USER else []
    context = {
        "rows": [(key, (await admin_keys.money(request, key))["spent_usd"] if key.budget is not None else None) for key in rows],
        "mine": await _mine(request, found),
        "total": total,
        "page": number,
        "pages": max(-(-total // limit), 1),
        "users": users,
        "names": {user.id: user.name for user in users},
        "may_change": principal.role is not Role.VIEWER,
        "error": error,
        "made": made,
        "given": given,
        "api_url": request.app[SERVICES].settings.api_url,
    }
    return render(request, "keys.html", found, context)


async def _mine(request: web.Request, found: Visitor) -> UsageSums:
    """What somebody used this month, over all of their keys."""
    since = utcnow().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return await Usage(request.app[DATABASE]).totals(UsageFilter(user_id=found.principal.user_id, since=since))


@page
async def create_key(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/keys: a new key, shown once."""
    fields = await session.form(request, found.csrf)
    try:
        made = await admin_keys.created(request, found.principal, validated(KeyCreate, _key_fields(fields)))
    except forms.MENDABLE as error:
        return await _keys(request, found, error=error, given=fields)
    return await _keys(request, found, made=made)


def _key_fields(fields: Mapping[str, str]) -> dict[str, Any]:
    """The form as the body of POST /admin/api-keys; what is left empty is not sent."""
    body = {"name": fields.get("name", ""), **forms.filled(fields, ("user_id", "expires_at", "on_disconnect")), **forms.budget_of(fields)}
    if (words := fields.get("store_prompts")) in _WORDS:
        body["store_prompts"] = words == "kept"
    body |= {name: forms.words(listed) for name in _LISTS if (listed := fields.get(name, "")).strip()}
    if limits := forms.filled(fields, ("requests_per_minute", "tokens_per_minute", "concurrency")):
        body["limits"] = limits
    return body


@page
async def rotate_key(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/keys/{id}/rotate: a new secret, shown once. Who rotates the key of their own session stays signed in."""
    fields = await forms.of_changer(request, found)
    key = await admin_keys.found(request, found.principal)
    overlap = fields.get("overlap_s", "0")
    if not (overlap.isascii() and overlap.isdigit() and len(overlap) <= 9):
        raise BadRequest("The overlap is a whole number of seconds.", param="overlap_s")
    made = await admin_keys.rotated(request, found.principal, key, timedelta(seconds=int(overlap)))
    if key.id != found.principal.key_id:
        return await _keys(request, found, made=made)
    token = await session.renew(request, found, made.secret)
    response = await _keys(request, Visitor(found.principal, token), made=made)
    session.give(request, response, session.COOKIE, token)
    return response


@page
async def change_key(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/keys/{id}: other limits, another budget, other models, paths and addresses, and whether the words of its calls may be kept."""
    fields = await forms.of_admin(request, found)
    key = await admin_keys.found(request, found.principal)
    given = _key_fields(fields)
    body = {name: given.get(name) for name in ("limits", "budget", *(name for name in _LISTS if name in fields))}
    body |= {name: given[name] for name in ("store_prompts",) if name in given}
    try:
        await admin_keys.updated(request, found.principal, key, validated(KeyUpdate, body))
    except forms.MENDABLE as error:
        return await _keys(request, found, error=error)
    return see(f"{PATH}/keys")


@page
async def revoke_key(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/keys/{id}/revoke: the key opens nothing any more."""
    await forms.of_changer(request, found)
    key = await admin_keys.found(request, found.principal)
    await keys.revoke_key(request.app[DATABASE], key.id, actor=actor(request, found.principal))
    request.app[SERVICES].cache.drop(f"key:{key.id}")
    return see(f"{PATH}/keys")


@page
async def users_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/users: the users, and a form for a new one."""
    return await _users(request, found)


async def _users(
    request: web.Request, found: Visitor, *, error: NeuroRouteError | None = None, given: Mapping[str, str] = {}
) -> web.Response:
    forms.readers_only(found)
    number, limit = paging(request)
    rows, total = await Users(request.app[DATABASE]).page(page=number, limit=limit, search=plain(request, "search"))
    context = {
        "rows": rows,
        "total": total,
        "page": number,
        "pages": max(-(-total // limit), 1),
        "roles": [role.value for role in (Role.USER, Role.VIEWER, Role.ADMIN)],
        "error": error,
        "given": given,
    }
    return render(request, "users.html", found, context)


@page
async def create_user(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/users: a new user."""
    fields = await forms.of_admin(request, found)
    body = {
        "name": fields.get("name", ""),
        "role": fields.get("role", "user"),
        "email": forms.chosen(fields, "email"),
        **forms.budget_of(fields),
    }
    try:
        await admin_users.created(request, found.principal, validated(UserCreate, body))
    except forms.MENDABLE as error:
        return await _users(request, found, error=error, given=fields)
    return see(f"{PATH}/users")


@page
async def update_user(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/users/{id}: another role or status."""
    fields = await forms.of_admin(request, found)
    body = forms.filled(fields, ("role", "status"))
    try:
        await admin_users.updated(request, found.principal, await admin_users.found(request), validated(UserUpdate, body))
    except forms.MENDABLE as error:
        return await _users(request, found, error=error)
    return see(f"{PATH}/users")
