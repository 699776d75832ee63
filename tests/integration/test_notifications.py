"""Mails of the whole notifications service: real events, a real mail server, refusals, retries and giving up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from bson import json_util
from nats.aio.client import Client

from contracts.builds import BuildFinished, BuildStatus
from contracts.errors import Refused
from contracts.identity import GetUser
from contracts.messages import Event, Page
from contracts.notifications import ListNotifications, NotificationRow, SendTestMail
from libs.clock import now
from libs.cloudevents import subject, to_body, to_headers
from libs.connections import database_of, mongo
from libs.deciding import Cause, Recorded
from libs.messaging import Caller, Headers, Responder
from libs.service import Service
from libs.settings import MailSecurity, MailSettings
from services.notifications.app import declare
from tests.integration.mail_server import Mailbox, mail_server
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

IMPATIENT = partial(declare, delays=(0.05, 0.05))
PATIENT = partial(declare, delays=(0.2,) * 100)
USERS = {5: "ann@example.org", 6: None}
failed = BuildFinished(
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
class World:
    """The notifications service running, and what it meets: builds that finish, and the users of identity."""

    stage: Stage
    bus: Client

    async def finish(self, build: BuildFinished) -> None:
        cause = Cause(f"finish {build.build_id}", now())
        recorded: Recorded[Event] = Recorded(f"build-{build.build_id}", 9, 0, build, cause)
        message = subject("builds", recorded), to_body(recorded)
        await self.bus.jetstream().publish(*message, headers=to_headers("builds", recorded))

    async def rows(self) -> list[NotificationRow]:
        page = Page.model_validate_json(await Caller(self.bus).ask(ListNotifications()))
        return [NotificationRow.model_validate(row) for row in page.rows]

    async def until(self, reached: Callable[[NotificationRow], bool]) -> NotificationRow:
        """The newest notification, once it is as wished."""
        async with asyncio.timeout(30):
            while True:
                match await self.rows():
                    case [row, *_] if reached(row):
                        return row
                await asyncio.sleep(0.02)

    async def over(self) -> NotificationRow:
        return await self.until(lambda row: row.ended_at is not None)


async def answer_user(body: bytes, _headers: Headers) -> bytes:
    user_id = GetUser.model_validate_json(body).user_id or 0
    if user_id not in USERS:
        raise Refused("DEVELOPER_NOT_FOUND")
    return json_util.dumps({"id": user_id, "email": USERS[user_id]}).encode()


@asynccontextmanager
async def identity(bus: Client) -> AsyncIterator[None]:
    responder = Responder(bus, "identity")
    await responder.answer(GetUser, answer_user)
    yield
    await responder.stop(1)


@asynccontextmanager
async def world(stage: Stage, port: int, service: Callable[[], Service] = declare) -> AsyncIterator[World]:
    mail = MailSettings("127.0.0.1" if port else "", port, "ci@example.org", tls=MailSecurity.NONE)
    stage = Stage(replace(stage.settings, url="http://ci.test", mail=mail))
    async with stage.running(service, replicas=2), stage.connected() as bus:
        yield World(stage, bus)


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(Service("builds", categories=()), declare())
        yield stage


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with mail_server() as mailbox:
        yield mailbox


async def test_who_started_a_build_that_failed_gets_a_mail(stage: Stage, mailbox: Mailbox) -> None:
    async with world(stage, mailbox.port) as here, identity(here.bus):
        await here.finish(failed)
        mail = await mailbox.first_mail()
        row = await here.over()
    assert (mail["To"], mail["Subject"]) == ("ann@example.org", "ACME: build 17 failed")
    assert "it broke" in mail.get_content()
    assert "http://ci.test/api/developer/builds/17" in mail.get_content()
    assert mail["Message-ID"] == f"<{row.id}@example.org>"
    assert (row.status, row.attempts, row.user_id) == ("sent", 1, 5)


async def test_an_event_that_comes_twice_makes_one_mail(stage: Stage, mailbox: Mailbox) -> None:
    async with world(stage, mailbox.port) as here, identity(here.bus):
        await here.finish(failed)
        await here.finish(failed)
        await here.finish(failed.but(build_id=18))
        await here.until(lambda row: row.title == "ACME: build 18 failed" and row.status == "sent")
        assert len(await here.rows()) == 2
    assert len(mailbox.mails) == 2


async def test_builds_that_succeed_are_passed_over(stage: Stage, mailbox: Mailbox) -> None:
    async with world(stage, mailbox.port) as here, identity(here.bus):
        await here.finish(failed.but(exit_code=0, status=BuildStatus.SUCCESS))
        await here.finish(failed.but(build_id=18))
        await here.over()
        assert len(await here.rows()) == 1


async def test_a_mail_waits_until_the_mail_server_is_back(stage: Stage) -> None:
    async with mail_server() as mailbox:
        port = mailbox.port
    async with world(stage, port, PATIENT) as here, identity(here.bus):
        await here.finish(failed)
        waiting = await here.until(lambda row: row.attempts >= 1)
        async with mail_server(port=port) as mailbox:
            await mailbox.first_mail()
            row = await here.over()
    assert (waiting.status, waiting.reason) == ("requested", "the mail server cannot be reached")
    assert row.status == "sent"
    assert row.attempts >= 2


async def test_a_mail_outlives_the_process(stage: Stage) -> None:
    async with mail_server() as mailbox:
        port = mailbox.port
    async with world(stage, port, PATIENT) as here, identity(here.bus):
        await here.finish(failed)
        await here.until(lambda row: row.attempts >= 1)
    async with mail_server(port=port) as mailbox, world(stage, port, PATIENT) as here, identity(here.bus):
        assert (await here.over()).status == "sent"
    assert len(mailbox.mails) == 1


async def test_a_mail_is_given_up_after_the_last_try(stage: Stage, mailbox: Mailbox) -> None:
    mailbox.refusals["DATA"] = "451 4.3.0 too busy"
    async with world(stage, mailbox.port, IMPATIENT) as here, identity(here.bus):
        await here.finish(failed)
        row = await here.over()
    assert (row.status, row.attempts) == ("gave_up", 3)
    assert row.reason == "the mail server refused the mail (451 4.3.0)"


async def test_a_final_refusal_is_not_tried_again(stage: Stage, mailbox: Mailbox) -> None:
    mailbox.refusals["RCPT"] = "550 5.1.1 <ann@example.org> is not here"
    async with world(stage, mailbox.port) as here, identity(here.bus):
        await here.finish(failed)
        row = await here.over()
    assert (row.status, row.attempts) == ("gave_up", 1)
    assert row.reason == "the mail server refused the recipient (550 5.1.1)"


@pytest.mark.parametrize("user_id", [6, 7], ids=["without address", "unknown"])
async def test_who_cannot_be_reached_is_skipped(stage: Stage, mailbox: Mailbox, user_id: int) -> None:
    async with world(stage, mailbox.port) as here, identity(here.bus):
        await here.finish(failed.but(initiator_id=user_id))
        row = await here.over()
    assert (row.status, row.reason) == ("skipped", "the user is gone or has no e-mail address")


async def test_without_a_mail_server_mails_are_recorded_only(stage: Stage) -> None:
    async with world(stage, 0) as here, identity(here.bus):
        await here.finish(failed)
        row = await here.over()
    assert (row.status, row.reason) == ("skipped", "no mail server is configured")


async def test_a_mail_waits_for_the_identity_service(stage: Stage, mailbox: Mailbox) -> None:
    async with world(stage, mailbox.port) as here:
        await here.finish(failed)
        waiting = await here.until(lambda row: row.status == "requested")
        async with identity(here.bus):
            row = await here.over()
    assert waiting.attempts == 0
    assert (row.status, row.attempts) == ("sent", 1)


async def test_a_test_mail_is_sent_and_its_address_is_in_the_log_only_sealed(stage: Stage, mailbox: Mailbox) -> None:
    async with world(stage, mailbox.port) as here:
        await Caller(here.bus).tell(SendTestMail(recipient="canary@example.org"))
        mail = await mailbox.first_mail()
        row = await here.over()
        stored = await everything_stored(here)
    assert mail["To"] == "canary@example.org"
    assert (row.kind, row.status) == ("test", "sent")
    assert row.id in stored
    assert "canary" not in stored


async def everything_stored(here: World) -> str:
    async with mongo(here.stage.settings, "test") as client:
        database = database_of(client, here.stage.settings, "notifications")
        documents: list[Any] = [
            await database[name].find().to_list() for name in await database.list_collection_names()
        ]
    events = await here.bus.jetstream().subscribe("evt.notifications.>", ordered_consumer=True)
    messages = [(await events.next_msg(20)).data.decode() for _ in range(2)]
    return json_util.dumps(documents) + "".join(messages)


@pytest.mark.parametrize("recipient", ["", "ann", "a@x\r\nBcc: b@y", "a@x,b@y"])
async def test_a_test_mail_needs_an_address(stage: Stage, mailbox: Mailbox, recipient: str) -> None:
    async with world(stage, mailbox.port) as here:
        with pytest.raises(Refused) as refused:
            await Caller(here.bus).tell(SendTestMail(recipient=recipient))
        assert await here.rows() == []
    assert refused.value.code == "MAIL_RECIPIENT_INVALID"
