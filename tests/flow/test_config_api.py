"""The configuration by the API: what is in effect and from where, changes, versions, conflicts, credentials, private addresses."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from neuroroute.core.sealing import SealBroken, Vault
from neuroroute.core.types import Role
from neuroroute.store.provider_keys import ProviderKeys
from tests.serve.gateway import Gateway as Process
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model
from tests.support.upstream import Upstream
from tests.web.test_dashboard_pages import Browser

SECRET = "sk-very-secret-key-of-a-provider-9876"
FILE: dict[str, Any] = {
    "providers": {"p": {"protocol": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-of-the-file"}},
    "models": {"m": model("p"), "n": model("p")},
    "aliases": {"fast": ["m"]},
}


async def ask(gw: Gateway, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    async with gw.ask(method, path, body, **options) as response:
        return response.status, await response.json()


async def refused(gw: Gateway, body: Any, path: str = "/admin/config", **options: Any) -> tuple[int, str | None, str]:
    status, answer = await ask(gw, "PUT", path, body, **options)
    return status, answer["error"]["param"], answer["error"]["message"]


async def test_every_value_says_where_it_is_from_and_no_secret_is_shown(database_url: str) -> None:
    async with gateway(database_url, FILE, openai_api_key=SECRET) as gw:
        status, found = await ask(gw, "GET", "/admin/config")
        assert status == 200 and found["version"] == 0
        values = {one["key"]: one for one in found["values"]}
        assert values["routing.policy"] == {"key": "routing.policy", "value": "balanced", "source": "default", "place": None}
        assert values["models.m.provider"]["source"] == "file" and values["models.m.provider"]["place"].startswith("neuroroute.yaml:")
        assert (values["providers.openai.api_key"]["source"], values["providers.openai.api_key"]["value"]) == ("environment", "***9876")
        settings = {one["variable"]: one for one in found["settings"]}
        assert settings["DATABASE_URL"] == {"variable": "DATABASE_URL", "value": "***", "source": "environment"}
        text = str(found)
        assert SECRET not in text and "sk-of-the-file" not in text and "/tmp" not in text.replace("'value': '/tmp", "")
        assert found["config"]["providers"]["openai"]["api_key"] == "***9876"
        status, again = await ask(gw, "PUT", "/admin/config", found["config"])
        assert status == 200 and again["changes"] == [], "what was read can be written back, masks and all"


async def test_a_change_is_merged_checked_and_made_a_version(database_url: str) -> None:
    async with gateway(database_url, FILE) as gw:
        status, dry = await ask(gw, "PUT", "/admin/config?dry_run=true", {"routing": {"policy": "cheap"}})
        assert status == 200 and dry["changes"] == [{"key": "routing.policy", "before": "balanced", "after": "cheap"}]
        assert (await ask(gw, "GET", "/admin/config"))[1]["version"] == 0
        change = {"routing": {"policy": "cheap", "policies": {"own": {"dial": 3}}}, "aliases": {"fast": None}, "comment": "why not"}
        status, made = await ask(gw, "PUT", "/admin/config", change)
        assert status == 200 and (made["version"], made["comment"]) == (1, "why not") and made["author"].startswith("usr_")
        assert made["config"]["aliases"] == {} and gw.services.catalog.current.default_policy == "cheap"
        assert {one["key"]: one["source"] for one in made["values"]}["routing.policy"] == "database"
        assert (await ask(gw, "PUT", "/admin/config", {"routing": {"policy": "cheap"}}))[1]["version"] == 1, "nothing changed"
        assert (await ask(gw, "PUT", "/admin/config", {"routing": {"policy": None}, "after": 1}))[1]["version"] == 2
        assert gw.services.catalog.current.default_policy == "balanced" and "fast" not in gw.services.catalog.current.aliases
        assert (await refused(gw, {"routing": {"policy": "best"}, "after": 1}))[0] == 409
        assert (await refused(gw, {"routing": {"policy": "best"}}, headers={"If-Match": '"1"'}))[0] == 409
        assert (await ask(gw, "PUT", "/admin/config", {"routing": {"policy": "best"}}, headers={"If-Match": '"2"'}))[0] == 200
        status, versions = await ask(gw, "GET", "/admin/config/versions?limit=2")
        assert [one["version"] for one in versions["data"]] == [3, 2] and versions["total"] == 3 and versions["pages"] == 2
        status, one = await ask(gw, "GET", "/admin/config/versions/3?against=1")
        assert one["changes"] == [{"key": "routing.policy", "before": "cheap", "after": "best"}]
        assert (await ask(gw, "GET", "/admin/config/versions/9"))[0] == 404
        status, back = await ask(gw, "POST", "/admin/config/rollback", {"version": 0})
        assert status == 200 and back["version"] == 4 and back["config"]["aliases"] == {"fast": ["m"]}
        assert (await ask(gw, "POST", "/admin/config/rollback", {"version": 77}))[0] == 404
        status, log = await ask(gw, "GET", "/admin/audit-log?action=config.put")
        assert log["total"] == 3 and log["data"][-1]["after"]["routing.policy"] == "cheap" and log["data"][-1]["before"]["version"] == 0
        assert (await ask(gw, "GET", "/admin/audit-log?action=config.rollback"))[1]["total"] == 1


async def test_every_fault_is_told_with_its_key_and_nothing_is_changed(database_url: str) -> None:
    async with gateway(database_url, FILE) as gw:
        status, param, message = await refused(gw, {"routing": {"policy": "chep"}, "cache": {"ttl_s": -1}})
        assert (status, param) == (400, "cache.ttl_s") and "at least 0" in message
        status, param, message = await refused(gw, {"routing": {"policy": "chep"}})
        assert (status, param) == (400, "routing.policy") and "did you mean cheap" in message and "neuroroute.yaml" not in message
        for body, key in (
            ({"modls": {}}, "modls"),
            ({"models": {"x": {"provider": "none"}}}, "models.x.provider"),
            ({"providers": {"p": None}}, "models.m.provider"),
            ({"security": {"allow_private_providers": True}}, "security"),
            ({"alert_webhook": {"url": "http://127.0.0.1/"}}, "alert_webhook"),
            ({"providers": {"p": {"api_key_file": "/etc/passwd"}}}, "providers.p.api_key_file"),
            ({"providers": {"p": {"api_key": "${PATH}"}}}, "providers.p.api_key"),
            ({"providers": {"p": {"base_url": "https://93.184.216.34/v1"}}}, "providers.p.api_key"),
            ({"comment": 5}, "comment"),
            ({"after": -1}, "after"),
        ):
            status, param, message = await refused(gw, body)
            assert (status, param) == (400, key), (body, message)
        deep: dict[str, Any] = {}
        for _ in range(200):
            deep = {"a": deep}
        assert (await refused(gw, deep))[0] == 400
        assert (await ask(gw, "GET", "/admin/config"))[1]["version"] == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "0.0.0.0", "[fd00::1]", "[::ffff:192.168.0.1]", "2130706433"]
)
async def test_private_addresses_are_refused(database_url: str, host: str) -> None:
    async with gateway(database_url) as gw:
        status, param, _ = await refused(gw, {"base_url": f"http://{host}/v1"}, "/admin/providers/inside")
        assert (status, param) == (400, "providers.inside.base_url")


async def test_the_file_may_allow_them_and_a_connection_is_looked_at_again(database_url: str) -> None:
    async with Upstream(fakes.openai) as up:
        async with gateway(database_url, {"security": {"private_hosts": ["127.0.0.1"]}}) as gw:
            body = {"protocol": "openai", "base_url": up.base_url, "api_key": SECRET, "discover": True}
            status, made = await ask(gw, "PUT", "/admin/providers/work", body)
            assert status == 200 and made["api_key"] == "***9876", made
            assert (await ask(gw, "PUT", "/admin/models/house", {"provider": "work", "upstream_model": "gpt-4o"}))[0] == 200
            async with gw.chat("house") as response:
                assert response.status == 200 and up.seen[-1].headers["authorization"] == f"Bearer {SECRET}"
            status, tested = await ask(gw, "POST", "/admin/providers/work/test")
            assert status == 200 and tested["ok"] and tested["models"] > 0 and tested["latency_ms"] > 0
        async with gateway(database_url) as gw:  # the file does not allow it any more
            async with gw.chat("house") as response:
                assert response.status == 502
            status, tested = await ask(gw, "POST", "/admin/providers/work/test")
            assert not tested["ok"] and "private network" in tested["message"]


async def test_names_that_look_like_paths_are_told_apart(database_url: str) -> None:
    async with gateway(database_url, {"security": {"allow_private_providers": True}}) as gw:
        for name in ("x", "x/test", "x/test/test"):
            assert (await ask(gw, "PUT", f"/admin/providers/{name}", {"base_url": "http://127.0.0.1:9/v1"}))[1]["name"] == name
        for name in ("x", "x/test", "x/test/test"):
            assert (await ask(gw, "GET", f"/admin/providers/{name}"))[1]["name"] == name
            status, tested = await ask(gw, "POST", f"/admin/providers/{name}/test")
            assert (status, tested["provider"]) == (200, name)
        assert (await ask(gw, "DELETE", "/admin/providers/x/test"))[1]["deleted"] is True
        assert (await ask(gw, "POST", "/admin/providers/x/test/test"))[0] == 404
        assert (await ask(gw, "POST", "/admin/providers/x/test"))[1]["provider"] == "x"
        assert (await ask(gw, "POST", "/admin/providers/x"))[0] == 405
        async with Browser(gw) as browser:
            await browser.sign_in(gw.key)
            page = "/dashboard/settings/providers"
            assert f'action="{page}/x/test/test/delete"' in (await browser.get(page))[1]
            assert (await browser.send(page, f"{page}/x/test/test/test"))[0] == 200
            assert (await browser.send(page, f"{page}/x/test/test/delete"))[0] == 303
        assert [one["name"] for one in (await ask(gw, "GET", "/admin/providers"))[1]["data"]] == ["x"]


async def test_credentials_are_sealed_bound_to_their_provider_and_gone_with_it(database_url: str, tmp_path: Path) -> None:
    config = {"security": {"allow_private_providers": True}}
    async with gateway(database_url, config, data_dir=tmp_path) as gw:
        body = {"base_url": "http://127.0.0.1:9/v1", "api_key": SECRET, "headers": {"x-team": "header-that-is-secret"}}
        assert (await ask(gw, "PUT", "/admin/providers/a", body))[0] == 200
        sealed = await ProviderKeys(gw.database).all()
        assert set(sealed) == {"a"} and SECRET.encode() not in sealed["a"]
        for path in ("/admin/config", "/admin/providers", "/admin/config/versions/1", "/admin/audit-log", "/dashboard/settings"):
            async with gw.get(path) as response:
                text = await response.text()
                assert SECRET not in text and "header-that-is-secret" not in text, path
        assert (
            oct((tmp_path / "secret.key").stat().st_mode & 0o777) == oct((tmp_path / "config.snapshot").stat().st_mode & 0o777) == "0o600"
        )
        assert SECRET not in (tmp_path / "config.snapshot").read_text()
        vault = Vault(None, tmp_path)
        assert SECRET.encode() in vault.open(sealed["a"], "provider:a")
        with pytest.raises(SealBroken):
            vault.open(sealed["a"], "provider:b")
        with pytest.raises(SealBroken):
            Vault("another secret key of ours", tmp_path).open(sealed["a"], "provider:a")
        status, param, _ = await refused(gw, {"base_url": "http://127.0.0.2:9/v1"}, "/admin/providers/a")
        assert (status, param) == (400, "providers.a.api_key"), "a key goes to no other address than the one that it was given for"
        assert (await ask(gw, "PUT", "/admin/providers/a", {"base_url": "http://127.0.0.2:9/v1", "api_key": SECRET}))[0] == 200
        assert (await ask(gw, "PUT", "/admin/providers/a", {"enabled": False, "api_key": "***9876"}))[0] == 200
        assert gw.services.settings and (await ProviderKeys(gw.database).all())
        assert (await ask(gw, "DELETE", "/admin/providers/a"))[1]["deleted"]
        assert await ProviderKeys(gw.database).all() == {} and (await ask(gw, "GET", "/admin/providers/a"))[0] == 404


async def test_entries_of_the_file_can_be_taken_away_and_brought_back(database_url: str) -> None:
    async with gateway(database_url, FILE) as gw:
        assert (await ask(gw, "DELETE", "/admin/models/n"))[0] == 200 and "n" not in gw.services.catalog.current.entries
        assert (await ask(gw, "DELETE", "/admin/models/n"))[0] == 404
        status, back = await ask(gw, "PUT", "/admin/models/n", {"quality": {"code": 0.5}})
        assert status == 200 and back["provider"] == "p" and back["sources"]["quality.code"] == "database"
        status, listed = await ask(gw, "PUT", "/admin/models", {"x/y": {"provider": "p"}, "n": None})
        assert status == 200 and [one["name"] for one in listed["data"]] == ["x/y"]
        assert (await ask(gw, "GET", "/admin/models/x/y"))[1]["provider"] == "p"


async def test_who_may_do_what(database_url: str) -> None:
    async with gateway(database_url, FILE) as gw:
        keys = {}
        for role in (Role.VIEWER, Role.USER):
            keys[role] = (await gw.new_key(user_id=(await gw.new_user(role))["id"]))["key"]
        for path in ("/admin/config", "/admin/config/versions", "/admin/providers", "/admin/models", "/admin/models/m", "/admin/audit-log"):
            assert (await ask(gw, "GET", path, key=keys[Role.VIEWER]))[0] == 200, path
            assert (await ask(gw, "GET", path, key=keys[Role.USER]))[0] == 403, path
        for method, path, body in (
            ("PUT", "/admin/config", {}),
            ("POST", "/admin/config/rollback", {"version": 0}),
            ("PUT", "/admin/providers", {}),
            ("PUT", "/admin/providers/p", {}),
            ("DELETE", "/admin/providers/p", None),
            ("POST", "/admin/providers/p/test", None),
            ("PUT", "/admin/models/m", {}),
            ("DELETE", "/admin/models/m", None),
        ):
            for key in keys.values():
                assert (await ask(gw, method, path, body, key=key))[0] == 403, (method, path)


async def test_a_start_without_the_database_routes_as_before(database_url: str, tmp_path: Path) -> None:
    async with gateway(database_url, FILE, data_dir=tmp_path) as gw:
        assert (await ask(gw, "PUT", "/admin/config", {"routing": {"policy": "cheap"}, "aliases": {"slow": ["n"]}}))[0] == 200
    async with gateway("postgresql://127.0.0.1:1/none", FILE, data_dir=tmp_path, admin=False) as gw:
        catalog = gw.services.catalog.current
        assert catalog.default_policy == "cheap" and "slow" in catalog.aliases
        async with gw.ask("PUT", "/admin/config", {"routing": {"policy": "best"}}) as response:
            assert response.status == 503


async def test_of_two_who_change_at_once_none_is_lost(database_url: str) -> None:
    async with gateway(database_url, FILE) as gw:
        patches = [{"aliases": {f"a{n}": ["m"]}} for n in range(3)]
        done = await asyncio.gather(*(ask(gw, "PUT", "/admin/config", patch) for patch in patches))
        won = [n for n, (status, _) in enumerate(done) if status == 200]
        assert won and all(status in (200, 409) for status, _ in done)
        assert {f"a{n}" for n in won} <= set((await ask(gw, "GET", "/admin/config"))[1]["config"]["aliases"])


async def test_a_change_reaches_all_workers_within_five_seconds(database_url: str, tmp_path: Path) -> None:
    async with Process(tmp_path, DATABASE_URL=database_url, WORKERS="2", ADMIN_RATE_LIMIT_MAX="0", NEUROROUTE_DEMO="true") as gw:

        async def alias_known() -> bool:
            async with aiohttp.ClientSession(headers=gw.headers) as session, session.get(f"{gw.url}/v1/models/everywhere") as answer:
                return answer.status == 200

        async with aiohttp.ClientSession(headers=gw.headers) as session:
            change = {"aliases": {"everywhere": ["demo-small"]}}
            async with session.put(f"{gw.url}/admin/config", json=change) as answer:
                assert answer.status == 200, await answer.text()
        began_s, in_a_row = time.monotonic(), 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while in_a_row < 40:  # each on a connection of its own, so both workers are asked
                    in_a_row = in_a_row + 1 if await alias_known() else 0
        assert in_a_row >= 40, f"not everywhere after {time.monotonic() - began_s:.1f} s"
