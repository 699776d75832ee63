"""The Kubernetes manifests match the product. They are rendered by kubectl; no cluster is needed."""

import base64
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.http import server as gateway
from infra.service_catalog import SERVICES
from libs.service import service_host
from libs.settings import Settings
from libs.version import VERSION
from services.builds.app import service as builds

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "infra" / "k8s"
OVERLAYS = ("dev", "prod")
PROCESSES = (*SERVICES, "gateway")
MEASURES = re.compile(r"headrace_\w+")

Manifest = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl renders the overlays; it is missing"
)


@functools.cache
def rendered(folder: str | Path) -> list[Manifest]:
    command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def of_kind(overlay: str, *kinds: str) -> dict[str, Manifest]:
    return {
        manifest["metadata"]["name"]: manifest
        for manifest in rendered(f"overlays/{overlay}")
        if manifest["kind"] in kinds
    }


def workloads(overlay: str) -> dict[str, Manifest]:
    """Return the pod specifications by workload name."""
    found = of_kind(overlay, "Deployment", "StatefulSet", "Job")
    return {name: manifest["spec"]["template"]["spec"] for name, manifest in found.items()}


def containers(overlay: str) -> Iterator[tuple[str, Manifest]]:
    for name, pod in workloads(overlay).items():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container


def process(overlay: str, name: str) -> Manifest:
    [container] = workloads(overlay)[f"headrace-{name}"]["containers"]
    return dict(container)


def environment(container: Manifest) -> dict[str, Any]:
    """Return the variables of a container; those from a secret have its key as value."""
    return {
        variable["name"]: variable.get("value") or _source(variable["valueFrom"])
        for variable in container.get("env", ())
    }


def _source(source: Manifest) -> str:
    return str(source["secretKeyRef"]["key"] if "secretKeyRef" in source else source["fieldRef"]["fieldPath"])


def settings(overlay: str) -> dict[str, str]:
    [found] = [
        manifest["data"]
        for name, manifest in of_kind(overlay, "ConfigMap").items()
        if name.startswith("headrace-settings")
    ]
    return dict(found)


def variables_of_the_product() -> set[str]:
    sources = [file.read_text() for folder in ("libs", "agent") for file in (ROOT / folder).rglob("*.py")]
    return {name for text in sources for name in re.findall(r"\"((?:HEADRACE|OTEL)_[A-Z0-9_]+)\"", text)}


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
        for item in volume.get("secret", {}).get("items", ())
    }


def test_every_manifest_file_is_valid_yaml() -> None:
    files = sorted(MANIFESTS.rglob("*.yaml"))
    assert files
    assert [file.name for file in files if not list(yaml.safe_load_all(file.read_text()))] == []


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_has_its_own_deployment_disruption_budget_and_account(overlay: str) -> None:
    names = {f"headrace-{name}" for name in (*PROCESSES, "agent")}
    assert names <= of_kind(overlay, "Deployment").keys()
    assert names <= of_kind(overlay, "PodDisruptionBudget").keys()
    accounts = {pod["serviceAccountName"] for pod in workloads(overlay).values()}
    assert names <= accounts <= of_kind(overlay, "ServiceAccount").keys()


@needs_kubectl
def test_every_request_handling_process_is_autoscaled_in_production() -> None:
    assert of_kind("prod", "HorizontalPodAutoscaler").keys() == {f"headrace-{name}" for name in PROCESSES}
    assert [manifest["spec"]["minReplicas"] for manifest in of_kind("prod", "HorizontalPodAutoscaler").values()] == [
        2
    ] * 6


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_environment_variable_is_read_by_the_product(overlay: str) -> None:
    given = {
        name
        for container_name, container in containers(overlay)
        if "headrace" in container_name
        for name in environment(container)
    }
    assert {*given, *settings(overlay)} - {"NATS_PASSWORD", "POD"} <= variables_of_the_product()


@needs_kubectl
@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_runs_its_command_with_its_own_nats_login(overlay: str, name: str) -> None:
    container = process(overlay, name)
    assert container["args"] == (["gateway"] if name == "gateway" else ["service", name])
    assert environment(container)["NATS_PASSWORD"] == f"nats-{name}"
    assert environment(container)["HEADRACE_NATS_URL"] == f"nats://{name}:$(NATS_PASSWORD)@nats:4222"


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_hold_only_the_secrets_they_need(overlay: str) -> None:
    holders: dict[str, set[str]] = {}
    for container_name, container in containers(overlay):
        for key in environment(container).values():
            holders.setdefault(key, set()).add(container_name)
    stored = {f"headrace-{name}/headrace" for name in (*SERVICES, "migrate", "operator")}
    assert holders["master-key"] == holders["mongodb-url"] == stored
    assert holders["admin-password"] == {"headrace-identity/headrace"}
    assert holders["registration-token"] == {"headrace-runners/headrace", "headrace-agent/register"}
    assert holders["mail-password"] == {"headrace-notifications/headrace"}


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_key_is_generated_and_documented(overlay: str) -> None:
    described = (ROOT / "docs" / "operating" / "deploying.md").read_text()
    secret_script = (MANIFESTS / "overlays" / "prod" / "secret.sh").read_text()
    keys = secret_keys(overlay)
    assert [
        key for key in keys if f"`{key}`" not in described and f"`{key.partition('-')[0]}-…`" not in described
    ] == []
    assert [key for key in keys if f"  {key}: " not in secret_script] == []


@needs_kubectl
def test_the_development_secret_has_every_required_key() -> None:
    [secret] = of_kind("dev", "Secret").values()
    assert (
        secret_keys("dev") - {"mail-password", "s3-access-key", "s3-secret-key", "backup-key"} <= secret["data"].keys()
    )


@needs_kubectl
def test_production_runs_this_release() -> None:
    images = {
        container["image"].rpartition(":")
        for container_name, container in containers("prod")
        if "headrace-" in container_name
    }
    assert images == {("registry.example.org/headrace", ":", VERSION)}


@needs_kubectl
def test_the_production_overlay_contains_no_secret() -> None:
    assert of_kind("prod", "Secret") == {}


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nats_gets_every_password_of_its_configuration(overlay: str) -> None:
    maps = {name: manifest for name, manifest in of_kind(overlay, "ConfigMap").items() if name.startswith("nats-")}
    text = "".join(text for manifest in maps.values() for text in manifest["data"].values())
    [container] = workloads(overlay)["nats"]["containers"]
    variables = set(re.findall(r"\$([A-Z][A-Z0-9_]*)\b(?!\.)", text)) - {"JS", "KV", "SYS", "SRV", "MQTT", "O", "G"}
    assert variables <= environment(container).keys()
    assert {f"HEADRACE_NATS_PASSWORD_{name.upper()}" for name in PROCESSES} <= variables


@needs_kubectl
@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_container_ports_and_probes_match_the_process(overlay: str, name: str) -> None:
    container = process(overlay, name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["health"]) == settings(overlay)["HEADRACE_HEALTH_PORT"]
    assert ports.get("http", Settings().port) == Settings().port
    probes = [container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [
        ("/healthz", "health"),
        ("/healthz", "health"),
        ("/readyz", "health"),
    ]


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_termination_grace_periods_cover_the_shutdown_timeouts(overlay: str) -> None:
    pods = workloads(overlay)
    grace = {name: pod.get("terminationGracePeriodSeconds", 30) for name, pod in pods.items()}
    assert min(grace[f"headrace-{name}"] for name in SERVICES) >= service_host.SHUTDOWN_TIMEOUT_SECONDS * 2
    drain_seconds = float(environment(process(overlay, "gateway"))["HEADRACE_LEAVE_SECONDS"])
    assert grace["headrace-gateway"] >= drain_seconds + gateway.SHUTDOWN_TIMEOUT_SECONDS * 2
    [agent_grace] = re.findall(r"--grace=(\d+)", " ".join(process(overlay, "agent")["args"]))
    assert grace["headrace-agent"] >= Settings().long_poll_seconds + int(agent_grace) + 10


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_unprivileged_and_has_resource_limits(overlay: str) -> None:
    pods = workloads(overlay).values()
    assert all(pod["automountServiceAccountToken"] is False for pod in pods)
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)
    assert {pod["securityContext"]["seccompProfile"]["type"] for pod in pods} == {"RuntimeDefault"}
    found = [container for _, container in containers(overlay)]
    context = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert [item["securityContext"] for item in found] == [context] * len(found)
    assert all({"cpu", "memory"} <= item["resources"]["requests"].keys() for item in found)
    assert all("memory" in item["resources"]["limits"] for item in found)
    assert [item["image"] for item in found if ":" not in item["image"]] == []


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_deny_all_but_listed_traffic(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    deny_all = policies.pop("headrace-nothing")["spec"]
    assert deny_all == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    selected = {name for manifest in policies.values() for name in _chosen(manifest["spec"]["podSelector"])}
    peers = {name for manifest in policies.values() for name in _peers(manifest["spec"])}
    components = {
        manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for manifest in of_kind(overlay, "Deployment", "StatefulSet", "Job").values()
    }
    assert selected == components
    assert peers <= components


def _chosen(selector: Manifest) -> Iterator[str]:
    yield from selector.get("matchLabels", {}).values()
    for expression in selector.get("matchExpressions", ()):
        yield from expression["values"]


def _peers(spec: Manifest) -> Iterator[str]:
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for peer in (*rule.get("from", ()), *rule.get("to", ())):
            yield from _chosen(peer.get("podSelector", {}))


def test_keda_triggers_use_existing_consumers_and_metrics() -> None:
    [trigger, *_] = _scaled("builds.yaml")["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == builds.name
    assert trigger["metadata"]["consumer"] in {worker.consumer_name(builds.name) for worker in builds.workers}
    [trigger] = _scaled("agent.yaml")["spec"]["triggers"]
    measured = "".join(file.read_text() for file in (ROOT / "services" / "builds").glob("*.py"))
    assert MEASURES.findall(trigger["metadata"]["query"])
    assert [name for name in MEASURES.findall(trigger["metadata"]["query"]) if f'"{name}"' not in measured] == []


def with_component(folder: Path, overlay: str, component: str) -> list[Manifest]:
    manifests_path = os.path.relpath(MANIFESTS, folder.resolve())
    above = {
        "resources": [f"{manifests_path}/overlays/{overlay}"],
        "components": [f"{manifests_path}/components/{component}"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(above))
    return rendered(folder)


@needs_kubectl
def test_keda_replaces_the_autoscaler_of_builds(tmp_path: Path) -> None:
    found = with_component(tmp_path, "prod", "keda")
    scaled = [item["metadata"]["name"] for item in found if item["kind"] == "ScaledObject"]
    by_cpu = [item["metadata"]["name"] for item in found if item["kind"] == "HorizontalPodAutoscaler"]
    assert sorted(scaled) == ["headrace-agent", "headrace-builds"]
    assert sorted(by_cpu) == sorted(f"headrace-{name}" for name in PROCESSES if name != "builds")


@pytest.fixture(params=OVERLAYS)
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> list[Manifest]:
    """Return the manifests of an overlay with the TLS component."""
    return with_component(tmp_path, request.param, "tls")


def pods_of(manifests: list[Manifest]) -> dict[str, Manifest]:
    kinds = ("Deployment", "StatefulSet", "Job")
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest["kind"] in kinds
    }


def mounted(pod: Manifest, secret: str, among: str = "containers") -> list[str]:
    """Return the mount paths of the secret in the first container."""
    volumes = {volume["name"] for volume in pod["volumes"] if volume.get("secret", {}).get("secretName") == secret}
    return [mount["mountPath"] for mount in pod[among][0]["volumeMounts"] if mount["name"] in volumes]


@needs_kubectl
def test_with_tls_every_process_connects_to_nats_over_tls(secured: list[Manifest]) -> None:
    pods = pods_of(secured)
    found = {name: environment(pod["containers"][0]).get("HEADRACE_NATS_URL", "") for name, pod in pods.items()}
    named = {f"headrace-{name}" for name in (*PROCESSES, "migrate", "operator")}
    assert {name for name, url in found.items() if url.startswith("tls://")} == named
    assert {name for name, url in found.items() if url.startswith("nats://")} == set()


@needs_kubectl
def test_with_tls_the_ca_file_is_mounted_at_the_configured_path(secured: list[Manifest]) -> None:
    pods = pods_of(secured)
    [ca_file] = {
        manifest["data"]["HEADRACE_CA_FILE"]
        for manifest in secured
        if "headrace-settings" in manifest["metadata"]["name"]
    }
    for name in (*PROCESSES, "migrate", "operator"):
        assert mounted(pods[f"headrace-{name}"], "nats-tls") == [str(Path(ca_file).parent)]
    agent = pods["headrace-agent"]
    assert environment(agent["initContainers"][0])["HEADRACE_CA_FILE"] == ca_file
    for among in (
        "initContainers",
        "containers",
    ):  # the registration container writes the path to a file that the agent reads
        assert mounted(agent, "headrace-gateway-tls", among) == [str(Path(ca_file).parent)]


@needs_kubectl
def test_with_tls_only_servers_mount_private_keys(secured: list[Manifest]) -> None:
    holders = {
        name: volume["secret"]["secretName"]
        for name, pod in pods_of(secured).items()
        for volume in pod.get("volumes", ())
        if volume.get("secret", {}).get("secretName", "").endswith("-tls") and "items" not in volume["secret"]
    }
    assert holders == {"nats": "nats-tls", "mongo": "mongo-tls", "headrace-gateway": "headrace-gateway-tls"}


@needs_kubectl
def test_with_tls_the_configured_certificate_files_are_mounted(secured: list[Manifest]) -> None:
    pods = pods_of(secured)
    [config] = [
        manifest["data"]["tls.conf"] for manifest in secured if manifest["metadata"]["name"].startswith("nats-server")
    ]
    assert {str(Path(file).parent) for file in re.findall(r'"(.+)"', config)} == {*mounted(pods["nats"], "nats-tls")}
    shown = environment(pods["headrace-gateway"]["containers"][0])
    named = {shown["HEADRACE_TLS_CERTIFICATE"], shown["HEADRACE_TLS_KEY"]}
    assert {str(Path(file).parent) for file in named} == {*mounted(pods["headrace-gateway"], "headrace-gateway-tls")}
    assert mounted(pods["mongo"], "mongo-tls") == ["/etc/mongo-tls"] == mounted(pods["mongo-initiate"], "mongo-tls")


@needs_kubectl
def test_with_tls_the_gateway_service_uses_the_https_port(secured: list[Manifest]) -> None:
    [service] = [
        manifest
        for manifest in secured
        if manifest["kind"] == "Service" and manifest["metadata"]["name"] == "headrace-gateway"
    ]
    [port] = service["spec"]["ports"]
    assert (port["name"], port["port"]) == ("https", 443)
    backends = [
        manifest["spec"]["rules"][0]["http"]["paths"][0]["backend"]
        for manifest in secured
        if manifest["kind"] == "Ingress"
    ]
    assert [manifest["service"]["port"]["name"] for manifest in backends] == ["https"] * len(backends)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates; it is missing")
def test_generated_certificates_are_valid_for_the_service_names(tmp_path: Path) -> None:
    made = subprocess.check_output([MANIFESTS / "components" / "tls" / "secrets.sh"], text=True, timeout=60)
    secrets = {manifest["metadata"]["name"]: manifest["data"] for manifest in yaml.safe_load_all(made) if manifest}
    assert secrets.keys() == {"nats-tls", "mongo-tls", "headrace-gateway-tls"}
    for secret, name in (
        ("nats-tls", "nats"),
        ("nats-tls", "nats-2.nats-peers"),
        ("mongo-tls", "mongo-0.mongo"),
        ("headrace-gateway-tls", "headrace-gateway"),
    ):
        for file, content in secrets[secret].items():
            (tmp_path / file).write_bytes(base64.b64decode(content))
        # Python 3.13 and later verify as strictly
        command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", "-verify_hostname", name, "tls.crt"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert done.stdout == "tls.crt: OK\n", done.stderr


def _scaled(file: str) -> Manifest:
    return dict(yaml.safe_load((MANIFESTS / "components" / "keda" / file).read_text()))
