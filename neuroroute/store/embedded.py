"""
The embedded PostgreSQL: the only door to the Postgres binaries.

One server per data directory, shared by all processes that use the directory:

* `<data-dir>/postgres.lock`   held for the moment of a start or a stop
* `<data-dir>/postgres.users`  held, shared, by each process for as long as it uses the server; who can take it alone is the last one, and stops it
* `<data-dir>/postgres/data`   the files; `run` the socket; `postgres.log` what the server says

The kernel drops the locks of a killed process. Its server lives on and is adopted by the next start. There is no TCP port: clients come by the
socket, and the server asks the kernel who they are (peer authentication).
"""

import asyncio
import contextlib
import errno
import fcntl
import getpass
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass
from neuroroute.store.embedded_install import Account, EmbeddedFailed, Install, choose_account, choose_home, choose_install, reachable

__all__ = ["EmbeddedFailed", "EmbeddedPostgres"]

ROLE: Final = "neuroroute"
SOCKET_NAME: Final = ".s.PGSQL.5432"
MAX_SOCKET_PATH_BYTES: Final = 103  # macOS allows 104 with the closing NUL, Linux 108
NO_PID: Final = 4_194_305  # one more than Linux ever gives out
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",  # touched only as it fills: an idle server takes about 15 MB
    "wal_level": "minimal",  # no replicas: half the log for bulk work
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # statements may hold what a client sent
    "log_timezone": "UTC",
    "timezone": "UTC",
    "autovacuum_naptime": "30s",
}  # fsync and synchronous_commit stay on: a killed server comes back with every row
_SETTINGS_18: Final = {"io_method": "sync"}  # the default starts three more processes
_log = logging.getLogger("neuroroute.embedded")


@dataclass(frozen=True, slots=True)
class _PidFile:
    """What a running server says of itself in postmaster.pid."""

    pid: int
    socket_dir: str
    status: str  # starting, ready, stopping, standby


class EmbeddedPostgres:
    """
    The server of one data directory, as one process uses it.

    settings: more of postgresql.conf, e.g. {"fsync": "off"} for tests.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None, start_timeout_s: float = 30.0) -> None:
        self._data_dir = data_dir.expanduser().absolute()
        self._settings = dict(settings or {})
        self._start_timeout_s = start_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._users_lock: int | None = None
        self._pid = 0
        self._home = Path()
        self._socket_dir = ""
        self._syncing: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    @property
    def url(self) -> str:
        """postgresql://... for asyncpg, libpq and pg_dump; valid after `start`."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://{ROLE}@/{quote(database)}?host={quote(self._socket_dir, safe='')}&port=5432"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._pid

    def start(self) -> str:
        """
        Start the server, or join the one that runs. Blocks: 0.5 s the first time, 0.05 s later.

        Returns the URL.
        Raises: EmbeddedFailed with what to do.
        """
        try:
            # root: others may pass through, so that the server's account gets to its own folder; what lies here is closed by its own mode
            self._data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            with self._guard():
                if self._users_lock is None:
                    self._users_lock = _open_lock(self._data_dir / "postgres.users")
                    fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                self._home = choose_home(self._data_dir)
                self._run()
        except OSError as error:
            raise EmbeddedFailed(f"The embedded PostgreSQL can not start in {self._data_dir}: {error}") from error
        return self.url

    def alive(self) -> bool:
        """Whether the postmaster runs. Costs microseconds."""
        if self._child is not None and self._child.pid == self._pid:
            return self._child.poll() is None
        return _is_postmaster(self._pid, self._home / "data")

    def ensure(self) -> bool:
        """Start the server again if it died. Blocks. True = it had died."""
        if self.alive():
            return False
        with self._guard():
            self._reap()
            self._run()
        self.restarts += 1
        _log.warning("the embedded PostgreSQL was gone; it runs again as process %d", self._pid)
        return True

    async def watch(self, every_s: float = 0.1) -> None:
        """Keep the server running, for ever. Run it under `core.tasks.Tasks`."""
        while True:
            if not self.alive():
                await asyncio.to_thread(self.ensure)
            if self._syncing is not None:
                self._syncing.poll()  # or it stays a zombie
            await asyncio.sleep(every_s)

    def stop(self) -> None:
        """Let go of the server; the last user stops it (fast shutdown: open transactions are rolled back). Blocks."""
        if self._users_lock is None:
            return
        if self._syncing is not None:
            self._syncing.wait()
        with self._guard():
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("another process uses the embedded PostgreSQL; it stays")
                if self._child is not None:
                    self._child.returncode = 0  # no longer ours to wait for: Popen complains otherwise
                    self._child = None
            else:
                self._shut_down()
            os.close(self._users_lock)
            self._users_lock = None

    def let_go(self) -> None:
        """In a fork of the process that started it: forget the server, which stays its parent's."""
        if self._users_lock is not None:
            os.close(self._users_lock)
        for process in (self._child, self._syncing):
            if process is not None:
                process.returncode = 0  # not ours to wait for: Popen complains otherwise
        self._users_lock = self._child = self._syncing = None

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        lock = _open_lock(self._data_dir / "postgres.lock")
        try:
            deadline_s = monotonic_s() + self._start_timeout_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic_s() > deadline_s:
                        raise EmbeddedFailed(
                            f"Another process has been starting or stopping the database in {self._data_dir} for too long."
                        ) from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _run(self) -> None:
        """Under the guard: adopt the running server or start one, and wait until it answers."""
        data = self._home / "data"
        deadline_s = monotonic_s() + self._start_timeout_s
        while (found := _read_pid_file(data)) is not None and _is_postmaster(found.pid, data):
            if found.status in ("ready", "standby"):
                self._pid, self._socket_dir = found.pid, found.socket_dir
                return
            if monotonic_s() > deadline_s:
                raise EmbeddedFailed(f"PostgreSQL (process {found.pid}) is {found.status} for too long; see {self._home / 'postgres.log'}.")
            time.sleep(0.01)
        account = choose_account(data)
        install = reachable(choose_install(data), account)
        if not (data / "PG_VERSION").exists():
            self._create(data, install, account)
        self._launch(data, install, account, deadline_s)

    def _create(self, data: Path, install: Install, account: Account) -> None:
        """initdb beside the final place, then rename: a start that is killed half-way leaves nothing that looks whole."""
        fresh = data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account.switch:
            os.chown(fresh, account.uid, account.gid)
        command: list[str | Path] = [
            install.binary("initdb"),
            "-D",
            fresh,
            "-U",
            ROLE,
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "peer",
            "--no-sync",
        ]
        if install.major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd="/", env=_environment(), timeout=120, **account.popen()
        )
        if done.returncode != 0:
            raise EmbeddedFailed(f"initdb failed in {fresh}: {done.stderr.strip() or done.stdout.strip()}")
        fresh.rename(data)
        if self._settings.get("fsync") != "off":
            # on a busy disk this takes seconds, and nothing is at stake yet: it goes on beside the start
            self._syncing = _sync(data, install, account)

    def _launch(self, data: Path, install: Install, account: Account, deadline_s: float) -> None:
        if account.switch and data.stat().st_uid == 0:
            _give(data, account)
        _disown_reused_pid(data)
        socket_dir = self._make_socket_dir(account)
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):  # of a dead server; the number in the lock may be somebody else's by now
            (socket_dir / name).unlink(missing_ok=True)
        self._write_access_rules(account)
        settings = {
            **_SETTINGS,
            **(_SETTINGS_18 if install.major >= 18 else {}),
            "unix_socket_directories": str(socket_dir),
            "hba_file": str(self._home / "pg_hba.conf"),
            "ident_file": str(self._home / "pg_ident.conf"),
            **self._settings,
        }
        command: list[str | Path] = [install.binary("postgres"), "-D", data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        while True:
            log = self._open_log()
            try:
                # a session of its own: Ctrl-C in the terminal is for the gateway, which stops the server last
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                    umask=0o077,
                    **account.popen(),
                )
            finally:
                os.close(log)
            if self._wait_ready(self._child, data, deadline_s):
                self._pid, self._socket_dir = self._child.pid, str(socket_dir)
                return
            if monotonic_s() > deadline_s:
                raise EmbeddedFailed(f"PostgreSQL does not start: {self._last_words()} (see {self._home / 'postgres.log'})")
            # Backends of a killed postmaster hold its shared memory until they notice. Crash recovery follows, so killing them is safe.
            _kill_orphans(data)
            time.sleep(0.02)

    def _wait_ready(self, child: subprocess.Popen[bytes], data: Path, deadline_s: float) -> bool:
        """False: it ended, or the deadline passed (then it is killed)."""
        while child.poll() is None:
            found = _read_pid_file(data)
            # a stale file of a killed server also says "ready": only our child's own word counts
            if found is not None and found.pid == child.pid and found.status == "ready":
                return True
            if monotonic_s() > deadline_s:
                child.send_signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(5)
                return False
            time.sleep(0.004)
        if "shared memory" not in self._last_words() and "lock file" not in self._last_words():
            raise EmbeddedFailed(f"PostgreSQL ended at its start: {self._last_words()} (see {self._home / 'postgres.log'})")
        return False

    def _make_socket_dir(self, account: Account) -> Path:
        folder = self._home / "run"
        if len(os.fsencode(folder / SOCKET_NAME)) > MAX_SOCKET_PATH_BYTES:
            name = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"nr-{account.uid}-{name}"
            if len(os.fsencode(folder / SOCKET_NAME)) > MAX_SOCKET_PATH_BYTES:
                folder = Path("/tmp") / folder.name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if account.switch:
                os.chown(folder, account.uid, account.gid)
        found = folder.lstat()
        if found.st_uid not in (account.uid, os.geteuid()) or folder.is_symlink():
            raise EmbeddedFailed(f"{folder} belongs to somebody else: remove it.")
        if account.switch and found.st_uid != account.uid:
            os.chown(folder, account.uid, account.gid)
        return folder

    def _write_access_rules(self, account: Account) -> None:
        """Only this user and root may connect: the kernel tells the server who calls. A shared account such as nobody may not."""
        users = {"root", getpass.getuser() if os.geteuid() == 0 else account.name}
        if account.switch and account.name not in ("", "nobody", "daemon"):
            users.add(account.name)
        rules = "".join(f'neuroroute "{user}" {ROLE}\n' for user in sorted(users) if user)
        _replace(self._home / "pg_hba.conf", "local all all peer map=neuroroute\n")
        _replace(self._home / "pg_ident.conf", rules)

    def _open_log(self) -> int:
        path = self._home / "postgres.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > 10_000_000:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)

    def _last_words(self) -> str:
        lines = (self._home / "postgres.log").read_text(errors="replace").splitlines()
        faults = [line for line in lines[-20:] if "FATAL" in line or "PANIC" in line]
        return (faults or lines or ["it said nothing"])[-1]

    def _reap(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    def _shut_down(self) -> None:
        data = self._home / "data"
        found = _read_pid_file(data)
        if found is None or not _is_postmaster(found.pid, data):
            return
        for sign, patience_s in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, sign)
            deadline_s = monotonic_s() + patience_s
            while monotonic_s() < deadline_s:
                if not _is_postmaster(found.pid, data):
                    if self._child is not None:
                        self._child.wait(5)
                    if not Path(found.socket_dir).is_relative_to(self._home):
                        with contextlib.suppress(OSError):
                            Path(found.socket_dir).rmdir()
                    return
                time.sleep(0.004)


def _sync(data: Path, install: Install, account: Account) -> "subprocess.Popen[bytes]":
    """A process that brings what initdb wrote to the disk."""
    command: list[str | Path] = [install.binary("initdb"), "--sync-only", "-D", data]
    mute = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=mute, stdout=mute, stderr=mute, cwd="/", env=_environment(), **account.popen())


def _environment() -> dict[str, str]:
    """What the server's processes see: nothing of ours (provider keys are in our environment)."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise EmbeddedFailed(f"{path} belongs to another user: start as that user, or choose another --data-dir.") from error


def _read_pid_file(data: Path) -> _PidFile | None:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return _PidFile(int(lines[0]), lines[4] if len(lines) > 4 else "", lines[7].strip() if len(lines) > 7 else "starting")
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether process `pid` lives and is the server of `data`, not some other process that was given the number of a dead one."""
    if pid <= 0:
        return False
    if Path("/proc/self/stat").exists():
        process = Path("/proc") / str(pid)
        try:
            if (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return False
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
    else:
        said = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], check=False, capture_output=True, timeout=5)
        arguments = said.stdout.split()
    return os.path.basename(arguments[0]) == b"postgres" and os.fsencode(data) in arguments if arguments else False


def _disown_reused_pid(data: Path) -> None:
    """
    Let Postgres see that a stale postmaster.pid is stale where its process number now belongs to some other process.

    Postgres would refuse to start then (in containers numbers are small and come back at once). Only the number is replaced: the file also
    names the shared memory, by which Postgres finds out whether children of the dead server still live.
    """
    path = data / "postmaster.pid"
    found = _read_pid_file(data)
    if found is None:
        if path.exists() and path.stat().st_size == 0:
            path.unlink()  # the machine went down between making and writing it; Postgres refuses an empty one
        return
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        pass
    rest = path.read_text().partition("\n")[2]
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    try:
        os.write(descriptor, f"{NO_PID}\n{rest}".encode())
    finally:
        os.close(descriptor)


def _kill_orphans(data: Path) -> None:
    """Kill what a dead postmaster left: processes whose working directory is the data folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == data and not _is_postmaster(int(process.name), data):
                os.kill(int(process.name), signal.SIGKILL)


def _give(tree: Path, account: Account) -> None:
    """Make `account` the owner of the server's files, where a restored copy belongs to root."""
    for folder, _, files in os.walk(tree):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise EmbeddedFailed(f"{path.parent} is not writable: {error}") from error
        raise
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o644)  # whatever the umask: the server's account reads it
        file.write(text)
    fresh.replace(path)
