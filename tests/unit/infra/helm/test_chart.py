"""The objects that the Helm chart creates for given values. `helm lint` and `helm template` need no cluster."""

from typing import Any

import pytest
import yaml

from libs.version import VERSION
from tests.unit.infra.helm.chart import CHART, COMPLETE, find_objects, needs_helm, render_chart, run_helm
from tests.unit.infra.kubernetes.manifests import PROCESSES, ROOT, pod_specs

pytestmark = needs_helm

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("values", [{}, COMPLETE], ids=["default", "complete"])
def test_lint_finds_nothing(values: dict[str, Any]) -> None:
    result = run_helm("lint", str(CHART), "--strict", "--quiet", values=values)
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


def test_helm_applies_the_schema_of_the_values() -> None:
    result = run_helm("template", "headrace", str(CHART), values={"imagee": {}})
    assert result.returncode != 0
    assert "imagee" in result.stderr


def test_the_migration_is_a_hook_that_can_run_again() -> None:
    job = find_objects(render_chart(), "Job")["headrace-migrate"]
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",  # a GitOps tool runs it at every synchronization
        # without this policy, the second run would fail: Jobs are immutable
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }


def test_the_migration_needs_nothing_that_is_created_after_it() -> None:
    for values in ({}, COMPLETE):
        job = find_objects(render_chart(values), "Job")["headrace-migrate"]
        pod = job["spec"]["template"]["spec"]
        assert [word for word in ("configMap", "serviceAccountName") if word in str(pod)] == []
        secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert secrets == ({"nats-tls"} if values else set())


def test_without_options_no_kind_needs_an_extension_of_the_cluster() -> None:
    groups = {manifest["apiVersion"].rpartition("/")[0] for manifest in render_chart()}
    assert groups == {"", "apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
    assert find_objects(render_chart(), "Ingress") == {}
    assert find_objects(render_chart(), "Secret") == {}


def test_images_have_the_release_as_their_tag_or_a_digest() -> None:
    for values, image in (
        ({}, f"headrace:{VERSION}"),
        ({"image": {"repository": "r.example.org/h", "tag": "1"}}, "r.example.org/h:1"),
        ({"image": {"tag": "1", "digest": DIGEST}}, f"headrace@{DIGEST}"),
    ):
        pods = pod_specs(render_chart(values)).values()
        images = {item["image"] for pod in pods for item in (*pod.get("initContainers", ()), *pod["containers"])}
        assert images == {image}


def test_scheduling_applies_to_every_pod() -> None:
    for pod in pod_specs(render_chart(COMPLETE)).values():
        assert pod["nodeSelector"] == COMPLETE["nodeSelector"]
        assert pod["tolerations"] == COMPLETE["tolerations"]
        assert pod["priorityClassName"] == COMPLETE["priorityClassName"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_replicas_are_set_only_without_an_autoscaler() -> None:
    for values, scaled in (
        ({}, set(PROCESSES)),
        ({"processes": {"builds": {"autoscaling": False, "replicas": 5}}}, set(PROCESSES) - {"builds"}),
        ({"autoscaling": {"enabled": False}}, set()),
    ):
        manifests = render_chart(values)
        assert find_objects(manifests, "HorizontalPodAutoscaler").keys() == {f"headrace-{name}" for name in scaled}
        fixed = {
            name
            for name in PROCESSES
            if "replicas" in find_objects(manifests, "Deployment")[f"headrace-{name}"]["spec"]
        }
        assert fixed == set(PROCESSES) - scaled


def test_parts_can_be_left_out() -> None:
    off = {"enabled": False}
    values = {"agent": off, "operator": off, "migration": off, "networkPolicy": off, "jobs": {"create": False}}
    manifests = render_chart(values)
    assert find_objects(manifests, "Deployment").keys() == {f"headrace-{name}" for name in PROCESSES}
    assert {manifest["kind"] for manifest in manifests} == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service", "ServiceAccount",
    }  # fmt: skip


def test_the_route_of_the_gateway_api_has_no_time_limit_and_leads_to_the_service() -> None:
    for values, port in ((COMPLETE, 443), (COMPLETE | {"gateway": {}}, 80)):
        [route] = find_objects(render_chart(values), "HTTPRoute").values()
        [service] = find_objects(render_chart(values), "Service")["headrace-gateway"]["spec"]["ports"]
        [rule] = route["spec"]["rules"]
        assert rule["timeouts"] == {"request": "0s"}
        assert rule["backendRefs"] == [{"name": "headrace-gateway", "port": port}]
        assert service["port"] == port
        assert (route["spec"]["parentRefs"], route["spec"]["hostnames"]) == ([{"name": "public"}], ["ci.example.org"])


def test_the_monitor_selects_the_service_of_the_metrics() -> None:
    manifests = render_chart(COMPLETE)
    [monitor] = find_objects(manifests, "ServiceMonitor").values()
    service = find_objects(manifests, "Service")["headrace-metrics"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    others = find_objects(manifests, "Service")["headrace-gateway"]["metadata"]["labels"]
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= others.items()
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["honorLabels"] is True
    assert set(endpoint["relabelings"][0]["regex"].split("|")) == set(PROCESSES)
    # the alert rules select the job by this name
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "headrace"
    pods = find_objects(manifests, "Deployment")
    for name in PROCESSES:
        template = pods[f"headrace-{name}"]["spec"]["template"]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        [container] = template["spec"]["containers"]
        assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}


def test_the_rules_of_prometheus_are_the_alerts_of_the_repository() -> None:
    [rule] = find_objects(render_chart(COMPLETE), "PrometheusRule").values()
    assert rule["spec"] == yaml.safe_load((ROOT / "infra" / "observability" / "alerts.yml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_a_changed_setting_restarts_every_process() -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        return {
            name: manifest["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for name, manifest in find_objects(render_chart(values), "Deployment").items()
        }

    before, after = checksums({}), checksums({"settings": {"HEADRACE_LOG_FORMAT": "text"}})
    assert {name for name in before if before[name] == after[name]} == {"headrace-agent"}
