"""Large bodies of webhooks in jobs of GitLab's runner: real shells run the scripts that it makes of a job."""

import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from contracts.builds import Claim, ClaimJob
from contracts.projects import GetRequestBody
from contracts.runners import TouchRunner
from gateway.dialects.gitlab_job import job_object
from libs.messaging import Responder
from tests.integration.gateway_stage import Stage, stage
from tests.integration.test_gateway_runners import ASSIGNMENT, RUNNER
from tests.support.gitlab_client import GitLabClient
from tests.support.servers import lone_nats

QUOTES = b'{"text": "' + b"'\\n" * 1_250_000 + b'"}'
LOOK = 'md5sum <"$FREE_COMMIT_REQUEST_BODY_FILE"; echo "[$FREE_COMMIT_REQUEST_BODY]"'


@pytest.fixture
def client(tmp_path: Path) -> GitLabClient:
    client = GitLabClient(tmp_path / "builds", {})
    client.checkout.mkdir(parents=True)
    return client


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url, long_poll_seconds=0.5) as one:
            await one.services.play(TouchRunner, lambda _: RUNNER)
            assignment = ASSIGNMENT.but(script=(LOOK,), after_script=(LOOK,), delivery_id="d-1")
            await one.services.play(ClaimJob, lambda _: Claim(assignment=assignment))
            yield one


def seen(body: bytes) -> str:
    return f"{hashlib.md5(body, usedforsecurity=False).hexdigest()}  -\n[]"


def test_a_large_body_reaches_both_scripts_and_costs_no_minute(client: GitLabClient) -> None:
    """Written as it is, bash reads this one for minutes, in every stage."""
    assignment = ASSIGNMENT.but(script=(LOOK,), after_script=(LOOK,))
    job = job_object(assignment, None, QUOTES, quotes_files=True)
    begun = time.monotonic()
    script, after = client.script(job), client.script(job, "after_script")
    took = time.monotonic() - begun
    assert script.stdout.decode().rstrip().endswith(seen(QUOTES)), script.stderr.decode()
    assert after.stdout.decode().rstrip().endswith(seen(QUOTES)), after.stderr.decode()
    assert took < 20
    assert sum(len(one["value"]) for one in job["variables"]) < 100_000


def test_an_image_that_cannot_unpack_the_body_is_told_so_and_its_job_goes_on(client: GitLabClient) -> None:
    job = job_object(ASSIGNMENT.but(script=(f"unset -f base64; {LOOK}",)), None, QUOTES, quotes_files=True)
    job["steps"][0]["script"].insert(0, "base64() { return 127; }")
    done = client.script(job)
    assert done.returncode == 0
    assert "could not be unpacked" in done.stdout.decode()
    assert done.stdout.decode().rstrip().endswith(seen(b""))


@pytest.mark.parametrize(("name", "packed"), [("gitlab-runner", True), ("", True), ("headrace-agent", False)])
async def test_our_agent_writes_files_itself_and_gets_the_body_as_it_is(here: Stage, name: str, packed: bool) -> None:
    async def body(_body: bytes, _headers: Mapping[str, str]) -> bytes:
        return b"x" * 200_000

    bodies = Responder(here.client, "projects")
    await bodies.answer(GetRequestBody, body)
    answer = await here.http.post("/api/v4/jobs/request", json={"token": "runner-token", "info": {"name": name}})
    await bodies.stop(1)
    job: Any = answer.json()
    (sent,) = (one for one in job["variables"] if one["key"] == "FREE_COMMIT_REQUEST_BODY_FILE")
    assert sent["file"] is True
    assert (sent["value"] != "x" * 200_000) is packed
    assert (len(job["steps"][0]["script"]) == 2) is packed
