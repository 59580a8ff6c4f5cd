"""What the README shows works: every shell and Python snippet is run, as it stands, against a gateway."""

import ast
import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.test_readme import blocks
from tests.serve.gateway import ADMIN_KEY, Gateway

DATA_DIR = "~/.local/share/neuroroute"
STRICT = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n'
PROVIDER_KEYS = {"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"}


def importable(code: str) -> bool:
    """Whether what it imports is installed here."""
    names = [node.module or "" for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    return all(importlib.util.find_spec(name.partition(".")[0]) for name in names)


class Reader:
    """Somebody who types what they read, in a folder of their own."""

    def __init__(self, folder: Path, gateway: Gateway, **variables: str) -> None:
        self.folder, self.gateway = folder, gateway
        script = folder / "bin" / "neuroroute"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m neuroroute "$@"\n')
        script.chmod(0o755)
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self.environment = {
            **kept, "PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2]),
            "NEUROROUTE_DATA_DIR": str(folder / "data"), "NEUROROUTE_API_KEY": ADMIN_KEY, **variables,
        }  # fmt: skip
        (folder / "gateway.yaml").write_text(next(code for code in blocks("yaml") if code.startswith("providers:")))

    def type(self, code: str, *command: str) -> str:
        """What it printed."""
        code = code.replace("http://localhost:3000", self.gateway.url).replace(DATA_DIR, str(self.folder / "data"))
        more = PROVIDER_KEYS if "gateway.yaml" in code else {}
        done = subprocess.run(
            [*command, "-c", code],
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def folder(tmp_path):
    return tmp_path


async def test_every_snippet_runs(folder, database_url):
    async with Gateway(folder, DATABASE_URL=database_url) as gateway:
        reader = Reader(folder, gateway, DATABASE_URL=database_url)
        shell = await asyncio.gather(*(asyncio.to_thread(reader.type, STRICT + code, "bash") for code in blocks("sh")))
        python = await asyncio.gather(
            *(asyncio.to_thread(reader.type, code, sys.executable) for code in blocks("python") if importable(code))
        )
    told = "\n".join(shell)
    for sign in (
        "one of three simulated models",
        "x-neuroroute-cost-usd: ",
        "2 lines, 0 failed",
        '"us":',
        "data: [DONE]",
        "gateway.yaml is good",
    ):
        assert sign in told, sign
    assert len(python) >= 3 and all("simulated models" in said or "classification" in said or "label" in said for said in python), python
