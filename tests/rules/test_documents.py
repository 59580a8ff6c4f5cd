"""What the documents promise is there, and what is there is documented."""

import re
from pathlib import Path

import yaml

from neuroroute.cli import docs
from neuroroute.core import settings
from neuroroute.telemetry.metrics import METRICS
from neuroroute.web.openapi import document
from neuroroute.web.routes import table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_IN_OPENAPI = {"/openapi.json"}


def test_every_setting_is_in_the_readme_and_in_the_example():
    example = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")
    for entry in settings.table():
        assert f"| `{entry.variable}` |" in README, entry.variable
        assert f"\n#{entry.variable}=" in example, entry.variable


def test_every_variable_of_the_compose_file_is_a_setting_or_one_of_its_services():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    known = {entry.variable for entry in settings.table()}
    assert set(compose["services"]["gateway"]["environment"]) <= known
    assert {"gateway", "postgres", "valkey"} <= set(compose["services"])


def test_every_metric_is_in_the_readme():
    for metric in METRICS:
        assert re.search(rf"\| `{metric.name}(_total)?` \|", README), metric.name


def test_the_generated_parts_are_up_to_date():
    stale = [path.name for path, text in docs.documents() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "make docs"


def test_every_route_is_in_openapi():
    chosen = settings.read({})
    described = document(table(chosen), chosen)["paths"]
    for route in table(chosen):
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)
        if "{tail" not in path and path not in NOT_IN_OPENAPI:
            assert route.method.lower() in described.get(path, {}), f"{route.method} {path}"


def test_every_command_of_the_readme_exists():
    from typer.main import get_command

    from neuroroute.cli.line import command_line

    verbs = set(get_command(command_line()).commands)
    named = set(re.findall(r"`neuroroute ([a-z]+)", README))
    assert named and named <= verbs
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets
    assert {"help", "run", "test", "check", "bench", "docs", "migrate", "train", "eval", "image"} <= targets
