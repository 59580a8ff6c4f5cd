"""The gateway as a process: start, banner, faults at the start, drain, signals."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.serve.gateway import Gateway
from tests.support.upstream import Upstream, sse

CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "up",
    "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}],
}
LAST = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ASK = {"model": "house", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


def configured(folder: Path, upstream: Upstream) -> str:
    path = folder / "gateway.yaml"
    path.write_text(
        f"providers: {{up: {{base_url: {upstream.base_url}, api_key: ${{UP_KEY:-sk-up}}}}}}\nmodels: {{house: {{provider: up, upstream_model: up}}}}\n"
    )
    return str(path)


def slow_answer(chunks: int, pause_s: float = 0.1):
    return sse(*[piece for _ in range(chunks) for piece in (CHUNK, pause_s)], LAST)


async def stream(gateway: Gateway) -> str:
    """The whole text of one streamed call."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v1/chat/completions", json=ASK, headers=gateway.headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.text()


@pytest.fixture
def public_folder():
    """A folder that the account of the embedded database can enter, also where the tests run as root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


async def test_from_nothing_to_the_printed_curl_line_and_again(public_folder):
    first = Gateway(public_folder, LOG_LEVEL="warn")
    del first.environment["NEUROROUTE_ADMIN_KEY"]
    async with first as gateway:
        key_file = public_folder / "data" / "admin.key"
        key = key_file.read_text().strip()
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert gateway.out.count(key) == 1, "shown once"
        assert f"{gateway.url}/dashboard" in gateway.out and re.search(r"Providers: +demo \(\d+ models\)", gateway.out)
        line = next(line for line in gateway.out.splitlines() if line.strip().startswith("curl"))
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=20, check=True)
        assert json.loads(done.stdout)["choices"][0]["message"]["content"]
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
    first.out_file.unlink()
    async with first as gateway:
        assert key not in gateway.out and f"Key:       in {key_file}" in gateway.out
        gateway.signal(signal.SIGINT)
        assert await gateway.ended() == 0
        assert "Traceback" not in gateway.out


async def test_a_drain_finishes_the_stream_tells_readiness_first_and_exits_0(tmp_path, database_url):
    async with Upstream() as upstream:
        upstream.will(slow_answer(25))
        async with Gateway(tmp_path, "--config", configured(tmp_path, upstream), DATABASE_URL=database_url) as gateway:
            call = asyncio.ensure_future(stream(gateway))
            await upstream.arrived()
            gateway.signal(signal.SIGTERM)
            seen = set()
            for _ in range(60):
                seen.add(await gateway.readiness())
                if 0 in seen:
                    break
                await asyncio.sleep(0.02)
            assert 503 in seen and 0 in seen, "readiness falls before the port closes"
            assert not call.done()
            text = await call
            assert text.count('"content":"x"') == 25 and text.rstrip().endswith("data: [DONE]")
            assert await gateway.ended() == 0


async def test_a_second_signal_ends_at_once(tmp_path, database_url):
    async with Upstream() as upstream:
        upstream.will(slow_answer(200))
        async with Gateway(tmp_path, "--config", configured(tmp_path, upstream), DATABASE_URL=database_url) as gateway:
            call = asyncio.ensure_future(stream(gateway))
            await upstream.arrived()
            gateway.signal(signal.SIGTERM)
            await asyncio.sleep(0.8)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended(5) == 1
            with pytest.raises(aiohttp.ClientError):
                assert (await call).rstrip().endswith("data: [DONE]") is False
                raise aiohttp.ClientError("an error in the stream is fine too")


async def test_the_grace_bounds_a_drain(tmp_path, database_url):
    async with Upstream() as upstream:
        upstream.will(slow_answer(200))
        variables = {"DATABASE_URL": database_url, "SHUTDOWN_GRACE_S": "0.5"}
        async with Gateway(tmp_path, "--config", configured(tmp_path, upstream), **variables) as gateway:
            call = asyncio.ensure_future(stream(gateway))
            await upstream.arrived()
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended(8) == 1
            await asyncio.gather(call, return_exceptions=True)


async def test_sighup_reads_the_configuration_again(tmp_path, database_url):
    async with Upstream() as upstream:
        path = configured(tmp_path, upstream)
        async with Gateway(tmp_path, "--config", path, DATABASE_URL=database_url) as gateway:
            Path(path).write_text(Path(path).read_text().replace("house:", "home:"))
            gateway.signal(signal.SIGHUP)

            async def names():
                async with aiohttp.ClientSession(headers=gateway.headers) as session, session.get(f"{gateway.url}/v1/models") as answer:
                    return {model["id"] for model in (await answer.json())["data"]}

            await gateway.until(lambda: "is in effect" in gateway.out, "the new configuration", 5)
            assert "home" in await names() and "house" not in await names()


async def refused(gateway: Gateway) -> str:
    async with gateway:
        assert await gateway.ended() == 2
        assert "Traceback" not in gateway.out
        return gateway.out


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_faults_of_the_operator_are_told_plainly(tmp_path, database_url, workers):
    out = await refused(Gateway(tmp_path, ready=False, WORKERS=workers, RETRY_BUDGET="lots", DB_POOL_MIN="-1", OPENAI_BASE_URL="nowhere"))
    assert "RETRY_BUDGET=lots: a number from 0 to 1\n" in out and "DB_POOL_MIN=-1: " in out and "OPENAI_BASE_URL=nowhere: " in out
    config = tmp_path / "gateway.yaml"
    config.write_text("models:\n  house: {provider: nobody}\n")
    out = await refused(Gateway(tmp_path, "--config", str(config), ready=False, WORKERS=workers, DATABASE_URL=database_url))
    assert f"{config}:2:11: models.house.provider: there is no provider 'nobody'" in out
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        out = await refused(Gateway(tmp_path, "--port", port, ready=False, WORKERS=workers, DATABASE_URL=database_url))
    assert f"Can not listen on 127.0.0.1 port {port}: Address already in use" in out


@pytest.mark.parametrize("how", ["refused", "hung"])
async def test_a_database_that_is_away_keeps_no_start_up(tmp_path, how):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:hunter2@127.0.0.1:{silent.getsockname()[1]}/none"
        if how == "refused":
            silent.close()
        async with Gateway(tmp_path, DATABASE_URL=url) as gateway:
            async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/health/live") as answer:
                assert answer.status == 200
            assert "hunter2" not in gateway.out and "its schema is seen to later" in gateway.out
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0


async def test_a_signal_during_the_start_leaves_nothing_behind(public_folder):
    async with Gateway(public_folder, ready=False) as gateway:
        await gateway.until(lambda: (public_folder / "data" / "postgres.users").exists(), "the start of the database")
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() in (0, 128 + signal.SIGTERM)
        assert "Traceback" not in gateway.out
        pid_file = (public_folder / "data" / "postgres" / "data" / "postmaster.pid").resolve()
        assert not pid_file.exists()
