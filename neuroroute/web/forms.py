"""What all forms of the pages share: who may send them, what was filled in, and what of a failure the person at the form can mend."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from neuroroute.core.errors import BadRequest, Conflict, Forbidden, NotFound
from neuroroute.core.types import Role
from neuroroute.web import session
from neuroroute.web.session import Visitor

MENDABLE: Final = (BadRequest, Forbidden, Conflict, NotFound)
"""Told above the form, which is shown again with what was filled in."""


async def of_admin(request: web.Request, found: Visitor) -> dict[str, str]:
    """The fields of a form that admins alone send. Raises: Forbidden, BadRequest"""
    fields = await session.form(request, found.csrf)
    admins_only(found)
    return fields


async def of_changer(request: web.Request, found: Visitor) -> dict[str, str]:
    """The fields of a form that all but viewers send. Raises: Forbidden, BadRequest"""
    fields = await session.form(request, found.csrf)
    if found.principal.role is Role.VIEWER:
        raise Forbidden("A viewer's key changes nothing.")
    return fields


def admins_only(found: Visitor) -> None:
    if found.principal.role is not Role.ADMIN:
        raise Forbidden("This needs the key of an admin.")


def readers_only(found: Visitor) -> None:
    """Raises: Forbidden for those who see nothing but their own."""
    if found.principal.role is Role.USER:
        raise Forbidden("This page is for admins and viewers.")


def chosen(fields: Mapping[str, str], name: str) -> str | None:
    """A field of a form; None where it is empty."""
    return fields.get(name, "").strip() or None


def filled(fields: Mapping[str, str], names: Iterable[str]) -> dict[str, Any]:
    """Those of the fields that are not empty."""
    return {name: value for name in names if (value := chosen(fields, name)) is not None}


def words(text: str) -> list[str]:
    """What was filled in with commas or lines between."""
    return [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]


def budget_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """`budget` as the admin API takes it; empty where none was filled in."""
    usd = chosen(fields, "budget_usd")
    return {} if usd is None else {"budget": {"usd": usd, "period": fields.get("budget_period") or "month"}}
