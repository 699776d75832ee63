"""The Helm chart, rendered with `helm template` or linted with `helm lint`."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.helm_program import find_helm
from tests.unit.infra.kubernetes.manifests import ROOT, Manifest

CHART = ROOT / "infra" / "helm" / "headrace"
EXAMPLES = ROOT / "infra" / "helm" / "examples"
HELM = find_helm()

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed; `make test` installs it on Linux (x86-64)")

# Values with which the chart creates every kind of object that it can create.
COMPLETE = {
    "url": "https://ci.example.org",
    "image": {"repository": "registry.example.org/headrace"},
    "imagePullSecrets": ["registry"],
    "nats": {"servers": "a:4222,b:4222", "tls": True},
    "tls": {"authoritySecret": "nats-tls"},
    "settings": {"HEADRACE_STREAM_REPLICAS": "3"},
    "gateway": {"tlsSecret": "headrace-gateway-tls"},
    "ingress": {"enabled": True, "host": "ci.example.org"},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["ci.example.org"]},
    "monitoring": {"serviceMonitor": True, "prometheusRule": True, "labels": {"release": "prometheus"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "ci", "operator": "Exists"}],
    "priorityClassName": "high",
}


def default_values() -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


def run_helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(HELM), *arguments, "--values", "-"]
    return subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, timeout=60)


def render_chart(values: dict[str, Any] | None = None) -> list[Manifest]:
    return _render(json.dumps(values or {}))


@functools.cache
def _render(values: str) -> list[Manifest]:
    result = run_helm("template", "headrace", str(CHART), "--namespace", "headrace", values=json.loads(values))
    assert result.returncode == 0, result.stderr
    return [manifest for manifest in yaml.load_all(result.stdout, yaml.CSafeLoader) if manifest]


def find_objects(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def read_example(name: str) -> Any:
    return yaml.safe_load(Path(EXAMPLES / name).read_text())
