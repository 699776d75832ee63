"""Deletion of builds and their jobs, and the monthly sums of build durations."""

from datetime import UTC, datetime
from typing import TypeVar

import pytest

from contracts.builds import (
    BuildDeleted,
    BuildFinished,
    BuildPlanned,
    BuildQueued,
    BuildStatus,
    DeleteBuild,
    JobDeleted,
    JobFinished,
    JobQueued,
    JobStatus,
    LaunchedProject,
    PlannedJob,
)
from contracts.messages import Event
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.builds.domain.build import build_decider
from services.builds.domain.internal_commands import AssignJob, CancelJob, DeleteJob, RecordJobResult, StopBuild
from services.builds.domain.job import job_decider
from services.builds.job_projection import project_job
from services.builds.policies import on_build_event
from services.builds.projections import build_category as build_category
from services.builds.projections import job_category as job_category
from services.builds.projections import project_build
from services.builds.queries.statistics import MonthRow, add_duration, month_key
from tests.support.scenario import Scenario

AT = datetime(2026, 7, 31, 23, 59, 59, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=3,
    name="mill",
    owner_alias="ada",
    alias="mill",
    repository="/repository",
    branch="main",
    spec_file_path="/headrace.yaml",
)
JOB = PlannedJob(job_id=5, job_uuid="u", name="build", local_id=2)
queued = BuildQueued(build_id=7, executor_id="e", project_id=3, project=PROJECT, queued_at=AT, local_id=4)
planned = BuildPlanned(
    build_id=7, project_id=3, project=PROJECT, sha="s", ref="main", available_steps=(), jobs=(JOB,), local_id=4
)
finished = BuildFinished(
    build_id=7,
    executor_id="e",
    project_id=3,
    project_name="mill",
    status=BuildStatus.SUCCESS,
    exit_code=0,
    queued_at=AT,
    duration=61,
    duration_ms=60_500,
)
deleted = BuildDeleted(build_id=7, project_id=3, job_ids=(5,))
job_queued = JobQueued(
    job_id=5,
    job_uuid="u",
    build_id=7,
    project_id=3,
    owner_alias="ada",
    attempt=1,
    ref="main",
    sha="s",
    project=PROJECT,
    job=JOB,
    build_local_id=4,
)
names = {"job_name": "build", "stage": "build", "project_name": "mill"}
job_canceled = JobFinished(
    **names,
    job_id=5,
    build_id=7,
    project_id=3,
    attempt=1,
    status=JobStatus.CANCELED,
    exit_code=143,
    reason="canceled",
    message="Deployment aborted by user",
    round=0,
)
job_deleted = JobDeleted(**names, job_id=5, build_id=7, project_id=3)
E = TypeVar("E", bound=Event)
build = Scenario(build_decider)
job = Scenario(job_decider)


def recorded(event: E, at: datetime = AT) -> RecordedEvent[E]:
    return RecordedEvent("build-7", 1, 0, event, CommandMetadata("c", at))


def test_a_finished_build_is_deleted_with_its_jobs() -> None:
    build.given(queued, planned, finished).when(DeleteBuild(build_id=7)).then(deleted)
    assert on_build_event(recorded(deleted)) == [DeleteJob(job_id=5)]


def test_an_unfinished_build_cannot_be_deleted() -> None:
    build.given(queued).when(DeleteBuild(build_id=7)).then_refused("BUILD_STATUS")
    build.given(queued, planned).when(DeleteBuild(build_id=7)).then_refused("BUILD_STATUS")


def test_a_deleted_build_is_not_found() -> None:
    deleted_aggregate = build.given(queued, planned, finished, deleted)
    deleted_aggregate.when(DeleteBuild(build_id=7)).then_refused("BUILD_NOT_FOUND")
    build.when(DeleteBuild(build_id=7)).then_refused("BUILD_NOT_FOUND")


def test_commands_for_a_deleted_build_change_nothing() -> None:
    deleted_aggregate = build.given(queued, planned, finished, deleted)
    deleted_aggregate.when(RecordJobResult(build_id=7, job_id=5, status=JobStatus.CANCELED, exit_code=143)).then()
    deleted_aggregate.when(StopBuild(build_id=7)).then()


def test_a_finished_build_records_its_duration() -> None:
    end = RecordJobResult(build_id=7, job_id=5, status=JobStatus.SUCCESS, exit_code=0, duration_ms=60_500)
    build.given(queued, planned).when(end).then(finished)


def test_an_unfinished_job_is_canceled_before_it_is_deleted() -> None:
    job.given(job_queued).when(DeleteJob(job_id=5)).then(job_canceled, job_deleted)
    job.given(job_queued, job_canceled).when(DeleteJob(job_id=5)).then(job_deleted)


def test_a_deleted_job_is_not_assigned() -> None:
    deleted_aggregate = job.given(job_queued, job_canceled, job_deleted)
    assign = AssignJob(job_id=5, attempt=1, runner_id=1, runner_uuid="r", runner_name="r", token_hash="h")
    deleted_aggregate.when(assign).then_refused("JOB_STATUS")
    deleted_aggregate.when(CancelJob(job_id=5)).then()
    deleted_aggregate.when(DeleteJob(job_id=5)).then()


def test_deleted_aggregates_have_no_row() -> None:
    assert build_category.is_deleted(
        project_build(project_build(build_category.initial_row, recorded(queued)), recorded(deleted))
    )
    assert job_category.is_deleted(
        project_job(project_job(job_category.initial_row, recorded(job_queued)), recorded(job_deleted))
    )


def test_rows_show_the_number_of_a_build_and_job_within_its_project() -> None:
    row = project_job(job_category.initial_row, recorded(job_queued))
    assert (row.local_id, row.build_local_id) == (2, 4)
    older = job_queued.replace(job=JOB.replace(local_id=0), build_local_id=0)
    row = project_job(job_category.initial_row, recorded(older))
    assert (row.local_id, row.build_local_id) == (5, 7)


@pytest.mark.parametrize(("month", "key"), [(7, "2026-7"), (12, "2026-12")])
def test_build_durations_are_summed_by_the_month_of_their_end(month: int, key: str) -> None:
    finished_in_month = recorded(finished, AT.replace(month=month))
    assert month_key(recorded(finished, AT.replace(month=month))) == key
    row = add_duration(add_duration(MonthRow(), finished_in_month), finished_in_month)
    assert (row.date, row.duration) == (key, 121)
    assert month_key(recorded(deleted)) is None
