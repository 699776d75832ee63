"""Webhooks that start builds: which commit is built and who is the initiator."""

from typing import Any
from urllib.parse import urlencode

from contracts.builds import BuildRow, ClaimJob, ClaimResult, RunnerDescription
from contracts.projects import (
    GetWebhookPayload,
)
from tests.integration.services.projects.webhooks.webhook_stage import UNKNOWN_SHA, WebhookStage, push_body
from tests.support.external.forge_webhooks import (
    github_headers,
    gitlab_headers,
    gitlab_push_body,
)
from tests.support.external.repositories import commit_files, run_git
from tests.support.waiting import eventually

RUNNER = RunnerDescription(runner_id=1, runner_uuid="r-1", name="one")


async def test_a_github_push_is_built_at_its_commit_by_its_sender(webhooks: WebhookStage) -> None:
    ada = await webhooks.create_user(github_username="octo-ada")
    project = await webhooks.create_project(ada)
    body = push_body()
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert (status, answer["decision"], answer["code"]) == (201, "ACCEPTED", None)
    build = await webhooks.get_build(answer["executor_id"])  # queued before the gateway responds to the forge
    assert (build.pinned_sha, build.pinned_ref, build.initiator_id) == (UNKNOWN_SHA, "refs/heads/main", ada)
    [shown] = await webhooks.list_deliveries(project.id)
    assert (shown["decision"], shown["sender"], shown["user_id"]) == ("ACCEPTED", "Octo-Ada", ada)
    assert (shown["executor_id"], shown["ref"], shown["sha"]) == (build.executor_id, "refs/heads/main", UNKNOWN_SHA)
    assert shown["body_size"] == len(body)
    single = await webhooks.gateways[1].get(f"/api/admin/deliveries/{answer['delivery_id']}", headers=webhooks.admin)
    assert single.json() == shown
    await eventually(lambda: webhooks.list_delivery_events(project.id), lambda names: names == ["DeliveryAccepted"])


async def test_the_history_of_a_webhook_delivery_and_its_build_names_the_sender(webhooks: WebhookStage) -> None:
    kim = await webhooks.create_user(github_username="octo-kim")
    project = await webhooks.create_project(kim)
    body = push_body(login="octo-kim")
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    build = await webhooks.get_build(answer["executor_id"])
    for path in (f"delivery/{answer['delivery_id']}", f"build/{build.id}"):
        history = (await webhooks.gateways[0].get(f"/api/admin/history/{path}", headers=webhooks.admin)).json()
        assert history["entries"][0]["actor"]["id"] == kim


async def test_a_gitlab_push_is_built_and_the_display_name_is_a_fallback(webhooks: WebhookStage) -> None:
    bob, mallory = (
        await webhooks.create_user(gitlab_username="Tanuki-Bob"),
        await webhooks.create_user(gitlab_username="Bob Builder"),
    )
    project = await webhooks.create_project(bob, mallory)
    for sender, user in (
        ({"user_username": "tanuki-bob", "user_name": "Bob Builder"}, bob),
        ({"user_name": "bob builder"}, mallory),
    ):
        status, answer = await webhooks.deliver(
            project.id, gitlab_headers(project.key), gitlab_push_body(UNKNOWN_SHA, **({"user_username": ""} | sender))
        )
        assert status == 201
        assert (await webhooks.get_build(answer["executor_id"])).initiator_id == user


async def test_an_administrator_triggers_builds_of_every_project_by_webhook(webhooks: WebhookStage) -> None:
    await webhooks.create_user(roles=("ROLE_ADMIN",), github_username="octo-admin")
    project = await webhooks.create_project()
    body = push_body(login="octo-admin")
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert status == 201
    assert (await webhooks.get_build(answer["executor_id"])).project_id == project.id


async def test_with_a_wildcard_branch_a_push_is_built_and_protected_by_its_own_ref(webhooks: WebhookStage) -> None:
    carol = await webhooks.create_user(github_username="octo-carol")
    project = await webhooks.create_project(carol, branch="*")
    sha = run_git(webhooks.repository, "rev-parse", "main")
    run_git(webhooks.repository, "branch", "--force", "topic/one", sha)
    claims = {}
    for branch in ("main", "topic/one"):
        body = push_body(f"refs/heads/{branch}", sha, "octo-carol")
        status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
        assert status == 201
        build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)  # noqa: B023
        assert (build.sha, build.ref) == (sha, f"refs/heads/{branch}")
        offer = RUNNER.replace(owner_type="PROJECT", owner_id=project.id)
        claims[branch] = await eventually(lambda: claim_job(webhooks, offer), bool, within=20)  # noqa: B023
        assert claims[branch].ref == f"refs/heads/{branch}"
    body = push_body("refs/heads/topic/one", sha, "octo-carol")
    await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert await claim_job(webhooks, RUNNER.replace(owner_type="PROJECT", owner_id=project.id, protected=True)) is None


def is_planned(build: BuildRow) -> bool:
    return build.sha is not None


async def claim_job(webhooks: WebhookStage, offer: RunnerDescription) -> Any:
    return ClaimResult.model_validate_json(await webhooks.caller.send(ClaimJob(runner=offer))).assignment


async def test_the_pushed_commit_is_planned_after_the_branch_moved_on(webhooks: WebhookStage) -> None:
    dora = await webhooks.create_user(github_username="octo-dora")
    run_git(webhooks.repository, "checkout", "--quiet", "-B", "moving", "main")
    pushed = commit_files(webhooks.repository, {"one": "1"})
    commit_files(webhooks.repository, {"two": "2"})
    run_git(webhooks.repository, "checkout", "--quiet", "main")
    project = await webhooks.create_project(dora, branch="moving")
    body = push_body("refs/heads/moving", pushed, "octo-dora")
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)
    assert (build.sha, build.exit_code) == (pushed, None)


async def test_a_form_encoded_github_webhook_is_read(webhooks: WebhookStage) -> None:
    await webhooks.create_user(roles=("ROLE_ADMIN",), github_username="octo-form")
    project = await webhooks.create_project()
    body = urlencode({"payload": push_body(login="octo-form").decode()}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body) | form, body)
    assert status == 201
    payload = await webhooks.caller.query(GetWebhookPayload(delivery_id=answer["delivery_id"]))
    assert payload == push_body(login="octo-form")
