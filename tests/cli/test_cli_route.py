"""`neuroroute route`: decisions, expectations and readings without a server."""

import json
import subprocess
import sys

import pytest

from tests.cli.shell import Shell

DEAD = "postgresql://nobody@127.0.0.1:1/none"
CODE = "Write a Python function that merges two sorted lists without using sort()."
MODELS = """
providers: {house: {base_url: "http://127.0.0.1:1/v1"}}
models:
  tiny: {provider: house, price: {input: 0.1, output: 0.2}, quality: {default: 0.3}, context_window_tokens: 500}
  grand: {provider: house, price: {input: 5, output: 20}, quality: {default: 0.9}}
routing: {rules: [{when: {label: code}, use: grand}]}
"""


@pytest.fixture
def shell(tmp_path):
    """No database, no Redis, no provider that would answer."""
    return Shell(tmp_path, DATABASE_URL=DEAD, REDIS_URL="redis://127.0.0.1:1/0")


@pytest.fixture
def configured(shell, tmp_path):
    (tmp_path / "gateway.yaml").write_text(MODELS)
    shell.environment["NEUROROUTE_CONFIG"] = str(tmp_path / "gateway.yaml")
    return shell


def test_a_prompt_is_decided_and_explained(shell):
    said = shell.run("route", CODE)
    assert said.startswith("demo-") and "balanced: code" in said and "language en" in said
    facts = shell.json("route", CODE, "--policy", "best")
    assert (facts["model"], facts["label"], facts["policy"]) == ("demo-large", "code", "best") and facts["expected_cost_usd"] > 0
    whole = shell.json("route", CODE, "--explain")
    assert {row["model"] for row in whole["candidates"]} == {"demo-small", "demo-medium", "demo-large"}
    assert "TO WIN" in shell.run("route", CODE, "--explain")
    assert shell.run("route", "-", given=CODE) == said


def test_it_decides_as_the_configuration_says(configured):
    assert configured.json("route", CODE)["reason"].startswith("rule: label = code")
    assert configured.json("route", "Hi", "--policy", "0")["model"] == "tiny"
    assert configured.json("route", "word " * 2000, "--policy", "0")["model"] == "grand"
    assert configured.json("route", "Hi", "--model", "tiny")["reason"] == "named"
    assert "'nope' does not exist" in configured.run("route", "Hi", "--model", "nope", status=2)
    assert "The policy 'nope' is not known" in configured.run("route", "Hi", "--policy", "nope", status=2)


def lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return str(path)


def test_a_file_of_expectations_passes_or_fails(configured, tmp_path):
    good = [
        {"prompt": CODE, "expect_label": "code", "expect_model": "grand", "expect_language": ["en", "und"], "min_confidence": 0.3},
        {"prompt": "Hi", "policy": "0", "expect_model": ["house/t*"], "max_cost_usd": 0.01, "min_difficulty": 0, "max_difficulty": 1},
        {"messages": [{"role": "user", "content": "Hi"}], "model": "tiny", "expect_model": "tiny"},
    ]
    file = lines(tmp_path / "good.jsonl", *good)
    assert "3 lines, 0 failed" in configured.run("route", "--file", file, "--expect")
    bad = [*good, {"prompt": CODE, "expect_label": "chat", "max_difficulty": 0}, {"prompt": "Hi", "model": "nope", "expect_model": "tiny"}]
    told = configured.json("route", "--file", lines(tmp_path / "bad.jsonl", *bad), "--expect", status=1)
    assert (told["lines"], told["failed"]) == (5, 2) and [row["ok"] for row in told["data"]] == [True, True, True, False, False]
    assert told["data"][3]["missed"][0] == "label is code, expect_label chat" and "difficulty is" in told["data"][3]["missed"][1]
    assert "'nope' does not exist" in told["data"][4]["missed"][0]
    assert "label is code, expect_label chat" in configured.run("route", "--file", str(tmp_path / "bad.jsonl"), "--expect", status=1)
    assert "3 lines" in configured.run("route", "--file", file)


def test_the_policy_of_a_line_holds_however_it_is_written(shell, tmp_path):
    """Beside messages as beside a prompt, and the dial as a number; what it can not be is told, not passed over."""
    messages = [{"role": "user", "content": "Say hello"}]
    rows = [
        {"prompt": "Say hello", "policy": 10, "expect_model": "demo-large"},
        {"messages": messages, "policy": "best", "expect_model": "demo-large"},
        {"messages": messages, "policy": 0, "expect_model": "demo-small"},
        {"messages": messages, "neuroroute": {"policy": "best"}, "expect_model": "demo-large"},
        {"prompt": "Say hello", "policy": ["best"], "expect_model": "demo-large"},
    ]
    told = shell.json("route", "--file", lines(tmp_path / "x.jsonl", *rows), "--policy", "5", "--expect", status=1)
    assert [row["ok"] for row in told["data"]] == [True] * 4 + [False] and "neuroroute.policy" in told["data"][4]["missed"][0]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "Hi"}, "nothing is expected of it"),
        ({"prompt": "Hi", "expect_lable": "chat"}, "expect_lable: not known; known are expect_label"),
        ({"prompt": "Hi", "max_difficulty": "low"}, "max_difficulty: a number is expected"),
        ({"prompt": "Hi", "expect_label": 3}, "expect_label: a word or a list of words is expected"),
        ({"prompt": "", "expect_label": "chat"}, "prompt, a text that is not empty"),
        ({"prompt": "Hi", "neuroroute": 5, "expect_label": "chat"}, "neuroroute: an object is expected"),
        (["Hi"], "a JSON object is expected"),
    ],
)
def test_a_faulty_line_is_named_and_passes_for_nothing(shell, tmp_path, row, fault):
    file = lines(tmp_path / "x.jsonl", {"prompt": "Hi", "max_difficulty": 1}, row)
    said = shell.run("route", "--file", file, "--expect", status=2)
    assert f"{file}:2: " in said and fault in said


def test_what_does_not_go_together_is_refused(shell, tmp_path):
    assert "One of a prompt, --file or --batch" in shell.run("route", status=2)
    assert "One of a prompt, --file or --batch" in shell.run("route", "Hi", "--batch", status=2)
    assert "--expect needs --file" in shell.run("route", "Hi", "--expect", status=2)
    assert "No such file" in shell.run("route", "--file", str(tmp_path / "none"), status=2)
    (tmp_path / "empty").write_text("\n")
    assert "no line in it" in shell.run("route", "--file", str(tmp_path / "empty"), "--expect", status=2)


def test_a_batch_answers_each_line_before_the_next_is_sent(shell):
    command = [sys.executable, "-m", "neuroroute", "route", "--batch"]
    with subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def ask(line: str) -> dict:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        first = ask(json.dumps({"id": "a", "prompt": CODE, "candidates": ["gpt-4o", "some-7b"]}))
        assert set(first) == {"id", "score", "category", "lang", "us", "quality"}
        assert (first["id"], first["category"], first["lang"]) == ("a", "code", "en") and 0 <= first["score"] <= 1 and first["us"] > 0
        assert set(first["quality"]) == {"gpt-4o", "some-7b"} and all(0 < p < 1 for p in first["quality"].values())
        better, worse = ask(json.dumps({"id": 2, "prompt": "Hi", "candidates": {"x": {"default": 0.9}, "y": {"default": 0.2}}}))[
            "quality"
        ].values()
        assert better > worse
        assert ask("no json")["error"].startswith("not JSON")
        assert ask('{"id": 3}') == {"id": 3, "error": "prompt: a text is expected"}
        assert "candidates" in ask('{"id": 4, "prompt": "Hi", "candidates": [1]}')["error"]
        assert ask('{"id": 5, "prompt": ""}')["id"] == 5
        plain = ask(json.dumps({"prompt": "Why is \ufffd not \U0001f600?"}))
        assert plain["id"] is None and 0 < plain["score"] < 1
        cut = ask('\ufeff{"id": 6, "prompt": "Why is \\ud83d not \\ud83d\\ude00?"}')
        assert cut["id"] == 6 and cut["score"] == plain["score"], "a byte order mark and half a pair of surrogates do no harm"
        assert ask(json.dumps({"id": 7, "prompt": "why " * 250_000}))["us"] < 50_000
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_batch_touches_neither_database_nor_network(shell):
    code = (
        "import sys; sys.argv = ['neuroroute', 'route', '--batch']\n"
        "from neuroroute.__main__ import main\nassert main() == 0\n"
        "assert not {'asyncpg', 'redis', 'aiohttp', 'neuroroute.store'} & set(sys.modules), sys.modules.keys()"
    )
    question = json.dumps({"id": 1, "prompt": "Hi"})
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=question, cwd=shell.folder, env=shell.environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == 1


def test_a_batch_whose_reader_leaves_ends_quietly(shell):
    script = f"yes '{json.dumps({'id': 1, 'prompt': 'Hi'})}' | head -2000 | {sys.executable} -m neuroroute route --batch | head -1"
    done = subprocess.run(
        ["sh", "-c", script], cwd=shell.folder, env=shell.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["id"] == 1 and done.stderr == ""
