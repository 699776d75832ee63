"""TLS in the Kubernetes manifests: connections to NATS, MongoDB and the gateway, and the mounted certificates."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.infra.kubernetes.manifests import (
    MANIFESTS,
    OVERLAYS,
    PROCESSES,
    Manifest,
    pod_specs,
    render,
    render_with_component,
    variables_of,
)


@pytest.fixture(scope="module", params=OVERLAYS)
def tls_manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    if request.param == "prod":
        return render("overlays/prod")
    return render_with_component(tmp_path_factory.mktemp("tls"), request.param, "tls")


def mount_paths(pod: Manifest, secret: str, among: str = "containers") -> list[str]:
    volumes = {volume["name"] for volume in pod["volumes"] if volume.get("secret", {}).get("secretName") == secret}
    return [mount["mountPath"] for mount in pod[among][0]["volumeMounts"] if mount["name"] in volumes]


def test_with_tls_every_process_connects_to_nats_over_tls(tls_manifests: list[Manifest]) -> None:
    pods = pod_specs(tls_manifests)
    urls = {name: variables_of(pod["containers"][0]).get("HEADRACE_NATS_URL", "") for name, pod in pods.items()}
    named = {f"headrace-{name}" for name in (*PROCESSES, "migrate", "operator")}
    assert {name for name, url in urls.items() if url.startswith("tls://")} == named
    assert {name for name, url in urls.items() if url.startswith("nats://")} == set()


def test_with_tls_every_process_connects_to_mongodb_over_tls(tls_manifests: list[Manifest]) -> None:
    addresses = [
        manifest["data"]["MONGODB_ADDRESS"]
        for manifest in tls_manifests
        if manifest["metadata"]["name"].startswith("headrace-settings")
    ]
    assert [address.endswith("&tls=true") for address in addresses] == [True]
    [container] = pod_specs(tls_manifests)["mongo"]["containers"]
    assert container["args"][:2] == ["--tlsMode", "requireTLS"]


def test_cert_manager_issues_the_names_of_the_generated_certificates(tls_manifests: list[Manifest]) -> None:
    script = (MANIFESTS / "components" / "tls" / "secrets.sh").read_text()
    generated = {line.split()[1]: line.split()[2:] for line in script.splitlines() if line.startswith("issue ")}
    certificates = yaml.safe_load_all((MANIFESTS / "components" / "cert-manager" / "certificates.yaml").read_text())
    assert {item["spec"]["secretName"]: item["spec"]["dnsNames"] for item in certificates} == generated
    mounted = {
        volume["secret"]["secretName"]
        for pod in pod_specs(tls_manifests).values()
        for volume in pod.get("volumes", ())
        if volume.get("secret", {}).get("secretName", "").endswith("-tls")
    }
    assert mounted == generated.keys()


def test_with_tls_the_ca_file_is_mounted_at_the_configured_path(tls_manifests: list[Manifest]) -> None:
    pods = pod_specs(tls_manifests)
    [ca_file] = {
        manifest["data"]["HEADRACE_CA_FILE"]
        for manifest in tls_manifests
        if "headrace-settings" in manifest["metadata"]["name"]
    }
    for name in (*PROCESSES, "migrate", "operator"):
        assert mount_paths(pods[f"headrace-{name}"], "nats-tls") == [str(Path(ca_file).parent)]
    agent = pods["headrace-agent"]
    assert variables_of(agent["initContainers"][0])["HEADRACE_CA_FILE"] == ca_file
    # Both containers use the same path: registration writes it into a file that the agent reads.
    for among in ("initContainers", "containers"):
        assert mount_paths(agent, "headrace-gateway-tls", among) == [str(Path(ca_file).parent)]


def test_with_tls_only_servers_mount_private_keys(tls_manifests: list[Manifest]) -> None:
    holders = {
        name: volume["secret"]["secretName"]
        for name, pod in pod_specs(tls_manifests).items()
        for volume in pod.get("volumes", ())
        if volume.get("secret", {}).get("secretName", "").endswith("-tls") and "items" not in volume["secret"]
    }
    assert holders == {"nats": "nats-tls", "mongo": "mongo-tls", "headrace-gateway": "headrace-gateway-tls"}


def test_with_tls_the_configured_certificate_files_are_mounted(tls_manifests: list[Manifest]) -> None:
    pods = pod_specs(tls_manifests)
    [config] = [
        manifest["data"]["tls.conf"]
        for manifest in tls_manifests
        if manifest["metadata"]["name"].startswith("nats-server")
    ]
    assert {str(Path(file).parent) for file in re.findall(r'"(.+)"', config)} == {
        *mount_paths(pods["nats"], "nats-tls")
    }
    gateway_variables = variables_of(pods["headrace-gateway"]["containers"][0])
    named = {gateway_variables["HEADRACE_TLS_CERTIFICATE"], gateway_variables["HEADRACE_TLS_KEY"]}
    assert {str(Path(file).parent) for file in named} == {
        *mount_paths(pods["headrace-gateway"], "headrace-gateway-tls")
    }
    assert (
        mount_paths(pods["mongo"], "mongo-tls")
        == ["/etc/mongo-tls"]
        == mount_paths(pods["mongo-initiate"], "mongo-tls")
    )


def test_with_tls_the_gateway_service_uses_the_https_port(tls_manifests: list[Manifest]) -> None:
    [service] = [
        manifest
        for manifest in tls_manifests
        if manifest["kind"] == "Service" and manifest["metadata"]["name"] == "headrace-gateway"
    ]
    [port] = service["spec"]["ports"]
    assert (port["name"], port["port"]) == ("https", 443)
    backends = [
        manifest["spec"]["rules"][0]["http"]["paths"][0]["backend"]
        for manifest in tls_manifests
        if manifest["kind"] == "Ingress"
    ]
    assert [manifest["service"]["port"]["name"] for manifest in backends] == ["https"] * len(backends)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates; it is missing")
def test_generated_certificates_are_valid_for_the_service_names(tmp_path: Path) -> None:
    output = subprocess.check_output([MANIFESTS / "components" / "tls" / "secrets.sh"], text=True, timeout=60)
    secrets = {manifest["metadata"]["name"]: manifest["data"] for manifest in yaml.safe_load_all(output) if manifest}
    assert secrets.keys() == {"nats-tls", "mongo-tls", "headrace-gateway-tls"}
    for secret, name in (
        ("nats-tls", "nats"),
        ("nats-tls", "nats-2.nats-peers"),
        ("mongo-tls", "mongo"),
        ("mongo-tls", "mongo-0.mongo"),
        ("headrace-gateway-tls", "headrace-gateway"),
    ):
        for file, content in secrets[secret].items():
            (tmp_path / file).write_bytes(base64.b64decode(content))
        # -x509_strict applies the checks that Python 3.13 and later apply by default
        command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", "-verify_hostname", name, "tls.crt"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert result.stdout == "tls.crt: OK\n", result.stderr
