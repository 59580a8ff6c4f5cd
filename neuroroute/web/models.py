"""The models: as the SDKs list them (/v1/models), and as people look at them (/models: price, window, abilities, quality, health, live latency)."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import UnknownModel
from neuroroute.core.types import LABELS, Model, Principal
from neuroroute.routing.catalog import Catalog, Entry, is_auto
from neuroroute.web.identity import caller
from neuroroute.web.state import SERVICES

OWNER = "neuroroute"


async def list_v1(request: web.Request) -> web.Response:
    """GET /v1/models: what this key may use, the `auto` names included. With an anthropic-version header in Anthropic's shape."""
    principal = await caller(request)
    catalog = request.app[SERVICES].catalog.current
    names = dict.fromkeys(catalog.listing(principal.allowed_models))
    if "anthropic-version" in request.headers:
        rows = [_anthropic(name, catalog) for name in names]
        ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
        return _json({"data": rows, "has_more": False, **ends})
    return _json({"object": "list", "data": [_openai(name, catalog) for name in names]})


async def get_v1(request: web.Request) -> web.Response:
    """GET /v1/models/{id}: a model or an `auto` name. Ids may contain slashes."""
    principal = await caller(request)
    catalog = request.app[SERVICES].catalog.current
    name = _known(request.match_info["id"], catalog, principal)
    return _json(_anthropic(name, catalog) if "anthropic-version" in request.headers else _openai(name, catalog))


async def list_all(request: web.Request) -> web.Response:
    """GET /models: the catalogue."""
    principal = await caller(request)
    s = request.app[SERVICES]
    catalog = s.catalog.current
    rows = [shown(entry, request) for entry in catalog.entries.values() if catalog.may_name(entry.name, principal.allowed_models)]
    page, limit = 1, max(len(rows), 1)
    return _json({"object": "list", "data": rows, "total": len(rows), "page": page, "limit": limit, "pages": 1})


async def get_one(request: web.Request) -> web.Response:
    """GET /models/{id}: one model of the catalogue."""
    principal = await caller(request)
    catalog = request.app[SERVICES].catalog.current
    entry = catalog.entry(_known(request.match_info["id"], catalog, principal))
    if entry is None:  # an auto name or an alias: it is a way of choosing, not a model
        raise UnknownModel(f"{request.match_info['id'][:256]!r} is not one model but a way of choosing one.", param="id")
    return _json(shown(entry, request))


def shown(entry: Entry, request: web.Request) -> dict[str, Any]:
    """One model as /models and the dashboard show it. Prices in USD per million tokens, null = unknown."""
    model, health = entry.model, request.app[SERVICES].health.look(entry.key, monotonic_s())
    return {
        "id": entry.name,
        "provider": entry.target.provider.name,
        "upstream_model": model.upstream_model,
        "kind": model.kind,
        "price": _price(model),
        "context_window_tokens": model.context_window_tokens,
        "max_output_tokens": model.max_output_tokens,
        "abilities": sorted(model.abilities),
        "quality": {label: model.quality[label] for label in ("default", *LABELS) if label in model.quality},
        "quality_source": entry.quality_source,
        "auto": entry.auto,
        "health": {"state": health.state.value, "consecutive_failures": health.consecutive_failures, "retry_after_s": health.retry_after_s},
        "latency": {
            "ttft_ms": health.ttft_ms,
            "ttft_p95_ms": health.ttft_p95_ms,
            "tokens_per_s": health.tokens_per_s,
            "answers": health.answers,
        },
    }


def _price(model: Model) -> dict[str, float | None] | None:
    price = model.price
    if price is None:
        return None
    values = {
        "input": price.input_nanousd,
        "output": price.output_nanousd,
        "cached_input": price.cached_input_nanousd,
        "cache_write": price.cache_write_nanousd,
        "image": price.image_nanousd,
        "minute": price.minute_nanousd,
        "characters": price.characters_nanousd,
    }
    return {name: None if nano is None else nano / 1e9 for name, nano in values.items()}


def _known(name: str, catalog: Catalog, principal: Principal) -> str:
    if is_auto(name):
        catalog.auto_policy(name)
    else:
        catalog.find(name, principal.allowed_models)
    if not catalog.may_name(name, principal.allowed_models):
        raise UnknownModel(f"The model {name[:256]!r} does not exist, or you have no access to it.", param="model")
    return name


def _openai(name: str, catalog: Catalog) -> dict[str, Any]:
    entry = catalog.entry(name)
    owner = entry.target.provider.name if entry is not None else OWNER
    return {"id": name, "object": "model", "created": entry.model.created if entry is not None else 0, "owned_by": owner}


def _anthropic(name: str, catalog: Catalog) -> dict[str, Any]:
    entry = catalog.entry(name)
    made = datetime.fromtimestamp(entry.model.created if entry is not None else 0, UTC)
    return {"type": "model", "id": name, "display_name": name, "created_at": made.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _json(value: object) -> web.Response:
    return web.Response(body=jsonbytes.dumps(value), content_type="application/json")
