"""A pushed tag is built at its commit if the project builds tags."""

from contracts.builds import BuildRow
from contracts.projects import ChangeTriggers, ProtectBranches
from tests.integration.services.projects.webhooks.webhook_stage import ROOT, WebhookStage, ignored_code, push_body
from tests.support.external.forge_webhooks import github_headers
from tests.support.external.repositories import run_git
from tests.support.waiting import eventually


def is_planned(build: BuildRow) -> bool:
    return build.sha is not None


async def test_the_commit_of_a_pushed_tag_is_built_if_the_project_builds_tags(webhooks: WebhookStage) -> None:
    gus = await webhooks.create_user(github_username="octo-gus")
    project = await webhooks.create_project(gus)
    commit = run_git(webhooks.repository, "rev-parse", "main")
    run_git(webhooks.repository, "tag", "--force", "--annotate", "--message", "one", "v1", commit)
    tag = run_git(webhooks.repository, "rev-parse", "refs/tags/v1")
    # without `head_commit`, only the repository knows the commit of the tag
    body = push_body("refs/tags/v1", tag, "octo-gus", head_commit=None, commits=[])
    first = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert ignored_code(first) == "WEBHOOK_REF_IGNORED"
    await webhooks.caller.send(ChangeTriggers(project_id=project.id, build_tags=True), actor=ROOT)
    protection = ProtectBranches(project_id=project.id, protected_branches=("refs/tags/v*",))
    await webhooks.caller.send(protection, actor=ROOT)
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert (status, answer["reason"]) == (201, f"A build of {tag[:8]} on tag v1 is queued.")
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)
    assert (build.ref, build.sha, build.protected, build.source) == ("refs/tags/v1", commit, True, "push")
