"""The Kubernetes executor on a real cluster, with the permissions that `infra/k8s/jobs` gives to an agent.

`make kube-test` uses KUBECONFIG and the namespaces headrace and headrace-jobs. The agent runs in the test and uses the
token of a service account.
"""

import base64
import io
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from agent.config import Config
from agent.executors.kubernetes import cluster_client
from agent.executors.kubernetes.settings import KubernetesSettings
from tests.deployment.kubernetes.cluster import find_skip_reason, kubectl
from tests.integration.agent.agent_runs import agent_config, job_payload, job_variable, running_agent
from tests.support.hostile_script import FILES, connect, hostile_script, results, take_memory
from tests.support.in_process.fake_gitlab import FakeGitLabServer, running_fake_gitlab

IMAGE = os.environ.get("HEADRACE_TEST_IMAGE", "debian:bookworm-slim")
JOBS = KubernetesSettings().namespace
ACCOUNT = "headrace-agent"

reason = find_skip_reason()
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def account_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the agent's account in the cluster. Return a folder with the files that are mounted into its pod."""
    kubectl("apply", "--kustomize", "infra/k8s/jobs", namespace="")
    metadata = {"name": ACCOUNT, "namespace": "headrace"}
    secret_metadata = metadata | {"annotations": {"kubernetes.io/service-account.name": ACCOUNT}}
    secret = {"kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": secret_metadata}
    namespace = {"kind": "Namespace", "metadata": {"name": "headrace"}}
    for manifest in (namespace, {"kind": "ServiceAccount", "metadata": metadata}, secret):
        kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", **manifest}), namespace="")
    data: dict[str, str] = {}
    deadline = time.monotonic() + 30
    while "token" not in data:
        assert time.monotonic() < deadline
        data = json.loads(kubectl("get", "secret", ACCOUNT, "--output=json")).get("data", {})
    folder = tmp_path_factory.mktemp("account")
    for name in ("token", "ca.crt"):
        (folder / name).write_bytes(base64.b64decode(data[name]))
    return folder


@pytest.fixture
async def gitlab(account_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeGitLabServer]:
    configuration = yaml.safe_load(kubectl("config", "view", "--minify"))
    server = urlsplit(configuration["clusters"][0]["cluster"]["server"])
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT_HTTPS", str(server.port or 443))
    monkeypatch.setattr(cluster_client, "ACCOUNT_FOLDER", account_folder)
    async with running_fake_gitlab() as fake:
        yield fake
    assert kubectl("get", "pods", "--output=name", namespace=JOBS) == ""


def kubernetes_config(server: FakeGitLabServer, tmp_path: Path) -> Config:
    return replace(
        agent_config(server, tmp_path),
        executor="kubernetes",
        kubernetes=KubernetesSettings(image=IMAGE, memory="256Mi", cpus=1.0),
    )


async def test_a_job_runs_in_a_pod_on_its_checkout_and_returns_its_artifacts(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    variables = [job_variable("SECRET", "s3cret-w0rd it's", masked=True), job_variable("LETTER", "dear\n", file=True)]
    script = (
        "cat greeting",
        "cat $LETTER",
        "echo up $SECRET",
        "sleep 1000 &",
        "mkdir out; echo made > out/file",
        "exit 42",
    )
    artifacts = [{"paths": ["out/"], "when": "always"}]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables, artifacts=artifacts))
    async with running_agent(kubernetes_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "up [MASKED]" in gitlab.log_text(1))
        pods = kubectl("get", "pods", "--output=json", namespace=JOBS)
        final = await gitlab.wait_for_final_state(1)
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 42)
    assert "s3cret" not in pods + gitlab.log_text(1)
    assert {"good morning", "dear"} <= set(gitlab.log_text(1).splitlines())
    assert "out/file" in zipfile.ZipFile(io.BytesIO(gitlab.artifacts[1])).namelist()
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_pod_reaches_no_token_files_or_processes_of_others(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    api = f"{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT_HTTPS']}"
    attacks = FILES | {
        "use the API server": f"test -e /var/run/secrets/kubernetes.io && {connect(api)}",
        "take memory without end": take_memory(600),
    }
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *hostile_script(attacks)))
    async with running_agent(kubernetes_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert results(gitlab.log_text(1)) == dict.fromkeys(attacks, "stopped")


async def test_a_canceled_job_ends_and_its_pod_is_deleted(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "trap 'echo ending; exit 1' TERM", "echo up", "sleep 1000")
    )
    async with running_agent(kubernetes_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1).splitlines())
        gitlab.job_status = "canceling"
        await gitlab.wait_for_final_state(1)
    assert "canceled" in gitlab.log_text(1)


async def test_an_image_that_cannot_be_pulled_fails_the_job_with_the_reason(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "true", image={"name": "localhost:1/missing:1"}))
    async with running_agent(kubernetes_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "failed"
    assert "could not be pulled" in gitlab.log_text(1)


def test_an_agent_may_not_read_secrets_or_use_pods_of_other_namespaces(account_folder: Path) -> None:
    token = (account_folder / "token").read_text()
    for verb, resource, namespace in (
        ("get", "secrets", JOBS),
        ("get", "pods", "headrace"),
        ("create", "pods", "default"),
        ("create", "deployments", JOBS),
        ("create", "rolebindings", JOBS),
    ):
        answer = kubectl("auth", "can-i", verb, resource, f"--token={token}", namespace=namespace, check=False)
        assert answer.strip() == "no", (verb, resource, namespace)
    assert kubectl("auth", "can-i", "create", "pods", f"--token={token}", namespace=JOBS).strip() == "yes"
