"""Model test of builds: launched, planned, run stage by stage, finished, and resumed or deleted by users."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from contracts.builds import (
    BuildDeleted,
    BuildFinished,
    BuildJobsChanged,
    BuildPlanned,
    BuildResumed,
    BuildRow,
    BuildStatus,
    ChangeBuildPriority,
    DeleteBuild,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    RetryBuild,
)
from services.builds.domain.build import BuildCommand
from services.builds.domain.internal_commands import (
    ContinueBuild,
    FailBuild,
    LaunchBuild,
    PlanBuild,
    PlayBuildJob,
    RecordJobResult,
    RerunBuildJob,
    StartBuild,
    StopBuild,
    StopBuildJob,
)
from services.builds.projections import build_category
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

DAY = datetime(2030, 5, 1, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
CREATED, MANUAL, QUEUED, SKIPPED = JobStatus.CREATED, JobStatus.MANUAL, JobStatus.QUEUED, JobStatus.SKIPPED
SUCCESS, WARNING, CANCELED = JobStatus.SUCCESS, JobStatus.WARNING, JobStatus.CANCELED
BAD = (JobStatus.FAILED, CANCELED)
USER_COMMANDS = (ChangeBuildPriority, DeleteBuild, PlayBuildJob, RerunBuildJob, RetryBuild, StopBuildJob)


def plan(job_id: int, stage: int, **options: object) -> PlannedJob:
    fields = {"job_id": job_id, "job_uuid": f"j{job_id}", "name": f"job {job_id}", "stage_place": stage, **options}
    return PlannedJob.model_validate({"commands": ("make",), **fields})


PLANS = (
    (),
    (plan(1, 0),),
    (plan(1, 0, after_commands=("clean",)),),
    (plan(1, 0, allow_failure=True), plan(2, 0), plan(3, 1)),
    (plan(1, 0), plan(2, 1, when="on_failure"), plan(3, 1, when="always"), plan(4, 2)),
    (plan(1, 0), plan(2, 1, when="manual"), plan(3, 2)),
    (plan(1, 0, when="manual", allow_failure=True), plan(2, 1), plan(3, 1, when="manual")),
)


@dataclass(frozen=True)
class BuildModel:
    phase: str = ""  # queued, planned, running, canceling, resumed, finished, deleted; empty: not launched
    is_alone: bool = False  # the project runs one build at a time
    jobs: tuple[PlannedJob, ...] = ()
    statuses: Mapping[int, JobStatus] = field(default_factory=dict)
    rerun: tuple[int, ...] = ()
    round: int = 0
    job_rounds: Mapping[int, int] = field(default_factory=dict)  # round of each job that was queued, by job id
    priority: int = 0
    result: BuildStatus | None = None

    def send(self, command: BuildCommand) -> tuple["BuildModel", str]:
        match self.phase, command:
            case "", LaunchBuild(project=project):
                return replace(self, phase="queued", is_alone=not project.allow_concurrent_execution), ACCEPTED
            case "", _:
                return self, "BUILD_NOT_FOUND"
            case "deleted", _ if isinstance(command, USER_COMMANDS):
                return self, "BUILD_NOT_FOUND"
            case "queued", PlanBuild(jobs=jobs):
                created = {job.job_id: CREATED for job in jobs}
                return replace(self, phase="planned", jobs=jobs, statuses=created).advanced(), ACCEPTED
            case "queued", FailBuild():
                return self.finished(BuildStatus.FAILED), ACCEPTED
            case "planned", StartBuild(job_id=job_id) if self.is_current(command) and job_id in self.statuses:
                return replace(self, phase="running"), ACCEPTED
            case (("planned" | "running" | "canceling"), RecordJobResult(job_id=job_id)) if self.waits_for(
                job_id
            ) and self.is_current(command):
                return self.with_result(job_id, command.status), ACCEPTED
            case (("planned" | "running"), StopBuild()) if self.has_cleanup:
                return replace(self, phase="canceling"), ACCEPTED
            case (("queued" | "planned" | "running" | "canceling" | "resumed"), StopBuild()):
                return self.finished(BuildStatus.KILLED), ACCEPTED
            case "resumed", ContinueBuild(round=round_) if round_ == self.round:
                return replace(self, phase="planned").queued(self.rerun), ACCEPTED
            case phase, ChangeBuildPriority(priority=priority) if phase not in ("finished", "deleted"):
                return replace(self, priority=priority), IGNORED if priority == self.priority else ACCEPTED
            case (("planned" | "running" | "finished"), (PlayBuildJob() | RerunBuildJob() | RetryBuild())):
                return self.repeated(command)
            case (("planned" | "running"), StopBuildJob(job_id=job_id)):
                return self.without(job_id)
            case "finished", DeleteBuild():
                return replace(self, phase="deleted"), ACCEPTED
            case _ if isinstance(command, (LaunchBuild, *USER_COMMANDS)):
                return self, "BUILD_STATUS"
            case _:
                return self, IGNORED  # a late command of the system

    def is_current(self, command: StartBuild | RecordJobResult) -> bool:
        return command.round == self.job_rounds.get(command.job_id, 0)

    def waits_for(self, job_id: int) -> bool:
        return self.statuses.get(job_id) is QUEUED

    @property
    def has_cleanup(self) -> bool:
        return any(self.waits_for(job.job_id) and job.after_commands for job in self.jobs)

    def with_status(self, job_id: int, status: JobStatus) -> "BuildModel":
        rounds = {job_id: self.job_rounds.get(job_id, -1) + 1} if status is QUEUED else {}
        statuses = {**self.statuses, job_id: status}
        return replace(self, statuses=statuses, job_rounds={**self.job_rounds, **rounds})

    def with_result(self, job_id: int, status: JobStatus) -> "BuildModel":
        is_allowed = any(job.job_id == job_id and job.allow_failure for job in self.jobs)
        changed = self.with_status(job_id, WARNING if is_allowed and status is JobStatus.FAILED else status)
        if self.phase == "canceling" and len(self.jobs) == 1:
            return self.finished(BuildStatus.KILLED)  # the only job ends like its build, whatever it reports
        if self.phase == "canceling":
            return changed if QUEUED in changed.statuses.values() else changed.finished(BuildStatus.KILLED)
        return changed.advanced()

    def advanced(self) -> "BuildModel":
        """Queue, offer to users or skip the waiting jobs by stage. Finish the build if none is left. Return it."""
        model = self
        for job in sorted(self.jobs, key=lambda job: job.stage_place):
            before = [
                model.statuses[other.job_id]
                for other in self.jobs
                if other.stage_place < job.stage_place and not model.is_optional(other)
            ]
            if model.statuses[job.job_id] is not CREATED or {CREATED, QUEUED, MANUAL}.intersection(before):
                continue
            has_failed = any(status in BAD for status in before)
            runs = job.when == "always" or has_failed == (job.when == "on_failure")
            status = SKIPPED if not runs else MANUAL if job.when == "manual" else QUEUED
            model = model.with_status(job.job_id, status)
        statuses = model.statuses.values()
        is_blocked = any(model.waits_for_user(job) and not job.allow_failure for job in self.jobs)
        has_failed = any(status in BAD for status in statuses)
        if QUEUED in statuses or (is_blocked and not has_failed):
            return model
        return model.finished(BuildStatus.FAILED if has_failed else BuildStatus.SUCCESS)

    def waits_for_user(self, job: PlannedJob) -> bool:
        return self.statuses[job.job_id] is MANUAL

    def is_optional(self, job: PlannedJob) -> bool:
        return self.waits_for_user(job) and job.allow_failure

    def finished(self, result: BuildStatus) -> "BuildModel":
        ends = {QUEUED: CANCELED, CREATED: SKIPPED}
        statuses = {job_id: ends.get(status, status) for job_id, status in self.statuses.items()}
        return replace(self, phase="finished", statuses=statuses, result=result)

    def queued(self, job_ids: tuple[int, ...]) -> "BuildModel":
        statuses = {job_id: CREATED if status is SKIPPED else status for job_id, status in self.statuses.items()}
        model = replace(self, statuses=statuses)
        for job_id in job_ids:
            model = model.with_status(job_id, QUEUED)
        return model.advanced()

    def repeated(self, command: PlayBuildJob | RerunBuildJob | RetryBuild) -> tuple["BuildModel", str]:
        if isinstance(command, RetryBuild):
            job_ids = tuple(job_id for job_id, status in self.statuses.items() if status in BAD)
            if not job_ids:
                return self, "BUILD_STATUS"
        else:
            job_ids, status = (command.job_id,), self.statuses.get(command.job_id)
            if status is None:
                return self, "JOB_NOT_FOUND"
            if status is QUEUED:
                return self, IGNORED
            if status not in ((MANUAL,) if isinstance(command, PlayBuildJob) else (SUCCESS, WARNING, *BAD)):
                return self, "JOB_STATUS"
        if self.phase != "finished":
            return self.queued(job_ids), ACCEPTED
        model = replace(self, round=self.round + 1)
        if self.is_alone:
            return replace(model, phase="resumed", rerun=job_ids), ACCEPTED
        return replace(model, phase="planned").queued(job_ids), ACCEPTED

    def without(self, job_id: int) -> tuple["BuildModel", str]:
        match self.statuses.get(job_id):
            case None:
                return self, "JOB_NOT_FOUND"
            case JobStatus.QUEUED:
                return self, ACCEPTED  # the job's own stream cancels it
            case JobStatus.CREATED | JobStatus.MANUAL:
                return self.with_status(job_id, CANCELED).advanced(), ACCEPTED
            case _:
                return self, "JOB_STATUS"


build_ids, job_ids = st.just(17), st.integers(1, 4)
launches = st.booleans().map(
    lambda allow: LaunchBuild(84, 17, 4, "e17", DAY, PROJECT.replace(allow_concurrent_execution=allow), initiator_id=1)
)
plans = st.sampled_from(PLANS).map(lambda jobs: PlanBuild(17, "s", "refs/heads/main", (), jobs))
rounds_back = st.sampled_from((0, 0, 0, 1))  # most commands are about the current round
job_rounds = st.builds(
    lambda machine, id_, back: (id_, machine.model.job_rounds.get(id_, 0) - back), st.runner(), job_ids, rounds_back
)
results = st.builds(
    lambda job, status, code, duration: RecordJobResult(17, job[0], status, code, round=job[1], duration_ms=duration),
    job_rounds,
    st.sampled_from((SUCCESS, SUCCESS, JobStatus.FAILED, CANCELED)),
    st.integers(0, 1),
    st.integers(0, 2000),
)
user_commands = st.one_of(
    st.builds(PlayBuildJob, build_ids, job_ids),
    st.builds(RerunBuildJob, build_ids, job_ids),
    st.builds(RetryBuild, build_id=build_ids),
    st.builds(StopBuildJob, build_ids, job_ids),
    st.builds(StopBuild, build_ids),
    st.builds(ChangeBuildPriority, build_id=build_ids, priority=st.sampled_from((0, 5))),
)
system_commands = st.one_of(
    st.builds(FailBuild, build_ids, st.just(128), st.just("unreachable")),
    job_rounds.map(lambda job_round: StartBuild(17, "miller", *job_round)),
    st.builds(lambda machine, back: ContinueBuild(17, machine.model.round - back), st.runner(), rounds_back),
)


class BuildMachine(DeciderMachine[BuildModel]):
    categories = (build_category,)
    deletions = (BuildDeleted,)
    commands = seldom(
        st.builds(DeleteBuild, build_id=build_ids) | launches,
        st.one_of(plans, results, results, system_commands, user_commands, user_commands),
    )

    def new_model(self) -> BuildModel:
        return BuildModel()

    @rule(launch=launches, plan=plans)
    def launch_and_plan(self, launch: LaunchBuild, plan: PlanBuild) -> None:
        """Begin with a planned build, so that most sequences get far."""
        self.send_in_turn(launch, plan)

    @invariant()
    def the_row_shows_what_the_model_says(self) -> None:
        model = self.model
        row = self.followed["build-17"].row if model.phase else BuildRow()
        if model.phase in ("", "deleted"):
            assert row == BuildRow()
            return
        assert row.priority == model.priority
        assert row.finished == (model.phase == "finished")
        assert {job.job_id: job.status for job in row.jobs} == model.statuses
        status = {"resumed": BuildStatus.PLANNED, "finished": model.result}
        assert row.status == status.get(model.phase, model.phase.upper())

    @invariant()
    def a_finished_build_is_only_resumed_or_deleted(self) -> None:
        is_finished = False
        for event in self.events_of("build-17"):
            assert not is_finished or isinstance(event, BuildResumed | BuildDeleted)
            is_finished = isinstance(event, BuildFinished)

    @invariant()
    def a_job_is_queued_again_only_after_it_ended(self) -> None:
        queued: set[int] = set()
        for event in self.events_of("build-17"):
            match event:
                case BuildJobsChanged(ended=ended, released=released):
                    queued -= {job.job_id for job in ended}
                    assert queued.isdisjoint(job.job_id for job in released)
                    queued |= {job.job_id for job in released}
                case BuildFinished():
                    queued.clear()
                case BuildPlanned(jobs=jobs):
                    first = min((job.stage_place for job in jobs), default=0)
                    queued |= {job.job_id for job in jobs if job.stage_place == first and job.when != "manual"}


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_builds_follow_the_model() -> None:
    run_machine(BuildMachine)
