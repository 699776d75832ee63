"""Rejected webhooks: signatures, payloads, size limits and the recorded rejections."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from nats.aio.msg import Msg

from contracts.projects import (
    GetDeliveryKey,
    RejectWebhook,
    RenewSignatureKey,
)
from libs.messaging.nats_connection import flush_to_server
from libs.service.connections import create_mongo_client, get_database
from services.projects.app import service as projects
from services.projects.webhooks import rejections
from tests.integration.services.projects.webhooks.webhook_stage import (
    ROOT,
    WebhookProject,
    WebhookStage,
    error_of,
    ignored_code,
    push_body,
    webhook_stage,
)
from tests.support.external.forge_webhooks import (
    github_headers,
    gitlab_headers,
)
from tests.support.infrastructure.servers import running_servers


async def test_webhook_errors_are_reported_in_order_project_provider_signature(
    webhooks: WebhookStage, shared_project: WebhookProject
) -> None:
    assert error_of(await webhooks.deliver(999_999, {}, b"")) == (404, "PROJECT_NOT_FOUND")
    headers = {"Content-Type": "application/json"}
    assert error_of(await webhooks.deliver(shared_project.id, headers, b"{")) == (400, "WEBHOOK_PROVIDER_NOT_SUPPORTED")
    body = push_body(login="unknown-login")
    bad = (401, "WEBHOOK_SIGNATURE_INVALID")
    assert error_of(await webhooks.deliver(shared_project.id, github_headers("another key", body), body)) == bad
    assert error_of(await webhooks.deliver(shared_project.id, gitlab_headers("another key"), b"{")) == bad
    assert error_of(await webhooks.deliver(shared_project.id, {"X-GitHub-Event": "push"}, body)) == bad
    right = github_headers(shared_project.key, body)
    assert error_of(await webhooks.deliver(shared_project.id, right, body + b" ")) == bad


async def test_the_webhook_signature_covers_the_raw_body(
    webhooks: WebhookStage, shared_project: WebhookProject
) -> None:
    body = b' {"ref" : "refs/heads/topic",\r\n\t"sender":{"login":"octo-\\u0065rin"}, "note": "\xc3\xa4"} \n'
    answer = await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body), body)
    assert ignored_code(answer) == "WEBHOOK_BRANCH_IGNORED"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"ref": "\xff"}'])
async def test_an_unreadable_webhook_payload_is_400(
    webhooks: WebhookStage, shared_project: WebhookProject, body: bytes
) -> None:
    answer = await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body), body)
    assert error_of(answer) == (400, "WEBHOOK_PAYLOAD_INVALID")


async def test_a_push_payload_without_a_commit_is_400(webhooks: WebhookStage, shared_project: WebhookProject) -> None:
    body = push_body(after="main", login="octo-erin")
    answer = await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body), body)
    assert error_of(answer) == (400, "WEBHOOK_PAYLOAD_INVALID")


async def test_a_renewed_signature_key_invalidates_the_old_one(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    await webhooks.caller.send(RenewSignatureKey(project_id=project.id), actor=ROOT)
    body = push_body(login="octo-erin")
    delivery = str(uuid4())
    old = github_headers(project.key, body, delivery=delivery)
    assert error_of(await webhooks.deliver(project.id, old, body)) == (401, "WEBHOOK_SIGNATURE_INVALID")
    new = github_headers((await webhooks.load_project(project.id)).key, body, delivery=delivery)
    # the rejected request did not use up its delivery id
    assert (await webhooks.deliver(project.id, new, body))[0] == 201


async def test_many_invalid_signatures_are_counted_and_not_written_to_the_event_log(
    webhooks: WebhookStage, erin: int
) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    async with create_mongo_client(webhooks.stage.settings, "test") as client:
        commits = get_database(client, webhooks.stage.settings, "projects")["commits"]
        before = await commits.count_documents({})
        flood = [
            webhooks.deliver(project.id, github_headers("guess", body), body, gateway=number % 2)
            for number in range(50)
        ]
        assert {answer[0] for answer in await asyncio.gather(*flood)} == {401}
        assert await commits.count_documents({}) == before
    shown = await webhooks.list_deliveries(project.id, per_page="100")
    assert 10 <= len(shown) <= 20  # ten are stored per minute, and the minute may have changed during the test
    assert {(delivery["decision"], delivery["code"]) for delivery in shown} == {
        ("REFUSED", "WEBHOOK_SIGNATURE_INVALID")
    }
    assert len(shown) + sum(delivery["unrecorded"] for delivery in shown) == 50
    assert max(delivery["refused_total"] for delivery in shown) == 50
    assert await webhooks.list_delivery_events(project.id) == []


async def test_rejected_deliveries_are_listed_among_the_others_in_pages(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    for number in range(12):
        key = "guess" if number % 3 == 1 else project.key
        await webhooks.deliver(project.id, github_headers(key, body, "ping" if number % 3 else "issues"), body)
    whole = await webhooks.list_deliveries(project.id, per_page="100")
    assert Counter(delivery["decision"] for delivery in whole) == {"IGNORED": 8, "REFUSED": 4}
    times = [datetime.fromisoformat(delivery["received_at"]) for delivery in whole]
    assert times == sorted(times, reverse=True)
    for size in (1, 2, 5, 7):
        pages = [
            await webhooks.list_deliveries(project.id, per_page=str(size), page=str(page + 1)) for page in range(13)
        ]
        assert [delivery for page in pages for delivery in page] == whole
    filtered = {"decision[eq]": "REFUSED", "event[eq]": "ping", "per_page": "3"}
    only = await webhooks.list_deliveries(project.id, **filtered)
    assert only == [delivery for delivery in whole if delivery["decision"] == "REFUSED"][:3]
    single = await webhooks.gateways[0].get(f"/api/admin/deliveries/{only[0]['id']}", headers=webhooks.admin)
    assert single.json() == only[0]


async def test_the_number_of_stored_rejected_deliveries_is_limited(
    webhooks: WebhookStage, shared_project: WebhookProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "MAX_NEW_ENTRIES_PER_MINUTE", 1000)
    project = await webhooks.create_project()
    for _ in range(rejections.MAX_ENTRIES_PER_PROJECT + 5):
        await webhooks.deliver(project.id, gitlab_headers("guess"), b"{")
    shown = await webhooks.list_deliveries(project.id, per_page="100")
    assert [delivery["refused_total"] for delivery in shown] == list(range(25, 5, -1))


@pytest.fixture
async def bus_messages(webhooks: WebhookStage) -> AsyncIterator[list[bytes]]:
    """Collect the bodies of all NATS messages."""
    messages: list[bytes] = []

    async def record(message: Msg) -> None:
        messages.append(message.data)

    subscription = await webhooks.bus.subscribe(">", cb=record)
    yield messages
    await subscription.unsubscribe()


async def test_a_webhook_payload_without_a_valid_signature_is_not_sent_over_nats(
    webhooks: WebhookStage, erin: int, bus_messages: list[bytes]
) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin", padding="x" * 1_000_000)
    bus_messages.clear()
    for headers in (github_headers("guess", body), gitlab_headers("guess"), {"X-GitHub-Event": "push"}):
        assert error_of(await webhooks.deliver(project.id, headers, body)) == (401, "WEBHOOK_SIGNATURE_INVALID")
    assert error_of(await webhooks.deliver(project.id, {}, body))[0] == 400
    await flush_to_server(webhooks.bus)
    assert bus_messages
    assert max(map(len, bus_messages)) < 10_000
    (newest, *_) = await webhooks.list_deliveries(project.id)
    assert newest["body_size"] == len(body)


async def test_the_signature_key_is_encrypted_on_nats(
    webhooks: WebhookStage, erin: int, bus_messages: list[bytes]
) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    bus_messages.clear()
    assert (await webhooks.deliver(project.id, github_headers(project.key, body), body))[0] == 201
    await flush_to_server(webhooks.bus)
    assert any(b"encrypted" in message for message in bus_messages)
    assert not [message for message in bus_messages if project.key.encode() in message]


async def test_with_a_projects_service_of_0_2_0_the_service_checks_the_signature(
    repository: Path, tmp_path: Path
) -> None:
    new = (GetDeliveryKey, RejectWebhook)
    older = replace(projects, handlers=tuple(one for one in projects.handlers if one.message not in new))
    with running_servers(tmp_path) as servers:
        async with webhook_stage(servers, repository, tmp_path, older) as stage:
            erin = await stage.create_user(github_username="octo-erin")
            project = await stage.create_project(erin)
            body = push_body(login="octo-erin")
            assert error_of(await stage.deliver(project.id, github_headers("guess", body), body)) == (
                401,
                "WEBHOOK_SIGNATURE_INVALID",
            )
            assert (
                ignored_code(await stage.deliver(project.id, github_headers(project.key, body, "ping"), body))
                == "WEBHOOK_EVENT_IGNORED"
            )


async def test_a_webhook_payload_above_the_limit_is_413_and_one_at_the_limit_is_accepted(
    webhooks: WebhookStage, erin: int
) -> None:
    project = await webhooks.create_project(erin)
    limit = 5 * 1024 * 1024
    body = push_body(login="octo-erin", padding="")
    large = push_body(login="octo-erin", padding="x" * (limit - len(body)))
    assert len(large) == limit
    assert (await webhooks.deliver(project.id, github_headers(project.key, large), large))[0] == 201
    beyond = large + b" "
    answer = await webhooks.deliver(project.id, github_headers(project.key, beyond), beyond)
    assert error_of(answer) == (413, "REQUEST_TOO_LARGE")
