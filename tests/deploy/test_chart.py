"""The Helm chart: rendered by Helm's own engine, each manifest held against Kubernetes' schemas, and what must be in them."""

import re
from typing import Any

import pytest
import yaml

from neuroroute.core import settings
from tests.deploy.image import ROOT, UID

helm = pytest.importorskip("helm_python", reason="no wheel of Helm's engine for this platform")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

CHART = ROOT / "deploy" / "helm"
SECRETS = {"DATABASE_URL": "postgresql://db/nr", "REDIS_URL": "redis://kv/0", "NEUROROUTE_SECRET_KEY": "s", "OPENAI_API_KEY": "k"}
ALL_ON: dict[str, Any] = {
    "secrets": SECRETS, "configFile": "cache: {ttl_s: 60}\n", "ingress": {"enabled": True, "host": "llm.example.com", "tlsSecret": "tls"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "podAnnotations": {"a": "b"}, "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "x", "operator": "Exists"}], "imagePullSecrets": [{"name": "pull"}],
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}]},
}  # fmt: skip
FILES = {name: yaml.safe_load((CHART / f"values-{name}.yaml").read_text()) for name in ("staging", "prod")}
CASES = {
    "all-on": ALL_ON,
    "staging": FILES["staging"] | {"existingSecret": "nr"},
    "prod": FILES["prod"] | {"existingSecret": "nr"},
    "all-off": {"existingSecret": "nr", "autoscaling": {"enabled": False}, "podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}},
}  # fmt: skip


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    with helm.Chart.load(str(CHART)) as chart:
        found = chart.render(values=values, name="neuroroute", namespace="llm")
    texts = found.values() if isinstance(found, dict) else [found]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def of(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    (found,) = [document for document in render(values) if document["kind"] == kind]
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_every_manifest_fits_the_schema(case, version):
    documents = render(CASES[case])
    assert len(documents) >= 3
    for document in documents:
        if document["kind"] == "ServiceMonitor":
            assert document["spec"]["endpoints"][0]["port"] == "http"  # a schema of its own, which is not among Kubernetes'
            continue
        kubernetes_validate.validate(document, version, strict=True)


def test_all_that_was_promised_is_there():
    assert {document["kind"] for document in render(ALL_ON)} == {
        "ConfigMap", "Secret", "Deployment", "Service", "Ingress", "ServiceMonitor", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
    }  # fmt: skip
    assert {document["kind"] for document in render(CASES["all-off"])} == {"ConfigMap", "Deployment", "Service"}


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL", "NEUROROUTE_SECRET_KEY"])
def test_a_missing_secret_is_told(missing):
    with pytest.raises(helm.HelmError, match=missing):
        render({"secrets": {name: value for name, value in SECRETS.items() if name != missing}})


def test_no_pod_leaves_before_its_successor_is_ready_and_calls_end_in_peace():
    spec = of("Deployment", ALL_ON)["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in spec  # the autoscaler's
    pod = spec["template"]["spec"]
    (gateway,) = pod["containers"]
    grace_s = int(next(entry["value"] for entry in gateway["env"] if entry["name"] == "SHUTDOWN_GRACE_S"))
    wait_s = int(gateway["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > grace_s + wait_s
    assert {gateway[probe]["httpGet"]["path"] for probe in ("livenessProbe", "startupProbe")} == {"/health/live"}
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/health/ready"


@pytest.mark.parametrize(
    ("values", "secret"),
    [
        ({}, None),
        ({"secrets": SECRETS | {"METRICS_TOKEN": "t"}}, {"name": "neuroroute", "key": "METRICS_TOKEN"}),
        ({"existingSecret": "nr", "serviceMonitor": {"enabled": True, "token": "SCRAPE"}}, {"name": "nr", "key": "SCRAPE"}),
        ({"existingSecret": "nr"}, None),
    ],
)
def test_prometheus_brings_the_token_that_the_metrics_ask_for(values, secret):
    (endpoint,) = of("ServiceMonitor", ALL_ON | values)["spec"]["endpoints"]
    assert endpoint.get("authorization") == (None if secret is None else {"type": "Bearer", "credentials": secret})


def test_the_pod_may_do_as_little_as_the_image_needs():
    pod = of("Deployment", ALL_ON)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == UID and pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert pod["containers"][0]["securityContext"] == {
        "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_every_variable_is_a_setting():
    known = {entry.variable for entry in settings.table()}
    gateway = of("Deployment", ALL_ON)["spec"]["template"]["spec"]["containers"][0]
    named = {entry["name"] for entry in gateway["env"]} | set(yaml.safe_load((CHART / "values.yaml").read_text())["config"])
    text = (CHART / "values.yaml").read_text()
    named |= set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text))
    assert named <= known


def test_a_changed_setting_rolls_the_pods():
    def checksum(level: str) -> str:
        found: str = of("Deployment", ALL_ON | {"config": {"LOG_LEVEL": level}})["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]
        return found

    assert checksum("info") != checksum("debug")


def test_bad_values_are_refused():
    with pytest.raises(helm.HelmError):
        render(ALL_ON | {"config": {"WORKERS": 2}})
