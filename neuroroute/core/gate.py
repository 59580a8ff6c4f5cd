"""Where a key may be used: at which paths of the gateway, from which addresses."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Self

from neuroroute.core.addresses import parsed
from neuroroute.core.dataclass import dataclass

Network = IPv4Network | IPv6Network
ROUTE_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """routes: paths, each itself, or with `*` at its end all that begin so; networks: of clients. None = all."""

    routes: tuple[str, ...] | None = None
    networks: tuple[Network, ...] | None = None

    @classmethod
    def of(cls, routes: Iterable[str] | None, ips: Iterable[str] | None) -> Self | None:
        """None: everything is allowed. Raises: ValueError on what is no network."""
        if routes is None and ips is None:
            return None
        return cls(None if routes is None else tuple(routes), None if ips is None else tuple(map(network, ips)))

    def leads_to(self, path: str) -> bool:
        return self.routes is None or any(_fits(route, path) for route in self.routes)

    def is_open_to(self, address: str | None) -> bool:
        """Whether a client at `address` may come; one that has none may not, where networks are named."""
        if self.networks is None:
            return True
        found = parsed(address) if address is not None else None
        return found is not None and any(found in one for one in self.networks)


def route(text: str) -> str:
    """A path, or the beginning of some with `*` at its end. Raises: ValueError"""
    path = text.removesuffix("*")
    if (
        not path.startswith("/")
        or "*" in path
        or len(text) > ROUTE_CHARS_MAX
        or not path.isascii()
        or not path.isprintable()
        or "?" in path
    ):
        raise ValueError(f"{text[:64]!r} is not a path as /v1/chat/completions, or a beginning of paths as /v1/*")
    return text


def network(text: str) -> Network:
    """An address or a network, bits of the host ignored. Raises: ValueError"""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not an address as 192.0.2.7, or a network as 192.0.2.0/24 or 2001:db8::/32") from None


def written(one: Network) -> str:
    """As people write it: a single address without its mask."""
    return str(one.network_address) if one.num_addresses == 1 else str(one)


def beyond_routes(wanted: Iterable[str], own: Iterable[str]) -> str | None:
    """The first of the routes that `own` does not hold whole."""
    own = list(own)
    return next(
        (one for one in wanted if not any(_fits(route, one.removesuffix("*")) and (route == one or route.endswith("*")) for route in own)),
        None,
    )


def beyond_ips(wanted: Iterable[str], own: Iterable[str]) -> str | None:
    """The first of the networks that `own` does not hold whole."""
    held = [network(one) for one in own]
    return next((one for one in wanted if not any(_within(network(one), wide) for wide in held)), None)


def _fits(route: str, path: str) -> bool:
    return path.startswith(route[:-1]) if route.endswith("*") else path == route


def _within(one: Network, wide: Network) -> bool:
    return one.version == wide.version and wide.network_address <= one.network_address and one.broadcast_address <= wide.broadcast_address  # type: ignore[operator]
