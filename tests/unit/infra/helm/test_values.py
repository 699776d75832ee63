"""The schema of the chart's values, and the examples for other charts and operators. Helm is not needed."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest
import yaml

from infra.sbom.__main__ import to_semantic_version
from infra.service_catalog import SERVICES
from libs.version import VERSION
from tests.unit.infra.helm.chart import CHART, COMPLETE, EXAMPLES, default_values, read_example
from tests.unit.infra.kubernetes.manifests import MANIFESTS, ROOT

VALIDATOR = jsonschema_rs.validator_for(json.loads((CHART / "values.schema.json").read_text()))


def merged(change: dict[str, Any], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the default values with a change, as Helm merges them."""
    result = default_values() if values is None else dict(values)
    for key, value in change.items():
        isolated = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(value, result[key]) if isolated else value
    return result


def test_the_default_values_and_complete_ones_match_the_schema() -> None:
    VALIDATOR.validate(default_values())
    VALIDATOR.validate(merged(COMPLETE))
    amounts = {"requests": {"cpu": 1, "memory": "1.5Gi"}, "limits": {"cpu": 2.5, "memory": "2Gi"}}
    VALIDATOR.validate(merged({"processes": {"builds": {"resources": amounts}}, "jobs": {"quota": {"pods": 50}}}))


@pytest.mark.parametrize(
    "change",
    [
        {"imagee": {}},
        {"image": {"digest": "latest"}},
        {"url": "ci.example.org"},
        {"secretName": ""},
        {"nats": {"servers": "nats://a:4222"}},
        {"nats": {"servers": "user:password@a:4222"}},
        {"mongodb": {"address": "mongo:27017"}},
        {"mongodb": {"address": "user:password@mongo:27017/?replicaSet=headrace"}},
        {"settings": {"HEADRACE_STREAM_REPLICAS": 3}},
        {"settings": {"STREAM_REPLICAS": "3"}},
        {"settings": {"HEADRACE_URL": "https://ci.example.org"}},  # the chart sets it from `url`
        {"processes": {"gatewy": {"replicas": 3}}},
        {"processes": {"gateway": {"replica": 3}}},
        {"processes": {"gateway": {"resources": {"limits": None}}}},
        {"jobs": {"podSecurity": "privileged"}},
        {"ingress": {"enabled": True}},
        {"httpRoute": {"enabled": True}},
        {"networkPolicy": {"mailPorts": []}},
        {"networkPolicy": {"nats": []}},
    ],
    ids=str,
)
def test_wrong_values_are_rejected(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(merged(change))


@pytest.mark.parametrize("name", ["MASTER_KEY", "ADMIN_PASSWORD", "REGISTRATION_TOKEN", "S3_SECRET_KEY", "NATS_URL"])
def test_secrets_are_rejected_among_the_settings(name: str) -> None:
    assert not VALIDATOR.is_valid(merged({"settings": {f"HEADRACE_{name}": "x"}}))


def test_the_chart_and_its_image_have_the_version_of_the_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION
    assert chart["version"] == to_semantic_version(VERSION)


def test_the_alert_rules_of_the_chart_are_those_of_the_repository() -> None:
    source = ROOT / "infra" / "observability" / "alerts.yml"
    assert (CHART / "files" / "alerts.yml").read_text() == source.read_text(), "run `make docs`"


def test_the_mongodb_example_has_every_user_with_the_rights_of_the_deployment() -> None:
    spec = read_example("mongodb.yaml")["spec"]
    assert {user["name"]: user["passwordSecretRef"] for user in spec["users"]} == {
        name: {"name": "headrace-secrets", "key": f"mongodb-{name}"} for name in (*SERVICES, "migrate")
    }
    databases = {user["name"]: [role["db"] for role in user["roles"]] for user in spec["users"]}
    assert databases == {name: [f"headrace_{name}"] for name in SERVICES} | {
        "migrate": [f"headrace_{name}" for name in SERVICES]
    }
    assert {(user["db"], role["name"]) for user in spec["users"] for role in user["roles"]} == {("admin", "readWrite")}
    assert spec["additionalMongodConfig"] == {"setParameter.transactionLifetimeLimitSeconds": 3}


def test_the_nats_example_sets_every_password_of_the_configuration() -> None:
    wanted = set(re.findall(r"\$(HEADRACE_NATS_PASSWORD_\w+)", (ROOT / "infra" / "nats" / "nats.conf").read_text()))
    given = read_example("nats-values.yaml")["container"]["env"]
    assert given.keys() == wanted
    keys = {name: value["valueFrom"]["secretKeyRef"]["key"] for name, value in given.items()}
    assert keys == {name: f"nats-{name.rpartition('_')[2].lower()}" for name in wanted}


def test_the_examples_use_the_secret_of_the_chart() -> None:
    secret_script = (MANIFESTS / "overlays" / "prod" / "secret.sh").read_text()
    text = "".join(file.read_text() for file in sorted(EXAMPLES.iterdir()))
    assert read_example("external-secret.yaml")["spec"]["target"]["name"] == default_values()["secretName"]
    assert [key for key in re.findall(r"key: ((?:nats|mongodb)-\w+)", text) if f"  {key}: " not in secret_script] == []
