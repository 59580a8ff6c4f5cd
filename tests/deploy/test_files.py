"""Compose file and workflows: held against their schemas, and what must and must not be in them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuroroute.core import settings
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


def test_no_two_services_want_one_port_of_the_machine():
    taken: list[int] = []
    for service in load(ROOT / "docker-compose.yml")["services"].values():
        for mapping in service.get("ports", ()):
            host = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mapping).removeprefix("127.0.0.1:").rpartition(":")[0]
            first, _, last = host.partition("-")
            taken += range(int(first), int(last or first) + 1)
    assert {3000, 3001} <= set(taken) and len(taken) == len(set(taken))


UNIT = (ROOT / "deploy" / "neuroroute.service").read_text(encoding="utf-8")
ANALYZE = shutil.which("systemd-analyze")


def verified(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """systemd's own check; the command of the unit is replaced by one that is on this machine."""
    assert ANALYZE
    unit = tmp_path / "neuroroute.service"
    unit.write_text(text.replace("/opt/neuroroute/bin/neuroroute", str(Path(BIN) / "neuroroute")))
    return subprocess.run([ANALYZE, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(ANALYZE is None, reason="no systemd on this machine")
def test_systemd_has_nothing_to_say_of_the_unit(tmp_path):
    done = verified(tmp_path, UNIT)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "Unknown key" in verified(tmp_path, UNIT.replace("KillMode=", "KillModus=")).stderr, "or it would prove nothing"
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--threshold=40", str(tmp_path / "neuroroute.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]


def test_the_unit_runs_what_is_there_and_lets_calls_end(tmp_path):
    lines = [line for line in UNIT.splitlines() if line and not line.startswith(("#", "["))]
    unit = dict(line.split("=", 1) for line in lines)
    assert len(unit) == len(lines), "no directive twice"
    known = {entry.variable for entry in settings.table()}
    assert {pair.partition("=")[0] for pair in unit["Environment"].split()} <= known
    command = unit["ExecStart"].split()
    told = subprocess.run([str(Path(BIN) / Path(command[0]).name), *command[1:], "--help"], capture_output=True, text=True, check=False)
    assert told.returncode == 0 and "--port" in told.stdout
    assert unit["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"], "SIGHUP reads the configuration again"
    assert int(unit["TimeoutStopSec"]) > settings.read({}).shutdown_grace_s and unit["KillMode"] == "mixed"
    assert unit["StateDirectory"] in dict(pair.split("=", 1) for pair in unit["Environment"].split())["NEUROROUTE_DATA_DIR"]
