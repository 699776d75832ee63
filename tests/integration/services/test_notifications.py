"""The notifications service with real events and a real mail server: refusals, retries and abandoned e-mails."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from bson import json_util
from nats.aio.client import Client

from contracts.builds import BuildFinished, BuildStatus, GetProjectAccess, ProjectAccessView
from contracts.errors import RequestRejected
from contracts.identity import GetUser, UserView
from contracts.messages import Event, Page
from contracts.notifications import ListNotifications, NotificationRow, SendTestMail
from infra.local import ports
from libs.clock import now
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.messaging.cloudevents import event_subject, to_body, to_headers
from libs.messaging.message_server import MessageServer
from libs.messaging.request_reply import Headers, MessageClient
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from libs.settings import MailSecurity, MailSettings
from services.notifications.app import create_service
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.in_process.smtp_server import Mailbox, running_mail_server
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS, eventually

SHORT_RETRIES = partial(create_service, retry_delays=(0.05, 0.05))
ENDLESS_RETRIES = partial(create_service, retry_delays=(0.2,) * 10_000)
USERS = {5: "ann@example.org", 6: None}
FAILED_BUILD = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=3,
    project_name="Acme",
    status=BuildStatus.FAILED,
    exit_code=1,
    output="it broke",
    queued_at=now(),
    initiator_id=5,
)


@dataclass(frozen=True)
class NotificationStage:
    """The notifications service with a fake identity service. Tests publish the events of finished builds."""

    stage: ServiceStage
    bus: Client

    async def publish_finished_build(self, build: BuildFinished) -> None:
        cause = CommandMetadata(f"finish {build.build_id}", now())
        recorded: RecordedEvent[Event] = RecordedEvent(f"build-{build.build_id}", 9, 0, build, cause)
        message = event_subject("builds", recorded), to_body(recorded)
        js = self.bus.jetstream(timeout=WITHIN_SECONDS)
        await js.publish(*message, headers=to_headers("builds", recorded))

    async def list_notifications(self) -> list[NotificationRow]:
        page = Page.model_validate_json(await MessageClient(self.bus).query(ListNotifications()))
        return [NotificationRow.model_validate(row) for row in page.rows]

    async def wait_for(self, reached: Callable[[NotificationRow], bool]) -> NotificationRow:
        """Wait until the newest notification satisfies the predicate, and return it."""
        rows = await eventually(self.list_notifications, lambda found: found and reached(found[0]))
        return rows[0]

    async def wait_until_ended(self) -> NotificationRow:
        return await self.wait_for(lambda row: row.ended_at is not None)


async def answer_project_access(_body: bytes, _headers: Headers) -> bytes:
    return ProjectAccessView().model_dump_json().encode()


async def answer_user(body: bytes, _headers: Headers) -> bytes:
    user_id = GetUser.model_validate_json(body).user_id or 0
    if user_id not in USERS:
        raise RequestRejected("DEVELOPER_NOT_FOUND")
    view = UserView(
        id=user_id,
        uuid=str(user_id),
        username=f"user-{user_id}",
        email=USERS[user_id],
        roles=(),
        enabled=True,
        github_username=None,
        gitlab_username=None,
        projects_id=(),
        created_at=now(),
    )
    return view.model_dump_json().encode()


@asynccontextmanager
async def fake_identity(bus: Client) -> AsyncIterator[None]:
    responder = MessageServer(bus, "identity")
    await responder.serve(GetUser, answer_user)
    await responder.serve(GetProjectAccess, answer_project_access)
    yield
    await responder.stop(1)


@asynccontextmanager
async def running_notifications(
    stage: ServiceStage, port: int, service: Callable[[], Service] = create_service
) -> AsyncIterator[NotificationStage]:
    mail = MailSettings(
        host="127.0.0.1" if port else "", port=port or 587, sender="ci@example.org", tls=MailSecurity.NONE
    )
    stage = ServiceStage(stage.settings.model_copy(update={"url": "http://ci.test", "mail": mail}))
    async with stage.running(service, replicas=2), stage.connected() as bus:
        yield NotificationStage(stage, bus)


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(Service("builds", categories=()), create_service())
        yield stage


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with running_mail_server() as mailbox:
        yield mailbox


async def test_the_initiator_of_a_failed_build_gets_a_mail(stage: ServiceStage, mailbox: Mailbox) -> None:
    async with running_notifications(stage, mailbox.port) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        mail = await mailbox.wait_for_mail()
        row = await running.wait_until_ended()
    assert (mail["To"], mail["Subject"]) == ("ann@example.org", "ACME: build 17 failed")
    assert "it broke" in mail.get_content()
    assert "http://ci.test/api/developer/builds/17" in mail.get_content()
    assert mail["Message-ID"] == f"<{row.id}@example.org>"
    assert (row.status, row.attempts, row.user_id) == ("sent", 1, 5)


async def test_a_redelivered_event_sends_one_mail(stage: ServiceStage, mailbox: Mailbox) -> None:
    async with running_notifications(stage, mailbox.port) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        await running.publish_finished_build(FAILED_BUILD)
        await running.publish_finished_build(FAILED_BUILD.replace(build_id=18))
        await running.wait_for(lambda row: row.title == "ACME: build 18 failed")
        rows = await eventually(running.list_notifications, lambda found: all(row.status == "sent" for row in found))
        assert len(rows) == 2
    assert len(mailbox.mails) == 2


async def test_successful_builds_send_no_mail(stage: ServiceStage, mailbox: Mailbox) -> None:
    async with running_notifications(stage, mailbox.port) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD.replace(exit_code=0, status=BuildStatus.SUCCESS))
        await running.publish_finished_build(FAILED_BUILD.replace(build_id=18))
        await running.wait_until_ended()
        assert len(await running.list_notifications()) == 1


async def test_a_mail_is_retried_until_the_mail_server_is_back(stage: ServiceStage) -> None:
    port = ports.find_free_port()
    async with running_notifications(stage, port, ENDLESS_RETRIES) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        waiting = await running.wait_for(lambda row: row.attempts >= 1)
        async with running_mail_server(port=port) as mailbox:
            await mailbox.wait_for_mail()
            row = await running.wait_until_ended()
    assert (waiting.status, waiting.reason) == ("requested", "the mail server cannot be reached")
    assert row.status == "sent"
    assert row.attempts >= 2


async def test_a_pending_mail_survives_a_service_restart(stage: ServiceStage) -> None:
    port = ports.find_free_port()
    async with running_notifications(stage, port, ENDLESS_RETRIES) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        await running.wait_for(lambda row: row.attempts >= 1)
    async with (
        running_mail_server(port=port) as mailbox,
        running_notifications(stage, port, ENDLESS_RETRIES) as running,
        fake_identity(running.bus),
    ):
        assert (await running.wait_until_ended()).status == "sent"
    assert len(mailbox.mails) == 1


async def test_a_mail_is_abandoned_after_the_last_retry(stage: ServiceStage, mailbox: Mailbox) -> None:
    mailbox.refusals["DATA"] = "451 4.3.0 too busy"
    async with running_notifications(stage, mailbox.port, SHORT_RETRIES) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        row = await running.wait_until_ended()
    assert (row.status, row.attempts) == ("gave_up", 3)
    assert row.reason == "the mail server refused the mail (451 4.3.0)"


async def test_a_permanent_mail_failure_is_not_retried(stage: ServiceStage, mailbox: Mailbox) -> None:
    mailbox.refusals["RCPT"] = "550 5.1.1 <ann@example.org> is not here"
    async with running_notifications(stage, mailbox.port) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        row = await running.wait_until_ended()
    assert (row.status, row.attempts) == ("gave_up", 1)
    assert row.reason == "the mail server refused the recipient (550 5.1.1)"


@pytest.mark.parametrize("user_id", [6, 7], ids=["without address", "unknown"])
async def test_a_user_without_an_email_address_gets_no_mail(
    stage: ServiceStage, mailbox: Mailbox, user_id: int
) -> None:
    async with running_notifications(stage, mailbox.port) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD.replace(initiator_id=user_id))
        row = await running.wait_until_ended()
    assert (row.status, row.reason) == (
        "skipped",
        "the user does not exist, has no e-mail address, or may no longer see the project",
    )


async def test_without_a_mail_server_mails_are_recorded_as_skipped(stage: ServiceStage) -> None:
    async with running_notifications(stage, 0) as running, fake_identity(running.bus):
        await running.publish_finished_build(FAILED_BUILD)
        row = await running.wait_until_ended()
    assert (row.status, row.reason) == ("skipped", "no mail server is configured")


async def test_a_mail_waits_until_the_identity_service_responds(stage: ServiceStage, mailbox: Mailbox) -> None:
    async with running_notifications(stage, mailbox.port) as running:
        await running.publish_finished_build(FAILED_BUILD)
        waiting = await running.wait_for(lambda row: row.status == "requested")
        async with fake_identity(running.bus):
            row = await running.wait_until_ended()
    assert waiting.attempts == 0
    assert (row.status, row.attempts) == ("sent", 1)


async def test_a_test_mail_is_sent_and_its_recipient_is_stored_encrypted(stage: ServiceStage, mailbox: Mailbox) -> None:
    async with running_notifications(stage, mailbox.port) as running:
        await MessageClient(running.bus).send(SendTestMail(recipient="canary@example.org"))
        mail = await mailbox.wait_for_mail()
        row = await running.wait_until_ended()
        stored = await dump_everything(running)
    assert mail["To"] == "canary@example.org"
    assert (row.kind, row.status) == ("test", "sent")
    assert row.id in stored
    assert "canary" not in stored


async def dump_everything(running: NotificationStage) -> str:
    async with create_mongo_client(running.stage.settings, "test") as client:
        database = get_database(client, running.stage.settings, "notifications")
        documents: list[Any] = [
            await database[name].find().to_list() for name in await database.list_collection_names()
        ]
    events = await running.bus.jetstream(timeout=WITHIN_SECONDS).subscribe("evt.notifications.>", ordered_consumer=True)
    messages = [(await events.next_msg(WITHIN_SECONDS)).data.decode() for _ in range(2)]
    return json_util.dumps(documents) + "".join(messages)


@pytest.mark.parametrize("recipient", ["", "ann", "a@x\r\nBcc: b@y", "a@x,b@y"])
async def test_a_test_mail_needs_a_valid_recipient(stage: ServiceStage, mailbox: Mailbox, recipient: str) -> None:
    async with running_notifications(stage, mailbox.port) as running:
        with pytest.raises(RequestRejected) as refused:
            await MessageClient(running.bus).send(SendTestMail(recipient=recipient))
        assert await running.list_notifications() == []
    assert refused.value.code == "MAIL_RECIPIENT_INVALID"
