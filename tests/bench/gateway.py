"""What is measured, as real processes: the mock provider, the bare proxy, and NeuroRoute with everything on."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.load import Side
from tests.bench.machine import build, free_port, running
from tests.support.services import Postgres, redis_server

KEY = "nr-bench-admin-key"
_CONFIG = """\
providers:
  mock:      {{protocol: openai,    base_url: "http://127.0.0.1:{port}/v1", api_key: sk-mock}}
  messages:  {{protocol: anthropic, base_url: "http://127.0.0.1:{port}",    api_key: sk-mock}}
models:
{models}  mock-anthropic: {{provider: messages, {facts}, quality: {{default: 0.5}}}}
"""
_MODELS = "".join(f"  mock-{n}: {{provider: mock, {{facts}}, quality: {{default: 0.{n + 1}}}}}\n" for n in range(1, 8))
"""What `auto` chooses among, with the one above: as many as an operator may have, all of them of the client's dialect but one."""
_FACTS = "price: {input: 1.0, output: 4.0}, context_window_tokens: 128000, max_output_tokens: 8192, abilities: [tools, json_schema]"
_HIGH = "1000000000"


@contextlib.contextmanager
def mock(cpu: int | None) -> Iterator[Side]:
    port = free_port()
    with running([build("mock_upstream"), "--port", str(port)], port, "/v1/models", cpu=cpu) as pid:
        yield Side("direct", f"http://127.0.0.1:{port}/v1", pid=pid)


@contextlib.contextmanager
def bare(upstream: Side, cpu: int | None, *options: str, name: str = "bare") -> Iterator[Side]:
    """The bare aiohttp proxy; options as in bare_proxy."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.bare_proxy", "--port", str(port), "--upstream", upstream.url, *options]
    with running(command, port, "/health", cpu=cpu) as pid:
        yield Side(name, f"http://127.0.0.1:{port}/v1", pid=pid)


@contextlib.contextmanager
def neuroroute(upstream: Side, cpu: int | None, *, workers: int = 1, redis: bool = False) -> Iterator[Side]:
    """
    NeuroRoute as an operator runs it: keys, all limits (with room enough), cache, books, metrics, a PostgreSQL of its own.

    PostgreSQL and Redis are other processes; the first one's CPU is reported apart.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nr-bench-")))
        postgres = Postgres(f"bench{os.getpid()}")
        stack.callback(postgres.close)
        database = postgres.copy()
        stack.callback(postgres.drop, database)
        config = folder / "neuroroute.yaml"
        models = _MODELS.replace("{facts}", _FACTS)
        config.write_text(_CONFIG.format(port=upstream.url.split(":")[2].partition("/")[0], facts=_FACTS, models=models))
        port = free_port()
        environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")} | {
            "DATABASE_URL": database,
            "NEUROROUTE_ADMIN_KEY": KEY,
            "NEUROROUTE_DATA_DIR": str(folder / "data"),
            "LMSTUDIO_API_URL": "http://127.0.0.1:9/v1",
            "LOG_LEVEL": "warn",
            "RATE_LIMIT_MAX": _HIGH,
            "CACHE_MAX_BYTES": str(64 << 20),
        }
        if redis:
            environ["REDIS_URL"] = stack.enter_context(redis_server())
        command = [sys.executable, "-m", "neuroroute", "serve", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--config", str(config), "--workers", str(workers)]
        pid = stack.enter_context(running(command, port, "/health/ready", cpu=cpu, environ=environ))
        yield Side("neuroroute", f"http://127.0.0.1:{port}/v1", KEY, pid=pid)
