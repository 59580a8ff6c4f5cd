"""
Where a path that is only passed on leads.

The router matches a path after decoding it once. What it does not know below /v1 goes to a provider, whose server may read a path in other
ways; so only paths that every server reads alike pass: no escapes, no empty or dot segments, no parameters, no capitals in the first one.
"""

import re
from typing import Final

from aiohttp import web

from neuroroute.core.errors import NotFound

_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_~:@,=+.-]+"
_PLAIN: Final = re.compile(rf"/v1(/[a-z0-9_.-]*[a-z0-9_-](?:/{_SEGMENT})*)")
_POST: Final = frozenset({"POST"})
_READ: Final = frozenset({"GET", "HEAD"})
_OURS: Final = {
    "/chat/completions": _POST | _READ,  # read: the stored ones of a provider
    "/completions": _POST,
    "/embeddings": _POST,
    "/responses": _POST,
    "/messages": _POST,
    "/messages/count_tokens": _POST,
    "/models": _READ,
    "/route": _POST,
    "/feedback": _POST,
}
"""Paths that are answered here, and their methods: no provider is asked what another one means."""


def below_v1(request: web.BaseRequest) -> str:
    """
    The path below /v1 as a provider is asked for it, decoded once.

    Raises NotFound for one that two servers could read differently, HTTPMethodNotAllowed for a method that a path of ours does not have.
    """
    found = _PLAIN.fullmatch(request.rel_url.path_safe)
    if found is None or (found[1] not in _OURS and found[1].lower() in _OURS):
        raise NotFound(f"Invalid URL ({request.method} {request.rel_url.path[:200]})")
    if request.method not in _OURS.get(found[1], (request.method,)):
        raise web.HTTPMethodNotAllowed(request.method, _OURS[found[1]])
    return found[1]
