"""Deployments, ports, limits, grace periods and network policies of every process. No cluster is needed."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from agent.executors.docker_network import PRIVATE_NETWORKS
from agent.executors.kubernetes.settings import KubernetesSettings
from gateway.http import server as gateway
from infra.service_catalog import SERVICES
from libs.service import service_host
from libs.settings import Settings
from libs.version import VERSION
from tests.unit.infra.kubernetes.manifests import (
    MANIFESTS,
    OVERLAYS,
    PROCESSES,
    Manifest,
    container_of,
    containers,
    find_manifests,
    shared_settings,
    variables_of,
    workloads,
)


def test_every_manifest_file_is_valid_yaml() -> None:
    files = sorted(MANIFESTS.rglob("*.yaml"))
    assert files
    assert [file.name for file in files if not list(yaml.safe_load_all(file.read_text()))] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_has_its_own_deployment_disruption_budget_and_account(overlay: str) -> None:
    names = {f"headrace-{name}" for name in (*PROCESSES, "agent")}
    assert names <= find_manifests(overlay, "Deployment").keys()
    assert names <= find_manifests(overlay, "PodDisruptionBudget").keys()
    accounts = {pod["serviceAccountName"] for pod in workloads(overlay).values()}
    assert names <= accounts <= find_manifests(overlay, "ServiceAccount").keys()


def test_every_request_handling_process_is_autoscaled_in_production() -> None:
    assert find_manifests("prod", "HorizontalPodAutoscaler").keys() == {f"headrace-{name}" for name in PROCESSES}
    assert [
        manifest["spec"]["minReplicas"] for manifest in find_manifests("prod", "HorizontalPodAutoscaler").values()
    ] == [2] * 6


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_runs_its_command_with_its_own_nats_login(overlay: str, name: str) -> None:
    container = container_of(overlay, name)
    assert container["args"] == (["gateway"] if name == "gateway" else ["service", name])
    assert variables_of(container)["NATS_PASSWORD"] == f"nats-{name}"
    scheme = {"dev": "nats", "prod": "tls"}[overlay]
    assert variables_of(container)["HEADRACE_NATS_URL"] == f"{scheme}://{name}:$(NATS_PASSWORD)@nats:4222"


@pytest.mark.parametrize("name", [*SERVICES, "migrate", "operator"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_with_a_database_has_its_own_mongodb_login(overlay: str, name: str) -> None:
    given = variables_of(container_of(overlay, name))
    user = "migrate" if name == "operator" else name
    assert given["MONGODB_PASSWORD"] == f"mongodb-{user}"
    assert given["HEADRACE_MONGODB_URL"] == f"mongodb://{user}:$(MONGODB_PASSWORD)@$(MONGODB_ADDRESS)"
    # Kubernetes expands only variables that come earlier in the list
    order = list(given)
    assert order.index("HEADRACE_MONGODB_URL") > max(order.index("MONGODB_PASSWORD"), order.index("MONGODB_ADDRESS"))
    assert order.index("HEADRACE_NATS_URL") > order.index("NATS_PASSWORD")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_replica_set_gets_the_user_of_every_process(overlay: str) -> None:
    [container] = workloads(overlay)["mongo-initiate"]["containers"]
    given = {name: key for name, key in variables_of(container).items() if key.startswith("mongodb-")}
    assert given == {"ROOT": "mongodb-password"} | {name: f"mongodb-{name}" for name in (*SERVICES, "migrate")}
    assert json.dumps(SERVICES) in container["args"][0]


def test_production_runs_this_release() -> None:
    images = {
        container["image"].rpartition(":")
        for container_name, container in containers("prod")
        if "headrace-" in container_name
    }
    assert images == {("registry.example.org/headrace", ":", VERSION)}


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_container_ports_and_probes_match_the_process(overlay: str, name: str) -> None:
    container = container_of(overlay, name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["health"]) == shared_settings(overlay)["HEADRACE_HEALTH_PORT"]
    assert ports.get("http", Settings().port) == Settings().port
    probes = [container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [
        ("/healthz", "health"),
        ("/healthz", "health"),
        ("/readyz", "health"),
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_termination_grace_periods_cover_the_shutdown_timeouts(overlay: str) -> None:
    pods = workloads(overlay)
    grace = {name: pod.get("terminationGracePeriodSeconds", 30) for name, pod in pods.items()}
    assert min(grace[f"headrace-{name}"] for name in SERVICES) >= service_host.SHUTDOWN_TIMEOUT_SECONDS * 2
    drain_seconds = float(variables_of(container_of(overlay, "gateway"))["HEADRACE_LEAVE_SECONDS"])
    assert grace["headrace-gateway"] >= drain_seconds + gateway.SHUTDOWN_TIMEOUT_SECONDS * 2
    [agent_grace] = re.findall(r"--grace=(\d+)", " ".join(container_of(overlay, "agent")["args"]))
    assert grace["headrace-agent"] >= Settings().long_poll_seconds + int(agent_grace) + 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_unprivileged_and_has_resource_limits(overlay: str) -> None:
    with_token = [name for name, pod in workloads(overlay).items() if pod["automountServiceAccountToken"]]
    assert with_token == ["headrace-agent"]
    pods = workloads(overlay).values()
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)
    assert {pod["securityContext"]["seccompProfile"]["type"] for pod in pods} == {"RuntimeDefault"}
    all_containers = [container for _, container in containers(overlay)]
    context = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert [item["securityContext"] for item in all_containers] == [context] * len(all_containers)
    assert all({"cpu", "memory"} <= item["resources"]["requests"].keys() for item in all_containers)
    assert all("memory" in item["resources"]["limits"] for item in all_containers)
    assert [item["image"] for item in all_containers if ":" not in item["image"]] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_deny_all_but_listed_traffic(overlay: str) -> None:
    policies = find_manifests(overlay, "NetworkPolicy")
    del policies["headrace-jobs"]  # applies to another namespace
    deny_all = policies.pop("headrace-nothing")["spec"]
    assert deny_all == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    selected = {
        name for manifest in policies.values() for name in _selected_components(manifest["spec"]["podSelector"])
    }
    peers = {name for manifest in policies.values() for name in _peer_components(manifest["spec"])}
    components = {
        manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for manifest in find_manifests(overlay, "Deployment", "StatefulSet", "Job").values()
    }
    assert selected == components
    assert peers <= components


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_jobs_have_a_namespace_without_tokens_private_networks_and_incoming_connections(overlay: str) -> None:
    policy = find_manifests(overlay, "NetworkPolicy")["headrace-jobs"]
    assert policy["metadata"]["namespace"] == KubernetesSettings().namespace
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    open_blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ports" not in rule]
    assert [block["cidr"] for block in open_blocks] == ["0.0.0.0/0", "::/0"]
    assert {network for block in open_blocks for network in block["except"]} == set(PRIVATE_NETWORKS)
    account = find_manifests(overlay, "ServiceAccount")["default"]
    assert account["metadata"]["namespace"] == KubernetesSettings().namespace
    assert account["automountServiceAccountToken"] is False
    namespace = find_manifests(overlay, "Namespace")[KubernetesSettings().namespace]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_agent_may_use_pods_of_the_jobs_namespace_and_nothing_else(overlay: str) -> None:
    [role] = find_manifests(overlay, "Role", "ClusterRole").values()
    [binding] = find_manifests(overlay, "RoleBinding", "ClusterRoleBinding").values()
    assert {manifest["metadata"]["namespace"] for manifest in (role, binding)} == {KubernetesSettings().namespace}
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"pods", "pods/exec", "pods/log"}
    assert "*" not in str(role["rules"])
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "headrace-agent", "namespace": "headrace"}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    settings = json.loads((MANIFESTS / "base" / "agent" / "settings.json").read_text())
    assert KubernetesSettings(**settings["kubernetes"]).namespace == role["metadata"]["namespace"]


def _selected_components(selector: Manifest) -> Iterator[str]:
    yield from selector.get("matchLabels", {}).values()
    for expression in selector.get("matchExpressions", ()):
        yield from expression["values"]


def _peer_components(spec: Manifest) -> Iterator[str]:
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for peer in (*rule.get("from", ()), *rule.get("to", ())):
            yield from _selected_components(peer.get("podSelector", {}))
