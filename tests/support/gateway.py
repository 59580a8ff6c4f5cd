"""
The gateway under test: the whole application behind a real socket, with real stores and scripted providers.

    async with gateway(database_url, config=..., ) as gw:
        client = gw.openai()
        answer = await client.chat.completions.create(model="m", messages=[...])
        [row] = await gw.rows(1)
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import yaml
from aiohttp import web

from neuroroute import app as composition
from neuroroute.access.keys import ensure_admin
from neuroroute.chain.services import Services
from neuroroute.core import settings as core_settings
from neuroroute.core.types import Role
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from neuroroute.web.server import Edge
from neuroroute.web.state import DATABASE, SERVICES
from neuroroute.web.straight import straight

ADMIN_KEY = "test-admin-key"
HELLO: list[Any] = [{"role": "user", "content": "hello there"}]


@dataclass
class Gateway:
    """A running gateway. `url` has no /v1."""

    url: str
    key: str
    app: web.Application
    http: aiohttp.ClientSession
    runner: web.AppRunner

    @property
    def services(self) -> Services:
        return self.app[SERVICES]

    @property
    def database(self) -> Database:
        return self.app[DATABASE]

    def openai(self, key: str | None = None, **options: Any) -> openai.AsyncOpenAI:
        """The official SDK against this gateway; no retries unless asked for."""
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=key or self.key, **{"max_retries": 0, **options})

    def post(self, path: str, body: Any = None, *, key: str | None = None, **options: Any) -> Any:
        return self.ask("POST", path, body, key=key, **options)

    def get(self, path: str, *, key: str | None = None, **options: Any) -> Any:
        return self.ask("GET", path, key=key, **options)

    def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: Any = (), **options: Any) -> Any:
        """`async with gw.ask(...) as response`; a key of "" sends none."""
        auth = {"Authorization": f"Bearer {self.key if key is None else key}"} if key != "" else {}
        more = {} if body is None else {"json": body}
        return self.http.request(method, self.url + path, headers={**auth, **dict(headers)}, **more, **options)

    def chat(self, model: str = "m", *, stream: bool = False, key: str | None = None, **fields: Any) -> Any:
        body = {"model": model, "messages": HELLO, **({"stream": True} if stream else {}), **fields}
        return self.post("/v1/chat/completions", body, key=key)

    async def rows(self, count: int, within_s: float = 5.0) -> Sequence[UsageRecord]:
        """The usage records, oldest first, as soon as there are `count`; fails if there are not, or more."""
        deadline_s = time.monotonic() + within_s
        while True:
            await self.services.ledger.flush()
            found, total = await Usage(self.database).page(UsageFilter(), limit=200)
            if total >= count or time.monotonic() > deadline_s:
                assert total == count, f"{total} rows: {found}"
                return list(reversed(found))
            await asyncio.sleep(0.02)

    async def new_key(self, **fields: Any) -> dict[str, Any]:
        """A fresh key of the admin's, by the admin API."""
        async with self.post("/admin/api-keys", {"name": "test", **fields}) as response:
            body: dict[str, Any] = await response.json()
            assert response.status == 201, body
            return body

    async def new_user(self, role: Role = Role.USER, **fields: Any) -> dict[str, Any]:
        async with self.post("/admin/users", {"name": "somebody", "role": role.value, **fields}) as response:
            body: dict[str, Any] = await response.json()
            assert response.status == 201, body
            return body


def provider(base_url: str, protocol: str = "openai", **fields: Any) -> dict[str, Any]:
    """A provider's entry in the configuration."""
    return {"protocol": protocol, "base_url": base_url, "api_key": "sk-upstream-secret", **fields}


def model(provider_name: str, upstream_model: str | None = None, **fields: Any) -> dict[str, Any]:
    """A model's entry in the configuration: priced, able to do everything."""
    return {
        "provider": provider_name,
        **({"upstream_model": upstream_model} if upstream_model else {}),
        "price": {"input": 1.0, "output": 2.0, "cached_input": 0.5},
        "context_window_tokens": 100_000,
        "abilities": ["tools", "vision", "json_schema", "reasoning", "files", "audio"],
        **fields,
    }


@contextlib.asynccontextmanager
async def gateway(
    database_url: str,
    config: dict[str, Any] | None = None,
    *,
    handler_cancellation: bool = True,
    data_dir: Path | None = None,
    admin: bool = True,
    **overrides: Any,
) -> AsyncIterator[Gateway]:
    """
    config: of the YAML file. overrides: settings by their attribute names; the environment of the test is not read.

    handler_cancellation=False: handlers run on when their client left, as aiohttp does by default.
    admin=False: no first start; the database may be away.
    """
    with tempfile.TemporaryDirectory(prefix="nr-gw-", ignore_cleanup_errors=True) as folder:
        home = data_dir or Path(folder)
        given: dict[str, Any] = {"rate_limit_max": 0, "admin_rate_limit_max": 0, **overrides}
        settings = core_settings.read({}, database_url=database_url, neuroroute_data_dir=home, **given)
        path = None
        if config is not None:
            path = Path(folder) / "neuroroute.yaml"
            path.write_text(yaml.safe_dump(config))
        if admin:
            async with Database(database_url) as database:
                await ensure_admin(database, home, ADMIN_KEY)
        app = composition.create(settings, config_path=path, data_dir=home)
        if handler_cancellation:
            runner: web.AppRunner = Edge(
                app,
                header_timeout_s=settings.header_timeout_s,
                max_body_bytes=settings.max_body_bytes,
                slow_client_s=settings.slow_client_timeout_s,
                straight=straight(app),
            )
        else:
            runner = web.AppRunner(app, access_log=None, handler_cancellation=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
                yield Gateway(f"http://127.0.0.1:{port}", ADMIN_KEY, app, http, runner)
        finally:
            await runner.cleanup()
