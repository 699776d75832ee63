"""Builds and jobs that are killed and resumed before the reactions to the kill are handled."""

from datetime import UTC, datetime

import pytest

from contracts.builds import (
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildQueued,
    BuildResumed,
    BuildStarted,
    BuildStatus,
    JobAssigned,
    JobFinished,
    JobQueued,
    JobStatus,
    JobStatusChange,
    LaunchedProject,
    PlannedJob,
    RetryBuild,
)
from contracts.messages import Event
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.builds.domain.build import build_decider
from services.builds.domain.internal_commands import (
    CancelJob,
    ContinueBuild,
    EndJobOfBuild,
    QueueJob,
    RecordJobResult,
    ReleaseConcurrencySlot,
    RequestConcurrencySlot,
    StartBuild,
    StopBuild,
    StopBuildJob,
)
from services.builds.domain.job import job_decider
from services.builds.policies import on_build_event
from tests.support.scenario import Scenario

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
first_round = PlannedJob(job_id=42, job_uuid="j", name="build", commands=("make",))
second_round = first_round.replace(round=1)
beside = PlannedJob(job_id=43, job_uuid="k", name="lint", commands=("lint",))

# the build: killed without cleanup, resumed, and its jobs queued again
queued = BuildQueued(build_id=17, executor_id="e", project_id=84, project=PROJECT, queued_at=NOON, needs_lane=True)
planned = BuildPlanned(
    build_id=17, project_id=84, project=PROJECT, sha="s", ref="main", available_steps=(), jobs=(first_round, beside)
)
killed = BuildKilled(build_id=17, project_id=84, job_ids=(42, 43), job_rounds=(0, 0))
aborted = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=84,
    project_name="Mill",
    status=BuildStatus.KILLED,
    exit_code=143,
    queued_at=NOON,
    held_lane=True,
)
resumed = BuildResumed(build_id=17, project_id=84, executor_id="e", job_ids=(42, 43), needs_lane=True)
restarted = BuildJobsChanged(
    build_id=17,
    project_id=84,
    project=PROJECT,
    sha="s",
    ref="main",
    released=(second_round, beside.replace(round=1)),
)
build_again = (queued, planned, killed, aborted, resumed, restarted)

# the job: its first round was given to a runner
ids = {"job_id": 42, "build_id": 17, "project_id": 84}
names = {"job_name": "build", "stage": "build", "project_name": "Mill"}
job_queued = JobQueued(
    **ids, job_uuid="j", owner_alias="ivan", attempt=1, ref="main", sha="s", project=PROJECT, job=first_round
)
job_assigned = JobAssigned(
    **ids, **names, attempt=1, runner_id=1, runner_uuid="r", runner_name="m", token_hash="h", round=0
)
job_canceled = JobFinished(
    **ids,
    **names,
    attempt=1,
    status=JobStatus.CANCELED,
    exit_code=143,
    reason="canceled",
    message="Deployment aborted by user",
    runner_uuid="r",
    runner_name="m",
    round=0,
)
job_queued_again = job_queued.replace(attempt=2, job=second_round)
queue_again = QueueJob(job_id=42, build_id=17, project=PROJECT, job=second_round, ref="main", sha="s")
build, job = Scenario(build_decider), Scenario(job_decider)


def result(status: str, round_: int | None) -> RecordJobResult:
    return RecordJobResult(build_id=17, job_id=42, status=JobStatus(status), exit_code=0, round=round_)


def ended(status: str) -> BuildJobsChanged:
    return restarted.replace(released=(), ended=(JobStatusChange(job_id=42, status=JobStatus(status)),))


def commands_after(event: Event) -> list[object]:
    return list(on_build_event(RecordedEvent("build-17", 6, 0, event, CommandMetadata("c", NOON))))


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELED"])
def test_the_result_of_a_killed_round_does_not_change_the_resumed_build(status: str) -> None:
    build.given(*build_again).when(result(status, 0)).then()


def test_the_result_of_the_current_round_counts() -> None:
    build.given(*build_again).when(result("SUCCESS", 1)).then(ended("SUCCESS"))
    build.given(queued, planned).when(result("SUCCESS", 0)).then(ended("SUCCESS"))


def test_a_result_that_an_older_release_recorded_counts() -> None:
    build.given(*build_again).when(result("SUCCESS", None)).then(ended("SUCCESS"))


def test_the_round_of_a_job_is_reported_with_its_result() -> None:
    expected = EndJobOfBuild(17, 42, JobStatus.CANCELED, 143, "Deployment aborted by user", None, 0)
    assert commands_after(job_canceled) == [expected]


def test_the_assignment_of_a_killed_round_does_not_start_the_resumed_build() -> None:
    started = BuildStarted(build_id=17, project_id=84, executor_id="e", runner_name="m")
    build.given(*build_again).when(StartBuild(17, "m", 42, 0)).then()
    build.given(*build_again).when(StartBuild(17, "m", 42, 1)).then(started)
    build.given(*build_again).when(StartBuild(17, "m", 42)).then(started)
    assert commands_after(job_assigned) == [StartBuild(17, "m", 42, 0)]


def test_a_slot_granted_to_an_earlier_round_does_not_continue_a_build() -> None:
    twice = (*build_again, killed.replace(job_rounds=(1, 1)), aborted, resumed)
    rerun = (second_round.replace(round=2), beside.replace(round=2))
    build.given(*twice).when(ContinueBuild(17, 1)).then()
    build.given(*twice).when(ContinueBuild(17, 2)).then(restarted.replace(released=rerun))


def test_slot_commands_have_the_version_of_the_build_at_which_it_asked() -> None:
    assert commands_after(queued) == [RequestConcurrencySlot(84, 17, 6)]
    assert commands_after(resumed) == [RequestConcurrencySlot(84, 17, 6)]
    assert commands_after(aborted) == [ReleaseConcurrencySlot(84, 17, 6)]


def test_a_kill_names_the_rounds_that_it_cancels() -> None:
    kill = build.given(*build_again).when(StopBuild(17))
    assert kill.events[0] == killed.replace(job_rounds=(1, 1))
    assert commands_after(kill.events[0]) == [CancelJob(42, False, 1), CancelJob(43, False, 1)]
    assert commands_after(killed.replace(job_rounds=())) == [CancelJob(42), CancelJob(43)]


def test_canceling_a_job_names_the_round_that_it_cancels() -> None:
    canceling = restarted.replace(released=(), stopped=(42,), stopped_rounds=(1,))
    build.given(*build_again).when(StopBuildJob(17, 42)).then(canceling)
    assert commands_after(canceling) == [CancelJob(42, True, 1)]
    assert commands_after(canceling.replace(stopped_rounds=())) == [CancelJob(42, True)]


def test_a_retried_killed_build_waits_for_the_slot_and_queues_new_rounds() -> None:
    killed_build = (queued, planned, killed, aborted)
    build.given(*killed_build).when(RetryBuild(build_id=17)).then(resumed)
    build.given(*killed_build, resumed).when(ContinueBuild(17, 1)).then(restarted)


def test_a_job_whose_cancellation_is_late_is_canceled_before_it_is_queued_again() -> None:
    unfinished = job.given(job_queued, job_assigned)
    unfinished.when(queue_again).then(job_canceled, job_queued_again)
    unfinished.given(job_canceled).when(queue_again).then(job_queued_again)


def test_a_late_cancellation_does_not_cancel_the_next_round() -> None:
    again = job.given(job_queued, job_assigned, job_canceled, job_queued_again)
    again.when(CancelJob(42, False, 0)).then()
    waiting = job_canceled.replace(attempt=2, runner_uuid=None, runner_name=None, round=1)
    again.when(CancelJob(42, False, 1)).then(waiting)
    again.when(CancelJob(42)).then(waiting)


def test_a_cancellation_that_overtakes_its_round_is_tried_again() -> None:
    job.given(job_queued, job_assigned).when(CancelJob(42, False, 1)).then_refused("CONFLICT")
    job.given(job_queued, job_assigned, job_canceled).when(CancelJob(42, False, 1)).then_refused("CONFLICT")


def test_an_earlier_round_is_not_queued_after_a_later_one() -> None:
    job.given(job_queued_again.replace(attempt=1)).when(queue_again.replace(job=first_round)).then()
