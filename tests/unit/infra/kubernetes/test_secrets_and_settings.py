"""Secrets and settings in the Kubernetes manifests."""

import re

import pytest

from infra.service_catalog import SERVICES
from libs.settings import variables
from tests.unit.infra.kubernetes.manifests import (
    MANIFESTS,
    OVERLAYS,
    PROCESSES,
    ROOT,
    containers,
    find_manifests,
    shared_settings,
    variables_of,
    workloads,
)


def variables_of_the_product() -> set[str]:
    sources = [file.read_text() for folder in ("libs", "agent") for file in (ROOT / folder).rglob("*.py")]
    read_elsewhere = {name for text in sources for name in re.findall(r"\"((?:HEADRACE|OTEL)_[A-Z0-9_]+)\"", text)}
    return {name for name, _ in variables()} | read_elsewhere


def secret_keys(overlay: str) -> set[str]:
    taken = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for _, container in containers(overlay)
        for variable in container.get("env", ())
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    return taken | {
        item["key"]
        for pod in workloads(overlay).values()
        for volume in pod.get("volumes", ())
        if volume.get("secret", {}).get("secretName", "").startswith("headrace-secrets")
        for item in volume["secret"].get("items", ())
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_environment_variable_is_read_by_the_product(overlay: str) -> None:
    given = {
        name
        for container_name, container in containers(overlay)
        if "headrace" in container_name
        for name in variables_of(container)
    }
    assert {*given, *shared_settings(overlay)} - {
        "NATS_PASSWORD",
        "MONGODB_PASSWORD",
        "MONGODB_ADDRESS",
        "POD",
    } <= variables_of_the_product()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_hold_only_the_secrets_they_need(overlay: str) -> None:
    holders: dict[str, set[str]] = {}
    for container_name, container in containers(overlay):
        for key in variables_of(container).values():
            holders.setdefault(key, set()).add(container_name)
    stored = {f"headrace-{name}/headrace" for name in (*SERVICES, "migrate", "operator")}
    assert holders["master-key"] == stored
    assert holders["mongodb-password"] == {"mongo/mongo", "mongo-initiate/initiate"}
    for name in SERVICES:
        assert holders[f"mongodb-{name}"] == {f"headrace-{name}/headrace", "mongo-initiate/initiate"}
    assert holders["admin-password"] == {"headrace-identity/headrace"}
    assert holders["registration-token"] == {"headrace-runners/headrace", "headrace-agent/register"}
    assert holders["mail-password"] == {"headrace-notifications/headrace"}
    assert holders["oidc-client-secret"] == {"headrace-identity/headrace"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_key_is_generated_and_documented(overlay: str) -> None:
    described = (ROOT / "docs" / "operating" / "deploying.md").read_text()
    secret_script = (MANIFESTS / "overlays" / "prod" / "secret.sh").read_text()
    keys = secret_keys(overlay)
    assert [
        key for key in keys if f"`{key}`" not in described and f"`{key.partition('-')[0]}-…`" not in described
    ] == []
    assert [key for key in keys if f"  {key}: " not in secret_script] == []


def test_the_development_secret_has_every_required_key() -> None:
    [secret] = find_manifests("dev", "Secret").values()
    assert (
        secret_keys("dev") - {"mail-password", "oidc-client-secret", "s3-access-key", "s3-secret-key", "backup-key"}
        <= secret["data"].keys()
    )


def test_the_production_overlay_contains_no_secret() -> None:
    assert find_manifests("prod", "Secret") == {}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nats_gets_every_password_of_its_configuration(overlay: str) -> None:
    maps = {
        name: manifest for name, manifest in find_manifests(overlay, "ConfigMap").items() if name.startswith("nats-")
    }
    text = "".join(text for manifest in maps.values() for text in manifest["data"].values())
    [container] = workloads(overlay)["nats"]["containers"]
    variables = set(re.findall(r"\$([A-Z][A-Z0-9_]*)\b(?!\.)", text)) - {"JS", "KV", "SYS", "SRV", "MQTT", "O", "G"}
    assert variables <= variables_of(container).keys()
    assert {f"HEADRACE_NATS_PASSWORD_{name.upper()}" for name in PROCESSES} <= variables
