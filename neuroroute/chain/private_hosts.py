"""Base URLs that admins set by the API lead into no private network, unless the file allows it: they would make of the gateway a way in."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from neuroroute.core.addresses import is_public
from neuroroute.core.config import DATABASE, Config, Layer, SecurityConfig

Origin = tuple[str, int]
"""Host in lower case, port."""
_RESOLVE_S: Final = 2.0
_REFUSED: Final = (
    "leads to a private, loopback or link-local address; the file allows it by security.private_hosts or allow_private_providers"
)


def origin(url: str) -> Origin | None:
    """Where a URL leads; None where it names no host."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    return (parts.hostname.rstrip("."), port) if parts.hostname else None


async def faults(own: Mapping[str, Any], security: SecurityConfig) -> list[tuple[str, str]]:
    """The base URLs of a database layer that must not be, as (key, what is wrong)."""
    found = []
    for name, url in _addresses(own).items():
        where = origin(url)
        key = f"providers.{name}.base_url"
        if where is None or "@" in urlsplit(url).netloc:
            found.append((key, "a URL with a host and without a user is expected"))
        elif not _allowed(where, security) and not await _leads_out(where):
            found.append((key, _REFUSED))
    return found


def guarded(config: Config, layers: tuple[Layer, ...]) -> frozenset[Origin]:
    """Where connections must end at public addresses: names may come to mean another address after they were checked."""
    own = next((layer.values for layer in layers if layer.source == DATABASE), {})
    where = (origin(url) for url in _addresses(own).values())
    return frozenset(one for one in where if one is not None and not _allowed(one, config.security))


def _addresses(own: Mapping[str, Any]) -> dict[str, str]:
    providers = own.get("providers")
    entries = providers.items() if isinstance(providers, Mapping) else ()
    return {name: entry["base_url"] for name, entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("base_url"), str)}


def _allowed(where: Origin, security: SecurityConfig) -> bool:
    return security.allow_private_providers or where[0] in {host.lower() for host in security.private_hosts}


async def _leads_out(where: Origin) -> bool:
    """Whether every address of the host is public. A name that is not known now is looked at again when it is connected to."""
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(where[0], where[1], type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return True
    return all(is_public(str(entry[4][0])) for entry in found)
