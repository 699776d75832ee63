"""A newer push to a branch cancels the builds of earlier pushes."""

from contracts.builds import BuildRow, BuildStatus, QueueBuild
from contracts.messages import CommandReply
from contracts.projects import ChangeTriggers, SupersededBuilds
from tests.integration.services.projects.webhooks.webhook_stage import ROOT, WebhookProject, WebhookStage, push_body
from tests.support.external.forge_webhooks import github_headers
from tests.support.external.repositories import commit_files, run_git
from tests.support.waiting import eventually

BRANCH = "superseded"


async def push(webhooks: WebhookStage, project: WebhookProject, sha: str, branch: str = BRANCH) -> str:
    """Deliver the webhook of a push. Return the executor id of its build."""
    body = push_body(f"refs/heads/{branch}", sha, "octo-finn")
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert status == 201, answer
    return str(answer["executor_id"])


def is_planned(build: BuildRow) -> bool:
    return build.status is BuildStatus.PLANNED


async def test_only_the_newest_push_cancels_builds_in_whatever_order_webhooks_arrive(webhooks: WebhookStage) -> None:
    finn = await webhooks.create_user(github_username="octo-finn")
    run_git(webhooks.repository, "checkout", "--quiet", "-B", BRANCH, "main")
    first, second, third = [commit_files(webhooks.repository, {"push": str(number)}) for number in range(3)]
    run_git(webhooks.repository, "checkout", "--quiet", "main")
    run_git(webhooks.repository, "branch", "--force", f"{BRANCH}-other", first)
    project = await webhooks.create_project(finn, branch="*")
    await webhooks.caller.send(
        ChangeTriggers(project_id=project.id, superseded_builds=SupersededBuilds.WAITING), actor=ROOT
    )
    launch = QueueBuild(project_id=project.id, ref=BRANCH)
    launched = CommandReply.model_validate_json(await webhooks.caller.send(launch, actor=ROOT)).row["executor_id"]
    earliest = await push(webhooks, project, first)
    other = await push(webhooks, project, first, f"{BRANCH}-other")
    newest = await push(webhooks, project, third)
    ended = await eventually(lambda: webhooks.get_build(earliest), lambda build: build.finished, within=20)
    number = (await webhooks.get_build(newest)).local_id
    assert (ended.status, ended.exit_message) == (BuildStatus.KILLED, f"Superseded by build {number}")
    late = await push(webhooks, project, second)
    for executor_id in (launched, other, newest, late):
        await eventually(lambda: webhooks.get_build(executor_id), is_planned, within=20)  # noqa: B023
