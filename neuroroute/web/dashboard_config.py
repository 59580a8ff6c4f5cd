"""
The pages of settings: what is in effect, changes to it, its versions, the providers.

What a change is and does stands in `chain.changes`; here it is filled in, looked at before it is made, and taken back.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from neuroroute.adapters.probe import probe
from neuroroute.chain import changes
from neuroroute.chain.changes import Cause, Draft
from neuroroute.core import jsonbytes
from neuroroute.core.config import effective, masked
from neuroroute.core.errors import BadRequest, NeuroRouteError, NotFound
from neuroroute.core.settings import table
from neuroroute.core.types import Protocol
from neuroroute.routing.offers import provider_of
from neuroroute.store.config import ConfigVersions
from neuroroute.store.users import Users
from neuroroute.web import forms
from neuroroute.web.bodies import paging
from neuroroute.web.identity import actor
from neuroroute.web.pages import page, render, see
from neuroroute.web.session import PATH, Visitor
from neuroroute.web.state import DATABASE, OFFER, SERVICES, VERSIONS

_SETTINGS: Final = f"{PATH}/settings"


@page
async def settings_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/settings: every setting and every value of the configuration, with its source; secrets are masked."""
    return _settings(request, found)


def _settings(
    request: web.Request, found: Visitor, *, error: NeuroRouteError | None = None, draft: Draft | None = None, given: Mapping[str, str] = {}
) -> web.Response:
    forms.readers_only(found)
    settings, offer = request.app[SERVICES].settings, request.app[OFFER]
    groups: dict[str, list[object]] = {}
    for entry in table(settings):
        groups.setdefault(entry.group, []).append(entry)
    context = {
        "groups": groups,
        "values": effective(offer.config, *offer.layers),
        "version": request.app[VERSIONS].state.number,
        "fault": request.app[VERSIONS].fault,
        "draft": draft,
        "error": error,
        "given": given,
    }
    return render(request, "settings.html", found, context)


@page
async def change(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/settings: look at a change of the configuration, or make it."""
    fields = await forms.of_admin(request, found)
    versions = request.app[VERSIONS]
    try:
        patch = _patch(fields.get("patch", ""))
        after = _number(fields.get("after", ""))
        if fields.get("do") != "save":
            return _settings(request, found, draft=await changes.drafted(versions, patch, after=after), given=fields)
        cause = Cause(comment=fields.get("comment", "").strip()[:1000])
        await changes.put(versions, patch, after=after, cause=cause, actor=actor(request, found.principal))
    except forms.MENDABLE as error:
        return _settings(request, found, error=error, given=fields)
    return see(f"{_SETTINGS}/history")


def _patch(text: str) -> dict[str, Any]:
    try:
        patch = jsonbytes.loads(text.encode())
    except (ValueError, RecursionError):
        patch = None
    if not isinstance(patch, dict):
        raise BadRequest(
            'The change: a JSON object in the shape of the configuration is expected, such as {"cache": {"ttl_s": 60}}.', param="patch"
        )
    return patch


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


@page
async def history_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/settings/history: the versions of the configuration, newest first."""
    forms.readers_only(found)
    number, limit = paging(request)
    rows, total = await ConfigVersions(request.app[DATABASE]).page(page=number, limit=limit)
    context = {
        "rows": rows,
        "total": total,
        "page": number,
        "pages": max(-(-total // limit), 1),
        "current": request.app[VERSIONS].state.number,
        "fault": request.app[VERSIONS].fault,
        "names": await _names(request, {row.author for row in rows}),
    }
    return render(request, "history.html", found, context)


async def _names(request: web.Request, ids: set[str]) -> dict[str, str]:
    users = Users(request.app[DATABASE])
    return {user.id: user.name for one in ids if (user := await users.get(one)) is not None}


@page
async def version_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/settings/history/{version}: what a version changed, and how it differs from what is in force."""
    return await _version(request, found)


async def _version(request: web.Request, found: Visitor, error: NeuroRouteError | None = None) -> web.Response:
    forms.readers_only(found)
    number, versions = _of_path(request), request.app[VERSIONS]
    row = await ConfigVersions(request.app[DATABASE]).get(number) if number else None
    if row is None and number:
        raise NotFound(f"There is no version {number} of the configuration.")
    current = versions.state.number
    context = {
        "number": number,
        "row": row,
        "author": (await _names(request, {row.author})).get(row.author, row.author) if row is not None else None,
        "current": current,
        "changed": await changes.differences(versions, number, number - 1) if number else [],
        "against_current": await changes.differences(versions, number, current) if number != current else [],
        "held": jsonbytes.dumps_pretty(masked(row.config)) if row is not None else None,
        "error": error,
    }
    return render(request, "version.html", found, context)


def _of_path(request: web.Request) -> int:
    number = _number(request.match_info["version"])
    if number is None:
        raise NotFound("There is no such version of the configuration.")
    return number


@page
async def roll_back(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/settings/history/{version}/rollback: a new version that holds what this one held."""
    await forms.of_admin(request, found)
    try:
        await changes.rollback(request.app[VERSIONS], _of_path(request), actor=actor(request, found.principal))
    except forms.MENDABLE as error:
        return await _version(request, found, error)
    return see(f"{_SETTINGS}/history")


@page
async def providers_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/settings/providers: the providers, and a form for another."""
    return _providers(request, found)


def _providers(
    request: web.Request,
    found: Visitor,
    *,
    error: NeuroRouteError | None = None,
    given: Mapping[str, str] = {},
    tested: Mapping[str, Any] | None = None,
) -> web.Response:
    forms.readers_only(found)
    offer, versions = request.app[OFFER], request.app[VERSIONS]
    catalog = offer.holder.current
    models: dict[str, int] = {}
    for entry in catalog.entries.values():
        models[entry.target.provider.name] = models.get(entry.target.provider.name, 0) + 1
    context = {
        "providers": {
            name: masked({"providers": {name: one.model_dump(mode="json")}})["providers"][name]
            for name, one in offer.config.providers.items()
        },
        "addresses": {name: one.address for name, one in offer.config.providers.items()},
        "unasked": [name for name in catalog.providers if name not in offer.config.providers],
        "models": models,
        "closed": versions.state.closed,
        "protocols": [protocol.value for protocol in Protocol if protocol is not Protocol.DEMO],
        "error": error,
        "given": given,
        "tested": tested,
    }
    return render(request, "providers.html", found, context)


@page
async def put_provider(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/settings/providers: add a provider or change one; its key is kept sealed and never shown again."""
    fields = await forms.of_admin(request, found)
    name = fields.get("name", "").strip()
    entry: dict[str, Any] = {"protocol": fields.get("protocol", "openai"), "discover": fields.get("discover") == "on"}
    entry |= forms.filled(fields, ("base_url", "api_key"))
    return await _put(
        request, found, {name: entry}, f"provider {name[:200]}", given={key: value for key, value in fields.items() if key != "api_key"}
    )


@page
async def delete_provider(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/settings/providers/{name}/delete: the provider is gone with its key."""
    await forms.of_admin(request, found)
    name = request.match_info["name"]
    return await _put(request, found, {name: None}, f"provider {name[:200]} deleted")


async def _put(
    request: web.Request, found: Visitor, entries: Mapping[str, Any], comment: str, given: Mapping[str, str] = {}
) -> web.Response:
    if not all(entries):
        return _providers(request, found, error=BadRequest("name: is missing", param="name"), given=given)
    cause = Cause("provider.put", ", ".join(entries)[:200], comment)
    try:
        await changes.put(request.app[VERSIONS], {"providers": entries}, cause=cause, actor=actor(request, found.principal))
    except forms.MENDABLE as error:
        return _providers(request, found, error=error, given=given)
    return see(f"{_SETTINGS}/providers")


@page
async def test_provider(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/settings/providers/{name}/test: ask it for its models, and say in plain words what is wrong."""
    await forms.of_admin(request, found)
    s, name = request.app[SERVICES], request.match_info["name"]
    known = request.app[OFFER].config.providers.get(name)
    if known is None:
        raise NotFound("There is no such provider in the configuration.")
    return _providers(request, found, tested={"name": name, **await probe(s.transport, provider_of(name, known, s.settings))})
