"""`neuroroute replay` and `neuroroute refit`: the ledger's rows, decided again and learned from."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from neuroroute.core.clock import utcnow
from neuroroute.store.feedback import Feedback
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from tests.cli.shell import Shell

CANDIDATES = [
    ["demo/demo-large", 0.9, 10_000_000.0, 900.0],
    ["demo/demo-medium", 0.8, 1_600_000.0, 500.0],
    ["demo/demo-small", 0.7, 200_000.0, 200.0],
]


def call(number: int, minutes: float = 1.0, **fields) -> UsageRecord:
    row = UsageRecord(
        f"req_{number:05d}", utcnow() - timedelta(minutes=minutes), "key_a", "usr_a", "auto", model="demo-large", provider="demo", label="code",
        difficulty=0.4, policy="best", prompt_tokens=100, completion_tokens=10, cost_nanousd=20_000_000, baseline_cost_nanousd=20_000_000,
        cache="miss", decision={"v": 1, "candidates": CANDIDATES},
    )  # fmt: skip
    return replace(row, **fields)


def written(database_url: str, rows: list[UsageRecord]) -> None:
    async def write() -> None:
        async with Database(database_url, pool_min=0, pool_max=1) as database:
            await Usage(database).insert_many(rows)

    asyncio.run(write())


@pytest.fixture
def shell(tmp_path, database_url):
    return Shell(tmp_path, DATABASE_URL=database_url)


def test_a_cheaper_policy_says_what_it_saves_and_what_it_costs_in_quality(shell, database_url):
    written(database_url, [*(call(number) for number in range(7)), call(8, cache="hit", cost_nanousd=0), call(9, minutes=60 * 24 * 30)])
    told = shell.json("replay", "--policy", "cheap", "--since", "7d")
    assert (told["calls"], told["decided"], told["moved"], told["untouched"]) == (8, 7, 7, {"cache hit": 1})
    assert told["cost_usd"] == pytest.approx(0.14) and told["new_cost_usd"] == pytest.approx(0.14 / 50)
    assert (told["quality"], told["new_quality"]) == (0.9, 0.7) and told["saved_usd"] == pytest.approx(0.02)
    assert told["moves"] == [{"from": "demo/demo-large", "to": "demo/demo-small", **told["moves"][0]}]
    plain = shell.run("replay", "--policy", "cheap")
    assert plain.startswith("7 of 8 calls would move: 0.14 -> 0.0028 USD (98.0 % less)") and "1 cache hit" in plain
    stays = shell.json("replay", "--policy", "best", "--since", "60d")
    assert (stays["calls"], stays["moved"], stays["difference_usd"]) == (9, 0, 0.0)


def test_the_dial_beside_itself(shell, database_url):
    written(database_url, [call(number) for number in range(3)])
    told = shell.json("replay", "--dial")["data"]
    assert [one["policy"] for one in told] == [str(step) for step in range(11)]
    costs, qualities = [one["new_cost_usd"] for one in told], [one["new_quality"] for one in told]
    assert costs == sorted(costs) and qualities == sorted(qualities) and len(set(costs)) == 3
    assert len(shell.run("replay", "--dial").splitlines()) == 12


def test_named_calls_are_asked_about_only_on_demand(shell, database_url):
    written(database_url, [call(1, policy=None, requested_model="demo-large", label="chat", difficulty=0.1, decision={"v": 1})])
    assert shell.json("replay", "--policy", "cheap")["untouched"] == {"named model": 1}
    told = shell.json("replay", "--policy", "cheap", "--named")
    assert told["moved"] == 1 and told["new_cost_usd"] < told["cost_usd"]


def test_faults_are_told(shell):
    assert "One of --policy and --dial" in shell.run("replay", status=2)
    assert "balanced" in shell.run("replay", "--policy", "greedy", status=2)
    assert "7d" in shell.run("replay", "--policy", "best", "--since", "yesterday", status=2)
    assert "--until lies before --since" in shell.run("replay", "--policy", "best", "--since", "1h", "--until", "7d", status=2)
    assert "--since lies in the future" in shell.run("replay", "--dial", "--since", "2999-01-01", status=2)


def test_no_calls_are_told_as_that(shell, database_url):
    assert shell.run("replay", "--policy", "best").strip() == "There was no call in this time."
    assert shell.json("replay", "--policy", "best")["calls"] == 0


async def test_walking_the_ledger_meets_every_row_once(database):
    at = utcnow()
    rows = [replace(call(number), created_at=at - timedelta(seconds=number // 7)) for number in range(103)]
    await Usage(database).insert_many(rows)
    for size in (1, 7, 10, 103, 500):
        pages = [page async for page in Usage(database).walk(UsageFilter(key_id="key_a"), size=size)]
        found = [row for page in pages for row in page]
        assert len({row.request_id for row in found}) == len(found) == 103 and all(0 < len(page) <= size for page in pages)
        assert [(row.created_at, row.request_id) for row in found] == sorted(
            ((row.created_at, row.request_id) for row in found), reverse=True
        )


def refitted(shell: Shell, database_url: str) -> None:
    """Two hundred and forty calls; whoever was served by the large model says that the small one would have done, and is right."""
    small_first = [CANDIDATES[2], *CANDIDATES[:2]]
    rows = [
        call(number, minutes=2000 - number, user_id=f"usr_{number % 40}", key_id=f"key_{number % 40}")
        if number % 2
        else call(
            number, minutes=2000 - number, user_id=f"usr_{number % 40}", key_id=f"key_{number % 40}", model="demo-small",
            decision={"v": 1, "candidates": small_first},
        )
        for number in range(240)
    ]  # fmt: skip
    written(database_url, rows)

    async def opine() -> None:
        async with Database(database_url, pool_min=0, pool_max=1) as database:
            for row in rows:
                score = 1.0 if row.model == "demo-small" else -1.0
                await Feedback(database).put(row.request_id, key_id=row.key_id, user_id=row.user_id, score=score)

    asyncio.run(opine())


def test_a_refit_learns_passes_its_gate_and_can_be_taken_back(shell, database_url, tmp_path):
    refitted(shell, database_url)
    config = tmp_path / "best.yaml"
    config.write_text("routing: {policy: best}\n")
    dry = shell.json("refit", "--dry-run", "--config", str(config))
    assert dry["promoted"] and dry["version"] is None and dry["regret_after"] < dry["regret_before"], dry
    assert shell.json("refit", "--versions") == []
    done = shell.json("refit", "--config", str(config))
    assert done["version"] == 1
    again = shell.json("refit", "--config", str(config))
    assert again["version"] is None and again["observations"] < 10, "what a version was made from does not count again"
    back = shell.json("refit", "--rollback", "0")
    assert (back["version"], back["origin"], back["cells"]) == (2, "rollback", 0)
    assert [one["version"] for one in shell.json("refit", "--versions")] == [2, 1]
    forward = shell.json("refit", "--rollback", "1")
    assert forward["priors"]["demo/demo-small"]["code"] > forward["priors"]["demo/demo-large"]["code"]
    assert "no version 9" in shell.run("refit", "--rollback", "9", status=2)
    assert "Only one of" in shell.run("refit", "--dry-run", "--versions", status=2)
    assert "demo/demo-small" in shell.run("refit", "--config", str(config), "--since", "2d")


def test_a_refit_without_opinions_changes_nothing(shell, database_url):
    written(database_url, [call(number) for number in range(30)])
    told = shell.json("refit")
    assert not told["promoted"] and told["reason"].startswith("too little") and told["version"] is None
