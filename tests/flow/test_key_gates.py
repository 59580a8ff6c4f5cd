"""Keys that may be used at some paths and from some addresses only."""

import asyncio
from typing import Any

import anthropic
import openai
import pytest

from neuroroute.core.types import Role
from tests.flow.test_admin import ask, refused
from tests.support import fakes
from tests.support.gateway import HELLO, Gateway, gateway, model, provider
from tests.support.upstream import Upstream

CSRF_FREE = {"Accept": "text/html"}


async def status(gw: Gateway, method: str, path: str, body: Any = None, *, key: str, **headers: str) -> int:
    async with gw.ask(method, path, body, key=key, headers={name.replace("_", "-"): value for name, value in headers.items()}) as response:
        await response.read()
        return int(response.status)


async def test_a_key_is_used_at_its_paths_alone(database_url: str) -> None:
    async with (
        Upstream(fakes.openai) as up,
        gateway(database_url, {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p")}}) as gw,
    ):
        made = await gw.new_key(allowed_routes=["/v1/embeddings", "/v1/models*", "/prompt"])
        key = made["key"]
        assert made["allowed_routes"] == ["/v1/embeddings", "/v1/models*", "/prompt"] and made["allowed_ips"] is None
        assert await status(gw, "GET", "/v1/models", key=key) == 200
        assert await status(gw, "GET", "/v1/models/m", key=key) == 200
        assert await status(gw, "POST", "/v1/embeddings", {"model": "m", "input": "x"}, key=key) == 200
        assert await status(gw, "POST", "/prompt", {"prompt": "hi", "model_id": "m"}, key=key) == 200
        asked = len(up.seen)
        for method, path, body in (
            ("POST", "/v1/completions", {"model": "m", "prompt": "x"}),
            ("POST", "/v1/route", {"messages": HELLO}),
            ("GET", "/v1/files", None),
            ("GET", "/admin/api-keys", None),
            ("GET", "/dashboard/stats", None),
            ("GET", "/models", None),
        ):
            assert await refused(gw, method, path, body, key=key) == (403, "permission_denied", "allowed_routes"), path
        async with gw.openai(key) as client:
            with pytest.raises(openai.PermissionDeniedError, match="may not be used at /v1/chat/completions"):
                await client.chat.completions.create(model="m", messages=HELLO)
        async with anthropic.AsyncAnthropic(base_url=gw.url, api_key=key, max_retries=0) as other:
            with pytest.raises(anthropic.PermissionDeniedError, match="may not be used at /v1/messages") as told:
                await other.messages.create(model="m", max_tokens=5, messages=HELLO)
        assert told.value.body["type"] == "error" and len(up.seen) == asked  # type: ignore[index]
        [row] = [row for row in await gw.rows(6) if row.endpoint == "/v1/messages"]
        assert row.http_status == 403 and row.key_id == made["id"]
        assert (await ask(gw, "PUT", f"/admin/api-keys/{made['id']}", {"allowed_routes": None}))[1]["allowed_routes"] is None
        async with gw.openai(key) as client:
            await client.chat.completions.create(model="m", messages=HELLO)


async def test_a_key_is_used_from_its_addresses_alone(database_url: str) -> None:
    async with gateway(database_url, trusted_proxies="127.0.0.0/8") as gw:
        made = await gw.new_key(allowed_ips=["192.0.2.1/24", "2001:db8::7"])
        assert made["allowed_ips"] == ["192.0.2.0/24", "2001:db8::7"]
        body = {"model": "demo-small", "messages": HELLO}
        for address, expected in (
            ("192.0.2.77", 200),
            ("2001:db8::7", 200),
            ("192.0.3.1", 403),
            ("198.51.100.1, 192.0.2.1", 200),
            ("", 403),
        ):
            found = await status(gw, "POST", "/v1/chat/completions", body, key=made["key"], X_Forwarded_For=address)
            assert found == expected, address
            assert await status(gw, "GET", "/v1/models", key=made["key"], X_Forwarded_For=address) == expected, address
            assert await status(gw, "POST", "/prompt", {"prompt": "x"}, key=made["key"], X_Forwarded_For=address) == expected, address
        async with gw.chat("demo-small", key=made["key"]) as response:
            text = await response.text()
            assert response.status == 403 and "192.0.2" not in text and "allowed_ips" in text, "what would be allowed is not told"
    async with gateway(database_url) as gw:  # nobody is trusted: the header is anybody's word
        assert await status(gw, "GET", "/v1/models", key=made["key"], X_Forwarded_For="192.0.2.77") == 403
        here = await gw.new_key(allowed_ips=["127.0.0.1", "::1"])
        assert await status(gw, "GET", "/v1/models", key=here["key"]) == 200


async def test_a_bounded_key_makes_no_wider_one(database_url: str) -> None:
    async with gateway(database_url) as gw:
        user = (await gw.new_user(Role.USER))["id"]
        made = await gw.new_key(user_id=user, allowed_routes=["/v1/*", "/admin*"], allowed_ips=["127.0.0.0/8"])
        place = "/admin/api-keys"
        assert await refused(gw, "POST", place, {"name": "x", "allowed_routes": ["/*"]}, key=made["key"]) == (
            403,
            "permission_denied",
            "allowed_routes",
        )
        assert await refused(gw, "POST", place, {"name": "x", "allowed_ips": ["0.0.0.0/0"]}, key=made["key"]) == (
            403,
            "permission_denied",
            "allowed_ips",
        )
        status_, inherits = await ask(gw, "POST", place, {"name": "x"}, key=made["key"])
        assert status_ == 201 and (inherits["allowed_routes"], inherits["allowed_ips"]) == (["/v1/*", "/admin*"], ["127.0.0.0/8"])
        _, narrower = await ask(
            gw, "POST", place, {"name": "x", "allowed_routes": ["/v1/chat*"], "allowed_ips": ["127.0.0.1"]}, key=made["key"]
        )
        assert (narrower["allowed_routes"], narrower["allowed_ips"]) == (["/v1/chat*"], ["127.0.0.1"])
        wide = await gw.new_key(user_id=user)
        assert (await refused(gw, "POST", f"{place}/{wide['id']}/rotate", key=made["key"]))[0] == 403


async def test_what_is_wrong_is_told(database_url: str) -> None:
    async with gateway(database_url) as gw:
        for body, param in (
            ({"allowed_routes": []}, "allowed_routes"),
            ({"allowed_routes": ["v1/chat"]}, "allowed_routes.0"),
            ({"allowed_ips": ["10.0.0.0/40"]}, "allowed_ips.0"),
            ({"allowed_ips": "10.0.0.1"}, "allowed_ips"),
        ):
            assert await refused(gw, "POST", "/admin/api-keys", {"name": "x", **body}) == (400, None, param), body


async def test_the_gate_holds_after_a_start_without_the_database(database_url: str, tmp_path: Any) -> None:
    async with gateway(database_url, data_dir=tmp_path) as gw:
        made = await gw.new_key(allowed_ips=["192.0.2.0/24"], allowed_routes=["/v1/models"])
        await gw.services.keyring.resolve(made["key"])
        while not (tmp_path / "keys.snapshot").exists() or made["id"].encode() not in (tmp_path / "keys.snapshot").read_bytes():
            await asyncio.sleep(0.05)
    async with gateway("postgresql://nobody@127.0.0.1:9/none", data_dir=tmp_path, admin=False) as gw:
        assert await status(gw, "GET", "/v1/models", key=gw.key) == 200
        assert await status(gw, "GET", "/v1/models", key=made["key"]) == 403
        assert await status(gw, "GET", "/models", key=made["key"]) == 403
