"""The command line, as people run it: a process, its output, its exit status."""

import json
import re
import socket

import pytest

from neuroroute import __version__
from neuroroute.core import ids
from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path, database_url):
    return Shell(tmp_path, DATABASE_URL=database_url)


def test_version_and_help(tmp_path):
    shell = Shell(tmp_path)
    assert shell.run("--version").strip() == __version__
    text = shell.run("--help")
    for verb in ("serve", "migrate", "keys", "users", "models", "config", "route", "usage", "launch", "doctor"):
        assert re.search(rf"^  {verb} ", text, re.MULTILINE), verb


def test_users_and_keys_from_first_to_last(shell):
    assert shell.json("users", "list") == []
    assert "There is no user yet" in shell.run("keys", "create", "ci", status=2)
    admin = shell.json("users", "create", "Ada", "--email", "ada@example.com", "--role", "admin")
    assert (admin["name"], admin["role"], admin["status"]) == ("Ada", "admin", "active")
    made = shell.json(
        "keys", "create", "ci", "--user", "ada@example.com", "--model", "gpt-4o", "--days", "30", "--requests-per-minute", "5"
    )
    assert ids.well_formed(made["key"]) and made["user_id"] == admin["id"] and made["allowed_models"] == ["gpt-4o"]
    table = shell.run("keys", "list")
    assert made["id"] in table and made["key"] not in table and "ID " in table
    turned = shell.json("keys", "rotate", made["id"], "--overlap-hours", "1")
    assert turned["id"] == made["id"] and turned["key"] != made["key"] and turned["previous_until"] is not None
    assert shell.json("keys", "revoke", made["id"])["status"] == "revoked"
    assert shell.json("keys", "list") == [] and len(shell.json("keys", "list", "--revoked")) == 1
    assert "There is no" in shell.run("keys", "revoke", "key_none", status=2)


def test_a_key_is_made_with_all_that_it_may_have(shell):
    shell.run("users", "create", "Ada", "--role", "admin")
    own = [
        "--concurrency",
        "3",
        "--budget-usd",
        "2.5",
        "--budget-period",
        "day",
        "--when-spent",
        "policy:cheap",
        "--tag",
        "team=search",
        "--tag",
        "env=a=b",
    ]
    made = shell.json("keys", "create", "ci", *own, "--on-disconnect", "finish", "--semantic-cache")
    assert made["limits"] == {"concurrency": 3} and made["on_disconnect"] == "finish" and made["semantic_cache"] is True
    assert made["budget"] == {"usd": 2.5, "period": "day", "when_spent": "policy:cheap"}
    assert made["tags"] == {"team": "search", "env": "a=b"}
    assert "--budget-period is one of" in shell.run("keys", "create", "x", "--budget-period", "year", status=2)
    assert "--budget-usd is expected with" in shell.run("keys", "create", "x", "--when-spent", "policy:cheap", status=2)
    assert "--when-spent is refuse or" in shell.run("keys", "create", "x", "--when-spent", "cheap", status=2)
    assert "--on-disconnect is one of" in shell.run("keys", "create", "x", "--on-disconnect", "wait", status=2)
    assert "--tag is written name=value" in shell.run("keys", "create", "x", "--tag", "team", status=2)
    assert len(shell.json("keys", "list")) == 1


def test_a_key_changes_and_what_is_not_given_stays(shell):
    shell.run("users", "create", "Ada", "--role", "admin")
    made = shell.json(
        "keys", "create", "ci", "--route", "/v1/*", "--ip", "10.0.0.7/8", "--ip", "::1", "--tag", "team=a", "--budget-usd", "2"
    )
    assert (made["allowed_routes"], made["allowed_ips"]) == (["/v1/*"], ["10.0.0.0/8", "::1"])
    changed = shell.json(
        "keys", "update", made["id"], "--name", "cd", "--route", "/prompt", "--concurrency", "3", "--budget-period", "week",
        "--no-semantic-cache",
    )  # fmt: skip
    assert (made["semantic_cache"], changed["semantic_cache"]) == (None, False)
    assert (changed["name"], changed["allowed_routes"], changed["allowed_ips"]) == ("cd", ["/prompt"], ["10.0.0.0/8", "::1"])
    assert (changed["limits"], changed["tags"]) == ({"concurrency": 3}, {"team": "a"})
    assert changed["budget"] == {"usd": 2.0, "period": "week"}
    bare = ("routes", "ips", "limits", "budget", "tags", "semantic-cache")
    changed = shell.json("keys", "update", made["id"], *(word for one in bare for word in ("--unset", one)))
    assert [changed[name] for name in ("allowed_routes", "allowed_ips", "budget", "semantic_cache")] == [None] * 4 and (
        changed["limits"],
        changed["tags"],
    ) == ({}, {})
    for arguments, said in (
        (["--ip", "10.0.0.0/99"], "is not an address"),
        (["--route", "v1"], "is not a path"),
        (["--unset", "name"], "--unset is one of"),
        (["--budget-period", "week"], "--budget-usd is expected"),
    ):
        assert said in shell.run("keys", "update", made["id"], *arguments, status=2), arguments
    assert "There is no API key 'key_none'" in shell.run("keys", "update", "key_none", status=2)
    shell.run("keys", "revoke", made["id"])
    assert "a revoked key stays" in shell.run("keys", "update", made["id"], "--name", "x", status=2)


def test_users_change_and_the_last_admin_stays(shell):
    admin = shell.json("users", "create", "Ada", "--role", "admin")
    other = shell.json("users", "create", "Bob", "--email", "bob@example.com")
    assert shell.json("users", "update", other["id"], "--role", "viewer", "--name", "Robert")["name"] == "Robert"
    assert shell.json("users", "update", "bob@example.com", "--status", "disabled")["status"] == "disabled"
    assert "--status is active or disabled" in shell.run("users", "update", other["id"], "--status", "gone", status=2)
    assert "last active admin" in shell.run("users", "delete", admin["id"], status=2)
    assert "There is no user 'usr_none'" in shell.run("users", "delete", "usr_none", status=2)
    assert shell.json("users", "delete", other["id"]) == {"id": other["id"], "deleted": True}
    assert [user["name"] for user in shell.json("users", "list")] == ["Ada"]


def test_migrate_from_an_empty_database(tmp_path, empty_database_url):
    shell = Shell(tmp_path, DATABASE_URL=empty_database_url)
    before = shell.json("migrate", "--status")
    assert before and all(row["applied_at"] is None for row in before)
    assert "not up to date" in shell.run("users", "list", status=2)
    assert [row["migration"] for row in shell.json("migrate", "up")] == [row["migration"] for row in before]
    assert all(row["applied_at"] for row in shell.json("migrate", "--status"))
    assert shell.run("migrate", "up").strip() == "The schema is up to date."


def test_a_database_that_is_away_is_told_plainly(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    shell = Shell(tmp_path, DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{port}/none")
    said = shell.run("users", "list", status=2)
    assert "Is DATABASE_URL right" in said and "hunter2" not in said


def test_config_check_tells_every_fault_with_its_line(tmp_path):
    shell = Shell(tmp_path)
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("providers: {local: {base_url: http://localhost:8000/v1}}\nmodels: {house: {provider: local}}\n")
    bad.write_text("providrs: {}\nmodels: {house: {provider: local, price: 3}}\n")
    assert "is good: 1 providers, 1 models" in shell.run("config", "check", str(good))
    said = shell.run("config", "check", str(bad), status=2)
    assert (
        f"{bad}:1:1: providrs: not known; did you mean providers?" in said
        and f"{bad}:2:35: models.house.price: a mapping is expected" in said
    )
    assert len(shell.json("config", "check", str(bad), status=2)["faults"]) == 2
    bad.write_text(
        "providers: {local: {base_url: http://localhost:8000/v1}}\nrouting:\n  rules:\n    - {when: {lable: code}, policy: best}\n"
    )
    assert "lable" in shell.run("config", "check", str(bad), status=2)


def test_config_show_tells_sources_and_masks_keys(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text("routing: {policy: cheap}\n")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-from-the-file\nPORT=4000\n")
    shell = Shell(tmp_path, PORT="5000")
    rows = {row["key"]: row for row in shell.json("config", "show", "--config", str(file))}
    assert rows["routing.policy"] == {"key": "routing.policy", "value": "cheap", "source": "gateway.yaml:1:11"}
    assert rows["providers.openai.api_key"] == {"key": "providers.openai.api_key", "value": "***file", "source": "environment"}
    assert (rows["PORT"]["value"], rows["PORT"]["source"]) == ("5000", "environment")
    assert rows["WORKERS"]["source"] == "default"
    assert "sk-from-the-file" not in shell.run("config", "show")


def test_config_schema_fits_the_good_and_not_the_bad(tmp_path):
    schema = json.loads(Shell(tmp_path).run("config", "schema"))
    assert schema["additionalProperties"] is False and "ProviderConfig" in schema["$defs"]


def test_models_list_without_a_server(tmp_path):
    names = {row["name"]: row for row in Shell(tmp_path, OPENAI_API_KEY="sk-x").json("models", "list")}
    assert names["gpt-4o-mini"]["provider"] == "openai" and names["gpt-4o-mini"]["input_usd"] == pytest.approx(0.15)
    assert not any(name.startswith("demo") for name in names)
    file = tmp_path / "gateway.yaml"
    file.write_text("providers: {v: {base_url: http://h/v1}}\nmodels: {house: {provider: v, price: {input: 1, output: 2}}}")
    rows = {row["name"]: row for row in Shell(tmp_path).json("models", "list", "--config", str(file))}
    assert (rows["house"]["input_usd"], rows["house"]["output_usd"]) == (1.0, 2.0)


def test_doctor_finds_what_is_wrong_and_says_what_to_do(shell, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as closed:
        port, dead = taken.getsockname()[1], closed.getsockname()[1]
        closed.close()
        shell.environment |= {"PORT": str(port), "HOST": "127.0.0.1", "REDIS_URL": f"redis://:hunter2@127.0.0.1:{dead}/0"}
        shell.environment |= {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": f"http://127.0.0.1:{dead}/v1"}
        findings = {row["check"]: row for row in shell.json("doctor", status=1)}
    assert findings["python"]["state"] == "ok" and findings["data folder"]["state"] == "ok"
    assert findings["database"]["state"] == "ok" and "PostgreSQL" in findings["database"]["found"]
    assert findings["port"]["state"] == "fault" and "choose another PORT" in findings["port"]["remedy"]
    assert findings["redis"]["state"] == "fault" and "hunter2" not in str(findings)
    assert findings["provider openai"]["state"] == "warning"


def test_doctor_is_content_with_the_embedded_database_and_demo(tmp_path):
    findings = {row["check"]: row for row in Shell(tmp_path, PORT="0").json("doctor")}
    assert findings["database"]["found"].startswith("embedded PostgreSQL")
    assert findings["providers"]["state"] == "warning" and "demo" in findings["providers"]["found"]


def test_bad_settings_are_told_by_every_verb(tmp_path):
    said = Shell(tmp_path, PORT="many", LOG_LEVEL="loud").run("models", "list", status=2)
    assert "PORT=many: a whole number from 0 to 65535" in said and "LOG_LEVEL=loud: one of" in said
