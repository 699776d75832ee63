"""Model test of the reactions between builds, jobs and a concurrency group: late, in any order and more than once.

The builds belong to a project that runs one build at a time. Users, runners and the planner act at any time. There is
no model: the invariants say what must hold at any time, and what must hold when all reactions have been handled.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.builds import (
    FINISHED_JOB_STATUSES,
    BuildRow,
    BuildStatus,
    ConcurrencySlotGranted,
    JobFinished,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    RetryBuild,
)
from contracts.errors import RequestRejected
from contracts.messages import Event
from libs.eventstore.decider import AnyCategory, AnyCommand, AnyEvent, CommandMetadata
from libs.eventstore.repository import CommandHandler, FollowUp, no_follow_ups
from services.builds.domain.build_state import Build, Phase
from services.builds.domain.concurrency_group import ConcurrencyGroup
from services.builds.domain.internal_commands import (
    AssignJob,
    EndJobOfBuild,
    FinishJob,
    LaunchBuild,
    MarkJobLost,
    PlanBuild,
    QueueJob,
    RecordJobResult,
    RerunBuildJob,
    StartJob,
    StopBuild,
    StopBuildJob,
)
from services.builds.domain.job_state import Job
from services.builds.policies import on_build_event, on_slot_granted
from services.builds.projections import build_category, concurrency_group_category, job_category
from tests.support.model_tests.decider_machine import run_machine
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
    first = PlannedJob(job_id=10 * build_id + 1, job_uuid="a", name="first", commands=("make",))
    return first.replace(after_commands=("clean",)), first.replace(job_id=10 * build_id + 2, name="second")


@dataclass(frozen=True)
class Reaction:
    """A command that follows from an event. Without a command, the planner reads the build and then sends one."""

    cause: AnyEvent
    command: AnyCommand | None

    @property
    def id(self) -> str:
        return f"{self.cause.id} {self.command}" if self.command else f"{self.cause.id} planner"


class ReactionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = JsonEventStore()
        self.handler = CommandHandler(self.store)
        self.by_command = {command: category for category in CATEGORIES for command in category.decider.commands}
        self.pending: list[Reaction] = []
        self.delivered: list[Reaction] = []
        self.number = 0

    def teardown(self) -> None:
        self.loop.close()

    @precondition(lambda machine: machine.builds_in(Phase.NEW))
    @rule(build_id=chosen(lambda machine: machine.builds_in(Phase.NEW)))
    def launch(self, build_id: int) -> None:
        self.send(LaunchBuild(84, build_id, build_id, f"e{build_id}", DAY, PROJECT, initiator_id=1))

    @precondition(lambda machine: machine.builds_in(*UNFINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(*UNFINISHED)))
    def kill(self, build_id: int) -> None:
        self.send(StopBuild(build_id))

    @precondition(lambda machine: machine.builds_in(Phase.FINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(Phase.FINISHED)))
    def retry(self, build_id: int) -> None:
        self.send(RetryBuild(build_id=build_id))

    @precondition(lambda machine: machine.builds_in(*AT_WORK, Phase.FINISHED))
    @rule(build_id=chosen(lambda machine: machine.builds_in(*AT_WORK, Phase.FINISHED)), number=st.sampled_from((1, 2)))
    def rerun_job(self, build_id: int, number: int) -> None:
        self.send(RerunBuildJob(build_id, 10 * build_id + number))

    @precondition(lambda machine: machine.builds_in(*AT_WORK))
    @rule(build_id=chosen(lambda machine: machine.builds_in(*AT_WORK)), number=st.sampled_from((1, 2)))
    def cancel_job(self, build_id: int, number: int) -> None:
        self.send(StopBuildJob(build_id, 10 * build_id + number))

    @precondition(lambda machine: machine.jobs_in(JobStatus.QUEUED))
    @rule(job_id=chosen(lambda machine: machine.jobs_in(JobStatus.QUEUED)), is_graceful=st.booleans())
    def assign(self, job_id: int, is_graceful: bool) -> None:
        attempt = self.attempt_of(job_id)
        self.send(AssignJob(job_id, attempt, 1, "r", "miller", "hash", is_graceful))
        self.send(StartJob(job_id, attempt))

    @precondition(lambda machine: machine.jobs_in(*WITH_RUNNER))
    @rule(
        job_id=chosen(lambda machine: machine.jobs_in(*WITH_RUNNER)),
        status=st.sampled_from((JobStatus.SUCCESS, JobStatus.FAILED)),
        is_inline=st.booleans(),
    )
    def finish(self, job_id: int, status: JobStatus, is_inline: bool) -> None:
        self.send(FinishJob(job_id, self.attempt_of(job_id), status, 0), is_inline=is_inline)

    @precondition(lambda machine: machine.jobs_in(*WITH_RUNNER))
    @rule(job_id=chosen(lambda machine: machine.jobs_in(*WITH_RUNNER)))
    def lose(self, job_id: int) -> None:
        self.send(MarkJobLost(job_id, self.attempt_of(job_id), "silent"))

    @precondition(lambda machine: machine.pending)
    @rule(number=st.runner().flatmap(lambda machine: st.integers(0, len(machine.pending) - 1)))
    def react(self, number: int) -> None:
        """Deliver a pending reaction, not necessarily the oldest one."""
        self.deliver(self.pending.pop(number))

    @precondition(lambda machine: machine.pending)
    @rule()
    def react_in_order(self) -> None:
        """Deliver the oldest reactions, as the subscription does that reads the events again."""
        for reaction in [self.pending.pop(0) for _ in self.pending[:3]]:
            self.deliver(reaction)

    @precondition(lambda machine: machine.delivered)
    @rule(number=st.runner().flatmap(lambda machine: st.integers(0, len(machine.delivered) - 1)))
    def react_again(self, number: int) -> None:
        self.deliver(self.delivered[number])

    @rule()
    def settle(self) -> None:
        """Handle all reactions in order. Afterwards nothing is left waiting and nothing runs without its build."""
        for _ in range(MAX_DELIVERIES):
            if not self.pending:
                break
            self.deliver(self.pending.pop(0))
        assert not self.pending, "the reactions do not come to an end"
        group, builds = self.group(), self.builds()
        waiting = [request.build_id for request in group.waiting]
        holder = group.holder.build_id if group.holder else None
        assert builds[holder].phase in AT_WORK if holder else not waiting, f"build {holder} keeps the slot"
        for build_id, build in builds.items():
            is_waiting = build.phase in (Phase.QUEUED, Phase.RESUMED)
            assert is_waiting == (build_id in waiting), f"build {build_id} is {build.phase}, {waiting} wait"
            for job_id in build.graph.statuses:
                job = self.load(job_category, f"job-{job_id}")
                assert isinstance(job, Job)
                is_unfinished = job.status is not None and job.status not in FINISHED_JOB_STATUSES
                is_expected = build.phase in AT_WORK and job_id in build.graph.queued
                assert is_unfinished == is_expected, f"job {job_id} is {job.status} in a build that is {build.phase}"

    @invariant()
    def a_build_at_work_has_the_slot(self) -> None:
        """Therefore one build of the concurrency group runs at a time."""
        holder = self.group().holder
        for build_id, build in self.builds().items():
            assert build.phase not in AT_WORK or (holder and build_id == holder.build_id)

    @invariant()
    def a_result_in_a_build_is_that_of_the_current_round_of_the_job(self) -> None:
        results = {(event.job_id, event.round, event.status) for event in self.recorded_events(JobFinished)}
        for build in self.builds().values():
            for job_id, status in build.graph.statuses.items():
                if status in (JobStatus.SUCCESS, JobStatus.FAILED):
                    assert (job_id, build.graph.jobs[job_id].round, status) in results

    def recorded_events(self, event_type: type[Event]) -> Iterator[Any]:
        return (event for commit in self.store.log for event in commit.events if isinstance(event, event_type))

    def builds(self) -> dict[int, Build]:
        loaded = {build_id: self.load(build_category, f"build-{build_id}") for build_id in BUILD_IDS}
        return {build_id: build for build_id, build in loaded.items() if isinstance(build, Build)}

    def builds_in(self, *phases: Phase) -> list[int]:
        return [build_id for build_id, build in self.builds().items() if build.phase in phases]

    def jobs_in(self, *statuses: JobStatus) -> list[int]:
        loaded = {job_id: self.load(job_category, f"job-{job_id}") for job_id in JOB_IDS}
        return [job_id for job_id, job in loaded.items() if isinstance(job, Job) and job.status in statuses]

    def group(self) -> ConcurrencyGroup:
        group = self.load(concurrency_group_category, "lane-84")
        assert isinstance(group, ConcurrencyGroup)
        return group

    def attempt_of(self, job_id: int) -> int:
        job = self.load(job_category, f"job-{job_id}")
        return job.queued.attempt if isinstance(job, Job) and job.queued else 1

    def load(self, category: Any, stream: str) -> object:
        return self.loop.run_until_complete(self.handler.load(category, stream)).state

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
        self.pending += [reaction for recorded in result.new_events for reaction in reactions_to(recorded)]

    async def inline_follow_ups(self, events: Sequence[AnyEvent]) -> Sequence[FollowUp]:
        """Record results of jobs together with what follows for their builds."""
        return [
            (self.by_command[type(command)], command, CommandMetadata(reaction.id, DAY))
            for recorded in events
            for reaction in reactions_to(recorded)
            if isinstance(command := reaction.command, QueueJob | RecordJobResult)
        ]

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
        assert isinstance(row, BuildRow)
        if command := on_slot_granted(recorded.event, row):
            return command
        is_unplanned = row.status is BuildStatus.QUEUED
        return PlanBuild(build_id, "s", "refs/heads/main", (), jobs_of(build_id)) if is_unplanned else None


def reactions_to(recorded: AnyEvent) -> Iterator[Reaction]:
    if isinstance(recorded.event, ConcurrencySlotGranted):
        yield Reaction(recorded, None)
    for command in on_build_event(recorded):
        if isinstance(command, EndJobOfBuild):
            command = RecordJobResult(**vars(command))
        yield Reaction(recorded, command)


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_reactions_leave_no_build_and_no_job_behind() -> None:
    run_machine(ReactionMachine, max_rules=60)
