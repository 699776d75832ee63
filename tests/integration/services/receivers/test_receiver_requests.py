"""Webhooks and chat messages: signatures, retries, and failures with a reason."""

from uuid import uuid4

import pytest

from contracts.builds import (
    BuildStatus,
)
from contracts.errors import RequestRejected
from contracts.notifications import (
    ChangeReceiver,
    Occasion,
    OutgoingRow,
    ReceiverKind,
    RepeatOutgoing,
)
from libs.messaging.request_reply import MessageClient
from libs.settings import PUBLIC
from services.notifications.receivers.build_messages import sign
from tests.integration.services.receivers.receiver_stage import FAILED, SECRET, STARTED, SUCCEEDED, running_project
from tests.support.external.notification_receiver import NotificationReceiver, notification_receiver
from tests.support.in_process.service_stage import ServiceStage


async def test_a_receiver_gets_signed_cloud_events(stage: ServiceStage, receiver: NotificationReceiver) -> None:
    async with running_project(stage) as project:
        await project.add_receiver(f"{receiver.url}/hook?key=canary", Occasion.STARTED, Occasion.FINISHED)
        await project.publish(STARTED)
        await project.wait_until_ended(1)
        await project.publish(SUCCEEDED)
        rows = await project.wait_until_ended(2)
        (view,) = await project.list_receivers()
    started, finished = receiver.requests
    assert [(row.status, row.response_code, row.target) for row in rows] == [("sent", 200, receiver.url)] * 2
    assert started.path == "/hook?key=canary"
    assert started.headers["content-type"] == "application/cloudevents+json"
    assert started.json()["data"]["state"] == "running"
    event = finished.json()
    assert (event["type"], event["data"]["initiator"]) == ("headrace.build.finished", {"id": 5, "name": "ann"})
    headers = sign(SECRET, event["id"], int(finished.headers["webhook-timestamp"]), finished.body)
    assert headers.items() <= finished.headers.items()
    assert view.last_delivery is not None
    assert (view.last_delivery.id, view.last_delivery.response_code) == (rows[1].id, 200)


async def test_chat_gets_failures_and_the_first_success_after_them(
    stage: ServiceStage, receiver: NotificationReceiver
) -> None:
    async with running_project(stage) as project:
        await project.add_receiver(receiver.url, kind=ReceiverKind.SLACK)
        for event, previous in (
            (STARTED, None),
            (FAILED, None),
            (SUCCEEDED, BuildStatus.FAILED),
            (SUCCEEDED, BuildStatus.SUCCESS),
        ):
            project.previous = previous
            await project.publish(event)
            await project.wait_until_handled()
        await project.wait_until_ended(2)
    assert sorted(text.split("> ")[1] for text in receiver.texts()) == [
        "failed (main, 4f2c8d1e)",
        "succeeded again (main, 4f2c8d1e)",
    ]


async def test_a_failed_request_is_retried_with_the_same_id(
    stage: ServiceStage, receiver: NotificationReceiver
) -> None:
    receiver.failures += [503, 429]
    async with running_project(stage) as project:
        await project.add_receiver(receiver.url)
        await project.publish(FAILED)
        (row,) = await project.wait_until_ended()
    assert (row.status, row.attempts, row.response_code) == ("sent", 3, 200)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len(receiver.requests) == 3


async def test_a_request_is_abandoned_after_the_last_retry(stage: ServiceStage, receiver: NotificationReceiver) -> None:
    receiver.failures += [500] * 3
    async with running_project(stage, retry_delays=(0.05, 0.05)) as project:
        await project.add_receiver(receiver.url)
        await project.publish(FAILED)
        (row,) = await project.wait_until_ended()
        (view,) = await project.list_receivers()
    assert (row.status, row.attempts, row.response_code) == ("gave_up", 3, 500)
    assert view.last_delivery is not None
    assert view.last_delivery.reason == "the receiver is overloaded or has a failure (500)"


async def test_a_redirect_is_not_followed(stage: ServiceStage, receiver: NotificationReceiver) -> None:
    with notification_receiver() as other:
        receiver.failures, receiver.location = [307], other.url
        async with running_project(stage) as project:
            await project.add_receiver(receiver.url)
            await project.publish(FAILED)
            (row,) = await project.wait_until_ended()
    assert (row.status, row.attempts) == ("gave_up", 1)
    assert row.reason == "the receiver redirects to another URL (307)"
    assert other.requests == []


async def test_a_receiver_outside_the_allowed_networks_gets_nothing(
    stage: ServiceStage, receiver: NotificationReceiver
) -> None:
    async with running_project(stage, repository_networks=(PUBLIC,)) as project:
        await project.add_receiver(receiver.url)
        await project.publish(FAILED)
        (row,) = await project.wait_until_ended()
    assert row.status == "gave_up"
    assert "HEADRACE_REPOSITORY_NETWORKS" in row.reason
    assert receiver.requests == []


async def test_a_request_is_sent_again_to_the_present_url(stage: ServiceStage, receiver: NotificationReceiver) -> None:
    async with running_project(stage) as project:
        number = await project.add_receiver("http://127.0.0.1:1/closed")
        await project.publish(FAILED)
        (row,) = await project.wait_for(1, lambda row: row.attempts)
        with pytest.raises(RequestRejected, match="OUTGOING_REQUEST_STATUS"):
            await project.send(RepeatOutgoing(project_id=3, outgoing_request_id=row.id))
        await project.send(ChangeReceiver(project_id=3, receiver_id=number, url=receiver.url))
        (row,) = await project.wait_until_ended()
        reply = await MessageClient(project.bus).send(
            RepeatOutgoing(project_id=3, outgoing_request_id=row.id), command_id=str(uuid4())
        )
        repeated = OutgoingRow.model_validate_json(reply)
        await project.wait_until_ended(2)
        with pytest.raises(RequestRejected, match="OUTGOING_REQUEST_NOT_FOUND"):
            await project.send(RepeatOutgoing(project_id=4, outgoing_request_id=row.id))
    assert (repeated.repeats, repeated.event_id) == (row.id, row.event_id)
    first, second = receiver.requests
    assert first.json() == second.json()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_events_are_requested_once_and_only_for_active_receivers(
    stage: ServiceStage, receiver: NotificationReceiver
) -> None:
    async with running_project(stage) as project:
        paused = await project.add_receiver(receiver.url)
        await project.send(ChangeReceiver(project_id=3, receiver_id=paused, active=False))
        active = await project.add_receiver(receiver.url)
        for _ in range(2):
            await project.publish(FAILED, version=100)
        await project.publish(STARTED)
        await project.wait_until_handled()
        (row,) = await project.wait_until_ended()
    assert row.receiver_id == active
    assert len(receiver.requests) == 1
