"""`neuroroute serve`: everything in this process, or a supervisor."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from neuroroute.core import log
from neuroroute.core.production import risks
from neuroroute.core.settings import Settings, SettingsFaulty
from neuroroute.core.tasks import Tasks, cancel, spawn
from neuroroute.serve.database import Ground, prepare, prepare_later
from neuroroute.serve.listener import listen
from neuroroute.store.embedded import EmbeddedFailed
from neuroroute.telemetry.shared import METRICS_FOLDER, empty

_log = logging.getLogger("neuroroute.serve")


class StartFailed(Exception):
    """The gateway can not start. The message is for the person at the terminal."""


def run(settings: Settings) -> int:
    """
    Serve until told to stop. Returns the exit status: 0 = all calls were finished.

    Raises: StartFailed.
    """
    log.setup(settings.log_level)
    for found, remedy in risks(settings):
        _log.warning("NODE_ENV=production with %s. %s", found, remedy)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until the loop takes over: what was started is stopped again
    data_dir = settings.neuroroute_data_dir.expanduser().absolute()
    listener = _listen(settings)
    ground = Ground(settings, data_dir)
    try:
        if settings.workers > 1:
            return _run_several(settings, data_dir, listener, ground)
        return _run_alone(settings, data_dir, listener, ground)
    except EmbeddedFailed as failed:
        raise StartFailed(str(failed)) from failed
    finally:
        listener.close()
        ground.stop()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _listen(settings: Settings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        raise StartFailed(
            f"Can not listen on {settings.host} port {settings.port}: {error.strerror or error}. Choose another with --port or PORT."
        ) from error


def _run_several(settings: Settings, data_dir: Path, listener: socket.socket, ground: Ground) -> int:
    from neuroroute.serve.nursery import Nursery, gather
    from neuroroute.serve.supervisor import Supervisor

    empty(data_dir / METRICS_FOLDER)
    url = _started_beside(lambda: gather(settings), ground)
    settings = settings.model_copy(update={"database_url": url, "neuroroute_data_dir": data_dir})
    nursery = Nursery.fork(settings, listener, ground.let_go)
    gc.enable()  # `__main__` stopped it for the imports
    return asyncio.run(Supervisor(settings, data_dir, listener, ground, nursery).run())


def _run_alone(settings: Settings, data_dir: Path, listener: socket.socket, ground: Ground) -> int:
    from neuroroute.serve import process

    url = _started_beside(lambda: __import__("neuroroute.app"), ground)
    return process.run_loop(_alone(settings.model_copy(update={"database_url": url}), data_dir, listener, ground))


def _started_beside(imports: Callable[[], object], ground: Ground) -> str:
    """The URL of the database, whose server starts while this thread imports."""
    with ThreadPoolExecutor(1) as other:
        starting = other.submit(ground.start)
        imports()
        return starting.result()


async def _alone(settings: Settings, data_dir: Path, listener: socket.socket, ground: Ground) -> int:
    from neuroroute.core.config import ConfigFaulty
    from neuroroute.serve import process
    from neuroroute.serve.banner import Banner
    from neuroroute.store.migrate import MigrationFailed

    orders = process.Orders()
    orders.obey_signals(signal.SIGTERM, signal.SIGINT)
    banner = Banner(settings, data_dir, listener.getsockname()[1])
    keeper = Tasks()
    waiting: asyncio.Task[None] | None = None
    try:
        if ground.server is not None:
            keeper.keep("postgres", ground.watch)
        app = process.create_app(settings, data_dir, 0)
        if not await prepare(settings, data_dir):
            waiting = spawn(prepare_later(settings, data_dir), name="schema")
        whole = await process.live(
            app,
            listener,
            settings,
            orders,
            on_ready=lambda: _log.info("serving on port %d", listener.getsockname()[1]),
            on_facts=banner.show,
        )
    except (ConfigFaulty, SettingsFaulty, MigrationFailed) as failed:
        raise StartFailed(str(failed)) from failed
    finally:
        if waiting is not None:
            await cancel(waiting)
        await keeper.close()
    return 0 if whole else 1
