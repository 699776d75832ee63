"""A deployment on a Kubernetes cluster: rolled out, used, and updated under load.

`make kube-test` uses KUBECONFIG and the namespace headrace.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.kubernetes import cluster
from tests.deployment.kubernetes.cluster import kubectl

OVERLAY = Path(os.environ.get("HEADRACE_KUBE_OVERLAY", "infra/k8s/overlays/dev"))
ROLLED_COMPONENTS = ("builds", "gateway", "runners", "identity", "projects", "notifications", "agent")


reason = cluster.find_skip_reason()
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.timeout(3600)]


@pytest.fixture(scope="module", autouse=True)
def deployment() -> None:
    cluster.apply_overlay(OVERLAY)
    cluster.wait_for_rollout(*cluster.list_workloads())
    kubectl("wait", "job", "--all", "--for=condition=complete", "--timeout=300s")


@pytest.fixture
def load() -> Iterator[None]:
    cluster.create_test_pods()
    cluster.wait_for_load()
    yield
    cluster.delete_test_pods()


@pytest.mark.usefixtures("load")
def test_every_process_is_replaced_under_load_and_nothing_is_lost() -> None:
    for name in ROLLED_COMPONENTS:
        kubectl("rollout", "restart", f"deployment/headrace-{name}")
        cluster.wait_for_rollout(f"deployment/headrace-{name}")
    report = cluster.stop_load_and_read_report()
    assert report["failures"] == [], report
    assert report["launched"] > 0
    assert report["exit_codes"] == {"0": report["launched"]}
    assert (report["unheard"], report["heard_twice"]) == ([], [])
    assert report["streams"] > 1  # when a gateway is replaced, the client opens another event stream
    assert [pod for name in ROLLED_COMPONENTS for pod in cluster.list_restarted_pods(name)] == []


def test_the_migration_runs_again_and_changes_nothing() -> None:
    before = kubectl("logs", "job/headrace-migrate")
    cluster.apply_overlay(OVERLAY)
    kubectl("wait", "job/headrace-migrate", "--for=condition=complete", "--timeout=300s")
    second_log = kubectl("logs", "job/headrace-migrate")
    assert "in place" in second_log
    assert [line for line in second_log.splitlines() if "made" in line or "rows" in line] == []
    assert before
