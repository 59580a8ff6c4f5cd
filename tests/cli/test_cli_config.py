"""`neuroroute config` and `neuroroute providers`: changes in the database, without a gateway and beside one that runs."""

import asyncio

import pytest

from neuroroute.core.sealing import SealBroken, Vault
from neuroroute.store.postgres import Database
from neuroroute.store.provider_keys import ProviderKeys
from tests.cli.shell import Shell
from tests.support import fakes
from tests.support.gateway import gateway
from tests.support.upstream import Upstream

SECRET = "sk-very-secret-key-of-a-provider-9876"
PUBLIC = "base_url=https://93.184.216.34/v1"


@pytest.fixture
def shell(tmp_path, database_url):
    return Shell(tmp_path, DATABASE_URL=database_url)


def sealed_in(database_url: str) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        async with Database(database_url, pool_min=0, pool_max=1) as database:
            return await ProviderKeys(database).all()

    return asyncio.run(read())


def test_a_change_its_versions_and_the_way_back(shell):
    assert shell.json("config", "versions") == [] and shell.json("config", "diff") == []
    would = shell.json("config", "set", "routing.policy=cheap", "--dry-run")
    assert would == {
        "version": 1, "changed": True, "dry_run": True, "changes": [{"key": "routing.policy", "before": "balanced", "after": "cheap"}]
    }  # fmt: skip
    assert shell.json("config", "versions") == []
    made = shell.json("config", "set", "routing.policy=cheap", "cache.ttl_s=60", "--comment", "save money")
    assert made["version"] == 1 and {one["key"] for one in made["changes"]} == {"routing.policy", "cache.ttl_s"}
    assert "Version 2 is in force" in shell.run("config", "set", "routing.policy=best")
    assert "Nothing changes: version 2" in shell.run("config", "set", "routing.policy=best")
    found = shell.json("config", "versions")
    assert [(one["version"], one["author"], one["comment"]) for one in found] == [
        (2, "command line", None),
        (1, "command line", "save money"),
    ]
    assert shell.json("config", "diff") == [{"key": "routing.policy", "before": "cheap", "after": "best"}]
    assert shell.json("config", "diff", "1", "2") == [{"key": "routing.policy", "before": "best", "after": "cheap"}]
    table = shell.run("config", "diff", "2", "0").splitlines()
    assert table[0].split() == ["KEY", "BEFORE", "AFTER"] and len(table) == 3
    assert shell.json("config", "rollback", "1")["version"] == 3
    rows = {row["key"]: row for row in shell.json("config", "show", "--database")}
    assert (rows["routing.policy"]["value"], rows["routing.policy"]["source"]) == ("cheap", "database")
    assert {row["key"]: row for row in shell.json("config", "show")}["routing.policy"]["value"] == "balanced"
    assert "There is no version 9" in shell.run("config", "rollback", "9", status=2)
    assert shell.json("config", "set", "routing.policy=null")["changes"] == [
        {"key": "routing.policy", "before": "cheap", "after": "balanced"}
    ]


def test_a_patch_from_a_file_or_standard_input_and_names_with_dots(shell, tmp_path):
    (tmp_path / "patch.yaml").write_text("aliases: {fast: [demo-small]}\n")
    assert shell.json("config", "set", "--from", "patch.yaml")["changes"][-1]["after"] == ["demo-small"]
    assert shell.json("config", "set", "--from", "-", given='{"aliases": {"fast": null}}')["changes"][0]["after"] is None
    shell.run("config", "set", 'models."house.1".provider=demo', 'models."house.1".price={input: 1, output: 2}')
    assert shell.json("config", "set", "models.house.1.price.input=3")["changes"] == [
        {"key": "models.house.1.price.input", "before": 1.0, "after": 3.0}
    ]


def test_what_is_wrong_with_a_change_is_told(shell):
    for arguments, said in (
        (["routing.policy"], "KEY=VALUE is expected"),
        (["routing..policy=x"], "is not a key"),
        (["routing.policy=cheap", "routing.policy=best"], "was said already"),
        (["routing=1", "routing.policy=best"], "was said already"),
        (["routing.policy=chep"], "did you mean cheap"),
        (["cache.ttl_s=[1"], "can not be read"),
        (["security.allow_private_providers=true"], "is set in the file alone"),
        (["providers.p.api_key=sk-x"], "--key-stdin"),
        ([], "--from FILE"),
    ):
        assert said in shell.run("config", "set", *arguments, status=2), arguments
    assert shell.json("config", "versions") == []


def test_providers_from_first_to_last(shell, database_url):
    made = shell.json("providers", "set", "work", PUBLIC, "protocol=openai", "limits.concurrency=8", "--key-stdin", given=SECRET + "\n")
    assert (made["base_url"], made["api_key"], made["limits"]["concurrency"]) == ("https://93.184.216.34/v1", "***9876", 8)
    assert SECRET.encode() not in sealed_in(database_url)["work"]
    assert shell.json("providers", "set", "work", "limits.concurrency=9")["api_key"] == "***9876"
    [row] = shell.json("providers", "list")
    assert (row["name"], row["sources"]["limits.concurrency"], row["credentials"]) == ("work", "database", None)
    table = shell.run("providers", "list")
    assert "***9876" in table and "database" in table and SECRET not in table
    assert "is expected with a new base_url" in shell.run("providers", "set", "work", "base_url=https://1.1.1.1/v1", status=2)
    assert "leads to a private" in shell.run("providers", "set", "in", "base_url=http://127.0.0.1:9/v1", status=2)
    assert "standard input" in shell.run("providers", "set", "work", "--key-stdin", given="", status=2)
    assert "--key-stdin is expected" in shell.run("providers", "set", "work", status=2)
    assert "There is no provider 'none'" in shell.run("providers", "remove", "none", status=2)
    assert shell.json("providers", "remove", "work") == {"name": "work", "deleted": True}
    assert shell.json("providers", "list") == [] and sealed_in(database_url) == {}


async def test_a_provider_is_tested(tmp_path, database_url):
    shell = Shell(tmp_path, DATABASE_URL=database_url)
    async with Upstream(fakes.openai) as up:
        (tmp_path / "g.yaml").write_text(f"providers: {{p: {{base_url: '{up.base_url}', api_key: {SECRET}}}}}\n")
        found = await asyncio.to_thread(shell.json, "providers", "test", "p", "--config", "g.yaml")
        assert found["ok"] and found["models"] > 0 and up.seen[-1].headers["authorization"] == f"Bearer {SECRET}"
    said = await asyncio.to_thread(shell.run, "providers", "test", "p", "--config", "g.yaml", status=1)
    assert "No connection" in said


def test_credentials_are_sealed_by_a_new_key_and_the_old_one_is_given_up(shell, tmp_path, database_url):
    for name in ("a", "b"):
        shell.run("providers", "set", name, PUBLIC, "--key-stdin", given=f"{SECRET}-{name}\n")
    before, running = sealed_in(database_url), Vault(None, tmp_path / "data")
    assert running.open(before["a"], "provider:a")
    assert shell.json("providers", "reseal") == {"sealed_anew": [], "fresh": ["a", "b"], "can_not_be_opened": []}
    made = shell.json("providers", "reseal", "--new-key", "--forget-old")
    assert made == {"sealed_anew": ["a", "b"], "fresh": [], "can_not_be_opened": []}
    after = sealed_in(database_url)
    fresh = Vault(None, tmp_path / "data")
    assert f"{SECRET}-a".encode() in fresh.open(after["a"], "provider:a")
    with pytest.raises(SealBroken):
        fresh.open(before["a"], "provider:a")
    assert running.open(after["a"], "provider:a"), "a process that runs learns the new key"
    assert fresh.open(running.seal(b"x", "p"), "p") == b"x", "and seals by it, not by the one that was given up"
    assert len((tmp_path / "data" / "secret.key").read_text().split()) == 1
    assert after["a"].hex() in (tmp_path / "data" / "config.snapshot").read_text(), "a start without the database opens them too"


def test_old_keys_stay_while_something_can_not_be_opened(shell, tmp_path, database_url):
    shell.run("providers", "set", "a", PUBLIC, "--key-stdin", given=SECRET)
    (tmp_path / "data" / "secret.key").write_text("another-key-of-another-machine\n")
    assert '"can_not_be_opened": [\n    "a"' in shell.run("providers", "reseal", "--json", status=1)
    said = shell.run("providers", "reseal", "--new-key", "--forget-old", status=1)
    assert "The old keys are kept" in said and len((tmp_path / "data" / "secret.key").read_text().split()) == 2
    assert "can not be opened" in shell.run("providers", "list")
    shell.environment["NEUROROUTE_SECRET_KEY"] = "a-key-that-is-long-enough"
    assert "NEUROROUTE_SECRET_KEY is set" in shell.run("providers", "reseal", "--new-key", status=2)


def test_with_keys_of_the_environment_the_first_one_seals(shell, tmp_path, database_url):
    shell.environment["NEUROROUTE_SECRET_KEY"] = "the-old-key-of-all-replicas"
    shell.run("providers", "set", "a", PUBLIC, "--key-stdin", given=SECRET)
    shell.environment["NEUROROUTE_SECRET_KEY"] = "the-new-key-of-all-replicas,the-old-key-of-all-replicas"
    assert shell.json("providers", "reseal")["sealed_anew"] == ["a"]
    assert SECRET.encode() in Vault("the-new-key-of-all-replicas", tmp_path).open(sealed_in(database_url)["a"], "provider:a")


async def test_a_running_gateway_follows_what_the_command_line_changes(tmp_path, database_url):
    async with gateway(database_url) as gw:
        shell = Shell(tmp_path, DATABASE_URL=database_url)
        await asyncio.to_thread(shell.run, "config", "set", "routing.policy=cheap")
        async with asyncio.timeout(5):
            while gw.services.catalog.current.default_policy != "cheap":
                await asyncio.sleep(0.05)
