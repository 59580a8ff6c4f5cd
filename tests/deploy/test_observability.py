"""What deploy/ gives Prometheus and Grafana: it asks only for metrics that there are, in expressions that Prometheus understands."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuroroute.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "alert-rules.yml"
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
NEEDS_PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: the Debian package prometheus")
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
NAMES = {metric.name + suffix: metric.labels for metric in METRICS for suffix in _SUFFIXES[metric.kind]}
OF_PROMETHEUS = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in BOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.stem}: {panel['title']}", panel


def expressions() -> list[tuple[str, str]]:
    asked = [(rule["alert"], rule["expr"]) for rule in rules()]
    return asked + [(name, target["expr"]) for name, panel in panels() for target in panel["targets"]]


def plain(expression: str) -> str:
    """With Grafana's variables filled in."""
    return expression.replace("$__rate_interval", "5m").replace("$__range", "6h").replace("$model", ".*")


@pytest.mark.parametrize(("name", "expression"), expressions())
def test_every_expression_asks_for_metrics_and_labels_that_there_are(name: str, expression: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expression)
    named = set(re.findall(r"\b(?:neuroroute|process)_[a-z_]+", bare))
    assert named <= set(NAMES), name
    assert named or bare.startswith("up{"), name
    known = OF_PROMETHEUS | {label for metric in named for label in NAMES[metric]}
    by = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", bare) for label in group.split(",")}
    matched = {label for braces in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+)\s*[=!]", braces)}
    assert by | matched <= known, name
    if "histogram_quantile" in bare:
        assert "le" in by, name


def test_dashboards_and_rules_look_at_every_metric() -> None:
    """One that they leave out is one that nobody sees."""
    shown = " ".join(expression for _, expression in expressions())
    missing = {metric.name for metric in METRICS if not re.search(rf"\b{metric.name}(_total|_bucket|_sum|_count)?\b", shown)}
    assert missing == set()


def test_the_dashboards_are_whole() -> None:
    assert len(BOARDS) == 2
    for path in BOARDS:
        board = json.loads(path.read_text())
        assert board["uid"] == path.stem and board["title"] and board["description"]
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids) > 10
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places) and all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
        for panel in board["panels"]:
            assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            legends = " ".join(target["legendFormat"] for target in panel["targets"])
            asked = " ".join(target["expr"] for target in panel["targets"])
            by = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", asked) for label in group.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", legends)) <= by, panel["title"]


def test_the_containers_mount_what_is_there() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        sources = [volume.split(":")[0] for volume in services[name]["volumes"] if volume.startswith("./")]
        assert sources and all((ROOT / source).exists() for source in sources), name
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert prometheus["scrape_configs"][0]["job_name"] == "neuroroute"
    mounted = {volume.split(":")[1] for volume in services["prometheus"]["volumes"]}
    assert all(f"/etc/prometheus/{name}" in mounted for name in prometheus["rule_files"])
    [source] = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"] is True
    [folder] = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "dashboards" / "neuroroute.yml").read_text())["providers"]
    assert f"./deploy/grafana/dashboards:{folder['options']['path']}:ro" in services["grafana"]["volumes"]


def promtool(*words: str, cwd: Path) -> str:
    done = subprocess.run(["promtool", *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@NEEDS_PROMTOOL
def test_prometheus_takes_its_configuration_and_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml", cwd=DEPLOY)
    assert f"{len(rules())} rules found" in promtool("check", "rules", "alert-rules.yml", cwd=DEPLOY)
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).with_name("alert-rules.test.yml"), tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "alert-rules.test.yml", cwd=tmp_path)


@NEEDS_PROMTOOL
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    asked = [plain(target["expr"]) for _, panel in panels() for target in panel["targets"]]
    record = {"groups": [{"name": "panels", "rules": [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(asked)]}]}
    (tmp_path / "panels.yml").write_text(yaml.safe_dump(record))
    assert f"{len(asked)} rules found" in promtool("check", "rules", "panels.yml", cwd=tmp_path)
