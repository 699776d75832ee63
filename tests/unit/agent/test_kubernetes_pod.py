"""The pods of jobs on Kubernetes, and the archives that come back from them."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.config import ArchiveLimits
from agent.executors.kubernetes.cluster_client import KubernetesError, server_address
from agent.executors.kubernetes.pod import build_pod, pod_name
from agent.executors.kubernetes.settings import KubernetesSettings
from agent.executors.kubernetes.transfer import pack_files, replace_checkout
from agent.protocol.job import Image


def pod_of(settings: KubernetesSettings, image: Image, service: Image | None = None) -> dict[str, Any]:
    services = [(service, {"PLAIN": "costs $(HOME)"})] if service else []
    aliases = ["store"] if service else []
    return build_pod(settings, "job-1-x", {"headrace.job": "1"}, [Path("/b/checkout")], 60, image, services, aliases)


def test_a_pod_has_no_access_to_the_cluster_and_no_privileges() -> None:
    spec = pod_of(KubernetesSettings(), Image("debian:12"), Image("redis:7"))["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert [name for name in ("hostNetwork", "hostPID", "hostIPC", "serviceAccountName") if spec.get(name)] == []
    assert [volume for volume in spec["volumes"] if "emptyDir" not in volume] == []
    for container in spec["containers"]:
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["privileged"]) == (False, False)
        assert context["capabilities"] == {"drop": ["ALL"], "add": list(KubernetesSettings().cap_add)}
        assert container["resources"]["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert "env" not in spec["containers"][0]


def test_a_configured_user_is_not_root_and_has_no_capabilities() -> None:
    spec = pod_of(KubernetesSettings(user="1000"), Image("debian:12"))["spec"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 1000)
    assert spec["containers"][0]["securityContext"]["capabilities"]["add"] == []


def test_services_are_reachable_by_name_and_their_values_are_not_expanded_by_kubernetes() -> None:
    spec = pod_of(KubernetesSettings(), Image("debian:12"), Image("redis:7", command=("redis-server",)))["spec"]
    assert spec["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": ["store"]}]
    assert spec["containers"][1]["args"] == ["redis-server"]
    assert spec["containers"][1]["env"] == [{"name": "PLAIN", "value": "costs $$(HOME)"}]


def test_an_empty_entrypoint_disables_that_of_the_image() -> None:
    keepalive = pod_of(KubernetesSettings(), Image("a"))["spec"]["containers"][0]["args"]
    disabled = pod_of(KubernetesSettings(), Image("a", entrypoint=("",)))["spec"]["containers"][0]
    own = pod_of(KubernetesSettings(), Image("a", entrypoint=("/enter",)))["spec"]["containers"][0]
    assert (disabled["command"], disabled["args"]) == (keepalive, None)
    assert (own["command"], own["args"]) == (["/enter"], keepalive)


@pytest.mark.parametrize(
    "values", [{"memory": "much"}, {"storage": "1Xi"}, {"user": "0"}, {"user": "root"}, {"start_seconds": 0}]
)
def test_invalid_settings_are_rejected(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"kubernetes\."):
        KubernetesSettings(**values)


def test_pod_names_are_valid_and_unique_per_folder() -> None:
    assert pod_name(7, Path("/b/job-7-a_B9z")) == "job-7-ab9z"


def test_the_executor_needs_a_cluster() -> None:
    with pytest.raises(KubernetesError, match="needs an agent that runs in a cluster"):
        server_address({})
    assert server_address({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": "443"}) == (
        "https://10.96.0.1:443"
    )


def hostile_archive(path: Path, outside: Path) -> None:
    with tarfile.open(path, "w") as file:

        def add(name: str, content: bytes = b"", **attributes: Any) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for attribute, value in attributes.items():
                setattr(entry, attribute, value)
            file.addfile(entry, io.BytesIO(content))

        add("./report.txt", b"fine", mode=0o4755)
        add("../escaped", b"x")
        add(str(outside / "absolute"), b"x")
        add("./out", type=tarfile.SYMTYPE, linkname=str(outside))
        add("./out/through-link", b"x")
        add("./hard", type=tarfile.LNKTYPE, linkname="../private/SECRET")
        add("./device", type=tarfile.CHRTYPE)
        for name in ("./.git/config", "./src/../.git/config", "./git-link/config", "./hard-config"):
            if name == "./git-link/config":
                add("./git-link", type=tarfile.SYMTYPE, linkname=".git")
            if name == "./hard-config":
                add("./hard-config", type=tarfile.LNKTYPE, linkname="./.git/config")
            add(name, b"[core]\n\tfsmonitor = evil\n")


def test_files_of_a_pod_replace_the_checkout_and_nothing_else(tmp_path: Path) -> None:
    checkout, outside = tmp_path / "job" / "checkout", tmp_path / "outside"
    for folder in (checkout / ".git", checkout / "old", outside, tmp_path / "job" / "private"):
        folder.mkdir(parents=True)
    (checkout / ".git" / "config").write_text("own")
    (tmp_path / "job" / "private" / "SECRET").write_text("secret")
    hostile_archive(tmp_path / "archive.tar", outside)
    replace_checkout(tmp_path / "archive.tar", checkout, ArchiveLimits())
    assert not (checkout / "old").exists()
    assert (checkout / "report.txt").read_text() == "fine"
    assert (checkout / "report.txt").stat().st_mode & 0o7000 == 0
    assert (checkout / ".git" / "config").read_text() == "own"
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "job" / "escaped").exists()


def test_an_archive_with_too_many_entries_or_without_an_end_is_refused(tmp_path: Path) -> None:
    source, checkout = tmp_path / "source", tmp_path / "checkout"
    for folder in (source, checkout):
        folder.mkdir()
    for number in range(3):
        (source / str(number)).write_text("x" * 1000)
    pack_files(tmp_path / "archive.tar", tmp_path, source)
    with pytest.raises(KubernetesError, match="more than 2 files"):
        replace_checkout(tmp_path / "archive.tar", checkout, ArchiveLimits(entries=2))
    (tmp_path / "archive.tar").write_bytes(b"no archive")
    with pytest.raises(KubernetesError, match="could not be read"):
        replace_checkout(tmp_path / "archive.tar", checkout, ArchiveLimits())
