"""Canceling a build in each state."""

from datetime import UTC, datetime

import pytest

from contracts.builds import (
    BuildFinished,
    BuildKilled,
    BuildPlanned,
    BuildQueued,
    BuildStarted,
    BuildStatus,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    PlannedStep,
)
from services.builds.domain.build import build_decider
from services.builds.domain.internal_commands import FailBuild, PlanBuild, RecordJobResult, StartBuild, StopBuild
from tests.support.scenario import Scenario

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
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
STEP = PlannedStep(name="@build", script="/b.sh")
CLEANUP = PlannedStep(name="@cleanup", script="/c.sh", on_kill=True)
plain = PlannedJob(job_id=42, job_uuid="j", name="build", steps=(STEP,))
cleaning = plain.model_copy(update={"steps": (STEP, CLEANUP)})
ignoring = plain.model_copy(update={"steps": (STEP, CLEANUP.replace(skipped=True))})

queued = BuildQueued(build_id=17, executor_id="e", project_id=84, project=PROJECT, queued_at=NOON, needs_lane=True)


def planned(job: PlannedJob) -> BuildPlanned:
    return BuildPlanned(
        build_id=17, project_id=84, project=PROJECT, sha="s", ref="main", available_steps=("@build",), jobs=(job,)
    )


started = BuildStarted(build_id=17, project_id=84, executor_id="e", runner_name="miller")
killed = BuildKilled(build_id=17, project_id=84, job_ids=(42,), job_rounds=(0,))
killed_gently = killed.replace(graceful=True)
aborted = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=84,
    project_name="Mill",
    status=BuildStatus.KILLED,
    exit_code=143,
    exit_message="Deployment aborted by user",
    output="The build ended with exit code 143: Deployment aborted by user",
    queued_at=NOON,
    held_lane=True,
)
kill = StopBuild(build_id=17)
job_ended = RecordJobResult(build_id=17, job_id=42, status=JobStatus.SUCCESS, exit_code=0)

build = Scenario(build_decider)


def test_a_build_that_was_not_launched_cannot_be_canceled() -> None:
    build.when(kill).then_refused("BUILD_NOT_FOUND")


def test_a_canceled_unplanned_build_ends_immediately_and_never_ran() -> None:
    build.given(queued).when(kill).then(killed.replace(job_ids=(), job_rounds=()), aborted.replace(ran=False))


def test_a_canceled_build_that_waits_for_a_runner_ends_immediately() -> None:
    build.given(queued, planned(plain)).when(kill).then(killed, aborted.replace(ran=False))


@pytest.mark.parametrize("job", [plain, ignoring])
def test_a_canceled_build_without_cleanup_ends_immediately(job: PlannedJob) -> None:
    build.given(queued, planned(job), started).when(kill).then(killed, aborted)


def test_a_canceled_build_with_cleanup_continues_until_the_cleanup_ends() -> None:
    build.given(queued, planned(cleaning), started).when(kill).then(killed_gently)


def test_a_cancel_is_graceful_while_the_job_may_be_starting() -> None:
    build.given(queued, planned(cleaning)).when(kill).then(killed_gently)


@pytest.mark.parametrize("status", [JobStatus.CANCELED, JobStatus.SUCCESS, JobStatus.FAILED])
def test_a_canceled_build_ends_as_canceled_whatever_its_job_reports(status: JobStatus) -> None:
    ended = job_ended.replace(status=status)
    build.given(queued, planned(cleaning), started, killed_gently).when(ended).then(aborted)


def test_a_second_cancel_does_not_wait_for_the_cleanup() -> None:
    build.given(queued, planned(cleaning), started, killed_gently).when(kill).then(killed, aborted)


def test_canceling_a_finished_build_changes_nothing() -> None:
    build.given(queued, planned(cleaning), started, killed_gently, aborted).when(kill).then()


@pytest.mark.parametrize(
    "late",
    [
        job_ended,
        StartBuild(17, "miller", 42),
        FailBuild(build_id=17, exit_code=1000, exit_message="Spec file not found"),
        PlanBuild(build_id=17, sha="s", ref="main", available_steps=(), jobs=()),
    ],
)
def test_commands_after_the_end_of_a_build_change_nothing(
    late: RecordJobResult | StartBuild | FailBuild | PlanBuild,
) -> None:
    build.given(queued, planned(plain), started, killed, aborted).when(late).then()


def test_a_late_start_report_does_not_undo_the_cancel() -> None:
    start = StartBuild(17, "miller", 42)
    build.given(queued, planned(cleaning), killed_gently).when(start).then()
