"""Stage of the model test of reactions: builds, jobs and a concurrency group, and the reactions to handle."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from contracts.builds import (
    BuildEvent,
    BuildRow,
    BuildStatus,
    ConcurrencySlotGranted,
    JobEvent,
    JobRow,
    JobStatus,
    LaunchedProject,
    PlannedJob,
)
from contracts.errors import RequestRejected
from contracts.messages import Event
from libs.eventstore.decider import AnyCategory, AnyCommand, AnyEvent, CommandMetadata
from libs.eventstore.repository import CommandHandler, FollowUp, no_follow_ups
from services.builds.domain.build_state import Build, Phase
from services.builds.domain.build_state import evolve as evolve_build
from services.builds.domain.concurrency_group import ConcurrencyGroup
from services.builds.domain.internal_commands import EndJobOfBuild, PlanBuild, QueueJob, RecordJobResult
from services.builds.domain.job_state import Job
from services.builds.domain.job_state import evolve as evolve_job
from services.builds.policies import on_build_event, on_slot_granted
from services.builds.projections import build_category, concurrency_group_category, job_category
from tests.support.model_tests.json_event_store import JsonEventStore

DAY = datetime(2030, 5, 1, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=84,
    name="Mill",
    owner_alias="ivan",
    alias="mill",
    repository="r",
    branch="main",
    spec_file_path="/c",
    allow_concurrent_execution=False,
)
CATEGORIES: tuple[AnyCategory, ...] = (build_category, job_category, concurrency_group_category)
BUILD_IDS = (1, 2)
JOB_IDS = tuple(10 * build_id + number for build_id in BUILD_IDS for number in (1, 2))
AT_WORK = (Phase.PLANNED, Phase.RUNNING, Phase.CANCELING)
MAX_DELIVERIES = 300
UNFINISHED = (Phase.QUEUED, Phase.RESUMED, *AT_WORK)
WITH_RUNNER = (JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)


def chosen(choices: Callable[[Any], Sequence[int]]) -> st.SearchStrategy[int]:
    """Draw one of the ids that the machine offers."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choices(machine)))


def jobs_of(build_id: int) -> tuple[PlannedJob, ...]:
    """Return two jobs. The first one has cleanup steps, the second one is retried once after a failure."""
    first = PlannedJob(job_id=10 * build_id + 1, job_uuid="a", name="first", commands=("make",), max_attempts=2)
    second = first.replace(job_id=10 * build_id + 2, name="second", retries=1)
    return first.replace(after_commands=("clean",)), second


@dataclass(frozen=True)
class Reaction:
    """A command that follows from an event. Without a command, the planner reads the build and then sends one."""

    cause: AnyEvent
    command: AnyCommand | None

    @property
    def id(self) -> str:
        return f"{self.cause.id} {self.command}" if self.command else f"{self.cause.id} planner"


class ReactionStage(RuleBasedStateMachine):
    """Sends commands and reactions, and keeps the builds, jobs and reactions that follow. Subclasses declare rules."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = JsonEventStore()
        self.handler = CommandHandler(self.store)
        self.by_command = {command: category for category in CATEGORIES for command in category.decider.commands}
        self.pending: list[Reaction] = []
        self.delivered: list[Reaction] = []
        self.late: list[AnyCommand] = []  # commands about attempts, decided but not sent yet
        self.number = 0
        self.builds = {build_id: Build() for build_id in BUILD_IDS}
        self.jobs = {job_id: Job() for job_id in JOB_IDS}

    def teardown(self) -> None:
        self.loop.close()

    def recorded_events(self, event_type: type[Event]) -> Iterator[Any]:
        return (event for commit in self.store.log for event in commit.events if isinstance(event, event_type))

    def builds_in(self, *phases: Phase) -> list[int]:
        return [build_id for build_id, build in self.builds.items() if build.phase in phases]

    def jobs_in(self, *statuses: JobStatus) -> list[int]:
        return [job_id for job_id, job in self.jobs.items() if job.status in statuses]

    def group(self) -> ConcurrencyGroup:
        return self.loop.run_until_complete(self.handler.load(concurrency_group_category, "lane-84")).state

    def attempt_of(self, job_id: int) -> int:
        return self.jobs[job_id].spec.attempt

    def row_of(self, job_id: int) -> JobRow:
        row = self.store.rows[f"job-{job_id}"]
        assert isinstance(row, JobRow)
        return row

    def send(
        self, command: AnyCommand, id_: str = "", reaction: Reaction | None = None, *, is_inline: bool = False
    ) -> None:
        self.number += 1
        metadata = CommandMetadata(id_ or f"command-{self.number}", DAY, may_be_duplicate=bool(id_))
        category = self.by_command[type(command)]
        if metadata.may_be_duplicate and self.loop.run_until_complete(self.handler.find_commit(metadata)):
            return
        follow_ups = self.inline_follow_ups if is_inline else no_follow_ups
        try:
            result = self.loop.run_until_complete(self.handler.handle(category, command, metadata, follow_ups))
        except RequestRejected as rejected:
            if reaction and rejected.code == "CONFLICT":
                self.pending.append(reaction)  # the reaction is tried again
            return
        for recorded in result.new_events:
            self.apply(recorded.event)
            self.pending += reactions_to(recorded)

    def apply(self, event: Event) -> None:
        if isinstance(event, JobEvent):
            self.jobs[event.job_id] = evolve_job(self.jobs[event.job_id], event)
        elif isinstance(event, BuildEvent):
            self.builds[event.build_id] = evolve_build(self.builds[event.build_id], event)

    async def inline_follow_ups(self, events: Sequence[AnyEvent]) -> Sequence[FollowUp]:
        """Return the commands to builds and jobs that are recorded in one transaction with these events."""
        return [
            (self.by_command[type(command)], command, CommandMetadata(reaction.id, DAY))
            for recorded in events
            for reaction in reactions_to(recorded)
            if isinstance(command := reaction.command, QueueJob | RecordJobResult)
        ]

    def deliver_all(self) -> None:
        """Deliver the pending reactions in order until there are none."""
        for _ in range(MAX_DELIVERIES):
            if not self.pending:
                return
            self.deliver(self.pending.pop(0))
        raise AssertionError("the reactions do not come to an end")

    def deliver(self, reaction: Reaction) -> None:
        self.delivered = [*(other for other in self.delivered if other.id != reaction.id), reaction]
        if reaction.command:
            self.send(reaction.command, reaction.id, reaction)
        elif command := self.planned(reaction.cause):
            self.pending.append(Reaction(reaction.cause, command))

    def planned(self, recorded: AnyEvent) -> AnyCommand | None:
        """Return the command that the planner sends after it has read the build, or None."""
        build_id = recorded.event.build_id
        row = self.store.rows[f"build-{build_id}"]
        assert row is None or isinstance(row, BuildRow)
        if command := on_slot_granted(recorded.event, row):
            return command
        is_unplanned = row is not None and row.status is BuildStatus.QUEUED
        return PlanBuild(build_id, "s", "refs/heads/main", (), jobs_of(build_id)) if is_unplanned else None


def reactions_to(recorded: AnyEvent) -> Iterator[Reaction]:
    if isinstance(recorded.event, ConcurrencySlotGranted):
        yield Reaction(recorded, None)
    for command in on_build_event(recorded):
        if isinstance(command, EndJobOfBuild):
            command = RecordJobResult(**vars(command))
        yield Reaction(recorded, command)
