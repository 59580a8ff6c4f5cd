"""
Pages of other origins that call the API from a browser: CORS_ORIGINS says which may.

Credentials are never allowed: a key travels in a header that the page sets itself, and the cookie of our own pages is none of theirs.
"""

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

_KEPT_S: Final = 600  # how long a browser need not ask again
_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
_NAMES: Final = re.compile(r"[A-Za-z0-9_\-]+(?:\s*,\s*[A-Za-z0-9_\-]+){0,99}")


def allow(app: web.Application, origins: Sequence[str]) -> None:
    """Answer browsers of these origins (`*` = all) as they need it. No origins: nothing is changed."""
    if not origins:
        return
    everyone, named = "*" in origins, frozenset(origin.lower() for origin in origins)

    def allowed(request: web.BaseRequest) -> str | None:
        origin = request.headers.get("Origin")
        if origin is None or everyone:
            return "*" if everyone and origin is not None else None
        return origin if origin.lower() in named else None

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        if not everyone:
            response.headers.add("Vary", "Origin")
        if (origin := allowed(request)) is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "*"

    @web.middleware
    async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers or allowed(request) is None:
            return await handler(request)
        headers = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": str(_KEPT_S)}
        wanted = request.headers.get("Access-Control-Request-Headers", "")
        if _NAMES.fullmatch(wanted.strip()):
            headers["Access-Control-Allow-Headers"] = wanted.strip()
        return web.Response(status=204, headers=headers)

    app.middlewares.insert(0, preflight)
    app.on_response_prepare.append(mark)
