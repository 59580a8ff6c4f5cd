"""/admin/users: who may use the gateway, and as what."""

from dataclasses import replace
from typing import Any

from aiohttp import web

from neuroroute.access.keys import note, user_facts
from neuroroute.core.errors import NotFound
from neuroroute.core.types import Limits, Principal, Role
from neuroroute.store.users import User, Users
from neuroroute.web.admin_cache import forget
from neuroroute.web.bodies import answer, budget_of, listed, one_of, paging, plain, read_body
from neuroroute.web.identity import actor, operator
from neuroroute.web.schemas import UserCreate, UserUpdate
from neuroroute.web.state import DATABASE


def shown(user: User) -> dict[str, Any]:
    """A user as the API shows it."""
    return {"object": "user", **user_facts(user)}


async def list_users(request: web.Request) -> web.Response:
    """GET /admin/users?role=&status=&search=&page=&limit=: the users, newest first."""
    await operator(request)
    page, limit = paging(request)
    rows, total = await Users(request.app[DATABASE]).page(
        page=page,
        limit=limit,
        role=one_of(request, "role", [role.value for role in Role]),
        status=one_of(request, "status", ("active", "disabled")),
        search=plain(request, "search"),
    )
    return listed([shown(user) for user in rows], total, page, limit)


async def get_user(request: web.Request) -> web.Response:
    """GET /admin/users/{id}: a user with limits and budget."""
    await operator(request)
    return answer(shown(await found(request)))


async def create_user(request: web.Request) -> web.Response:
    """POST /admin/users: a new user, who needs a key to call."""
    principal = await operator(request)
    return answer(shown(await created(request, principal, await read_body(request, UserCreate))), 201)


async def created(request: web.Request, principal: Principal, body: UserCreate) -> User:
    """A new user, made by an admin. Raises Duplicate where the email is taken."""
    budget = budget_of(request, body.budget)
    async with request.app[DATABASE].transaction() as change:
        user = await Users(change).create(body.name, email=body.email, role=body.role, limits=body.limits.limits(), budget=budget)
        await note(change, actor(request, principal), "user.create", user.id, after=user_facts(user))
    return user


async def update_user(request: web.Request) -> web.Response:
    """PUT /admin/users/{id}: what is sent changes, the rest stays."""
    principal = await operator(request)
    body = await read_body(request, UserUpdate)
    return answer(shown(await updated(request, principal, await found(request), body)))


async def updated(request: web.Request, principal: Principal, user: User, body: UserUpdate) -> User:
    """The user with what was sent changed, by an admin. Raises LastAdmin, Duplicate."""
    sent = body.model_fields_set
    changed = replace(
        user,
        name=body.name if body.name is not None else user.name,
        email=body.email if "email" in sent else user.email,
        role=body.role if body.role is not None else user.role,
        status=body.status if body.status is not None else user.status,
        limits=body.limits.limits() if body.limits is not None else (Limits() if "limits" in sent else user.limits),
        budget=budget_of(request, body.budget) if "budget" in sent else user.budget,
    )
    async with request.app[DATABASE].transaction() as change:
        changed = await Users(change).update(changed, seen=user.updated_at)
        await note(change, actor(request, principal), "user.update", user.id, before=user_facts(user), after=user_facts(changed))
    if changed.status != "active":
        await forget(request, f"user:{user.id}")
    return changed


async def delete_user(request: web.Request) -> web.Response:
    """DELETE /admin/users/{id}: the user and all its keys go; its usage stays on the books."""
    principal = await operator(request)
    user = await found(request)
    async with request.app[DATABASE].transaction() as change:
        await Users(change).delete(user.id)
        await note(change, actor(request, principal), "user.delete", user.id, before=user_facts(user))
    await forget(request, f"user:{user.id}")
    return answer({"object": "user.deleted", "id": user.id, "deleted": True})


async def found(request: web.Request) -> User:
    user_id = request.match_info["id"][:64]
    user = await Users(request.app[DATABASE]).get(user_id)
    if user is None:
        raise NotFound(f"There is no user '{user_id}'.", param="id")
    return user
