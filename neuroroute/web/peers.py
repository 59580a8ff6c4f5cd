"""Where a request comes from: the peer of the connection, or whom the proxies of TRUSTED_PROXIES say they speak for."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import web

from neuroroute.web.state import SERVICES


def address(request: web.Request) -> str | None:
    """
    The client's address; None where the connection has none.

    X-Forwarded-For is read from its end, as far as those who wrote it are trusted: what stands before that anybody may have made up.
    """
    peer, trusted = request.remote or None, request.app[SERVICES].settings.trusted_proxies
    if peer is None or not trusted:
        return peer
    names = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
    while (known := _parsed(peer)) is not None and any(known in network for network in trusted):
        said = _parsed(names.pop().strip()) if names else None
        if said is None:
            break
        peer = str(said)
    return peer


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80"""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
