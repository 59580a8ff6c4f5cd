"""
A time limit that blames nobody for our own stalls.

On a busy machine an event loop stands still for tens of milliseconds; an answer that came meanwhile is seen late. `asyncio.timeout` would
call it too late. Here only time counts in which the loop turned, and what has arrived is always read before the limit strikes.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

_SLICES: Final = 5
"""A stall, however long, costs one slice of the limit."""


class patience:
    """
    `async with patience(seconds)`: raises TimeoutError after so much time in which the loop turned.

    then: called instead; what is waited for goes on.
    """

    __slots__ = ("_left", "_loop", "_scope", "_slice_s", "_then", "_timer")

    def __init__(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        self._slice_s, self._left, self._then = seconds / _SLICES, _SLICES, then
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._scope.__aenter__()
        self._timer = self._loop.call_later(self._slice_s, self._tick)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def _tick(self) -> None:
        self._left -= 1
        if self._left > 0:
            self._timer = self._loop.call_later(self._slice_s, self._tick)
        elif self._then is not None:
            self._then()
        else:
            self._scope.reschedule(self._loop.time())
