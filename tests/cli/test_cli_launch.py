"""`neuroroute launch`: a tool that is started so reaches the gateway, and nothing on its disk is touched."""

import asyncio
import json
import re
import socket
import sys
import textwrap
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.serve.gateway import ADMIN_KEY, Gateway

STAND_INS = {
    # What each tool does with its environment and arguments, as far as the way to the gateway goes.
    "claude": """
        base, key, model = os.environ["ANTHROPIC_BASE_URL"], os.environ["ANTHROPIC_AUTH_TOKEN"], os.environ["ANTHROPIC_MODEL"]
        assert "ANTHROPIC_API_KEY" not in os.environ and "CLAUDE_CODE_USE_BEDROCK" not in os.environ
        small = os.environ["ANTHROPIC_DEFAULT_HAIKU_MODEL"]
        path, body = "/v1/messages", {"max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    """,
    "codex": """
        given = tomllib.loads("\\n".join(sys.argv[at + 1] for at, word in enumerate(sys.argv) if word == "-c"))
        provider = given["model_providers"][given["model_provider"]]
        assert provider["wire_api"] == "responses" and not any("nr_" in word for word in sys.argv)
        base, key, model = provider["base_url"], os.environ[provider["env_key"]], given["model"]
        small = model
        path, body = "/responses", {"input": "Hi"}
    """,
    "opencode": """
        given = json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])
        name, _, model = given["model"].partition("/")
        small = given["small_model"].partition("/")[2]
        options = given["provider"][name]["options"]
        assert {model, small} <= set(given["provider"][name]["models"])
        base, key = options["baseURL"], options["apiKey"]
        path, body = "/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}
    """,
}
CALL = """
request = urllib.request.Request(base + path, json.dumps({"model": model, **body}).encode(), {"Authorization": "Bearer " + key})
with urllib.request.urlopen(request, timeout=20) as answer:
    print(json.dumps({"asked": model, "small": small, "answered": json.load(answer)["model"], "arguments": sys.argv[1:]}))
sys.exit(7)
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with a stand-in for each tool."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, code in STAND_INS.items():
        script = folder / name
        script.write_text(f"#!{sys.executable}\nimport json, os, sys, tomllib, urllib.request\n{textwrap.dedent(code)}{CALL}")
        script.chmod(0o755)
    return folder


async def run(shell: Shell, *arguments: str, status: int = 0) -> str:
    return await asyncio.to_thread(shell.run, *arguments, status=status)


async def reaches(shell: Shell, tool: str, url: str) -> None:
    told = json.loads(await run(shell, "launch", tool, "-p", "do it", "--verbose", status=7))
    assert told["asked"] == "auto" and told["answered"].startswith("demo-"), tool
    assert told["arguments"][-3:] == ["-p", "do it", "--verbose"]
    assert told["small"] == ("auto" if tool == "codex" else "auto:cheap")
    named = json.loads(await run(shell, "launch", tool, "--model", "demo/demo-small", "--url", f"{url}/v1/", "--", "--print", status=7))
    assert (named["asked"], named["small"], named["answered"]) == ("demo/demo-small", "demo/demo-small", "demo-small")
    assert named["arguments"][-1:] == ["--print"]


async def test_each_tool_reaches_the_gateway(tmp_path, tools, database_url):
    async with Gateway(tmp_path, DATABASE_URL=database_url) as gateway:
        shell = Shell(tmp_path, API_URL=gateway.url, DATABASE_URL=database_url, ANTHROPIC_API_KEY="sk-other", CLAUDE_CODE_USE_BEDROCK="1")
        shell.environment["PATH"] = f"{tools}:{shell.environment['PATH']}"
        before = sorted(tmp_path.rglob("*.json"))
        await asyncio.gather(*(reaches(shell, tool, gateway.url) for tool in STAND_INS))
        assert sorted(tmp_path.rglob("*.json")) == before
        narrow = json.loads(await run(shell, "keys", "create", "narrow", "--model", "auto:cheap", "--json"))["key"]
        refused = await asyncio.gather(
            run(shell, "launch", "claude", "--model", "nope", status=2),
            run(shell, "launch", "codex", "--key", narrow, status=2),
            run(shell, "launch", "codex", "--key", "nr_of_nobody", status=2),
        )
        for said, text in zip(
            refused, ("The model 'nope' does not exist", "may not use auto: choose with --model", "does not take this key"), strict=True
        ):
            assert text in said
        shell.environment["NEUROROUTE_API_KEY"] = narrow
        assert json.loads(await run(shell, "launch", "codex", "--key", ADMIN_KEY, status=7))["answered"].startswith("demo-")


@pytest.mark.parametrize("tool", STAND_INS)
def test_print_shows_how_and_hides_the_key(tmp_path, tool):
    shell = Shell(tmp_path, PORT="4567", NEUROROUTE_API_KEY="nr_secret_of_mine", PATH="/usr/bin:/bin")
    said = shell.run("launch", tool, "--model", "gpt-4o", "--print", "--continue")
    assert "nr_***" in said and "nr_secret" not in said and "http://localhost:4567" in said and "gpt-4o" in said
    assert re.search(rf"^{tool}\b.* --continue$", said, re.MULTILINE)


def test_faults_say_what_to_do(tmp_path, tools):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
    shell = Shell(tmp_path, API_URL=dead, PATH="/usr/bin:/bin")
    assert "known are claude, codex, opencode" in shell.run("launch", "vim", status=2)
    assert "No key: give --key or NEUROROUTE_API_KEY" in shell.run("launch", "claude", status=2)
    assert "claude is not on PATH" in shell.run("launch", "claude", "--key", "nr_x", status=2)
    shell.environment["PATH"] = f"{tools}:/usr/bin:/bin"
    assert f"No gateway answers at {dead}" in shell.run("launch", "claude", "--key", "nr_x", status=2)
    assert "--url ftp://x" in shell.run("launch", "claude", "--key", "nr_x", "--url", "ftp://x", status=2)
