"""
The key-value store that workers and replicas share: bytes under short names, for a while.

Two implementations, one meaning: `kv_memory` (one process) and `kv_redis`. Whatever is kept here may vanish at any moment; nothing of value
lives here alone.
"""

from collections.abc import Sequence
from typing import Protocol

Arg = str | bytes | int | float


class KVAway(Exception):
    """The key-value store refused, broke off, or did not answer in time. Nothing is known of what it did."""


class KV(Protocol):
    """Every method raises KVAway, within its time limit, when the store is away."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` for `ttl_s` seconds (more than 0)."""
        ...

    async def append(self, key: str, value: bytes, ttl_s: float) -> int:
        """Put `value` behind what is there, and keep all of it for `ttl_s` seconds from now. Returns its length."""
        ...

    async def get_from(self, key: str, start: int) -> bytes:
        """The value from its byte `start` on; empty where there is none."""
        ...

    async def delete(self, *keys: str) -> int:
        """How many of them were there."""
        ...

    async def ping(self) -> None:
        """Returns when the store answers."""
        ...

    async def close(self) -> None: ...


class Scripts(Protocol):
    """A store that runs Lua where the data is. Only Redis does."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Arg]) -> list[int]:
        """
        The integers that `script` returns for `keys` (KEYS) and `args` (ARGV). All keys must share a hash tag. Raises KVAway.
        """
        ...
