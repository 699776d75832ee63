"""Builds that a newer push to their branch cancels."""

from datetime import UTC, datetime

import pytest

from contracts.builds import (
    BuildFinished,
    BuildKilled,
    BuildPlanned,
    BuildQueued,
    BuildResumed,
    BuildStarted,
    BuildStatus,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    PlannedStep,
)
from services.builds.domain.build import build_decider
from services.builds.domain.internal_commands import RecordJobResult, StopBuild, SupersedeBuild
from tests.support.scenario import Scenario

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MAIN = "refs/heads/main"
PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
STEP = PlannedStep(name="@build", script="/b.sh")
job = PlannedJob(job_id=42, job_uuid="j", name="build", steps=(STEP,))
cleaning_job = job.replace(steps=(STEP, PlannedStep(name="@cleanup", script="/c.sh", on_kill=True)))
pushed = BuildQueued(
    build_id=17, executor_id="e", project_id=84, project=PROJECT, queued_at=NOON, ref=MAIN, sha="s", delivery_id="d"
)
planned = BuildPlanned(
    build_id=17, project_id=84, project=PROJECT, sha="s", ref=MAIN, available_steps=("@build",), jobs=(job,)
)
started = BuildStarted(build_id=17, project_id=84, executor_id="e", runner_name="miller")
killed = BuildKilled(build_id=17, project_id=84, superseded_by=6)
ended = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=84,
    project_name="Mill",
    status=BuildStatus.KILLED,
    exit_code=143,
    exit_message="Superseded by build 6",
    output="The build ended with exit code 143: Superseded by build 6",
    queued_at=NOON,
    ran=False,
)
supersede = SupersedeBuild(build_id=17, ref=MAIN, newer_build_id=20, newer_local_id=6)
supersede_running = SupersedeBuild(build_id=17, ref=MAIN, newer_build_id=20, newer_local_id=6, running=True)
build = Scenario(build_decider)


def test_a_waiting_build_is_canceled_and_names_the_newer_build() -> None:
    build.given(pushed).when(supersede).then(killed, ended)
    build.given(pushed, planned).when(supersede).then(killed.replace(job_ids=(42,), job_rounds=(0,)), ended)


def test_a_running_build_is_canceled_only_if_the_project_says_so() -> None:
    running = build.given(pushed, planned, started)
    running.when(supersede).then()
    running.when(supersede_running).then(killed.replace(job_ids=(42,), job_rounds=(0,)), ended.replace(ran=True))


def test_a_running_build_with_cleanup_runs_it_and_keeps_the_reason() -> None:
    gently = killed.replace(job_ids=(42,), job_rounds=(0,), graceful=True)
    running = build.given(pushed, planned.replace(jobs=(cleaning_job,)), started)
    running.when(supersede_running).then(gently)
    result = RecordJobResult(build_id=17, job_id=42, status=JobStatus.CANCELED, exit_code=1)
    running.given(gently).when(result).then(ended.replace(ran=True))
    running.given(gently).when(supersede_running).then()


@pytest.mark.parametrize(
    "launched",
    [
        pushed.replace(delivery_id=None),
        pushed.replace(ref="refs/heads/topic"),
        pushed.replace(ref=None),
        pushed.replace(build_id=20),
        pushed.replace(build_id=21),
    ],
    ids=["launched by a user", "another branch", "no branch", "the same build", "a newer build"],
)
def test_other_builds_are_not_canceled(launched: BuildQueued) -> None:
    build.given(launched).when(supersede_running).then()


def test_a_build_that_a_user_resumed_is_not_canceled_and_loses_the_reason() -> None:
    resumed = BuildResumed(build_id=17, project_id=84, executor_id="e", job_ids=(42,))
    again = build.given(pushed, planned, killed.replace(job_ids=(42,), job_rounds=(0,)), ended, resumed)
    again.when(supersede_running).then()
    [_, finished] = again.when(StopBuild(build_id=17)).events
    assert isinstance(finished, BuildFinished)
    assert finished.exit_message == "Deployment aborted by user"


def test_a_finished_build_stays_as_it_is() -> None:
    build.given(pushed, killed, ended).when(supersede_running).then()
