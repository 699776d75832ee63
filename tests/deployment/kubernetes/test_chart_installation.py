"""The Helm chart on a cluster: installed, and upgraded with and without a change.

`make kube-test` uses KUBECONFIG and two namespaces of this test. NATS and MongoDB come from `infra/k8s/servers`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.kubernetes import cluster
from tests.support.helm_program import find_helm

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "infra" / "k8s"
CHART = Path(os.environ.get("HEADRACE_KUBE_CHART", ROOT / "infra" / "helm" / "headrace"))
NAMESPACE = "headrace-chart"
JOBS_NAMESPACE = "headrace-chart-jobs"
PROCESSES = ("identity", "projects", "builds", "runners", "notifications", "gateway")
SMALL = {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}}
VALUES = {
    "image": {"tag": "dev"},
    "autoscaling": {"enabled": False},
    "processes": {name: {"replicas": 1, "resources": SMALL} for name in PROCESSES},
    "gateway": {"leaveSeconds": 5},
    "agent": {"replicas": 1, "graceSeconds": 20, "resources": SMALL},
    "jobs": {"namespace": JOBS_NAMESPACE},
    "migration": {"resources": SMALL},
    "operator": {"replicas": 1, "resources": SMALL},
}
REQUEST = "import urllib.request; print(urllib.request.urlopen('http://headrace-gateway/readyz').read().decode())"

reason = cluster.find_skip_reason() or ("" if find_helm() else "helm is not installed; `make kube-test` installs it")
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.timeout(3600)]


def kubectl(*arguments: str, check: bool = True) -> str:
    return cluster.kubectl(*arguments, check=check, namespace=NAMESPACE)


def upgrade(values: dict[str, Any]) -> None:
    """Install or upgrade the chart, and wait until all its pods are ready."""
    command = [str(find_helm()), "upgrade", "--install", "headrace", str(CHART), "--namespace", NAMESPACE, "--wait"]
    result = subprocess.run(
        [*command, "--timeout", f"{cluster.ROLLOUT_TIMEOUT}s", "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=cluster.ROLLOUT_TIMEOUT * 2,
    )
    assert result.returncode == 0, result.stderr + kubectl("get", "pods", check=False)


def servers_overlay(folder: Path) -> Path:
    """Write an overlay with NATS, MongoDB and the development Secret in the namespace of this test."""
    dev = yaml.safe_load((MANIFESTS / "overlays" / "dev" / "kustomization.yaml").read_text())
    [secret] = dev["secretGenerator"]
    images = {
        name: os.environ.get(f"{name.upper()}_IMAGE") or default
        for name, default in (("mongo", "mongo:7.0"), ("nats", "nats:2.15"))
    }
    overlay = {
        "namespace": NAMESPACE,
        "resources": [os.path.relpath(MANIFESTS / "servers" / name, folder.resolve()) for name in ("nats", "mongo")],
        "images": [
            {"name": name, "newName": image.rpartition(":")[0], "newTag": image.rpartition(":")[2]}
            for name, image in images.items()
        ],
        "secretGenerator": [secret | {"namespace": NAMESPACE}],
        "generatorOptions": {"disableNameSuffixHash": True},
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    cluster.kubectl("create", "namespace", NAMESPACE, namespace="")
    try:
        kubectl("apply", "--kustomize", str(servers_overlay(tmp_path_factory.mktemp("servers"))))
        upgrade(VALUES)
        yield
    finally:
        subprocess.run([str(find_helm()), "uninstall", "headrace", "--namespace", NAMESPACE], timeout=300, check=False)
        cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=300s", namespace="")


def read_migration() -> tuple[str, str]:
    """Return the id of the migration's Job, and its log."""
    return kubectl("get", "job", "headrace-migrate", "--output=jsonpath={.metadata.uid}"), kubectl(
        "logs", "job/headrace-migrate"
    )


def pod_names(component: str) -> set[str]:
    selector = f"--selector=app.kubernetes.io/component={component}"
    pods = json.loads(kubectl("get", "pods", selector, "--output=json"))["items"]
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def test_the_installed_gateway_is_ready_and_the_agent_is_registered() -> None:
    response = kubectl("exec", "deployment/headrace-operator", "--", "python", "-c", REQUEST)
    assert json.loads(response) == {"ready": True, "reasons": {}}
    assert "Registered as runner" in kubectl("logs", "deployment/headrace-agent", "--container=register")


def test_an_upgrade_without_a_change_repeats_the_migration_and_restarts_nothing() -> None:
    upgrade(VALUES)
    before, pods = read_migration(), pod_names("builds")
    upgrade(VALUES)
    after = read_migration()
    assert after[0] != before[0]
    assert "in place" in after[1]
    assert [line for line in after[1].splitlines() if "made" in line or "rows" in line] == []
    assert pod_names("builds") == pods


def test_a_changed_setting_restarts_the_processes() -> None:
    upgrade(VALUES)
    before = {name: pod_names(name) for name in PROCESSES}
    upgrade(VALUES | {"settings": {"HEADRACE_LOG_FORMAT": "text"}})
    assert [name for name in PROCESSES if before[name] & pod_names(name)] == []
    response = kubectl("exec", "deployment/headrace-operator", "--", "python", "-c", REQUEST)
    assert json.loads(response)["ready"] is True
