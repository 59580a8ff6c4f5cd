"""
The nursery: the process that workers are born of.

It has imported and read what a worker needs, and has no loop, no thread and no connection. So a fork of it is a worker at once, and shares its
memory with it until one of them writes to it. The supervisor sends it the worker's end of a socket pair; it answers with the child's number,
and says later how the child ended: `{"born": pid}`, `{"ended": pid, "status": status}`, one JSON value a line. It stays until the supervisor has
closed its end and the children are gone.

The first nursery is a fork of the supervisor, made before that has a loop; their memory is shared too. A rolling restart makes another, a
fresh process: that one reads the code anew.
"""

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from neuroroute.core import jsonbytes, log
from neuroroute.core.settings import Settings, read
from neuroroute.core.tasks import spawn

_SLOT_BYTES: Final = 4


def gather(settings: Settings) -> None:
    """Import and read what all workers have in common, and keep the collector off it: it would write to every page."""
    from neuroroute import app
    from neuroroute.serve import process, worker

    assert worker
    process.fastest_loop()
    app.gather(settings)
    gc.freeze()


def run(listener_fd: int, control_fd: int) -> int:
    """A nursery as a process of its own. Returns the exit status."""
    _stay_calm()
    settings = read()
    log.setup(settings.log_level)
    gather(settings)
    return tend(settings, socket.socket(fileno=listener_fd), socket.socket(fileno=control_fd))


def tend(settings: Settings, listener: socket.socket, control: socket.socket) -> int:
    """The life of the nursery. Returns the exit status. settings: the workers', with the URL of the database."""
    _call_it("nr-nursery")
    _stay_calm()
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # one that is ignored wakes nobody
    signal.set_wakeup_fd(waker.fileno())
    children, wanted = set[int](), True
    while wanted or children:
        ready, _, _ = select.select([woken, control] if wanted else [woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                woken.recv(4096)
            _bury(children, control)
        if control in ready:
            asked, fds = b"", list[int]()
            with contextlib.suppress(ConnectionError):  # a supervisor that was killed with words of ours unread
                asked, fds, _, _ = socket.recv_fds(control, _SLOT_BYTES, 1)
            if not asked:
                wanted = False
                listener.close()  # or connections would wait here for nobody
                continue
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for end in (woken, waker, control):
                    end.close()
                _whole_life(partial(_live, settings, int.from_bytes(asked, "big"), listener, socket.socket(fileno=fds[0])))
            os.close(fds[0])
            children.add(pid)
            _tell(control, {"born": pid})
    return 0


def _stay_calm() -> None:
    """Signals for the gateway reach a whole group or container; what follows for workers is the supervisor's to say."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _bury(children: set[int], control: socket.socket) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _tell(control, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _tell(control: socket.socket, message: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone
        control.sendall(jsonbytes.dumps(message) + b"\n")


def _live(settings: Settings, slot: int, listener: socket.socket, control: socket.socket) -> int:
    from neuroroute.serve import worker

    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    _call_it(f"nr-worker-{slot}")
    return worker.run(settings, slot, listener, control)


def _whole_life(work: Callable[[], int]) -> NoReturn:
    """All that a forked child does: nothing that its parent has still to do is done a second time here."""
    status = 1
    try:
        status = work()
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _call_it(name: str) -> None:
    """What `ps -o comm` and `top` show."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


class Nursery:
    """
    A nursery as its supervisor knows it. `gone`: it has ended, and its children live on by themselves.

    Made by `fork`, before there is a loop, or by `launch`; to be opened on the loop then.
    """

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid, self.gone = pid, asyncio.Event()
        self._control = control
        self._born: asyncio.Queue[int | None] = asyncio.Queue()
        self._ends: dict[int, asyncio.Future[int]] = {}

    @classmethod
    def fork(cls, settings: Settings, listener: socket.socket, let_go: Callable[[], None]) -> "Nursery":
        """A fork of this process, which must have gathered. let_go: closes what is the supervisor's alone."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            let_go()
            _whole_life(lambda: tend(settings, listener, theirs))
        theirs.close()
        return cls(pid, ours)

    @classmethod
    def launch(cls, environment: dict[str, str], listener: socket.socket) -> "Nursery":
        """A fresh process."""
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (listener, theirs):
                os.set_inheritable(end.fileno(), True)
            command = [sys.executable, "-m", "neuroroute", "nursery", str(listener.fileno()), str(theirs.fileno())]
            pid = os.posix_spawn(sys.executable, command, environment)
            os.set_inheritable(listener.fileno(), False)
        return cls(pid, ours)

    async def open(self) -> None:
        """Begin to listen to it."""
        reading = self._control.dup()
        reading.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=reading)
        spawn(self._hear(reader, writer), name="nursery")

    async def bear(self, slot: int, control: socket.socket) -> int | None:
        """A new worker, which talks over `control`. Its process number; None: the nursery is gone. To be asked for one at a time."""
        if self.gone.is_set():
            return None
        try:
            socket.send_fds(self._control, [slot.to_bytes(_SLOT_BYTES, "big")], [control.fileno()])
        except OSError:
            return None
        return await self._born.get()

    async def end_of(self, pid: int) -> int:
        """How the child ended, as `subprocess` has it. Raises: ChildProcessError where the nursery went without telling."""
        try:
            return await self._end(pid)
        finally:
            self._ends.pop(pid, None)

    def close(self) -> None:
        """It is needed no more: it stops listening now, and ends after its last child."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        if not self.gone.is_set():
            os.kill(self.pid, signal.SIGKILL)

    def _end(self, pid: int) -> "asyncio.Future[int]":
        return self._ends.setdefault(pid, asyncio.get_running_loop().create_future())

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                match jsonbytes.loads(line):
                    case {"born": pid}:
                        self._end(pid)
                        self._born.put_nowait(pid)
                    case {"ended": pid, "status": status}:
                        self._end(pid).set_result(status)
        writer.close()
        self._control.close()
        await asyncio.to_thread(os.waitpid, self.pid, 0)
        self.gone.set()
        self._born.put_nowait(None)
        for end in self._ends.values():
            if not end.done():
                end.set_exception(ChildProcessError("the nursery is gone"))
                end.exception()  # nobody need ask
