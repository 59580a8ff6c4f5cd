"""
/openapi.json and /documentation: the API described, from the route table, the handlers' docstrings and the bodies' models.

OpenAPI 3.1. The page is Swagger UI out of its Python package: it works without the network.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from neuroroute import __version__
from neuroroute.core import jsonbytes
from neuroroute.core.errors import NotFound
from neuroroute.core.settings import Settings
from neuroroute.core.types import LABELS, Role
from neuroroute.telemetry.alert_rules import KINDS
from neuroroute.web import schemas
from neuroroute.web.feedback import FeedbackBody
from neuroroute.web.state import SERVICES

_BODIES: Final[Mapping[tuple[str, str], type[BaseModel]]] = {
    ("POST", "/v1/feedback"): FeedbackBody,
    ("POST", "/admin/config/rollback"): schemas.ConfigRollback,
    ("POST", "/admin/alerts/silences"): schemas.SilenceCreate,
    ("POST", "/admin/users"): schemas.UserCreate,
    ("PUT", "/admin/users/{id}"): schemas.UserUpdate,
    ("POST", "/admin/api-keys"): schemas.KeyCreate,
    ("PUT", "/admin/api-keys/{id}"): schemas.KeyUpdate,
    ("POST", "/admin/api-keys/{id}/rotate"): schemas.KeyRotate,
}
_CREATES: Final = frozenset({"/admin/users", "/admin/api-keys", "/admin/alerts/silences"})
_PAGED: Final = frozenset(
    {
        "/admin/users",
        "/admin/api-keys",
        "/admin/alerts",
        "/admin/audit-log",
        "/admin/config/versions",
        "/admin/models",
        "/admin/providers",
        "/dashboard/requests",
        "/dashboard/usage",
        "/dashboard/models",
        "/dashboard/keys",
        "/dashboard/users",
    }
)
_TIME: Final = {"type": "string", "maxLength": 40, "examples": ["2026-11-23", "2026-11-23T18:00:00Z"]}
_SPAN: Final[Mapping[str, Any]] = {"from": _TIME, "to": _TIME}
_WHICH: Final[Mapping[str, Any]] = {
    "model": {"type": "string", "maxLength": 256},
    "key_id": {"type": "string", "maxLength": 64},
    "user_id": {"type": "string", "maxLength": 64},
    "label": {"type": "string", "maxLength": 64},
    "status": {"enum": ["ok", "error", "client_gone", "cut", "interrupted"]},
    "tag": {"type": "string", "maxLength": 400, "examples": ["team=search"]},
}
_SEARCH: Final = {"type": "string", "maxLength": 256}
_QUERIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "DELETE /admin/cache": {
        "model": {"type": "string", "minLength": 1, "maxLength": 512},
        "key_id": {"type": "string", "minLength": 1, "maxLength": 512},
        "user_id": {"type": "string", "minLength": 1, "maxLength": 512},
        "tag": {"type": "string", "pattern": "=", "maxLength": 512, "examples": ["team=search"]},
        "prefix": {"type": "string", "minLength": 1, "maxLength": 512, "examples": ["gpt-", "openai/"]},
    },
    "PUT /admin/config": {"dry_run": {"type": "boolean", "default": False}},
    "/admin/users": {"role": {"enum": [role.value for role in Role]}, "status": {"enum": ["active", "disabled"]}, "search": _SEARCH},
    "/admin/api-keys": {
        "user_id": {"type": "string", "maxLength": 64},
        "status": {"enum": ["active", "revoked"]},
        "search": _SEARCH,
    },
    "/v1/responses/{id}/input_items": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        "order": {"enum": ["asc", "desc"], "default": "desc"},
        "after": {"type": "string"},
    },
    "/v1/streams/{id}": {"after": {"type": "integer", "minimum": 0, "maximum": 100_000_000, "default": 0}},
    "/admin/audit-log": {
        **_SPAN,
        "user_id": {"type": "string", "maxLength": 64},
        "action": {"type": "string", "maxLength": 64, "examples": ["config.put", "api_key.revoke"]},
        "target": {"type": "string", "maxLength": 256},
    },
    "/admin/config/versions/{version}": {"against": {"type": "integer", "minimum": 0, "maximum": 999_999_999}},
    "/dashboard/stats": {**_SPAN, **_WHICH},
    "/dashboard/usage": {
        **_SPAN,
        **_WHICH,
        "group_by": {"enum": ["hour", "day", "model", "key", "user", "label"], "default": "day"},
        "format": {"enum": ["json", "csv"], "default": "json"},
    },
    "/admin/alerts": {
        "state": {"enum": ["firing", "resolved"]},
        "rule": {"enum": list(KINDS)},
        "name": {"type": "string", "maxLength": 100},
    },
    "/dashboard/models": _SPAN,
    "/dashboard/requests": {**_SPAN, **_WHICH},
}
_MESSAGE: Final = {"type": "object", "required": ["role"], "properties": {"role": {"type": "string"}, "content": {}}}
_MODEL: Final = {"type": "string", "minLength": 1, "maxLength": 256, "examples": ["auto", "auto:cheap", "gpt-4o-mini"]}
_POLICY: Final = {"type": ["string", "number"], "minLength": 1, "maxLength": 256, "examples": ["cheap", 5]}
_STEERING: Final = {
    "type": "object",
    "additionalProperties": False,
    "description": "What the gateway is asked for this one call; never sent to a provider.",
    "properties": {
        "policy": _POLICY,
        "quality_floor": {"type": "number", "minimum": 0, "maximum": 1},
        "max_cost_usd": {"type": "number", "minimum": 0, "maximum": 1e6},
        "max_latency_ms": {"type": "number", "minimum": 0, "maximum": 1e9},
        "allow": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
        "deny": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
        "session": {"type": "string", "minLength": 1, "maxLength": 256},
        "cache": {"enum": ["default", "no-store", "refresh", "only"]},
        "cache_ttl_s": {"type": "integer", "minimum": 1, "maximum": 2592000},
        "tags": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 256}, "maxProperties": 16},
        "explain": {"type": "boolean"},
        "resumable": {"type": "boolean"},
        "store_prompts": {"type": "boolean"},
    },
}


def _call(properties: Mapping[str, Any], required: Iterable[str], example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**properties, "neuroroute": _STEERING},
        "examples": [dict(example)],
    }


_MESSAGES: Final = {"type": "array", "minItems": 1, "items": _MESSAGE}
_HELLO: Final = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
_CALLS: Final[Mapping[str, dict[str, Any]]] = {
    "/v1/chat/completions": _call({"model": _MODEL, "messages": _MESSAGES, "stream": {"type": "boolean"}}, ["messages"], _HELLO),
    "/v1/route": _call({"model": _MODEL, "messages": _MESSAGES}, ["messages"], _HELLO),
    "/v1/messages": _call(
        {"model": _MODEL, "messages": _MESSAGES, "max_tokens": {"type": "integer", "minimum": 1}, "stream": {"type": "boolean"}},
        ["model", "messages", "max_tokens"],
        {**_HELLO, "max_tokens": 256},
    ),
    "/v1/responses": _call(
        {"model": _MODEL, "input": {"type": ["string", "array"]}}, ["model", "input"], {"model": "auto", "input": "Hello"}
    ),
    "/v1/completions": _call(
        {"model": _MODEL, "prompt": {"type": ["string", "array"]}}, ["model", "prompt"], {"model": "auto", "prompt": "Once"}
    ),
    "/v1/embeddings": _call(
        {"model": _MODEL, "input": {"type": ["string", "array"]}}, ["model", "input"], {"model": "text-embedding-3-small", "input": "Hello"}
    ),
    "/prompt": _call(
        {
            "prompt": {"type": "string", "minLength": 1},
            "model_id": _MODEL,
            "max_tokens": {"type": "integer", "minimum": 1},
            "temperature": {"type": "number"},
            "policy": _POLICY,
        },
        ["prompt"],
        {"prompt": "What is the capital of France?", "policy": "cheap"},
    ),
}
_META: Final = {
    "comment": {"type": "string", "maxLength": 1000},
    "after": {"type": "integer", "minimum": 0, "description": "the version that this was made from; 409 where it is not in force any more"},
}
_PATCHES: Final[Mapping[str, dict[str, Any]]] = {
    "/admin/config": {
        "type": "object",
        "description": "A JSON merge patch in the shape of the configuration file.",
        "properties": _META,
        "examples": [{"routing": {"policy": "cheap"}, "comment": "save money"}],
    },
    "/admin/providers": {"type": "object", "additionalProperties": {"type": ["object", "null"]}, "examples": [{}]},
    "/admin/providers/{name}": {
        "type": "object",
        "properties": {
            "protocol": {"enum": ["openai", "anthropic"]},
            "base_url": {"type": ["string", "null"]},
            "api_key": {"type": ["string", "null"], "writeOnly": True},
            **_META,
        },
        "examples": [{"protocol": "openai", "base_url": "https://llm.example.com/v1", "api_key": "...", "discover": True}],
    },
    "/admin/models": {"type": "object", "additionalProperties": {"type": ["object", "null"]}, "examples": [{}]},
    "/admin/models/{name}": {
        "type": "object",
        "properties": {"provider": {"type": ["string", "null"]}, **_META},
        "examples": [{"provider": "openai", "price": {"input": 0.15, "output": 0.6}}],
    },
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_REFUSALS: Final = {
    "400": "The request is at fault; `param` names the field.",
    "401": "No key, or one that opens nothing.",
    "403": "The key may not do this.",
    "404": "There is no such thing.",
    "408": "The body did not come in time.",
    "409": "It would contradict what is there.",
    "413": "The body is too large.",
    "429": "A rate limit or a budget; Retry-After says when to come back.",
    "500": "A bug of ours; the message carries the id under which it is on record.",
    "502": "The provider failed.",
    "503": "Not possible now; Retry-After says when to come back.",
    "504": "The provider did not answer in time, or nothing is cached.",
}


def document(routes: Iterable[web.RouteDef], settings: Settings) -> dict[str, Any]:
    """The whole OpenAPI document of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    without_key = (
        *("/health", "/openapi.json", "/llms.txt", "/dashboard/sign-in", "/dashboard/static", settings.swagger_route),
        *([] if settings.metrics_token else [settings.metrics_path]),
    )
    for route in routes:
        if "{tail" in route.path:
            continue
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = operation = _operation(route.method, path, route.handler)
        if path.startswith(without_key):
            operation["security"] = []
    shapes = [(shape, "validation") for shape in dict.fromkeys(_BODIES.values())]
    _, defs = models_json_schema(shapes, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "NeuroRoute",
            "version": __version__,
            "description": "An OpenAI-compatible gateway that sends each request to the model that suits it best. "
            f"Task labels: {', '.join(LABELS)}. Every other path below /v1 is passed to the provider of the named model.",
        },
        "servers": [{"url": settings.api_url}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {**defs.get("$defs", {}), "Error": _ERROR},
        },
    }


def _operation(method: str, path: str, handler: Any) -> dict[str, Any]:
    """What the handler's docstring says of itself, with its parameters, body and answers."""
    said = inspect.getdoc(handler) or ""
    first, _, rest = said.partition("\n")
    summary = first.partition(": ")[2] or first
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', path)}".rstrip("_"),
        "summary": summary,
        "tags": [_tag(path)],
        "parameters": _parameters(method, path),
        "responses": _responses(method, path),
    }
    if rest.strip():
        operation["description"] = rest.strip()
    body = _BODIES.get((method, path))
    schema = {"$ref": f"#/components/schemas/{body.__name__}"} if body is not None else _written(method, path)
    if schema is not None:
        operation["requestBody"] = {"required": not path.endswith("/rotate"), "content": {"application/json": {"schema": schema}}}
    return operation


def _written(method: str, path: str) -> dict[str, Any] | None:
    """The body of an operation that no model describes."""
    return _CALLS.get(path) if method == "POST" else _PATCHES.get(path) if method == "PUT" else None


def _tag(path: str) -> str:
    first = path.split("/")[1]
    return {"v1": "models", "prompt": "models", "models": "models", "admin": "admin", "dashboard": "dashboard"}.get(first, "operate")


def _parameters(method: str, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    if method == "GET" and path in _PAGED:
        for name, default, most in (("page", 1, 1_000_000), ("limit", 50, 200)):
            schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
            found.append({"name": name, "in": "query", "required": False, "schema": schema})
    for name, schema in _QUERIES.get(path if method == "GET" else f"{method} {path}", {}).items():
        found.append({"name": name, "in": "query", "required": False, "schema": schema})
    return found


def _responses(method: str, path: str) -> dict[str, Any]:
    good = "201" if method == "POST" and path in _CREATES else "200"
    answers: dict[str, Any] = {good: {"description": "As asked."}}
    if path.startswith("/dashboard"):
        answers["303"] = {"description": "For browsers: go on there; to the sign-in page where nobody is signed in."}
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    for status, text in _REFUSALS.items():
        answers[status] = {"description": text, **error}
    return answers


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json: this document."""
    return web.Response(body=request.app[DOCUMENT](), headers={"content-type": "application/json"})


DOCUMENT: Final[web.AppKey[Callable[[], bytes]]] = web.AppKey("openapi")

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>NeuroRoute API</title><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{base}/swagger-ui.css">
<link rel="icon" href="/dashboard/static/icon.svg" type="image/svg+xml">
</head>
<body>
<div id="swagger-ui" data-document="/openapi.json"></div>
<script src="{base}/swagger-ui-bundle.js"></script>
<script src="{base}/start.js"></script>
</body>
</html>
"""
_START: Final = """const place = document.getElementById("swagger-ui");
SwaggerUIBundle({url: place.dataset.document, domNode: place, deepLinking: true, persistAuthorization: false});
"""
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_FILES: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


async def page(request: web.Request) -> web.Response:
    """GET /documentation: this API, to read and to try. Works offline."""
    settings = _shown(request)
    html = _PAGE.format(base=settings.swagger_route)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": _CSP, "x-content-type-options": "nosniff"}
    return web.Response(text=html, headers=headers)


async def asset(request: web.Request) -> web.Response:
    """GET /documentation/{name}: what the page is made of."""
    _shown(request)
    name = request.match_info["name"]
    if name == "start.js":
        return web.Response(text=_START, content_type="text/javascript")
    if name not in _FILES:
        raise NotFound(f"There is no {name[:64]!r} here.")
    return web.Response(body=_file(name), content_type=_FILES[name], headers={"cache-control": "public, max-age=86400"})


def _shown(request: web.Request) -> Settings:
    settings = request.app[SERVICES].settings
    if not settings.enable_swagger:
        raise NotFound("The documentation is switched off (ENABLE_SWAGGER).")
    return settings


@cache
def _file(name: str) -> bytes:
    """A file of Swagger UI, out of its package (which is not imported: it would bring a template engine)."""
    package = importlib.util.find_spec("swagger_ui")
    if package is None or not package.submodule_search_locations:
        raise NotFound("Swagger UI is not installed: pip install swagger-ui-py.")
    return (Path(package.submodule_search_locations[0]) / "static" / name).read_bytes()


def dumped(routes: Iterable[web.RouteDef], settings: Settings) -> bytes:
    """The document as it is served. Making it builds the shapes of all bodies: 30 ms and 2 MB that most workers never need."""
    return jsonbytes.dumps(document(routes, settings))
