"""Where a request comes from: the peer of the connection, or whom the proxies of TRUSTED_PROXIES say they speak for."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web
from multidict import CIMultiDictProxy

from neuroroute.core.addresses import parsed
from neuroroute.web.state import SERVICES

Networks = Sequence[IPv4Network | IPv6Network]


def address(request: web.Request) -> str | None:
    """The client's address; None where the connection has none."""
    return client_address(request.remote, request.headers, request.app[SERVICES].settings.trusted_proxies)


def client_address(peer: str | None, headers: "CIMultiDictProxy[str]", trusted: Networks) -> str | None:
    """
    The address of the client behind `peer`, the other end of the connection.

    X-Forwarded-For is read from its end, as far as those who wrote it are trusted: what stands before that anybody may have made up.
    """
    if not peer or not trusted:
        return peer or None
    names = ",".join(headers.getall("X-Forwarded-For", ())).split(",")
    while _trusted(peer, trusted):
        said = parsed(names.pop().strip()) if names else None
        if said is None:
            break
        peer = str(said)
    return peer


def speaks_for_others(request: web.Request) -> bool:
    """Whether the peer of the connection is a trusted proxy, whose X-Forwarded-* headers are believed."""
    return _trusted(request.remote or "", request.app[SERVICES].settings.trusted_proxies)


def _trusted(peer: str, networks: Networks) -> bool:
    known = parsed(peer)
    return known is not None and any(known in network for network in networks)
