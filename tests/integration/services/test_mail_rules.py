"""Mail rules: who gets a mail about which build of a project."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from nats.aio.client import Client

from contracts.builds import BuildFinished, BuildStatus, GetPreviousResult, PreviousResult
from contracts.errors import RequestRejected
from contracts.identity import UserDeleted
from contracts.messages import Event
from contracts.notifications import ChangeMailRule, GetMailRule, MailBuilds, MailEvents, MailRuleView
from contracts.projects import GetLaunchSettings, ProjectDeleted
from libs.clock import now
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from libs.messaging.cloudevents import event_subject, to_body, to_headers
from libs.messaging.message_server import MessageServer
from libs.messaging.request_reply import Headers, MessageClient
from libs.service.declaration import Service
from services.notifications.app import create_service
from tests.integration.services.receivers.receiver_stage import SETTINGS
from tests.integration.services.test_notifications import (
    FAILED_BUILD,
    NotificationStage,
    fake_identity,
    running_notifications,
)
from tests.support import wait_until_handled
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS, eventually

ANN, BEN = Actor(5, "ann"), Actor(6, "ben")  # users of the fake identity service; Ben has no e-mail address
SUCCEEDED = FAILED_BUILD.replace(status=BuildStatus.SUCCESS, exit_code=0)


@dataclass
class Rules:
    running: NotificationStage
    previous: BuildStatus | None = None
    versions: int = 0

    @property
    def client(self) -> MessageClient:
        return MessageClient(self.bus)

    @property
    def bus(self) -> Client:
        return self.running.bus

    async def get_previous_result(self, _body: bytes, _headers: Headers) -> bytes:
        return PreviousResult(status=self.previous).model_dump_json().encode()

    async def get_launch_settings(self, body: bytes, _headers: Headers) -> bytes:
        if GetLaunchSettings.model_validate_json(body).project_id != SETTINGS.project_id:
            raise RequestRejected("PROJECT_NOT_FOUND")
        return SETTINGS.model_dump_json().encode()

    async def change(self, user: Actor, project_id: int = 3, **fields: str | None) -> MailRuleView:
        command = ChangeMailRule.model_validate({"project_id": project_id, **fields})
        return MailRuleView.model_validate_json(await self.client.send(command, actor=user))

    async def get(self, user: Actor) -> MailRuleView:
        return MailRuleView.model_validate_json(await self.client.query(GetMailRule(project_id=3), actor=user))

    async def publish(self, event: Event, service: str, stream: str) -> int:
        """Publish the event. Return its number in the stream of the service."""
        self.versions += 1
        recorded: RecordedEvent[Event] = RecordedEvent(
            stream, self.versions, 0, event, CommandMetadata(f"c{self.versions}", now())
        )
        message = event_subject(service, recorded), to_body(recorded)
        js = self.bus.jetstream(timeout=WITHIN_SECONDS)
        return (await js.publish(*message, headers=to_headers(service, recorded))).seq

    async def mails_about(self, build: BuildFinished) -> set[tuple[int | None, str]]:
        """Publish the end of a build, and wait until it is handled.

        Return the user id and kind of each mail requested for it.
        """
        known = {row.id for row in await self.running.list_notifications()}
        sequence = await self.publish(build, "builds", "build-17")
        await wait_until_handled(self.bus, "builds", "notifications-mail-rules", sequence)
        if build.exit_code and build.initiator_id:  # requested by the policy, which has no consumer
            await eventually(
                self.running.list_notifications,
                lambda rows: any(row.id not in known and row.user_id == build.initiator_id for row in rows),
            )
        rows = await self.running.list_notifications()
        return {(row.user_id, row.kind) for row in rows if row.id not in known}


@asynccontextmanager
async def running_rules(stage: ServiceStage) -> AsyncIterator[Rules]:
    async with running_notifications(stage, 0) as running, fake_identity(running.bus):
        rules = Rules(running)
        servers = [MessageServer(running.bus, name) for name in ("builds", "projects")]
        await servers[0].serve(GetPreviousResult, rules.get_previous_result)
        await servers[1].serve(GetLaunchSettings, rules.get_launch_settings)
        yield rules
        await asyncio.gather(*(server.stop(1) for server in servers))


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(Service("builds", categories=()), create_service())
        yield stage


async def test_rules_add_mails_to_those_about_own_failed_builds(stage: ServiceStage) -> None:
    failed, succeeded = (5, "build_failed"), (5, "build_succeeded")
    async with running_rules(stage) as rules:
        assert await rules.mails_about(FAILED_BUILD) == {failed}
        assert await rules.mails_about(SUCCEEDED) == set()
        await rules.change(ANN, events="always")
        await rules.change(BEN, events="fixed", builds="all")
        assert await rules.mails_about(FAILED_BUILD) == {failed, (6, "build_failed")}
        assert await rules.mails_about(SUCCEEDED) == {succeeded}
        rules.previous = BuildStatus.FAILED
        assert await rules.mails_about(SUCCEEDED) == {succeeded, (6, "build_succeeded")}
        assert await rules.mails_about(SUCCEEDED.replace(initiator_id=7)) == {(6, "build_succeeded")}


async def test_never_skips_the_mail_with_a_reason(stage: ServiceStage) -> None:
    async with running_rules(stage) as rules:
        await rules.change(ANN, events="never")
        await rules.mails_about(FAILED_BUILD)
        row = await rules.running.wait_until_ended()
    assert (row.status, row.reason) == ("skipped", "the user wants no mails about this project")


async def test_a_rule_belongs_to_one_user_and_is_deleted_with_user_and_project(stage: ServiceStage) -> None:
    default = MailRuleView(project_id=3, events=MailEvents.FAILED, builds=MailBuilds.OWN)
    async with running_rules(stage) as rules:
        assert await rules.get(ANN) == default
        changed = await rules.change(ANN, builds="all")
        assert changed == await rules.get(ANN) == default.replace(builds=MailBuilds.ALL)
        assert await rules.change(ANN, events="fixed") == changed.replace(events=MailEvents.FIXED)
        assert await rules.change(ANN, events=None) == changed
        assert await rules.change(BEN, events="never") == default.replace(events=MailEvents.NEVER)
        await rules.publish(UserDeleted(user_id=5), "identity", "user-5")
        await eventually(lambda: rules.get(ANN), lambda rule: rule == default)
        assert (await rules.get(BEN)).events is MailEvents.NEVER
        await rules.publish(ProjectDeleted(project_id=3), "projects", "project-3")
        await eventually(lambda: rules.get(BEN), lambda rule: rule == default)
        with pytest.raises(RequestRejected, match="PROJECT_NOT_FOUND"):
            await rules.change(ANN, project_id=4, events="never")
