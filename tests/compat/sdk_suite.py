"""
The OpenAI SDK's own API tests, run in a process of their own against a base URL.

    outcomes = await run(openai_source(), "http://127.0.0.1:4010/v1")     # {"tests.api_resources.test_models.TestModels::...": "passed"}
"""

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

API_KEY = "My API Key"
"""What the suite's clients send."""
RESOURCES = (
    "chat", "responses", "audio", "test_completions.py", "test_embeddings.py", "test_models.py", "test_moderations.py", "test_responses.py",
    "test_images.py", "test_files.py", "test_batches.py",
)  # fmt: skip
LIMIT_S = 300
SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = session\nfilterwarnings = error\n"
"""The suite's own, without its workers: xdist costs more than it saves here."""


def models(source: Path) -> set[str]:
    """The model names that the tests use."""
    files = (file for name in RESOURCES for file in _files(source / "tests" / "api_resources" / name))
    return {name for file in files for name in re.findall(r'\bmodel(?:=|": )"([^"]+)"', file.read_text(encoding="utf-8"))}


async def run(source: Path, base_url: str) -> dict[str, str]:
    """Each test with its outcome: "passed", "skipped", or why it failed."""
    with tempfile.TemporaryDirectory(prefix="sdk-suite-") as folder:
        settings, report = Path(folder) / "pytest.ini", Path(folder) / "report.xml"
        settings.write_text(SETTINGS)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytest", "-q", "--tb=short", "-c", str(settings), f"--rootdir={source}", f"--junitxml={report}",
            "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:aiohttp", *(f"tests/api_resources/{name}" for name in RESOURCES),
            cwd=source, env=_environment(base_url), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(LIMIT_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert report.exists(), out.decode()[-4000:]
        return {f"{case.get('classname')}::{case.get('name')}": _outcome(case) for case in ElementTree.parse(report).iter("testcase")}


def _environment(base_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")}
    return {**kept, "TEST_API_BASE_URL": base_url, "NO_PROXY": "127.0.0.1,localhost"}


def _outcome(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return f"{found.get('message', '')}\n{found.text or ''}"[-1500:] or kind
    return "skipped" if case.find("skipped") is not None else "passed"


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("test_*.py"))
