"""
A worker of a supervisor: a process that serves the shared socket.

It talks with the supervisor over a socket pair, one JSON value a line. Up: `{"ready": true}`, `{"facts": {...}}`, `{"beat": running calls}`,
`{"fault": text}`. Down: `"drain"`, `"retire"` (a replacement serves), `"end"`, `"reload"`. When the pair breaks the supervisor is gone: the worker drains and ends.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from dataclasses import asdict
from typing import Any, Final

from neuroroute.core import jsonbytes
from neuroroute.core.config import ConfigFaulty
from neuroroute.core.settings import Settings, SettingsFaulty
from neuroroute.core.tasks import Tasks, cancel, spawn
from neuroroute.serve.database import prepare, prepare_later
from neuroroute.serve.process import Orders, create_app, live, run_loop
from neuroroute.store.migrate import MigrationFailed
from neuroroute.web.state import LIFECYCLE

BEAT_S: Final = 1.0
FAULT_STATUS: Final = 3
_log = logging.getLogger("neuroroute.serve")


def run(settings: Settings, slot: int, listener: socket.socket, control: socket.socket) -> int:
    """Serve until the supervisor says otherwise. Returns the exit status."""
    listener.setblocking(False)
    control.setblocking(False)
    try:
        return run_loop(_work(settings, slot, listener, control))
    finally:
        listener.close()


async def _work(settings: Settings, slot: int, listener: socket.socket, control: socket.socket) -> int:
    reader, writer = await asyncio.open_connection(sock=control)
    orders, keeper = Orders(), Tasks()
    orders.obey_signals(signal.SIGTERM)

    def say(**message: Any) -> None:
        if not writer.is_closing():
            writer.write(jsonbytes.dumps(message) + b"\n")

    listening = spawn(_obey(reader, orders), name="orders")
    waiting: asyncio.Task[None] | None = None
    try:
        app = create_app(settings, settings.neuroroute_data_dir, slot)
        if not await prepare(settings, settings.neuroroute_data_dir):
            waiting = spawn(prepare_later(settings, settings.neuroroute_data_dir), name="schema")

        async def beat() -> None:
            while True:
                say(beat=app[LIFECYCLE].live_calls)
                await asyncio.sleep(BEAT_S)

        keeper.keep("beat", beat)
        whole = await live(
            app,
            listener,
            settings,
            orders,
            on_ready=lambda: say(ready=True, pid=os.getpid()),
            on_facts=lambda facts: say(facts=asdict(facts)),
        )
    except (ConfigFaulty, SettingsFaulty, MigrationFailed) as failed:
        say(fault=str(failed))
        return FAULT_STATUS
    finally:
        await keeper.close()
        for task in (listening, waiting):
            if task is not None:
                await cancel(task)
        writer.close()
    return 0 if whole else 1


async def _obey(reader: asyncio.StreamReader, orders: Orders) -> None:
    with contextlib.suppress(ConnectionError):  # reset, when it died with words of ours unread
        while line := await reader.readline():
            match jsonbytes.loads(line):
                case "drain":
                    orders.drain.set()
                case "retire":
                    orders.quietly = True
                    orders.drain.set()
                case "end":
                    orders.drain.set()
                    orders.end.set()
                case "reload":
                    orders.reload()
    if not orders.drain.is_set():
        _log.warning("the supervisor is gone: draining")
        orders.drain.set()
