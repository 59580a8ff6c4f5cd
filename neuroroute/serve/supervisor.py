"""
The supervisor: binds the one listening socket, owns the embedded database, keeps N workers alive.

All workers accept from the same socket, so a connection that waits is lost with none of them. Workers are born of a nursery. One that ends is replaced, later each time
it ends early; one that stays silent is killed. A replacement that was asked for is ready before the old worker retires.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.settings import Settings, child_environment
from neuroroute.core.tasks import Tasks, spawn
from neuroroute.serve.banner import Banner, Facts
from neuroroute.serve.database import Ground
from neuroroute.serve.nursery import Nursery

SILENT_MAX_S: Final = 15.0
PAUSED_S: Final = 5.0
READY_MAX_S: Final = 120.0  # a start may wait for another process's migration
EARLY_S: Final = 10.0
LAST_WORD_S: Final = 10.0
PAUSE_MAX_S: Final = 30.0
TRIES_AT_START: Final = 3
NO_BIRTH: Final = "Workers can not be made; the lines above tell why."
_log = logging.getLogger("neuroroute.serve")


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process. `slot`: which of the N places it fills; `leaving`: it was told to go."""

    slot: int
    pid: int
    nursery: Nursery
    writer: asyncio.StreamWriter
    started_s: float
    heard_s: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    live_calls: int = 0

    def order(self, word: str) -> None:
        """Tell it to drain, retire, end or reload."""
        if not self.writer.is_closing():
            self.writer.write(jsonbytes.dumps(word) + b"\n")

    def leave(self, word: str = "drain") -> None:
        self.leaving = True
        self.order(word)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def end(self) -> int:
        """How it ended, after it has said its last word; 1 where its nursery can not tell."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.nursery.end_of(self.pid)), LAST_WORD_S)
        except TimeoutError:
            self.kill()
            return await self.nursery.end_of(self.pid)
        except ChildProcessError:
            return 1


class Supervisor:
    """`run` returns when all workers have ended: 0 if no call was cut."""

    def __init__(self, settings: Settings, data_dir: Path, listener: socket.socket, ground: Ground, nursery: Nursery) -> None:
        self._settings, self._listener, self._ground = settings, listener, ground
        self._nurseries = [nursery]  # the last one gives birth; those before it wait for the end of their children
        self._banner = Banner(settings, data_dir, listener.getsockname()[1])
        self._environment = child_environment(
            database_url=settings.database_url,
            neuroroute_data_dir=data_dir,
            neuroroute_config=settings.neuroroute_config,
            port=settings.port,
            host=settings.host,
            workers=settings.workers,
            log_level=settings.log_level,
        )
        self._slots: dict[int, Worker] = {}
        self._all: set[Worker] = set()
        self._early_ends: dict[int, int] = {}
        self._served = self._cut = False
        self._stopping, self._ending = asyncio.Event(), asyncio.Event()
        self._rolling, self._birth = asyncio.Lock(), asyncio.Lock()
        self._keeper = Tasks()
        self.fault: str | None = None

    async def run(self) -> int:
        """Start, watch, drain. Raises: StartFailed when workers can not start."""
        self._obey_signals()
        if self._ground.server is not None:
            self._keeper.keep("postgres", self._ground.watch)
        self._keeper.keep("watchdog", self._watch)
        await self._nurseries[0].open()
        for slot in range(self._settings.workers):
            if await self._start(slot) is None:
                self._give_up(NO_BIRTH)
        await self._stopping.wait()
        self._listener.close()
        await self._end_all()
        await self._keeper.close()
        if self.fault is not None:
            from neuroroute.serve.run import StartFailed

            raise StartFailed(self.fault)
        return 1 if self._cut else 0

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number, handle in (
            (signal.SIGTERM, self._handle_stop),
            (signal.SIGINT, self._handle_stop),
            (signal.SIGHUP, self._handle_hup),
            (signal.SIGUSR2, self._handle_usr2),
        ):
            loop.add_signal_handler(number, handle)

    def _handle_stop(self) -> None:
        if self._stopping.is_set():
            self._ending.set()
        self._stopping.set()

    def _handle_hup(self) -> None:
        _log.info("the configuration is read again")
        for worker in self._slots.values():
            worker.order("reload")

    def _handle_usr2(self) -> None:
        spawn(self._roll(), name="rolling restart")

    async def _start(self, slot: int) -> Worker | None:
        """A new process for `slot`; it is not ready yet. None: none can be made."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        with theirs:
            async with self._birth:
                pid = await self._bear(slot, theirs)
                if pid is None and not self._stopping.is_set():
                    await self._launch_nursery()
                    pid = await self._bear(slot, theirs)
        if pid is None:
            writer.close()
            return None
        worker = Worker(slot, pid, self._nurseries[-1], writer, monotonic_s(), monotonic_s())
        self._slots[slot] = worker
        self._all.add(worker)
        if self._stopping.is_set():
            worker.leave()
        spawn(self._hear(worker, reader), name=f"worker {slot}")
        return worker

    async def _bear(self, slot: int, control: socket.socket) -> int | None:
        """A child of the present nursery; None: it is gone, or hangs, or none is wanted any more."""
        nursery = self._nurseries[-1]
        if self._stopping.is_set():
            return None
        try:
            return await asyncio.wait_for(nursery.bear(slot, control), READY_MAX_S)
        except TimeoutError:
            _log.error("the process that workers are born of hangs: killed")
            nursery.kill()
            return None

    async def _launch_nursery(self) -> None:
        """A fresh one, which reads the code anew."""
        self._nurseries = [old for old in self._nurseries if not old.gone.is_set()]
        self._nurseries.append(Nursery.launch(self._environment, self._listener))
        await self._nurseries[-1].open()

    async def _hear(self, worker: Worker, reader: asyncio.StreamReader) -> None:
        """Listen to a worker until it is gone, then see to its place."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                worker.heard_s = monotonic_s()
                self._take(worker, jsonbytes.loads(line))
        worker.writer.close()
        status = await worker.end()
        self._all.discard(worker)
        worker.gone.set()
        if worker.leaving or self._stopping.is_set():
            self._cut |= status != 0
        elif self._slots.get(worker.slot) is worker:
            await self._replace(worker, status)

    def _take(self, worker: Worker, message: dict[str, Any]) -> None:
        if "ready" in message:
            worker.ready.set()
            self._served = True
            _log.info("worker %d serves (process %d)", worker.slot, worker.pid)
        if "beat" in message:
            worker.live_calls = int(message["beat"])
        if "facts" in message:
            self._banner.show(Facts(tuple(message["facts"]["providers"]), int(message["facts"]["models"])))
        if "fault" in message:
            _log.error("worker %d can not start: %s", worker.slot, message["fault"])
            if not self._served:
                self._give_up(str(message["fault"]))

    def _give_up(self, fault: str) -> None:
        self.fault = self.fault or fault
        self._stopping.set()

    async def _replace(self, worker: Worker, status: int) -> None:
        """A worker ended unasked: start another, after a pause that doubles while workers end early."""
        slot = worker.slot
        early = monotonic_s() - worker.started_s < EARLY_S
        ends = self._early_ends[slot] = self._early_ends.get(slot, 0) + 1 if early else 0
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if not self._served and ends >= TRIES_AT_START:
            self._give_up(f"Worker {slot} {how} {ends} times without ever serving; the lines above tell why.")
            return
        pause_s = 0.0 if ends <= 1 else min(0.25 * 2.0**ends, PAUSE_MAX_S)
        _log.error("worker %d %s%s; another starts in %.1f s", slot, how, f", early for the {ends}. time" if ends > 1 else "", pause_s)
        await _sleep_unless(self._stopping, pause_s)
        while not self._stopping.is_set() and await self._start(slot) is None:
            _log.error("worker %d: %s", slot, NO_BIRTH)
            await _sleep_unless(self._stopping, PAUSE_MAX_S)

    async def _roll(self) -> None:
        """Replace all workers, one by one; the old one goes when the new one is ready."""
        async with self._rolling:
            if self._stopping.is_set():
                return
            before = self._nurseries[-1]
            async with self._birth:
                await self._launch_nursery()
                fresh = self._nurseries[-1]
            for slot in range(self._settings.workers):
                old = self._slots[slot]
                new = await self._start(slot)
                ready = new is not None and await _within(READY_MAX_S, new.ready.wait, new.gone.wait) and new.ready.is_set()
                if not ready:
                    _log.error("the new worker %d does not get ready: the old one stays", slot)
                    if new is not None:
                        new.leave("end")
                    self._slots[slot] = old
                    fresh.close()  # children of its that serve stay
                    self._nurseries = [*(one for one in self._nurseries if one is not before), before]
                    return
                old.leave("retire")
            before.close()
            _log.info("all workers are replaced")

    async def _watch(self) -> None:
        """Kill workers whose loop hangs, or whose start does."""
        looked_s = monotonic_s()
        while True:
            await asyncio.sleep(1.0)
            now_s, since_s = monotonic_s(), monotonic_s() - looked_s
            looked_s = now_s
            for worker in list(self._all):
                if since_s > PAUSED_S:  # we were stopped ourselves, and so were they: they get the time again
                    worker.heard_s = now_s
                elif now_s - worker.heard_s > (SILENT_MAX_S if worker.ready.is_set() else READY_MAX_S):
                    _log.error("worker %d (process %d) is silent for too long: killed", worker.slot, worker.pid)
                    worker.kill()

    async def _end_all(self) -> None:
        """Drain all; a second signal, or the end of the grace, ends them."""
        for nursery in self._nurseries:
            nursery.close()
        for worker in list(self._all):
            worker.leave()
        patience_s = self._settings.shutdown_grace_s + 5.0
        await _within(patience_s, self._all_gone, self._ending.wait)
        for worker in list(self._all):
            worker.leave("end")
        await _within(5.0, self._all_gone)
        for worker in list(self._all):
            self._cut = True
            worker.kill()
        await _within(5.0, self._all_gone)
        for nursery in self._nurseries:
            if not await _within(1.0, nursery.gone.wait):
                nursery.kill()

    async def _all_gone(self) -> None:
        while self._all:
            await next(iter(self._all)).gone.wait()


async def _sleep_unless(event: asyncio.Event, pause_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), pause_s)


async def _within(limit_s: float, *waits: Callable[[], Awaitable[object]]) -> bool:
    """Wait for the first of these. False: none came in time."""
    waiting = [spawn(_wait(wait), name="wait") for wait in waits]
    done, late = await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    return bool(done)


async def _wait(wait: Callable[[], Awaitable[object]]) -> None:
    await wait()
