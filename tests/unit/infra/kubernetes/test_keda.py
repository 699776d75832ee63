"""The KEDA component, which scales the deployments by the amount of waiting work."""

import re
from pathlib import Path

import yaml

from services.builds.app import service as builds
from tests.unit.infra.kubernetes.manifests import (
    MANIFESTS,
    PROCESSES,
    ROOT,
    Manifest,
    render_with_component,
)

MEASURES = re.compile(r"headrace_\w+")


def test_keda_triggers_use_existing_consumers_and_metrics() -> None:
    [trigger, *_] = _scaled("builds.yaml")["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == builds.name
    assert trigger["metadata"]["consumer"] in {worker.consumer_name(builds.name) for worker in builds.workers}
    [trigger] = _scaled("agent.yaml")["spec"]["triggers"]
    measured = "".join(file.read_text() for file in (ROOT / "services" / "builds").glob("*.py"))
    assert MEASURES.findall(trigger["metadata"]["query"])
    assert [name for name in MEASURES.findall(trigger["metadata"]["query"]) if f'"{name}"' not in measured] == []


def test_keda_replaces_the_autoscaler_of_builds(tmp_path: Path) -> None:
    manifests = render_with_component(tmp_path, "prod", "keda")
    scaled = [item["metadata"]["name"] for item in manifests if item["kind"] == "ScaledObject"]
    by_cpu = [item["metadata"]["name"] for item in manifests if item["kind"] == "HorizontalPodAutoscaler"]
    assert sorted(scaled) == ["headrace-agent", "headrace-builds"]
    assert sorted(by_cpu) == sorted(f"headrace-{name}" for name in PROCESSES if name != "builds")


def _scaled(file: str) -> Manifest:
    return dict(yaml.safe_load((MANIFESTS / "components" / "keda" / file).read_text()))
