"""
Third-party clients, installed once when a test first needs them: folders of packages beside the virtual environment, never in the project.

A folder's name has a digest of what it holds, so that a change makes a new one. One process installs, the others wait for it.
COMPAT_REQUIRED=1 turns "can not be installed" from a skipped test into a failed one.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

INSTALL_LIMIT_S = 400
PYTHON = {
    "current": ("openai>=3,<4", "anthropic>=2,<3", "langchain-openai", "langchain-anthropic"),
    "former": ("openai>=2,<3", "anthropic>=1,<2", "llama-index-llms-openai-like"),
}
"""What is installed together. LlamaIndex wants an OpenAI SDK below 3."""
NODE_FOLDER = Path(__file__).parent / "clients" / "node"


class Unavailable(Exception):
    """It can not be had on this machine. The text says why."""


def or_skip(make: Callable[[], Path]) -> Path:
    """What `make` gives; where it can not be had, the test is skipped with the reason."""
    try:
        return make()
    except Unavailable as reason:
        if os.environ.get("COMPAT_REQUIRED"):
            raise
        pytest.skip(str(reason))


def cache() -> Path:
    """Where installed things lie: with the virtual environment, so that `make clean` takes them along."""
    root = Path(sys.prefix) if sys.prefix != sys.base_prefix else Path(tempfile.gettempdir())
    return root / "neuroroute-compat"


def python_packages(name: str) -> Path:
    """A folder for PYTHONPATH with the packages of `PYTHON[name]`."""

    def install(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
        _run([*pip, "--target", str(folder), *PYTHON[name]], folder.parent)

    return _once(f"python-{name}", repr((PYTHON[name], sys.version_info[:2])), install)


def node_packages() -> Path:
    """A folder with `node_modules` of the committed lock file, and the scripts beside it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed on this machine")
    lock = NODE_FOLDER / "package-lock.json"

    def install(folder: Path) -> None:
        for file in (NODE_FOLDER / "package.json", lock):
            shutil.copy(file, folder)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)

    return _once("node", lock.read_text(encoding="utf-8"), install)


def openai_source() -> Path:
    """The unpacked source distribution of the installed OpenAI SDK, its tests included."""
    import openai

    wanted = f"openai=={openai.__version__}"

    def install(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps", "--no-binary", ":all:"]
        _run([*pip, "--dest", str(folder), wanted], folder.parent)
        [archive] = folder.glob("openai-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        archive.unlink()

    [source] = _once("openai-source", wanted, install).glob("openai-*")
    if not (source / "tests" / "api_resources").is_dir() or not (source / "api.md").is_file():
        raise Unavailable(f"the source distribution of {wanted} has no API tests")
    return source


def _once(name: str, holds: str, install: Callable[[Path], None]) -> Path:
    folder = cache() / f"{name}-{hashlib.sha256(holds.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            made = Path(tempfile.mkdtemp(dir=cache(), prefix=f"{name}-making-"))
            try:
                install(made)
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise Unavailable(f"`{command[0]}` did not run: {failure}") from failure
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Unavailable(f"`{' '.join(command[-3:])}` could not be installed: {' '.join(last)}")
