"""`neuroroute usage`: the books, grouped and summed."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from neuroroute.cli.usage import dollars
from neuroroute.core.clock import utcnow
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageRecord
from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path, database_url):
    shell = Shell(tmp_path, DATABASE_URL=database_url)
    owner = shell.json("users", "create", "Ada", "--role", "admin")["id"]
    key = shell.json("keys", "create", "ci")["id"]
    now = utcnow()
    call = UsageRecord(
        "req_1", now, key, owner, "auto", model="grand", provider="house", label="code", prompt_tokens=100, completion_tokens=10
    )
    call = replace(call, cost_nanousd=2_000_000, baseline_cost_nanousd=5_000_000, latency_ms=120.0, tags={"team": "search"})
    calls = [
        call,
        replace(call, request_id="req_2", model="tiny", label="chat", cost_nanousd=1000, cache="hit", tags={}),
        replace(call, request_id="req_3", status="error", http_status=502, created_at=now - timedelta(days=3)),
        replace(call, request_id="req_4", created_at=now - timedelta(days=30)),
    ]

    async def write() -> None:
        async with Database(database_url, pool_min=0, pool_max=1) as database:
            await Usage(database).insert_many(calls)

    asyncio.run(write())
    shell.key, shell.owner = key, owner
    return shell


def test_by_model_with_a_total(shell):
    told = shell.json("usage", "--by", "model", "--since", "7d")
    rows = {row["model"]: row for row in told["data"]}
    assert (rows["grand"]["calls"], rows["grand"]["errors"], rows["tiny"]["cached_calls"]) == (2, 1, 1)
    assert rows["grand"]["cost_usd"] == pytest.approx(0.004) and rows["grand"]["saved_usd"] == pytest.approx(0.006)
    assert (told["total"]["calls"], told["total"]["prompt_tokens"]) == (3, 300)
    table = shell.run("usage").splitlines()
    assert table[0].startswith("MODEL") and table[1].startswith("grand") and table[-1].startswith("total") and "120" in table[-1]


def test_each_way_to_group_and_to_narrow(shell):
    assert {row["label"]: row["calls"] for row in shell.json("usage", "--by", "label", "--since", "24h")["data"]} == {"code": 1, "chat": 1}
    assert [row["calls"] for row in shell.json("usage", "--by", "day", "--since", "5w")["data"]] == [1, 1, 2]
    assert shell.json("usage", "--by", "key")["data"][0]["key"] == shell.key
    assert shell.json("usage", "--by", "user", "--user", shell.owner)["data"][0]["user"] == shell.owner
    assert shell.json("usage", "--by", "hour", "--since", "2h")["total"]["calls"] == 2
    assert shell.json("usage", "--tag", "team=search", "--since", "1d")["total"]["calls"] == 1
    assert shell.json("usage", "--model", "tiny")["total"]["calls"] == 1
    assert shell.json("usage", "--since", "60d", "--until", "10d")["total"]["calls"] == 1
    assert shell.json("usage", "--since", "2020-01-01")["total"]["calls"] == 4
    assert shell.json("usage", "--key", "key_none")["data"] == []


def test_what_is_written_wrong_is_told(shell):
    assert "--by is one of hour, day, model" in shell.run("usage", "--by", "week", status=2)
    assert "--since yesterday: 30m, 24h, 7d" in shell.run("usage", "--since", "yesterday", status=2)
    assert "--tag is written name=value" in shell.run("usage", "--tag", "team", status=2)


def test_money_has_no_exponent_and_time_runs_forward(shell):
    assert [dollars(usd) for usd in (0.00004, 0.0, 12.5, 3e-9)] == ["0.00004", "0", "12.5", "0.000000003"]
    assert "--until lies before --since" in shell.run("usage", "--since", "1d", "--until", "2d", status=2)
