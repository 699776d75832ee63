"""The Helm chart and the kustomize manifests deploy the same objects, except for the differences listed here."""

import json
import re
from typing import Any

import pytest

from tests.unit.infra.helm.chart import needs_helm, render_chart
from tests.unit.infra.kubernetes.manifests import Manifest, render

pytestmark = needs_helm

# The kustomize manifests, and the values with which the chart deploys the same.
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "base": (("base", "jobs"), {"agent": {"replicas": 1}}),
    "prod": (
        ("overlays/prod",),
        {
            "image": {"repository": "registry.example.org/headrace"},
            "url": "https://ci.example.org",
            "settings": {
                "HEADRACE_TRUSTED_PROXIES": "10.0.0.0/8",
                "HEADRACE_STREAM_REPLICAS": "3",
                "HEADRACE_MAIL_HOST": "smtp.example.org",
                "HEADRACE_MAIL_FROM": "headrace@example.org",
            },
            "nats": {"tls": True},
            "mongodb": {"address": "mongo:27017/?replicaSet=headrace&authSource=admin&tls=true"},
            "tls": {"authoritySecret": "nats-tls"},
            "gateway": {"tlsSecret": "headrace-gateway-tls"},
            "ingress": {"enabled": True, "host": "ci.example.org"},
        },
    ),
}

# Objects that only the manifests have, with the reason.
ONLY_MANIFESTS = {
    "Namespace headrace": "`helm install --create-namespace` creates it",
    "ServiceAccount headrace-migrate": "the migration runs before the chart's objects exist",
    "ServiceAccount default": "Kubernetes creates it, and Helm would not adopt it; pods of jobs do not mount its token",
}
OTHER_GROUPS = ("cert-manager.io",)
SERVERS = ("nats", "mongo")

# Labels and annotations that only the chart sets.
OF_HELM = re.compile(r"helm\.sh/|checksum/|app\.kubernetes\.io/(name|instance|version|managed-by)$")
HASH = re.compile(r"^(headrace-(?:settings|jobs-agent))-[a-z0-9]{10}$")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_chart_deploys_the_objects_of_the_manifests(variant: str) -> None:
    folders, values = VARIANTS[variant]
    wanted = collect([manifest for folder in folders for manifest in render(folder)])
    deployed = collect(render_chart(values))
    assert wanted.keys() - deployed.keys() == set(ONLY_MANIFESTS)
    assert deployed.keys() - wanted.keys() == set()
    for name, manifest in deployed.items():
        assert manifest == wanted[name], name


def collect(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the objects of Headrace by kind and name, normalized, so that equivalent objects are equal."""
    settings = next(item["data"] for item in manifests if item["metadata"]["name"].startswith("headrace-settings"))
    objects = {}
    for manifest in manifests:
        name = HASH.sub(r"\1", manifest["metadata"]["name"])
        is_server = name.startswith(SERVERS)
        if not is_server and not manifest["apiVersion"].startswith(OTHER_GROUPS):
            objects[f"{manifest['kind']} {name}"] = normalize(manifest, settings)
    return objects


def normalize(manifest: Manifest, settings: dict[str, str]) -> Any:
    result = json.loads(json.dumps(manifest))
    metadata = result["metadata"]
    metadata["namespace"] = metadata.get("namespace", "headrace")
    metadata["name"] = HASH.sub(r"\1", metadata["name"])
    for label in ("part-of", "component"):  # these labels are compared on pods only
        metadata.get("labels", {}).pop(f"app.kubernetes.io/{label}", None)
    match result["kind"]:
        case "Deployment" | "Job":
            _normalize_workload(result, settings)
        case "ConfigMap":
            # the chart writes the address of MongoDB into the URL of each process
            result["data"].pop("MONGODB_ADDRESS", None)
            if "settings.json" in result["data"]:
                result["data"] = json.loads(result["data"]["settings.json"])
        case "Service":
            for port in result["spec"]["ports"]:
                port.setdefault("protocol", "TCP")  # Helm 4, which applies objects on the server, needs the protocol
        case "NetworkPolicy" if metadata["name"] in ("headrace-nothing", "headrace-names"):
            # the chart leaves other pods of the namespace alone: the charts of NATS and MongoDB have their own policies
            assert result["spec"].pop("podSelector") in ({}, {"matchLabels": {"app.kubernetes.io/part-of": "headrace"}})
    return _clean(result)


def _normalize_workload(manifest: Manifest, settings: dict[str, str]) -> None:
    spec = manifest["spec"]
    if manifest["kind"] == "Deployment":
        spec.setdefault("replicas", 1)
    else:
        spec.pop("ttlSecondsAfterFinished", None)  # kubectl users delete the Job before they apply it again
    pod = spec["template"]["spec"]
    if manifest["kind"] == "Job":
        pod.pop("serviceAccountName", None)
    for among in ("containers", "initContainers"):
        pod[among] = {item["name"]: item for item in pod.get(among, ())}
        for container in pod[among].values():
            _normalize_container(container, settings)
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = HASH.sub(r"\1", volume["configMap"]["name"])


def _normalize_container(container: Manifest, settings: dict[str, str]) -> None:
    """Replace `env` and `envFrom` with the resulting environment.

    Drop the image's tag and pull policy, and add the default protocol of ports.
    """
    container.pop("imagePullPolicy", None)
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    container["image"] = re.sub(r":[^/:]+$", "", container["image"])
    environment: dict[str, Any] = dict(settings) if container.pop("envFrom", None) else {}
    for variable in container.pop("env", ()):
        source = variable.get("valueFrom", {})
        if "configMapKeyRef" in source:
            environment[variable["name"]] = settings[source["configMapKeyRef"]["key"]]
        else:
            environment[variable["name"]] = variable.get("value", source)
    address = environment.pop("MONGODB_ADDRESS", "")
    if url := environment.get("HEADRACE_MONGODB_URL"):
        environment["HEADRACE_MONGODB_URL"] = url.replace("$(MONGODB_ADDRESS)", address)
    container["environment"] = environment


def _clean(value: Any) -> Any:
    """Return the value without empty fields and without labels and annotations that only the chart sets.

    Sort lists of objects.
    """
    if isinstance(value, dict):
        cleaned = {key: _clean(item) for key, item in value.items() if not OF_HELM.match(key)}
        return {key: item for key, item in cleaned.items() if item not in ({}, [], None)}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return sorted((_clean(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value
