"""Webhooks that start no build: events, branches and senders that are ignored."""

import pytest

from contracts.identity import ChangeProviderName, SetUserEnabled
from tests.integration.services.projects.webhooks.webhook_stage import (
    ROOT,
    UNKNOWN_SHA,
    WebhookProject,
    WebhookStage,
    ignored_code,
    push_body,
)
from tests.support.external.forge_webhooks import (
    NULL_COMMIT,
    github_headers,
    gitlab_headers,
    gitlab_push_body,
)


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("push", push_body("refs/heads/topic", login="octo-erin"), "WEBHOOK_BRANCH_IGNORED"),
        ("push", push_body("refs/tags/main", login="octo-erin"), "WEBHOOK_REF_IGNORED"),
        ("push", push_body(after=NULL_COMMIT, login="octo-erin", deleted=True), "WEBHOOK_BRANCH_DELETED"),
        ("ping", b'{"zen": "x", "hook_id": 1, "sender": {"login": "octo-erin"}}', "WEBHOOK_EVENT_IGNORED"),
        ("issues", b'{"action": "opened", "sender": {"login": "OCTO-ERIN"}}', "WEBHOOK_EVENT_IGNORED"),
        ("", push_body(login="octo-erin"), "WEBHOOK_EVENT_IGNORED"),
        ("push", push_body(login="unknown-login"), "WEBHOOK_SENDER_UNKNOWN"),
        ("push", push_body(login=""), "WEBHOOK_SENDER_UNKNOWN"),
        ("push", b'{"ref": "refs/heads/main"}', "WEBHOOK_SENDER_UNKNOWN"),
        ("push", push_body(login="tanuki-erin"), "WEBHOOK_SENDER_UNKNOWN"),
    ],
)
async def test_a_github_webhook_that_triggers_no_build_is_ignored_and_recorded(
    webhooks: WebhookStage, shared_project: WebhookProject, event: str, body: bytes, code: str
) -> None:
    assert (
        ignored_code(await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body, event), body))
        == code
    )
    newest = (await webhooks.list_deliveries(shared_project.id))[0]
    assert (newest["decision"], newest["code"], newest["event"]) == ("IGNORED", code, event)
    assert await webhooks.list_queued_events(shared_project.id) == []


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("Push Hook", gitlab_push_body(NULL_COMMIT, username="tanuki-erin"), "WEBHOOK_BRANCH_DELETED"),
        ("Tag Push Hook", gitlab_push_body(UNKNOWN_SHA, "refs/tags/v1", "tanuki-erin"), "WEBHOOK_REF_IGNORED"),
        ("Issue Hook", b'{"user": {"username": "tanuki-erin"}}', "WEBHOOK_EVENT_IGNORED"),
        ("Push Hook", gitlab_push_body(UNKNOWN_SHA, username="octo-erin"), "WEBHOOK_SENDER_UNKNOWN"),
        ("Push Hook", gitlab_push_body(UNKNOWN_SHA, username="", user_name=""), "WEBHOOK_SENDER_UNKNOWN"),
    ],
)
async def test_a_gitlab_webhook_that_triggers_no_build_is_ignored(
    webhooks: WebhookStage, shared_project: WebhookProject, event: str, body: bytes, code: str
) -> None:
    assert (
        ignored_code(await webhooks.deliver(shared_project.id, gitlab_headers(shared_project.key, event), body)) == code
    )
    assert await webhooks.list_queued_events(shared_project.id) == []


async def test_webhooks_of_non_members_and_disabled_users_are_ignored(webhooks: WebhookStage) -> None:
    frank, grace = (
        await webhooks.create_user(github_username="octo-frank"),
        await webhooks.create_user(github_username="octo-grace"),
    )
    project = await webhooks.create_project(grace)
    await webhooks.caller.send(SetUserEnabled(user_id=grace, enabled=False), actor=ROOT)
    for login, code in (("octo-frank", "WEBHOOK_SENDER_NOT_ALLOWED"), ("octo-grace", "WEBHOOK_SENDER_DISABLED")):
        body = push_body(login=login)
        assert ignored_code(await webhooks.deliver(project.id, github_headers(project.key, body), body)) == code
    shown = await webhooks.list_deliveries(project.id)
    assert [delivery["user_id"] for delivery in shown] == [grace, frank]


async def test_among_users_with_one_forge_name_one_who_may_launch_is_the_sender(webhooks: WebhookStage) -> None:
    users = [await webhooks.create_user(github_username=name) for name in ("octo-twin", "Octo-Twin", "OCTO-TWIN")]
    await webhooks.caller.send(SetUserEnabled(user_id=users[1], enabled=False), actor=ROOT)
    project = await webhooks.create_project(users[1], users[2])
    body = push_body(login="octo-twin")
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert status == 201
    assert (await webhooks.get_build(answer["executor_id"])).initiator_id == users[2]


async def test_a_forge_username_is_matched_while_it_is_set(webhooks: WebhookStage) -> None:
    henry = await webhooks.create_user()
    project = await webhooks.create_project(henry)
    body = push_body(login="octo-henry")
    codes = []
    for name in (None, "Octo-Henry", ""):
        command = ChangeProviderName(user_id=henry, provider="github", username=name)
        await webhooks.caller.send(command, actor=ROOT)
        codes.append((await webhooks.deliver(project.id, github_headers(project.key, body), body))[1]["code"])
    assert codes == ["WEBHOOK_SENDER_UNKNOWN", None, "WEBHOOK_SENDER_UNKNOWN"]
