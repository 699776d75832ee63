"""The projects service with a clock that tests set, and fake services that launch builds and know users."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from contracts.builds import BuildRow, QueueBuild
from contracts.errors import RequestRejected
from contracts.identity import GetUser, GetUsernames, Usernames, UserView
from contracts.messages import CommandReply
from contracts.projects import CreateSchedule, GetSchedule, ScheduleCreated, ScheduleView
from libs.clock import Clock
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from services.projects.domain.internal_commands import AddProject
from services.projects.schedules import schedule_runs, schedule_timers
from tests.support.in_process.gateway_stage import FakeServices, ReceivedMessage

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
OWNER = Actor(7, "olga", ("ROLE_DEVELOPER",))
PROJECT_ID = 5


@dataclass
class ScheduleStage:
    runtime: Runtime
    elsewhere: FakeServices
    time: datetime = START
    builds: dict[str, int] = field(default_factory=dict)  # number of the build, by the id of the command
    launch_error: RequestRejected | None = None
    user_error: RequestRejected | None = None

    def __post_init__(self) -> None:
        self.runtime.clock = Clock(lambda: self.time, lambda: (self.time - START).total_seconds())

    async def prepare(self) -> None:
        await self.elsewhere.serve(QueueBuild, self._launch)
        await self.elsewhere.serve(GetUser, self._get_user)
        await self.elsewhere.serve(GetUsernames, lambda _: Usernames(names={OWNER.id: OWNER.name}))
        project = AddProject(
            project_id=PROJECT_ID,
            name="mill",
            repository="https://forge.example/mill.git",
            branch="main",
            spec_file_path="/spec.yaml",
            allow_concurrent_execution=True,
            executor_id=1,
            owner_alias="olga",
            owner_user_id=OWNER.id,
            alias="mill",
            sealed_signature_key="",
        )
        await self.context().send(project)

    def context(self, actor: Actor = OWNER) -> ServiceContext:
        return ServiceContext(self.runtime, CommandMetadata(str(uuid4()), self.time, actor))

    def _launch(self, _: QueueBuild) -> CommandReply:
        """Return a new build or, for a repeated command id, its first build, as the builds service does."""
        command_id = self.elsewhere.received[-1].command_id
        if self.launch_error:
            raise self.launch_error
        number = self.builds.setdefault(str(command_id), len(self.builds) + 1)
        return CommandReply(stream=f"build-{number}", version=1, row=BuildRow(id=number).model_dump(mode="json"))

    def _get_user(self, _: GetUser) -> UserView:
        if self.user_error:
            raise self.user_error
        return UserView(
            id=OWNER.id,
            uuid=str(uuid4()),
            username=OWNER.name,
            email=None,
            roles=OWNER.roles,
            enabled=True,
            github_username=None,
            gitlab_username=None,
            projects_id=(),
            created_at=START,
        )

    @property
    def launches(self) -> list[ReceivedMessage]:
        return self.elsewhere.received_of(QueueBuild)

    async def send(self, command: Any) -> CommandReply:
        return await self.context().send(command)

    async def create(self, cron: str = "0 * * * *", **more: Any) -> int:
        reply = await self.send(CreateSchedule(project_id=PROJECT_ID, cron=cron, **more))
        await self.set_timer(int(reply.row["id"]))
        return int(reply.row["id"])

    async def set_timer(self, schedule_id: int) -> None:
        """Set the timer of a schedule, as the worker does after an event of the schedule."""
        event = ScheduleCreated(schedule_id=schedule_id, project_id=PROJECT_ID, cron="")
        recorded = RecordedEvent(f"schedule-{schedule_id}", 1, 0, event, CommandMetadata("event", self.time))
        await schedule_timers.set_timer(self.context(), recorded)

    async def run_due(self, at: str) -> None:
        """Run the periodic task at a time of START's month, like `02 13:00`."""
        self.time = datetime.strptime(f"2026-03-{at}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        await schedule_runs.launch_due_builds(self.runtime.background_context("schedules"))

    async def view(self, schedule_id: int) -> ScheduleView:
        return await self.query(GetSchedule(schedule_id=schedule_id))

    async def query(self, message: Any) -> ScheduleView:
        return await self.context().query(message, ScheduleView)
