"""Network addresses: reading them as they are written, and which are public: not this machine, a private network, or a cloud's metadata service."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last four bytes


def is_public(address: str) -> bool:
    """Whether an IP address (a zone may follow) is one of the public internet; IPv4 addresses inside of IPv6 ones are looked at."""
    found = ip_address(address.partition("%")[0])
    return all(one.is_global and not one.is_multicast for one in _inside(found))


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80; None for what is none of them. An IPv4 address inside of an IPv6 one comes out."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _inside(found: IPv4Address | IPv6Address) -> Iterable[IPv4Address | IPv6Address]:
    if isinstance(found, IPv4Address):
        return (found,)
    if found.ipv4_mapped is not None:
        return (found.ipv4_mapped,)
    if found in _NAT64:
        return (IPv4Address(int(found) & 0xFFFFFFFF),)
    if found.sixtofour is not None:
        return (found, found.sixtofour)
    return (found, *found.teredo) if found.teredo is not None else (found,)
