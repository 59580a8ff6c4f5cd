"""What the image installs is pinned, with hashes, and fits pyproject.toml."""

import importlib.util
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.image import ROOT

spec = importlib.util.spec_from_file_location("lock", ROOT / "deploy" / "lock.py")
assert spec and spec.loader
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
LOCKS = ("gateway", "embedded", "build")


def pinned(name: str) -> dict[str, str]:
    """Package -> version."""
    text = (ROOT / "deploy" / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    return {canonicalize_name(package): re.split(r"==|\s", block)[1] for package, block in lock.pins(text).items()}


@pytest.mark.parametrize("name", LOCKS)
def test_it_was_made_from_what_pyproject_asks_for_now(name):
    text = (ROOT / "deploy" / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    assert f"# requirements: sha256 {lock.digest(name)}\n" in text, "make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_to_a_version_that_fits(name):
    versions = pinned(name) | (pinned("gateway") if name == "embedded" else {})
    for text in lock.requirements(name):
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)], prereleases=True), text


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pin_with_hashes(name):
    text = (ROOT / "deploy" / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    blocks = lock.pins(text)
    assert blocks and all("==" in block and re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks.values())
    rest = [line for line in text.splitlines() if line and not line.startswith(("#", "    --hash=sha256:"))]
    assert len(rest) == len(blocks)


def test_no_package_is_pinned_twice():
    assert not set(pinned("gateway")) & set(pinned("embedded"))
