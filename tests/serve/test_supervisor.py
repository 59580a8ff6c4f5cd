"""Several workers: one socket, replacement of dead ones, rolling restarts without a failed call."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import aiohttp

import neuroroute
from tests.bench.machine import memory_mb, process_tree
from tests.serve.gateway import Gateway
from tests.serve.test_serve import configured, public_folder, refused, slow_answer, stream
from tests.support.upstream import Upstream

__all__ = ["public_folder"]


DIES_AT_ITS_SECOND_FORK = """
import os
forks = []
def forked():
    forks.append(1)
    if len(forks) == 2:  # the supervisor's fork is the nursery, and the nursery's is a worker
        os._exit(9)
os.register_at_fork(after_in_child=forked)
"""


class Load:
    """Calls one after the other from several clients, each on a connection of its own, until it is left."""

    def __init__(self, gateway: Gateway, clients: int = 4) -> None:
        self._gateway, self._clients = gateway, clients
        self.done, self.failures = 0, list[str]()

    async def __aenter__(self) -> Self:
        self._stop = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._client(keep_alive=index % 2 == 0)) for index in range(self._clients)]
        return self

    async def _client(self, keep_alive: bool) -> None:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=not keep_alive), headers=self._gateway.headers
        ) as session:
            while not self._stop.is_set():
                try:
                    async with session.get(f"{self._gateway.url}/v1/models") as answer:
                        await answer.read()
                        if answer.status != 200:
                            self.failures.append(f"status {answer.status}")
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                self.done += 1

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def test_a_killed_worker_is_replaced_and_others_serve_on(tmp_path, database_url):
    async with Gateway(tmp_path, "--workers", "2", DATABASE_URL=database_url, ADMIN_RATE_LIMIT_MAX="0", RATE_LIMIT_MAX="0") as gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
        first = gateway.workers()
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        assert await gateway.readiness() == 200
        await gateway.until(lambda: gateway.out.count("serves (process") == 3, "the replacement")
        assert first[1] in gateway.workers() and len(gateway.workers()) == 2
        assert "was killed by SIGKILL" in gateway.out
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert gateway.workers() == []


async def test_a_rolling_restart_fails_no_call(tmp_path, database_url):
    async with Upstream() as upstream:
        upstream.will(slow_answer(60))
        variables = {"DATABASE_URL": database_url, "RATE_LIMIT_MAX": "0"}
        async with Gateway(tmp_path, "--workers", "2", "--config", configured(tmp_path, upstream), **variables) as gateway:
            await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
            before = set(gateway.workers())
            call = asyncio.ensure_future(stream(gateway))
            await upstream.arrived()
            async with Load(gateway) as load:
                gateway.signal(signal.SIGUSR2)
                await gateway.until(lambda: "all workers are replaced" in gateway.out, "the roll", 60)
                await gateway.until(lambda: not before & set(gateway.workers()), "the end of the old ones", 30)
            assert load.failures == [] and load.done > 20
            assert (await call).rstrip().endswith("data: [DONE]")
            assert len(gateway.workers()) == 2
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0


async def test_each_further_worker_takes_little_memory(tmp_path, database_url):
    async with Gateway(tmp_path, "--workers", "3", DATABASE_URL=database_url) as gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 3, "all workers")
        assert all(memory_mb([worker]) < 45 for worker in gateway.workers())
        assert memory_mb(process_tree(gateway.process.pid)) < 90 + 2 * 45


async def test_workers_of_a_dead_nursery_serve_on_and_others_are_born_elsewhere(tmp_path, database_url):
    async with Gateway(tmp_path, "--workers", "2", DATABASE_URL=database_url) as gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
        (nursery,), orphans = gateway.nurseries(), gateway.workers()
        os.kill(nursery, signal.SIGKILL)
        await gateway.until(lambda: not gateway.nurseries(), "the nursery's end")
        assert await gateway.readiness() == 200
        os.kill(orphans[0], signal.SIGKILL)
        await gateway.until(lambda: gateway.out.count("serves (process") == 3, "the replacement")
        assert len(gateway.nurseries()) == 1 and len(gateway.workers()) == 1
        gateway.signal(signal.SIGTERM)
        await gateway.ended()
        await gateway.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "the end")


async def test_a_rolling_restart_reads_the_code_anew(tmp_path, database_url):
    code = tmp_path / "code"
    shutil.copytree(Path(neuroroute.__file__).parent, code / "neuroroute", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(neuroroute.__file__).parents[1] / "migrations", code / "migrations")
    gateway = Gateway(tmp_path, "--workers", "2", DATABASE_URL=database_url)
    gateway.environment["PYTHONPATH"] = str(code)
    async with gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
        package = code / "neuroroute" / "__init__.py"
        package.write_text(package.read_text() + '__version__ = "9.9.9"\n')
        gateway.signal(signal.SIGUSR2)
        await gateway.until(lambda: "all workers are replaced" in gateway.out, "the roll", 60)
        await gateway.until(lambda: len(gateway.nurseries()) == 1, "the end of the old nursery")
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/health") as answer:
            assert (await answer.json())["version"] == "9.9.9"
        package.write_text("raise SystemExit('broken')\n")
        before = gateway.workers()
        gateway.signal(signal.SIGUSR2)
        await gateway.until(lambda: "the old one stays" in gateway.out, "the refusal", 60)
        assert gateway.workers() == before and await gateway.readiness() == 200
        os.kill(before[0], signal.SIGKILL)
        await gateway.until(lambda: gateway.out.count("serves (process") == 5, "a replacement of the good code")
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


async def test_workers_end_with_their_supervisor(tmp_path, database_url):
    async with Gateway(tmp_path, "--workers", "2", DATABASE_URL=database_url) as gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
        workers = gateway.workers()
        gateway.signal(signal.SIGKILL)
        end_s = time.monotonic() + 15
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < end_s, gateway.out
            await asyncio.sleep(0.05)
        assert "the supervisor is gone: draining" in gateway.out


async def test_ctrl_c_in_a_terminal_drains_too(tmp_path, database_url):
    async with Upstream() as upstream:
        upstream.will(slow_answer(20))
        async with Gateway(tmp_path, "--workers", "2", "--config", configured(tmp_path, upstream), DATABASE_URL=database_url) as gateway:
            call = asyncio.ensure_future(stream(gateway))
            await upstream.arrived()
            os.killpg(gateway.process.pid, signal.SIGINT)
            assert (await call).rstrip().endswith("data: [DONE]")
            assert await gateway.ended() == 0


async def test_workers_that_never_serve_end_the_start_with_a_clear_message(tmp_path, database_url):
    (tmp_path / "sitecustomize.py").write_text(DIES_AT_ITS_SECOND_FORK)
    gateway = Gateway(tmp_path, "--workers", "2", ready=False, DATABASE_URL=database_url)
    gateway.environment["PYTHONPATH"] = f"{tmp_path}:{gateway.environment['PYTHONPATH']}"
    assert "ended with status 9 3 times without ever serving" in await refused(gateway)


async def test_every_worker_hears_sighup(tmp_path, database_url):
    async with Upstream() as upstream:
        path = configured(tmp_path, upstream)
        async with Gateway(tmp_path, "--workers", "2", "--config", path, DATABASE_URL=database_url) as gateway:
            await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
            gateway.signal(signal.SIGHUP)
            await gateway.until(lambda: gateway.out.count("is in effect") == 2, "both re-read", 5)


async def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path, database_url):
    async with Gateway(tmp_path, "--workers", "2", DATABASE_URL=database_url) as gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
        hung, other = gateway.workers()
        os.kill(hung, signal.SIGSTOP)
        assert await gateway.readiness() == 200
        await gateway.until(lambda: "is silent for too long" in gateway.out, "the watchdog", 25)
        await gateway.until(lambda: gateway.out.count("serves (process") == 3, "the replacement")
        assert other in gateway.workers() and hung not in gateway.workers()


async def test_a_pause_of_the_whole_gateway_kills_nobody(tmp_path, database_url):
    async with Gateway(tmp_path, "--workers", "2", DATABASE_URL=database_url) as gateway:
        await gateway.until(lambda: gateway.out.count("serves (process") == 2, "both workers")
        before = gateway.workers()
        os.killpg(gateway.process.pid, signal.SIGSTOP)
        await asyncio.sleep(17)
        os.killpg(gateway.process.pid, signal.SIGCONT)
        await asyncio.sleep(3)
        assert gateway.workers() == before and await gateway.readiness() == 200


async def test_the_embedded_database_is_kept_alive_shared_with_the_command_line_and_stopped_last(public_folder):
    async with Gateway(public_folder, "--workers", "2") as gateway:
        pid_file = (public_folder / "data" / "postgres" / "data" / "postmaster.pid").resolve()
        postmaster = int(pid_file.read_text().splitlines()[0])
        command = [sys.executable, "-m", "neuroroute", "users", "list", "--json"]
        listed = subprocess.run(command, env=gateway.environment, cwd=public_folder, capture_output=True, timeout=30, check=True)
        assert [user["name"] for user in json.loads(listed.stdout)] == ["admin"]
        assert int(pid_file.read_text().splitlines()[0]) == postmaster, "the command line left the server alone"
        os.kill(postmaster, signal.SIGKILL)

        async def answers() -> bool:
            async with aiohttp.ClientSession(headers=gateway.headers) as session, session.get(f"{gateway.url}/admin/users") as answer:
                return answer.status == 200

        await gateway.until(lambda: "it runs again as process" in gateway.out, "the database's return", 15)
        await gateway.until(answers, "answers from the database", 15)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert not pid_file.exists()
