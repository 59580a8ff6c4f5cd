"""What every way to a provider looks like: a `Lane` sends a request and gives an `UpstreamResponse`."""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from neuroroute.core.addresses import is_public
from neuroroute.core.errors import ConnectFailed
from neuroroute.core.types import Timeouts, UpstreamRequest

MAX_ANSWER_BYTES: Final = 64 << 20
"""The largest answer that is held whole: a list of embeddings can be tens of MB; more than this is a fault."""
MAX_HEAD_BYTES: Final = 32 << 10
"""The largest head of an answer, and the largest single header."""
KEEPALIVE_S: Final = 30.0
"""How long a connection waits for its next request: below the 60 s after which common load balancers drop it."""


class Guard:
    """Hosts that must be reached at public addresses alone, looked at whenever a connection is made: `origins` are (host, port)."""

    __slots__ = ("origins",)

    def __init__(self) -> None:
        self.origins: frozenset[tuple[str, int]] = frozenset()

    def check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Raises: ConnectFailed"""
        if (host.rstrip("."), port) in self.origins and not all(map(is_public, addresses)):
            raise ConnectFailed("the provider's address leads into a private network")


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Bodies are as the provider sent them."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    async def read(self) -> bytes:
        """The whole body, at most MAX_ANSWER_BYTES. Raises UpstreamTimeout, UpstreamBroken."""
        ...

    async def readany(self) -> bytes:
        """The next bytes as they came; b"" at the end. Raises UpstreamTimeout, UpstreamBroken."""
        ...

    def close(self) -> None:
        """End it: a half-read answer is cancelled at the provider at once. May be called again."""
        ...


class Lane(Protocol):
    """One way of reaching providers."""

    async def send(self, request: UpstreamRequest, timeouts: Timeouts) -> UpstreamResponse:
        """Raises ConnectFailed while nothing was sent; UpstreamTimeout, UpstreamBroken after that."""
        ...

    async def close(self) -> None: ...
