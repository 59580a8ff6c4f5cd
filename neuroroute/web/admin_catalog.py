"""/admin/providers and /admin/models: entries of the configuration by name. A change is a version of it, as one by PUT /admin/config is."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from neuroroute.adapters.probe import probe
from neuroroute.chain import changes
from neuroroute.chain.changes import Cause
from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.routing.offers import provider_of
from neuroroute.web.bodies import answer, listed, paging, read_object, validated
from neuroroute.web.identity import actor, operator
from neuroroute.web.schemas import ConfigMeta
from neuroroute.web.state import OFFER, SERVICES, VERSIONS


async def list_providers(request: web.Request) -> web.Response:
    """GET /admin/providers?page=&limit=: the configured providers with their sources; of credentials the end alone."""
    return await _list(request, "providers")


async def get_provider(request: web.Request) -> web.Response:
    """GET /admin/providers/{name}: a configured provider with its source."""
    await operator(request)
    return answer(request.app[VERSIONS].entry("providers", _name(request, "providers")))


async def put_provider(request: web.Request) -> web.Response:
    """
    PUT /admin/providers/{name}: add a provider, or change what is sent of it. Its api_key and headers are kept encrypted and never shown again.

    A new base_url asks for the api_key anew. Addresses in private networks are refused unless the configuration file allows them (`security`).
    """
    return await _put(request, "providers")


async def put_providers(request: web.Request) -> web.Response:
    """PUT /admin/providers: several at once, by name as in the configuration file; null takes one away."""
    return await _put_all(request, "providers")


async def delete_provider(request: web.Request) -> web.Response:
    """DELETE /admin/providers/{name}: the provider is gone with its credentials, also where file or environment name it; PUT brings it back."""
    return await _delete(request, "providers")


async def test_provider(request: web.Request) -> web.Response:
    """POST /admin/providers/{name}/test: ask the provider for its models, and say in plain words what is wrong."""
    await operator(request)
    name = _name(request, "providers")
    s = request.app[SERVICES]
    found = await probe(s.transport, provider_of(name, request.app[OFFER].config.providers[name], s.settings))
    return answer({"object": "provider.test", "provider": name, **found})


async def list_models(request: web.Request) -> web.Response:
    """GET /admin/models?page=&limit=: the configured models with their sources. GET /models shows the whole catalogue."""
    return await _list(request, "models")


async def get_model(request: web.Request) -> web.Response:
    """GET /admin/models/{name}: a configured model with its source."""
    await operator(request)
    return answer(request.app[VERSIONS].entry("models", _name(request, "models")))


async def put_model(request: web.Request) -> web.Response:
    """PUT /admin/models/{name}: add a model, or change what is sent of it."""
    return await _put(request, "models")


async def put_models(request: web.Request) -> web.Response:
    """PUT /admin/models: several at once, by name as in the configuration file; null takes one away."""
    return await _put_all(request, "models")


async def delete_model(request: web.Request) -> web.Response:
    """DELETE /admin/models/{name}: the entry is gone, also where the file has it; what providers list by themselves stays in the catalogue."""
    return await _delete(request, "models")


def _entries(request: web.Request, section: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(request.app[OFFER].config, section)
    return found


def _name(request: web.Request, section: str) -> str:
    """The name of the path, which must be there."""
    name = request.match_info["name"]
    if name not in _entries(request, section):
        raise NotFound(f"There is no {section[:-1]} '{name[:64]}' in the configuration.", param="name")
    return name


async def _list(request: web.Request, section: str) -> web.Response:
    await operator(request)
    page, limit = paging(request)
    names = sorted(_entries(request, section))
    rows = [request.app[VERSIONS].entry(section, name) for name in names[(page - 1) * limit : page * limit]]
    return listed(rows, len(names), page, limit)


async def _put(request: web.Request, section: str) -> web.Response:
    principal = await operator(request)
    body = await read_object(request)
    meta = validated(ConfigMeta, {name: body.pop(name) for name in ("comment", "after") if name in body})
    name = request.match_info["name"]
    cause = Cause(f"{section[:-1]}.put", name[:200], meta.comment or f"{section[:-1]} {name[:200]}")
    await changes.put(request.app[VERSIONS], {section: {name: body}}, after=meta.after, cause=cause, actor=actor(request, principal))
    return answer(request.app[VERSIONS].entry(section, name))


async def _put_all(request: web.Request, section: str) -> web.Response:
    principal = await operator(request)
    body = await read_object(request)
    if isinstance(name := body.get("name"), str):  # one entry that says its own name
        body = {name: {key: value for key, value in body.items() if key != "name"}}
    for name, entry in body.items():
        if entry is not None and not isinstance(entry, dict):
            raise BadRequest(f"{section}.{name[:64]}: a mapping or null is expected", param=f"{section}.{name[:64]}")
    cause = Cause(f"{section[:-1]}.put", ", ".join(body)[:200], f"{section} {', '.join(body)[:200]}")
    await changes.put(request.app[VERSIONS], {section: body}, cause=cause, actor=actor(request, principal))
    rows = [request.app[VERSIONS].entry(section, name) for name in sorted(body) if name in _entries(request, section)]
    return listed(rows, len(rows), 1, max(len(rows), 1))


async def _delete(request: web.Request, section: str) -> web.Response:
    principal = await operator(request)
    name = _name(request, section)
    cause = Cause(f"{section[:-1]}.delete", name, f"{section[:-1]} {name} deleted")
    await changes.put(request.app[VERSIONS], {section: {name: None}}, cause=cause, actor=actor(request, principal))
    return answer({"object": f"{section[:-1]}.deleted", "name": name, "deleted": True})
