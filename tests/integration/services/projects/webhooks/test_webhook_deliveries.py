"""Deliveries of webhooks: deduplication, lists and deletion."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.errors import RequestRejected
from contracts.projects import (
    ChangeBranch,
    DeleteProject,
    GetWebhookPayload,
)
from libs.service.connections import create_mongo_client, get_database
from services.builds.app import service as builds
from tests.integration.services.projects.webhooks.webhook_stage import (
    ROOT,
    UNKNOWN_SHA,
    WebhookProject,
    WebhookStage,
    error_of,
    push_body,
    webhook_stage,
)
from tests.support import read_stream_messages
from tests.support.external.forge_webhooks import (
    github_headers,
    gitlab_headers,
    gitlab_push_body,
    sign,
)
from tests.support.external.repositories import run_git
from tests.support.infrastructure.servers import running_servers
from tests.support.waiting import eventually


@pytest.mark.parametrize("provider", ["github", "gitlab", "gitlab by key"])
async def test_a_redelivered_webhook_gets_the_first_response(webhooks: WebhookStage, erin: int, provider: str) -> None:
    project = await webhooks.create_project(erin)
    if provider == "github":
        body = push_body(login="octo-erin")
        again = [github_headers(project.key, body, delivery="72d3162e")] * 2
    else:
        body = gitlab_push_body(UNKNOWN_SHA, username="tanuki-erin")
        key = {"Idempotency-Key": "f5e5f430"} if provider == "gitlab by key" else {"X-Gitlab-Event-UUID": "13792a34"}
        again = [gitlab_headers(project.key) | key for _ in range(2)]
    answers = [
        await webhooks.deliver(project.id, headers, body, gateway=number) for number, headers in enumerate(again)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 201
    await webhooks.caller.send(ChangeBranch(project_id=project.id, branch="release"), actor=ROOT)
    assert await webhooks.deliver(project.id, again[0], body) == answers[0]
    [_build] = await eventually(lambda: webhooks.list_queued_events(project.id), bool, within=30)
    assert len(await webhooks.list_deliveries(project.id)) == 1


async def test_concurrent_equal_deliveries_are_recorded_and_built_once(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    headers = github_headers(project.key, body)
    answers = await asyncio.gather(
        *(webhooks.deliver(project.id, headers, body, gateway=number % 2) for number in range(12))
    )
    assert {status for status, _ in answers} == {201}
    assert len({answer["executor_id"] for _, answer in answers}) == 1
    [_build] = await eventually(lambda: webhooks.list_queued_events(project.id), bool, within=30)
    assert len(await webhooks.list_deliveries(project.id)) == 1


async def test_a_delivery_id_is_scoped_to_its_project_and_rejected_with_another_body(
    webhooks: WebhookStage, erin: int
) -> None:
    first_project, other = await webhooks.create_project(erin), await webhooks.create_project(erin)
    body, changed = push_body(login="octo-erin"), push_body(login="octo-erin", after="2" * 40)
    first = await webhooks.deliver(first_project.id, github_headers(first_project.key, body, delivery="same"), body)
    second = await webhooks.deliver(other.id, github_headers(other.key, body, delivery="same"), body)
    assert (first[0], second[0]) == (201, 201)
    assert first[1]["executor_id"] != second[1]["executor_id"]
    third = await webhooks.deliver(
        first_project.id, github_headers(first_project.key, changed, delivery="same"), changed
    )
    assert error_of(third) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_deliveries_without_an_id_are_separate(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    headers = github_headers(project.key, body)
    del headers["X-GitHub-Delivery"]
    answers = [await webhooks.deliver(project.id, headers, body) for _ in range(2)]
    assert len({answer["executor_id"] for _, answer in answers}) == 2


async def test_only_administrators_list_deliveries(webhooks: WebhookStage, shared_project: WebhookProject) -> None:
    paths = [f"/api/admin/projects/{shared_project.id}/deliveries", f"/api/admin/deliveries/{uuid4()}"]
    assert [(await webhooks.gateways[0].get(path)).status_code for path in paths] == [401, 401]
    answers = [
        await webhooks.gateways[0].get(path, headers=webhooks.admin)
        for path in ("/api/admin/projects/999999/deliveries", paths[1])
    ]
    assert [response.json()["message"] for response in answers] == ["PROJECT_NOT_FOUND", "DELIVERY_NOT_FOUND"]


async def test_deliveries_are_listed_newest_first_in_pages_with_filters(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    for branch in ("one", "main", "two"):
        body = push_body(f"refs/heads/{branch}", login="octo-erin")
        await webhooks.deliver(project.id, github_headers(project.key, body), body)
    refs = [delivery["ref"] for delivery in await webhooks.list_deliveries(project.id)]
    assert refs == ["refs/heads/two", "refs/heads/main", "refs/heads/one"]
    assert [delivery["ref"] for delivery in await webhooks.list_deliveries(project.id, per_page="2", page="2")] == [
        "refs/heads/one"
    ]
    chosen = await webhooks.list_deliveries(project.id, **{"decision[eq]": "ACCEPTED"})
    assert [delivery["ref"] for delivery in chosen] == ["refs/heads/main"]


async def test_webhook_keys_and_sender_names_are_encrypted_in_the_event_log_and_on_nats(webhooks: WebhookStage) -> None:
    project = await webhooks.create_project()
    body = push_body(login="octo-canary")
    await webhooks.deliver(project.id, github_headers(project.key, body), body)
    await webhooks.deliver(
        project.id, gitlab_headers(project.key), gitlab_push_body(UNKNOWN_SHA, username="octo-canary")
    )
    await webhooks.deliver(project.id, gitlab_headers("token-canary"), gitlab_push_body(UNKNOWN_SHA))
    await eventually(lambda: webhooks.list_delivery_events(project.id), lambda names: len(names) == 2)
    async with create_mongo_client(webhooks.stage.settings, "test") as client:
        database = get_database(client, webhooks.stage.settings, "projects")
        texts = [
            str(document)
            for name in ("commits", "streams", "refused_deliveries")
            async for document in database[name].find({})
        ]
    texts += [message.data.decode() for message in await read_stream_messages(webhooks.bus, "projects")]
    secrets = ("canary", project.key or "-", sign(project.key, body))
    assert [secret for secret in secrets for text in texts if secret in text] == []


async def test_deleting_a_project_deletes_its_deliveries(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert await webhooks.caller.query(GetWebhookPayload(delivery_id=answer["delivery_id"])) == body
    await webhooks.caller.send(DeleteProject(project_id=project.id), actor=ROOT)
    path = f"/api/admin/deliveries/{answer['delivery_id']}"
    assert (await webhooks.gateways[0].get(path, headers=webhooks.admin)).json()["message"] == "DELIVERY_NOT_FOUND"
    body_of = GetWebhookPayload(delivery_id=answer["delivery_id"])
    await eventually(lambda: webhooks.caller.query(body_of), lambda payload: payload == b"", within=20)


async def test_the_webhook_payload_of_a_finished_build_is_deleted(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin, branch="main")
    body = push_body(login="octo-erin")  # the commit does not exist, so that planning the build fails
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), lambda build: build.finished, within=20)
    assert build.exit_code == 128
    body_of = GetWebhookPayload(delivery_id=answer["delivery_id"])
    await eventually(lambda: webhooks.caller.query(body_of), lambda payload: payload == b"", within=20)


async def test_an_accepted_delivery_is_built_after_the_builds_service_was_down(
    repository: Path, tmp_path: Path
) -> None:
    """No builds service runs when the delivery is recorded, so the build is queued later, from the recorded event."""
    with running_servers(tmp_path / "servers") as servers:
        async with webhook_stage(servers, repository, tmp_path / "data") as stage:
            ivan = await stage.create_user(github_username="octo-ivan")
            project = await stage.create_project(ivan)
            body = push_body(login="octo-ivan", after=run_git(repository, "rev-parse", "main"))
            headers = github_headers(project.key, body)
            status, answer = await stage.deliver(project.id, headers, body)
            assert (status, answer["decision"]) == (201, "ACCEPTED")
            with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
                await stage.get_build(answer["executor_id"])
            async with stage.stage.running(lambda: builds):
                await eventually(lambda: stage.list_queued_events(project.id), bool, within=30)
                assert await stage.deliver(project.id, headers, body, gateway=1) == (status, answer)
                build = await stage.get_build(answer["executor_id"])
                assert (build.initiator_id, build.delivery_id) == (ivan, answer["delivery_id"])
                assert len(await stage.list_queued_events(project.id)) == 1
