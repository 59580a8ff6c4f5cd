"""Where a request comes from: the peer of the connection, or whom the proxies of TRUSTED_PROXIES say they speak for."""

from aiohttp import web

from neuroroute.core.addresses import parsed
from neuroroute.web.state import SERVICES


def address(request: web.Request) -> str | None:
    """
    The client's address; None where the connection has none.

    X-Forwarded-For is read from its end, as far as those who wrote it are trusted: what stands before that anybody may have made up.
    """
    peer = request.remote or None
    if peer is None or not request.app[SERVICES].settings.trusted_proxies:
        return peer
    names = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
    while _trusted(request, peer):
        said = parsed(names.pop().strip()) if names else None
        if said is None:
            break
        peer = str(said)
    return peer


def speaks_for_others(request: web.Request) -> bool:
    """Whether the peer of the connection is a trusted proxy, whose X-Forwarded-* headers are believed."""
    return _trusted(request, request.remote or "")


def _trusted(request: web.Request, peer: str) -> bool:
    known = parsed(peer)
    return known is not None and any(known in network for network in request.app[SERVICES].settings.trusted_proxies)
