"""
Background tasks that nobody can lose.

`spawn` keeps a reference until the task is done and reports its failure; `Tasks` owns the long-running ones of a process:
each is named, restarted with backoff when it fails, counted, and cancelled at shutdown.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

_log = logging.getLogger("neuroroute.tasks")
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Run `work` beside the caller. A failure is logged with the task's name."""
    task = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s failed", task.get_name(), exc_info=error)


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel and wait until it is over."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Tasks:
    """The long-running tasks of one process. `failures[name]` counts the restarts of each."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failures: dict[str, int] = {}

    def keep(self, name: str, work: Callable[[], Awaitable[None]], *, backoff_s: float = 0.5, backoff_max_s: float = 30.0) -> None:
        """Run `work()` for ever: when it fails or returns it starts again, later each time up to `backoff_max_s`."""
        self.failures[name] = 0
        self._tasks[name] = spawn(self._forever(name, work, backoff_s, backoff_max_s), name=name)

    async def _forever(self, name: str, work: Callable[[], Awaitable[None]], backoff_s: float, backoff_max_s: float) -> None:
        pause_s = backoff_s
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the owner of background tasks: whatever fails is logged, counted, restarted
                self.failures[name] += 1
                _log.warning("task %s failed and starts again in %.1f s: %s", name, pause_s, error)
            if loop.time() - began_s > backoff_max_s:
                pause_s = backoff_s
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, backoff_max_s)

    async def close(self) -> None:
        """Cancel all and wait."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
