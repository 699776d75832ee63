"""Builds of pull and merge requests, whose heads are refs of the project's repository."""

from pathlib import Path
from typing import Any

import pytest

from contracts.builds import Assignment, BuildRow, ClaimJob, ClaimResult, RunnerDescription
from contracts.projects import ChangeTriggers, CreateSecret, GetWebhookPayload, PullRequestBuilds
from tests.integration.services.projects.webhooks.webhook_stage import (
    ROOT,
    WebhookProject,
    WebhookStage,
    ignored_code,
)
from tests.support.external.forge_webhooks import (
    github_headers,
    github_pull_request_body,
    gitlab_headers,
    gitlab_merge_request_body,
)
from tests.support.external.repositories import commit_files, create_sample_repository, run_git
from tests.support.waiting import eventually

PIPELINE = """
build:
  script: make
  cache: {paths: [deps]}
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event" && $CI_MERGE_REQUEST_TARGET_BRANCH_NAME == "main"
deploy:
  script: make deploy
  rules:
    - if: $CI_MERGE_REQUEST_IID && $MILL_SECRET
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a repository with the head of pull request 1 and of merge request 1, a commit that is not on a branch."""
    repository = create_sample_repository(tmp_path_factory.mktemp("forge") / "octo" / "mill")
    run_git(repository, "checkout", "--quiet", "--detach", "main")
    sha = commit_files(repository, {".gitlab-ci.yml": PIPELINE})
    run_git(repository, "update-ref", "refs/pull/1/head", sha)
    run_git(repository, "update-ref", "refs/merge-requests/1/head", sha)
    run_git(repository, "checkout", "--quiet", "main")
    return repository, sha


@pytest.fixture(scope="module")
async def ivy(webhooks: WebhookStage) -> int:
    return await webhooks.create_user(github_username="octo-ivy", gitlab_username="tanuki-ivy")


async def create_project(
    webhooks: WebhookStage, repository: Path, builds: PullRequestBuilds, *developers: int
) -> WebhookProject:
    """Create a project that builds pull requests and has a secret."""
    project = await webhooks.create_project(*developers, repository=repository, spec_file_path="/.gitlab-ci.yml")
    await webhooks.caller.send(ChangeTriggers(project_id=project.id, build_pull_requests=builds), actor=ROOT)
    await webhooks.create(CreateSecret(name="MILL_SECRET", value="millwheel-9", projects_id=(project.id,)))
    return project


async def claim(webhooks: WebhookStage, project: WebhookProject) -> Assignment:
    offer = RunnerDescription(runner_id=1, runner_uuid="r-1", name="one", owner_type="PROJECT", owner_id=project.id)

    async def try_claim() -> Assignment | None:
        return ClaimResult.model_validate_json(await webhooks.caller.send(ClaimJob(runner=offer))).assignment

    job = await eventually(try_claim, bool, within=20)
    assert job is not None
    return job


def is_planned(build: BuildRow) -> bool:
    return build.sha is not None


async def test_a_pull_request_of_the_repository_is_built_with_secrets(
    webhooks: WebhookStage, head: tuple[Path, str], ivy: int
) -> None:
    repository, sha = head
    project = await create_project(webhooks, repository, PullRequestBuilds.BRANCHES, ivy)
    body = github_pull_request_body(sha, "synchronize", login="octo-ivy")
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body, "pull_request"), body)
    assert (status, answer["decision"]) == (201, "ACCEPTED")
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)
    assert (build.ref, build.sha, build.protected) == ("refs/pull/1/head", sha, False)
    assert (build.source, build.initiator_id) == ("merge_request_event", ivy)
    assert {job.name for job in build.jobs} == {"build", "deploy"}
    job = await claim(webhooks, project)
    variables = {variable.key: variable.value for variable in job.variables}
    assert (variables["CI_MERGE_REQUEST_IID"], variables["MILL_SECRET"]) == ("1", "millwheel-9")
    assert job.caches if job.name == "build" else not job.caches


async def test_a_commit_of_a_fork_is_built_after_approval_without_secrets_and_caches(
    webhooks: WebhookStage, head: tuple[Path, str]
) -> None:
    repository, sha = head
    project = await create_project(webhooks, repository, PullRequestBuilds.FORKS)
    body = github_pull_request_body(sha, login="eve", fork=True)
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body, "pull_request"), body)
    assert (status, answer["decision"], answer["code"]) == (200, "WAITING", "WEBHOOK_APPROVAL_REQUIRED")
    [waiting] = await webhooks.list_deliveries(project.id)
    assert (waiting["sender"], waiting["pull_request"]["is_fork"]) == ("eve", True)
    path = f"/api/admin/projects/{project.id}/deliveries/{answer['delivery_id']}/approve"
    [first, second] = [await gateway.post(path, headers=webhooks.admin) for gateway in webhooks.gateways]
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert (first.json()["decision"], first.json()["executor_id"]) == ("ACCEPTED", answer["delivery_id"])
    build = await eventually(lambda: webhooks.get_build(answer["delivery_id"]), is_planned, within=20)
    assert (build.initiator_id, build.protected) == (ROOT.id, False)
    assert [job.name for job in build.jobs] == ["build"]
    assert len(await webhooks.list_queued_events(project.id)) == 1
    job = await claim(webhooks, project)
    variables = {variable.key for variable in job.variables}
    assert "CI_MERGE_REQUEST_IID" in variables
    assert "MILL_SECRET" not in variables
    assert job.caches == ()
    assert await webhooks.caller.query(GetWebhookPayload(delivery_id=answer["delivery_id"])) == b""


async def test_a_merge_request_of_gitlab_is_built(webhooks: WebhookStage, head: tuple[Path, str], ivy: int) -> None:
    repository, sha = head
    project = await create_project(webhooks, repository, PullRequestBuilds.BRANCHES, ivy)
    body = gitlab_merge_request_body(sha).replace(b"tanuki-ada", b"tanuki-ivy")
    headers = gitlab_headers(project.key, "Merge Request Hook")
    status, answer = await webhooks.deliver(project.id, headers, body)
    assert (status, answer["decision"]) == (201, "ACCEPTED")
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)
    assert (build.ref, build.sha) == ("refs/merge-requests/1/head", sha)


async def test_a_project_ignores_requests_that_it_does_not_build(
    webhooks: WebhookStage, head: tuple[Path, str], ivy: int
) -> None:
    repository, sha = head

    async def deliver(project: WebhookProject, body: bytes) -> Any:
        return await webhooks.deliver(project.id, github_headers(project.key, body, "pull_request"), body)

    none = await create_project(webhooks, repository, PullRequestBuilds.NONE, ivy)
    assert ignored_code(await deliver(none, github_pull_request_body(sha, login="octo-ivy"))) == "WEBHOOK_EVENT_IGNORED"
    branches = await create_project(webhooks, repository, PullRequestBuilds.BRANCHES, ivy)
    body = github_pull_request_body(sha, login="octo-ivy", fork=True)
    assert ignored_code(await deliver(branches, body)) == "WEBHOOK_FORK_IGNORED"
    await webhooks.caller.send(
        ChangeTriggers(project_id=branches.id, build_pull_requests=PullRequestBuilds.FORKS), actor=ROOT
    )
    path = f"/api/admin/projects/{branches.id}/deliveries"
    [ignored] = await webhooks.list_deliveries(branches.id)
    refused = await webhooks.gateways[0].post(f"{path}/{ignored['id']}/approve", headers=webhooks.admin)
    assert (refused.status_code, refused.json()["message"]) == (409, "DELIVERY_STATUS")
    missing = await webhooks.gateways[0].post(f"{path}/no-such-delivery/approve", headers=webhooks.admin)
    assert (missing.status_code, missing.json()["message"]) == (404, "DELIVERY_NOT_FOUND")


async def test_a_waiting_delivery_cannot_be_approved_after_the_project_stopped_building_forks(
    webhooks: WebhookStage, head: tuple[Path, str]
) -> None:
    repository, sha = head
    project = await create_project(webhooks, repository, PullRequestBuilds.FORKS)
    body = github_pull_request_body(sha, login="eve", fork=True)
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body, "pull_request"), body)
    none = ChangeTriggers(project_id=project.id, build_pull_requests=PullRequestBuilds.BRANCHES)
    await webhooks.caller.send(none, actor=ROOT)
    path = f"/api/admin/projects/{project.id}/deliveries/{answer['delivery_id']}/approve"
    refused = await webhooks.gateways[0].post(path, headers=webhooks.admin)
    assert (refused.status_code, refused.json()["message"]) == (409, "DELIVERY_STATUS")
    [waiting] = await webhooks.list_deliveries(project.id)
    assert waiting["decision"] == "WAITING"
