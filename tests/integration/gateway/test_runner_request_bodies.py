"""Large webhook payloads in jobs of GitLab Runner. A real shell runs the scripts that GitLab Runner would generate."""

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from contracts.builds import ClaimJob, ClaimResult
from contracts.projects import GetWebhookPayload
from contracts.runners import AuthenticateRunner
from gateway.adapters.gitlab.job_payload import build_job_payload
from libs.messaging.message_server import MessageServer
from tests.integration.gateway.runner_protocol.runner_requests import ASSIGNMENT, RUNNER
from tests.support.external.gitlab_client import GitLabClient
from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats

BODY_WITH_QUOTES = b'{"text": "' + b"'\\n" * 1_250_000 + b'"}'
PRINT_BODY = 'md5sum <"$FREE_COMMIT_REQUEST_BODY_FILE"; echo "[$FREE_COMMIT_REQUEST_BODY]"'


@pytest.fixture
def client(tmp_path: Path) -> GitLabClient:
    client = GitLabClient(tmp_path / "builds", {})
    client.checkout.mkdir(parents=True)
    return client


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=0.5) as running:
            await running.services.serve(AuthenticateRunner, lambda _: RUNNER)
            assignment = ASSIGNMENT.replace(script=(PRINT_BODY,), after_script=(PRINT_BODY,), delivery_id="d-1")
            await running.services.serve(ClaimJob, lambda _: ClaimResult(assignment=assignment))
            yield running


def expected_output(body: bytes) -> str:
    return f"{hashlib.md5(body, usedforsecurity=False).hexdigest()}  -\n[]"


def read_cpu_seconds() -> float:
    """Return the CPU time of the finished child processes, which does not depend on the load of the machine."""
    times = os.times()
    return times.children_user + times.children_system


def test_a_large_webhook_payload_reaches_both_scripts_quickly(client: GitLabClient) -> None:
    """Uncompressed, the payload would take bash minutes to read in every stage of the job."""
    assignment = ASSIGNMENT.replace(script=(PRINT_BODY,), after_script=(PRINT_BODY,))
    job = build_job_payload(assignment, None, BODY_WITH_QUOTES, quotes_files=True)
    started = read_cpu_seconds()
    script, after = client.run_script(job), client.run_script(job, "after_script")
    took = read_cpu_seconds() - started
    assert script.stdout.decode().rstrip().endswith(expected_output(BODY_WITH_QUOTES)), script.stderr.decode()
    assert after.stdout.decode().rstrip().endswith(expected_output(BODY_WITH_QUOTES)), after.stderr.decode()
    assert took < 20
    assert sum(len(variable["value"]) for variable in job["variables"]) < 100_000


def test_a_job_continues_with_a_warning_if_its_image_cannot_unpack_the_payload(client: GitLabClient) -> None:
    job = build_job_payload(
        ASSIGNMENT.replace(script=(f"unset -f base64; {PRINT_BODY}",)), None, BODY_WITH_QUOTES, quotes_files=True
    )
    job["steps"][0]["script"].insert(0, "base64() { return 127; }")
    done = client.run_script(job)
    assert done.returncode == 0
    assert "could not be unpacked" in done.stdout.decode()
    assert done.stdout.decode().rstrip().endswith(expected_output(b""))


@pytest.mark.parametrize(("name", "packed"), [("gitlab-runner", True), ("", True), ("headrace-agent", False)])
async def test_the_headrace_agent_gets_the_payload_unpacked(stage: GatewayStage, name: str, packed: bool) -> None:
    async def body(_body: bytes, _headers: Mapping[str, str]) -> bytes:
        return b"x" * 200_000

    bodies = MessageServer(stage.client, "projects")
    await bodies.serve(GetWebhookPayload, body)
    response = await stage.http.post("/api/v4/jobs/request", json={"token": "runner-token", "info": {"name": name}})
    await bodies.stop(30)
    job: Any = response.json()
    (sent,) = (variable for variable in job["variables"] if variable["key"] == "FREE_COMMIT_REQUEST_BODY_FILE")
    assert sent["file"] is True
    assert (sent["value"] != "x" * 200_000) is packed
    assert (len(job["steps"][0]["script"]) == 2) is packed
