"""The notifications service with fakes of the services that it queries, and one project with a build."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from nats.aio.client import Client

from contracts.builds import (
    BuildFinished,
    BuildRow,
    BuildStarted,
    BuildStatus,
    GetBuild,
    GetPreviousResult,
    PreviousResult,
)
from contracts.errors import RequestRejected
from contracts.identity import GetUsernames, Usernames
from contracts.messages import Command, CommandReply, Event, Page
from contracts.notifications import (
    CreateReceiver,
    ListOutgoing,
    ListReceivers,
    Occasion,
    OutgoingRow,
    ReceiverKind,
    Receivers,
    ReceiverView,
)
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.clock import now
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.messaging.cloudevents import event_subject, to_body, to_headers
from libs.messaging.message_server import MessageServer
from libs.messaging.request_reply import Headers, MessageClient
from services.notifications.app import create_service
from tests.support import wait_until_handled
from tests.support.in_process.service_stage import ServiceStage
from tests.support.waiting import WITHIN_SECONDS, eventually

SECRET = "canary-of-the-webhook"
ENDLESS_RETRIES = (0.05,) * 10_000
STARTED = BuildStarted(build_id=17, project_id=3, executor_id="e", runner_name="miller")
SUCCEEDED = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=3,
    project_name="Shop",
    status=BuildStatus.SUCCESS,
    exit_code=0,
    queued_at=now(),
)
FAILED = SUCCEEDED.replace(status=BuildStatus.FAILED, exit_code=1)
BUILD = BuildRow(id=17, project_id=3, project_name="Shop", ref="refs/heads/main", sha="4f2c8d1e" * 5, initiator_id=5)
SETTINGS = LaunchSettings(
    allowed=True,
    project_id=3,
    name="Shop",
    owner_alias="acme",
    alias="shop",
    repository="https://git.test/acme/shop.git",
    branch="main",
    spec_file_path="/headrace.yaml",
    keep_number_build=None,
    allow_concurrent_execution=True,
    protected_branches=(),
    credential_id=None,
)


@dataclass
class Project:
    """Fakes of the services `builds`, `projects` and `identity`, with one build."""

    bus: Client
    previous: BuildStatus | None = None  # result of the project's previous build
    versions: "count[int]" = field(default_factory=lambda: count(1))
    last_sequence: int = 0  # number of the last event in the stream of builds

    async def get_build(self, _body: bytes, _headers: Headers) -> bytes:
        return BUILD.model_dump_json().encode()

    async def get_previous_result(self, _body: bytes, _headers: Headers) -> bytes:
        return PreviousResult(status=self.previous).model_dump_json().encode()

    async def get_launch_settings(self, body: bytes, _headers: Headers) -> bytes:
        if GetLaunchSettings.model_validate_json(body).project_id != SETTINGS.project_id:
            raise RequestRejected("PROJECT_NOT_FOUND")
        return SETTINGS.model_dump_json().encode()

    async def get_usernames(self, _body: bytes, _headers: Headers) -> bytes:
        return Usernames(names={5: "ann"}).model_dump_json().encode()

    async def send(self, command: Command) -> CommandReply:
        return CommandReply.model_validate_json(await MessageClient(self.bus).send(command, command_id=str(uuid4())))

    async def add_receiver(self, url: str, *events: Occasion, kind: ReceiverKind = ReceiverKind.WEBHOOK) -> int:
        secret = SECRET if kind is ReceiverKind.WEBHOOK else None
        create = CreateReceiver(project_id=3, kind=kind, url=url, secret=secret, events=events or None)
        return int((await self.send(create)).row["id"])

    async def publish(self, event: Event, version: int = 0, service: str = "builds", stream: str = "build-17") -> None:
        cause = CommandMetadata(str(uuid4()), now())
        recorded: RecordedEvent[Event] = RecordedEvent(stream, version or next(self.versions), 0, event, cause)
        message = event_subject(service, recorded), to_body(recorded)
        js = self.bus.jetstream(timeout=WITHIN_SECONDS)
        published = await js.publish(*message, headers=to_headers(service, recorded))
        if service == "builds":
            self.last_sequence = published.seq

    async def list_requests(self) -> list[OutgoingRow]:
        """Return the requests, oldest first."""
        page = Page.model_validate_json(await MessageClient(self.bus).query(ListOutgoing(project_id=3)))
        return [OutgoingRow.model_validate(row) for row in reversed(page.rows)]

    async def wait_for(self, count: int, reached: Callable[[OutgoingRow], object]) -> list[OutgoingRow]:
        async def found() -> list[OutgoingRow]:
            rows = await self.list_requests()
            return rows if len(rows) == count and all(map(reached, rows)) else []

        return await eventually(found, bool)

    async def wait_until_ended(self, count: int = 1) -> list[OutgoingRow]:
        return await self.wait_for(count, lambda row: row.ended_at)

    async def list_receivers(self) -> tuple[ReceiverView, ...]:
        answer = await MessageClient(self.bus).query(ListReceivers(project_id=3))
        return Receivers.model_validate_json(answer).receivers

    async def wait_until_handled(self) -> None:
        """Wait until the worker has handled all events of builds."""
        await wait_until_handled(self.bus, "builds", "notifications-receivers", self.last_sequence)


@asynccontextmanager
async def running_project(
    stage: ServiceStage, *, retry_delays: tuple[float, ...] = ENDLESS_RETRIES, **settings: Any
) -> AsyncIterator[Project]:
    own = ServiceStage(stage.settings.model_copy(update={"url": "http://ci.test", **settings}))
    declare = partial(create_service, retry_delays=retry_delays)
    async with own.running(declare, replicas=2), own.connected() as bus:
        project = Project(bus)
        servers = {name: MessageServer(bus, name) for name in ("builds", "projects", "identity")}
        await servers["builds"].serve(GetBuild, project.get_build)
        await servers["builds"].serve(GetPreviousResult, project.get_previous_result)
        await servers["projects"].serve(GetLaunchSettings, project.get_launch_settings)
        await servers["identity"].serve(GetUsernames, project.get_usernames)
        yield project
        await asyncio.gather(*(server.stop(1) for server in servers.values()))
