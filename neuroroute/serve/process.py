"""One application from its start to the end of its drain."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from neuroroute.core import tasks
from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.settings import Settings
from neuroroute.serve.banner import Facts
from neuroroute.serve.listener import BACKLOG
from neuroroute.web.server import Edge
from neuroroute.web.state import LIFECYCLE, OFFER, RELOAD, SERVICES
from neuroroute.web.straight import straight

READINESS_S: Final = 0.5
"""How long a draining process still takes new connections after its readiness fell, so that balancers see it first."""
ACCEPTED_A_TURN: Final = 16
"""New connections that a turn of the loop can take. uvloop takes one for each listening descriptor: with a single one and turns of 100 ms, as under
overload, whoever is new waits while ten a second get in (measured: 945 connections waiting, the last for 15 s)."""
FACTS_AFTER_S: Final = 0.3
"""How long local servers get to be found before the banner counts the providers."""
YOUNG_OBJECTS: Final = 20_000
"""New objects until the collector looks at them. By then nearly all are gone that a call made: the usual 700 would have it walk over each."""
_log = logging.getLogger("neuroroute.serve")


@dataclass(slots=True)
class Orders:
    """
    What a process is told to do. `drain` finishes running calls; `end` does not wait for them.

    quietly: another process takes over, so readiness need not fall before this one stops listening.
    """

    drain: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    quietly: bool = False
    reload: Callable[[], Any] = lambda: None

    def stop(self) -> None:
        """The first time: drain. The second time: end."""
        if self.drain.is_set():
            self.end.set()
        self.drain.set()

    def obey_signals(self, *stopping: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        for number in stopping:
            loop.add_signal_handler(number, self.stop)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, lambda: self.reload())


async def live(
    app: web.Application,
    listener: socket.socket,
    settings: Settings,
    orders: Orders,
    *,
    on_ready: Callable[[], object],
    on_facts: Callable[[Facts], object] = lambda facts: None,
) -> bool:
    """
    Serve `app` on `listener` until `orders` say otherwise, then drain and close it. False: running calls were cut.

    Raises: what the application's start raises.
    """
    edge = Edge(
        app,
        header_timeout_s=settings.header_timeout_s,
        max_body_bytes=settings.max_body_bytes,
        slow_client_s=settings.slow_client_timeout_s,
        straight=straight(app),
    )
    lifecycle = app[LIFECYCLE]
    try:
        await edge.setup()
        for number in range(ACCEPTED_A_TURN):
            await web.SockSite(edge, listener.dup() if number else listener, backlog=BACKLOG).start()
        lifecycle.ready = True
        orders.reload = lambda: tasks.spawn(_reload(app), name="reload")
        on_ready()
        background = tasks.spawn(_after_start(app, on_facts), name="after start")
        await orders.drain.wait()
        await tasks.cancel(background)
        _log.info("draining: %d connections", len(edge.edge.connections))
        edge.say_close()
        if not orders.quietly:
            lifecycle.ready, lifecycle.draining = False, True
            await _unless(orders.end, asyncio.sleep(READINESS_S))
        whole = await _unless(orders.end, _drained(edge, app, settings.shutdown_grace_s))
        if not whole:
            _log.warning("calls that were still running are cut")
        return bool(whole)
    finally:
        await edge.cleanup()


async def _drained(edge: Edge, app: web.Application, grace_s: float) -> bool:
    """Calls have finished, and then streams whose clients left them running. False: not all did within `grace_s`."""
    until_s = monotonic_s() + grace_s
    whole = await edge.drain(grace_s)
    return await app[SERVICES].tapes.drain(max(until_s - monotonic_s(), 0.0)) and whole


async def _reload(app: web.Application) -> None:
    if not await app[RELOAD]():
        _log.info("there is no changed configuration to read")


async def _after_start(app: web.Application, on_facts: Callable[[Facts], object]) -> None:
    """What may wait until calls are served. What the start made stays: the collector need not look at it again."""
    await asyncio.sleep(FACTS_AFTER_S)
    gc.enable()  # `__main__` stopped it for the imports
    catalog = app[OFFER].holder.current
    on_facts(Facts(tuple(sorted(catalog.providers)), len(catalog.entries)))
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, or None when `event` comes first."""
    doing, waiting = tasks.spawn(work, name="drain"), tasks.spawn(event.wait(), name="end")
    await asyncio.wait((doing, waiting), return_when=asyncio.FIRST_COMPLETED)
    await tasks.cancel(waiting)
    if not doing.done():
        await tasks.cancel(doing)
        return None
    return doing.result()


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` on the fastest loop there is."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(work)


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop of uvloop, where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def create_app(settings: Settings, data_dir: Path, worker: int) -> web.Application:
    """The gateway. Raises: ConfigFaulty."""
    from neuroroute import app

    return app.create(settings, config_path=settings.neuroroute_config, data_dir=data_dir, worker=worker)
