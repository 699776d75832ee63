"""The priority of a build: when it can be changed, and how its jobs follow."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from contracts.builds import (
    BuildFinished,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    BuildStatus,
    ChangeBuildPriority,
    JobAssigned,
    JobFinished,
    JobLost,
    JobPriorityChanged,
    JobQueued,
    JobStatus,
    LaunchedProject,
    PlannedJob,
)
from contracts.messages import Event
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.builds.domain.build import build_decider
from services.builds.domain.internal_commands import (
    AssignJob,
    ChangeJobPriority,
    FinishJob,
    MarkJobLost,
    PlanBuild,
    QueueJob,
)
from services.builds.domain.job import job_decider
from services.builds.policies import on_build_event
from tests.support.scenario import Scenario

AT = datetime(2026, 1, 2, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=3, name="mill", owner_alias="ada", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
JOB = PlannedJob(job_id=5, job_uuid="u", name="build", max_attempts=2)
queued = BuildQueued(build_id=7, executor_id="e", project_id=3, project=PROJECT, queued_at=AT)
plan = PlanBuild(build_id=7, sha="s", ref="main", available_steps=(), jobs=(JOB,))
planned = BuildPlanned(build_id=7, project_id=3, project=PROJECT, sha="s", ref="main", available_steps=(), jobs=(JOB,))
finished = BuildFinished(
    build_id=7,
    executor_id="e",
    project_id=3,
    project_name="mill",
    status=BuildStatus.SUCCESS,
    exit_code=0,
    queued_at=AT,
)
raised = BuildPriorityChanged(build_id=7, project_id=3, priority=5)
job_fields = {"job_id": 5, "build_id": 7, "project_id": 3}
names = {"job_name": "build", "stage": "build", "project_name": "mill"}
job_queued = JobQueued(
    **job_fields, job_uuid="u", owner_alias="ada", attempt=1, ref="main", sha="s", project=PROJECT, job=JOB
)
job_assigned = JobAssigned(
    **job_fields, **names, attempt=1, runner_id=1, runner_uuid="r", runner_name="miller", token_hash="h", round=0
)
job_raised = JobPriorityChanged(**job_fields, **names, priority=5, build_version=2)
job_canceled = JobFinished(**job_fields, **names, attempt=1, status=JobStatus.CANCELED, exit_code=143)
build = Scenario(build_decider)
job = Scenario(job_decider)


def commands_after(event: Event) -> list[object]:
    return list(on_build_event(RecordedEvent("build-7", 2, 0, event, CommandMetadata("c", AT))))


def test_the_priority_of_a_waiting_build_can_be_changed() -> None:
    build.given(queued).when(ChangeBuildPriority(build_id=7, priority=5)).then(raised)
    with_job = raised.replace(job_ids=(5,), job_rounds=(0,))
    build.given(queued, planned).when(ChangeBuildPriority(build_id=7, priority=5)).then(with_job)


def test_the_priority_of_a_resumed_build_that_waits_for_its_slot_can_be_changed() -> None:
    resumed = BuildResumed(build_id=7, project_id=3, executor_id="e", job_ids=(5,), needs_lane=True)
    build.given(queued, planned, finished, resumed).when(ChangeBuildPriority(build_id=7, priority=5)).then(raised)


def test_setting_the_current_priority_changes_nothing() -> None:
    build.given(queued).when(ChangeBuildPriority(build_id=7, priority=0)).then()
    build.given(queued, raised).when(ChangeBuildPriority(build_id=7, priority=5)).then()


def test_the_priority_of_a_finished_build_cannot_be_changed() -> None:
    change = ChangeBuildPriority(build_id=7, priority=5)
    build.given(queued, planned, finished).when(change).then_refused("BUILD_STATUS")
    build.given().when(change).then_refused("BUILD_NOT_FOUND")


@pytest.mark.parametrize("priority", [-101, 101])
def test_a_priority_out_of_range_is_rejected(priority: int) -> None:
    with pytest.raises(ValidationError):
        ChangeBuildPriority(build_id=7, priority=priority)


def test_jobs_planned_later_get_the_priority_of_their_build() -> None:
    build.given(queued, raised).when(plan).then(planned.replace(priority=5))
    (queue,) = commands_after(planned.replace(priority=5))
    assert isinstance(queue, QueueJob)
    job.given().when(queue).then(job_queued.replace(priority=5))


def test_waiting_jobs_take_the_priority_of_their_build() -> None:
    change = ChangeJobPriority(job_id=5, priority=5, build_version=2, round=0)
    assert commands_after(raised.replace(job_ids=(5,), job_rounds=(0,))) == [change]
    job.given(job_queued).when(change).then(job_raised)
    job.given(job_queued, job_raised).when(change).then()


def test_a_late_priority_does_not_replace_a_newer_one() -> None:
    change = ChangeJobPriority(job_id=5, priority=9, build_version=3, round=0)
    newer = job_raised.replace(priority=9, build_version=3)
    job.given(job_queued, job_raised).when(change).then(newer)
    for later in (newer, newer.replace(priority=0)):
        job.given(job_queued, later).when(change.replace(priority=5, build_version=2)).then()


def test_a_priority_that_the_job_has_already_is_recorded_so_that_a_late_one_does_not_replace_it() -> None:
    back = ChangeJobPriority(job_id=5, priority=0, build_version=3, round=0)
    job.given(job_queued).when(back).then(job_raised.replace(priority=0, build_version=3))


def test_a_priority_of_an_earlier_round_does_not_change_the_next_one() -> None:
    again = job_queued.replace(attempt=2, priority=9, job=JOB.replace(round=1))
    late = ChangeJobPriority(job_id=5, priority=5, build_version=4, round=0)
    job.given(job_queued, job_canceled, again).when(late).then()
    # in the next round, versions are compared from the start
    change = ChangeJobPriority(job_id=5, priority=5, build_version=6, round=1)
    raised_in_first = job_raised.replace(build_version=4)
    job.given(job_queued, raised_in_first, job_canceled, again).when(change).then(job_raised.replace(build_version=6))


def test_a_priority_that_overtakes_its_round_is_tried_again() -> None:
    change = ChangeJobPriority(job_id=5, priority=5, build_version=4, round=1)
    job.given(job_queued).when(change).then_refused("CONFLICT")
    job.given(job_queued, job_canceled).when(change).then_refused("CONFLICT")


def test_a_lost_job_keeps_the_version_of_its_priority() -> None:
    requeued = job_queued.replace(priority=5, attempt=2)
    job.given(job_queued, job_raised, requeued).when(ChangeJobPriority(5, 9, build_version=1, round=0)).then()


def test_priorities_that_an_older_release_recorded_have_no_rounds_and_versions() -> None:
    change = ChangeJobPriority(job_id=5, priority=5, build_version=2)
    assert commands_after(raised.replace(job_ids=(5,))) == [change]
    without_version = job_raised.replace(build_version=0, priority=9)
    job.given(job_queued, without_version).when(change).then(job_raised)


def test_a_priority_change_that_arrives_before_the_job_asks_for_a_retry() -> None:
    job.given().when(ChangeJobPriority(job_id=5, priority=5, build_version=2)).then_refused("CONFLICT")


def test_a_lost_job_keeps_its_priority() -> None:
    lost = JobLost(
        **job_fields, **names, attempt=1, runner_uuid="r", runner_name="miller", reason="silence", retried=True
    )
    lose = MarkJobLost(job_id=5, attempt=1, reason="silence")
    requeued = job_queued.replace(priority=5, attempt=2)
    job.given(job_queued, job_raised, job_assigned).when(lose).then(lost, requeued)


def test_a_priority_change_does_not_affect_a_finished_job() -> None:
    finish = FinishJob(job_id=5, attempt=1, status=JobStatus.SUCCESS, exit_code=0)
    finished_events = job_decider.decide(
        job_decider.evolve(job_decider.evolve(job_decider.initial, job_queued), job_assigned), finish
    )
    change = ChangeJobPriority(job_id=5, priority=5, build_version=2)
    job.given(job_queued, job_assigned, *finished_events).when(change).then()


def test_a_priority_change_does_not_prevent_an_assignment() -> None:
    assign = AssignJob(job_id=5, attempt=1, runner_id=1, runner_uuid="r", runner_name="miller", token_hash="h")
    job.given(job_queued, job_raised).when(assign).then(job_assigned)
