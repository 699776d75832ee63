"""Model test of jobs: queued, with one runner at a time, and ended once until they are queued again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from contracts.builds import (
    Artifact,
    JobAssigned,
    JobDeleted,
    JobFinished,
    JobLost,
    JobQueued,
    JobRetried,
    JobRow,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    Section,
)
from services.builds.domain.internal_commands import (
    AssignJob,
    CancelJob,
    ChangeJobPriority,
    DeleteJob,
    FinishJob,
    MarkJobLost,
    QueueJob,
    RecordArtifact,
    RecordSteps,
    RemoveArtifact,
    StartJob,
)
from services.builds.domain.job import JobCommand
from services.builds.projections import job_category
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
DAY = datetime(2030, 5, 1, tzinfo=UTC)
RETRIED_CODE = 7
MAX_LOSSES, MAX_RETRIES = 2, 1
PLANNED = PlannedJob(
    job_id=42,
    job_uuid="j",
    name="build",
    commands=("make",),
    after_commands=("clean",),
    max_attempts=MAX_LOSSES,
    retries=MAX_RETRIES,
    retry_codes=(RETRIED_CODE,),
)
WITH_RUNNER = (JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)
ENDED = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)


@dataclass(frozen=True)
class JobModel:
    status: JobStatus | None = None
    attempt: int = 1
    round: int = 0
    runner: str = ""
    can_clean_up: bool = False
    reports_late: bool = False
    priority: int = 0
    priority_version: int = 0  # version of the build at the last change of the priority in this round
    losses: int = 0  # losses of the runner in this round
    retries: int = 0  # retries after failures in this round
    steps: frozenset[tuple[str, bool]] = frozenset()  # steps of this attempt: name, and whether the step has ended
    artifacts: Mapping[str, str] = field(default_factory=dict)  # artifacts of this attempt: type -> id
    is_deleted: bool = False

    def send(self, command: JobCommand) -> tuple["JobModel", str]:
        if self.status is None:
            return self.before_it_is_queued(command)
        is_current = getattr(command, "attempt", self.attempt) == self.attempt
        match command:
            case QueueJob():
                if self.is_deleted or command.job.round <= self.round:
                    return self, IGNORED
                again = replace(self.queued_again(), round=command.job.round, losses=0, retries=0)
                return replace(again, priority=command.priority, priority_version=0), ACCEPTED
            case AssignJob() if self.status is JobStatus.QUEUED and is_current:
                assigned = replace(self, status=JobStatus.ASSIGNED, runner=command.runner_uuid)
                can_clean_up, reports_late = command.cancels_gracefully, command.reports_late
                return replace(assigned, can_clean_up=can_clean_up, reports_late=reports_late), ACCEPTED
            case CancelJob(round=round_) | ChangeJobPriority(round=round_) if (
                round_ is not None and round_ != self.round and not self.is_deleted
            ):
                return self, IGNORED if round_ < self.round else "CONFLICT"
            case ChangeJobPriority(priority=priority, build_version=version):
                if self.status in ENDED or version <= self.priority_version:
                    return self, IGNORED
                return replace(self, priority=priority, priority_version=version), ACCEPTED
            case CancelJob():
                return self.canceled(graceful=command.graceful)
            case DeleteJob():
                ended = self.status if self.status in ENDED else JobStatus.CANCELED
                changed = replace(self, status=ended, is_deleted=True)
                return (self, IGNORED) if self.is_deleted else (changed, ACCEPTED)
            case RemoveArtifact() if self.is_deleted:
                return self, IGNORED
            case RemoveArtifact(artifact_id=id_):
                kept = {type_: other for type_, other in self.artifacts.items() if other != id_}
                return replace(self, artifacts=kept), IGNORED if kept == self.artifacts else ACCEPTED
            case RecordArtifact(artifact=artifact) if artifact.id in self.artifacts.values():
                return self, IGNORED
            case FinishJob(status=reported) if is_current and self.status is reported:
                return self, IGNORED  # the runner repeats its last report
            case MarkJobLost() if not self.can_be_lost(command) and not (self.status in WITH_RUNNER and is_current):
                return self, IGNORED
            case StartJob() | RecordSteps() | FinishJob() | MarkJobLost() | RecordArtifact():
                is_at_runner = self.status in WITH_RUNNER and is_current
                return self.reported(command) if is_at_runner else (self, "JOB_STATUS")
            case _:
                return self, "JOB_STATUS"

    def before_it_is_queued(self, command: JobCommand) -> tuple["JobModel", str]:
        match command:
            case QueueJob():
                changed = replace(self, status=JobStatus.QUEUED, round=command.job.round, priority=command.priority)
                return changed, ACCEPTED
            case CancelJob() | ChangeJobPriority():
                return self, "CONFLICT"
            case _:
                return self, "JOB_NOT_FOUND"

    def reported(self, command: JobCommand) -> tuple["JobModel", str]:
        """Return the model after a report about the current attempt, which is with a runner."""
        model = self
        if isinstance(command, RecordSteps | FinishJob | MarkJobLost):
            model = self.with_steps(command.steps)
        match command:
            case StartJob():
                model = replace(model, status=JobStatus.RUNNING if self.status is JobStatus.ASSIGNED else self.status)
            case RecordArtifact(artifact=artifact):
                model = replace(model, artifacts={**self.artifacts, artifact.artifact_type: artifact.id})
            case FinishJob() | MarkJobLost() if self.status is JobStatus.CANCELING:
                if isinstance(command, FinishJob) or command.delivered:
                    model = replace(model, status=JobStatus.CANCELED)
            case FinishJob(status=JobStatus.FAILED, exit_code=code) if code == RETRIED_CODE and self.retries == 0:
                model = replace(model.queued_again(), retries=1)
            case FinishJob(status=status):
                model = replace(model, status=status)
            case MarkJobLost() if not self.can_be_lost(command):
                pass
            case MarkJobLost(delivered=False):
                model = model.queued_again()
            case MarkJobLost() if self.losses + 1 == MAX_LOSSES:
                model = replace(model, status=JobStatus.FAILED, losses=MAX_LOSSES)
            case MarkJobLost():
                model = replace(model.queued_again(), losses=self.losses + 1)
        return model, IGNORED if model == self else ACCEPTED

    def can_be_lost(self, command: MarkJobLost) -> bool:
        statuses = WITH_RUNNER if command.delivered else (JobStatus.ASSIGNED,)
        return self.status in statuses and command.attempt == self.attempt

    def canceled(self, *, graceful: bool) -> tuple["JobModel", str]:
        if self.status in ENDED or (graceful and self.status is JobStatus.CANCELING):
            return self, IGNORED
        may_run = self.status is JobStatus.RUNNING or (self.status is JobStatus.ASSIGNED and self.reports_late)
        cleans_up = graceful and may_run and self.can_clean_up
        return replace(self, status=JobStatus.CANCELING if cleans_up else JobStatus.CANCELED), ACCEPTED

    def queued_again(self) -> "JobModel":
        return replace(
            self, status=JobStatus.QUEUED, attempt=self.attempt + 1, runner="", steps=frozenset(), artifacts={}
        )

    def with_steps(self, sections: tuple[Section, ...]) -> "JobModel":
        started = {(section.step, False) for section in sections}
        ended = {(section.step, True) for section in sections if section.closed_at}
        return replace(self, steps=self.steps | started | ended)


def section(step: str, is_closed: bool) -> Section:
    return Section(step=step, start_at=DAY, closed_at=DAY if is_closed else None, success=True if is_closed else None)


def artifact(id_: str) -> Artifact:
    type_ = "junit" if id_ == "a3" else "archive"
    return Artifact(id=id_, artifact_type=type_, artifact_format="zip", file_name="f", size=1, uploaded_at=DAY)


SECTIONS = (
    (),
    (section("build", False),),
    (section("build", True),),
    (section("build", True), section("test", False)),
)


jobs = st.just(42)
attempts = st.builds(
    lambda machine, back: max(1, machine.model.attempt - back), st.runner(), st.sampled_from((0, 0, 1))
)
rounds = st.builds(lambda machine, more: machine.model.round + more, st.runner(), st.sampled_from((0, 0, 1, 1, -1)))
priorities, flags, sections = st.sampled_from((0, 5)), st.booleans(), st.sampled_from(SECTIONS)
runners, artifact_ids = st.sampled_from((1, 2)), st.sampled_from(("a1", "a2", "a3"))
results = st.sampled_from(((JobStatus.SUCCESS, 0), (JobStatus.FAILED, 1), *[(JobStatus.FAILED, RETRIED_CODE)] * 3))
queuing = st.builds(
    lambda round_, priority: QueueJob(42, 17, PROJECT, PLANNED.replace(round=round_), "main", "s", priority=priority),
    rounds,
    priorities,
)
assigning = st.builds(
    lambda attempt, runner, cleans, late: AssignJob(
        42, attempt, runner, f"r{runner}", f"name of {runner}", "hash", cleans, late
    ),
    attempts,
    runners,
    flags,
    flags,
)
starting = st.builds(StartJob, jobs, attempts)
finishing = st.builds(
    lambda attempt, result, steps: FinishJob(42, attempt, result[0], result[1], steps=steps),
    attempts,
    results,
    sections,
)
usual_commands = st.one_of(
    st.builds(RecordSteps, jobs, attempts, sections),
    st.builds(CancelJob, jobs, flags, st.none() | rounds),
    st.builds(MarkJobLost, jobs, attempts, st.just("silent"), flags, sections),
    st.builds(ChangeJobPriority, jobs, priorities, st.integers(1, 9), st.none() | rounds),
    st.builds(RecordArtifact, jobs, attempts, artifact_ids.map(artifact)),
    st.builds(RemoveArtifact, jobs, artifact_ids, st.just("expired")),
)


class JobMachine(DeciderMachine[JobModel]):
    categories = (job_category,)
    deletions = (JobDeleted,)
    commands = seldom(st.builds(DeleteJob, jobs), st.one_of(queuing, assigning, starting, finishing, usual_commands))

    def new_model(self) -> JobModel:
        return JobModel()

    @rule(runner=runners, flag=flags, is_started=flags)
    def hand_to_a_runner(self, runner: int, flag: bool, is_started: bool) -> None:
        """Queue the job if it has ended, and hand it to a runner, so that most sequences get far."""
        self.send_in_turn(QueueJob(42, 17, PROJECT, PLANNED.replace(round=self.model.round + 1), "main", "s"))
        attempt = self.model.attempt
        self.send_in_turn(AssignJob(42, attempt, runner, f"r{runner}", "miller", "hash", flag, flag))
        if is_started:
            self.send_in_turn(StartJob(42, attempt))

    @rule(result=st.none() | results)
    def end(self, result: tuple[JobStatus, int] | None) -> None:
        attempt = self.model.attempt
        self.send_in_turn(FinishJob(42, attempt, *result) if result else MarkJobLost(42, attempt, "silent"))

    @invariant()
    def the_row_shows_what_the_model_says(self) -> None:
        model, row = self.model, self.followed["job-42"].row if "job-42" in self.followed else JobRow()
        if model.status is None or model.is_deleted:
            assert row == JobRow()
            return
        assert (row.status, row.attempt, row.priority) == (model.status, model.attempt, model.priority)
        if model.status in WITH_RUNNER:
            assert row.runner_uuid == model.runner
        assert {artifact.artifact_type: artifact.id for artifact in row.artifacts} == model.artifacts

    @invariant()
    def a_job_is_never_with_two_runners_at_once(self) -> None:
        runner = ""
        for event in self.events_of("job-42"):
            match event:
                case JobAssigned(runner_uuid=assigned):
                    assert not runner
                    runner = assigned
                case JobQueued() | JobFinished() | JobLost() | JobRetried():
                    runner = ""

    @invariant()
    def a_job_ends_once_in_each_round(self) -> None:
        """In particular, it has at most one success."""
        ends: dict[int, int] = {}
        round_ = 0
        for event in self.events_of("job-42"):
            match event:
                case JobQueued(job=job):
                    round_ = job.round
                    assert ends.get(round_, 0) == 0
                case JobFinished():
                    ends[round_] = ends.get(round_, 0) + 1
                    assert ends[round_] == 1


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_jobs_follow_the_model() -> None:
    run_machine(JobMachine)
