"""Compose file and workflows: held against their schemas, and what must and must not be in them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.image import ROOT

BIN = str(Path(sys.executable).parent)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = shutil.which("actionlint", path=BIN)


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("compose-spec", [ROOT / "docker-compose.yml"]),
        ("github-workflows", WORKFLOWS),
        ("dependabot", [ROOT / ".github" / "dependabot.yml"]),
    ],
)
def test_it_fits_its_schema(schema, files):
    tool = shutil.which("check-jsonschema", path=BIN)
    assert tool and files
    done = subprocess.run([tool, "--builtin-schema", f"vendor.{schema}", *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(ACTIONLINT is None, reason="no wheel of actionlint for this platform")
def test_actionlint_has_nothing_to_say():
    assert ACTIONLINT
    done = subprocess.run([ACTIONLINT, *map(str, WORKFLOWS)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_little_and_runs_what_is_pinned(path):
    text, workflow = path.read_text(encoding="utf-8"), load(path)
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) and " # v" in rest for name, rest in used)
    assert workflow["permissions"] == {"contents": "read"} and "pull_request_target" not in text
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert not [script for script in scripts if "${{" in script]  # what others write comes by the environment, never into a script


def test_what_goes_where_and_who_says_so():
    jobs = load(ROOT / ".github" / "workflows" / "deploy.yml")["jobs"]
    assert "develop" in jobs["staging"]["if"] and jobs["staging"]["environment"] == "staging"
    assert "main" in jobs["production"]["if"] and jobs["production"]["environment"] == "production"
    publish = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"} and "password" not in str(publish)
    matrix = load(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert matrix == supported


def test_the_services_of_the_compose_file_are_healthy_before_the_gateway_starts():
    services = load(ROOT / "docker-compose.yml")["services"]
    gateway = services["gateway"]
    assert {name: entry["condition"] for name, entry in gateway["depends_on"].items()} == dict.fromkeys(
        ("postgres", "valkey"), "service_healthy"
    )
    assert all("healthcheck" in services[name] for name in gateway["depends_on"])
    assert gateway["deploy"]["replicas"] == 2 and gateway["ports"] == ["${PORTS:-3000-3001}:3000"]
    assert gateway["read_only"] and gateway["cap_drop"] == ["ALL"]
    assert all(services[name]["profiles"] == ["observability"] for name in ("prometheus", "grafana"))
