"""Deleting builds and their jobs, and what a build's end says about how long it took."""

from datetime import UTC, datetime
from typing import TypeVar

import pytest

from contracts.builds import (
    AssignJob,
    BuildDeleted,
    BuildFinished,
    BuildPlanned,
    BuildQueued,
    BuildStatus,
    CancelJob,
    DeleteBuild,
    DeleteJob,
    EndJobOfBuild,
    JobDeleted,
    JobFinished,
    JobQueued,
    JobStatus,
    KillBuild,
    LaunchedProject,
    PlannedJob,
)
from contracts.messages import Event
from libs.deciding import Cause, Recorded
from libs.testing.scenario import Scenario
from services.builds.domain.build import build_decider
from services.builds.domain.job import job_decider
from services.builds.policies import on_build_event
from services.builds.statistics import MonthRow, add_duration, month_of
from services.builds.views import build as build_category
from services.builds.views import job as job_category
from services.builds.views import summarise_build, summarise_job

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
)
job_deleted = JobDeleted(**names, job_id=5, build_id=7, project_id=3)
E = TypeVar("E", bound=Event)
build = Scenario(build_decider)
job = Scenario(job_decider)


def recorded(event: E, at: datetime = AT) -> Recorded[E]:
    return Recorded("build-7", 1, 0, event, Cause("c", at))


def test_a_finished_build_is_deleted_with_its_jobs() -> None:
    build.given(queued, planned, finished).when(DeleteBuild(build_id=7)).then(deleted)
    assert on_build_event(recorded(deleted)) == [DeleteJob(job_id=5)]


def test_a_build_that_is_not_over_is_not_deleted() -> None:
    build.given(queued).when(DeleteBuild(build_id=7)).then_refused("BUILD_STATUS")
    build.given(queued, planned).when(DeleteBuild(build_id=7)).then_refused("BUILD_STATUS")


def test_what_was_deleted_is_not_there() -> None:
    gone = build.given(queued, planned, finished, deleted)
    gone.when(DeleteBuild(build_id=7)).then_refused("BUILD_NOT_FOUND")
    build.when(DeleteBuild(build_id=7)).then_refused("BUILD_NOT_FOUND")


def test_news_of_its_jobs_come_too_late_for_a_deleted_build() -> None:
    gone = build.given(queued, planned, finished, deleted)
    gone.when(EndJobOfBuild(build_id=7, job_id=5, status=JobStatus.CANCELED, exit_code=143)).then()
    gone.when(KillBuild(build_id=7)).then()


def test_a_build_says_at_its_end_how_long_it_took() -> None:
    end = EndJobOfBuild(build_id=7, job_id=5, status=JobStatus.SUCCESS, exit_code=0, duration_ms=60_500)
    build.given(queued, planned).when(end).then(finished)


def test_a_job_that_is_not_over_is_canceled_before_it_is_deleted() -> None:
    job.given(job_queued).when(DeleteJob(job_id=5)).then(job_canceled, job_deleted)
    job.given(job_queued, job_canceled).when(DeleteJob(job_id=5)).then(job_deleted)


def test_a_deleted_job_goes_to_no_runner() -> None:
    gone = job.given(job_queued, job_canceled, job_deleted)
    assign = AssignJob(job_id=5, attempt=1, runner_id=1, runner_uuid="r", runner_name="r", token_hash="h")
    gone.when(assign).then_refused("JOB_STATUS")
    gone.when(CancelJob(job_id=5)).then()
    gone.when(DeleteJob(job_id=5)).then()


def test_what_is_deleted_has_no_row() -> None:
    assert build_category.gone(
        summarise_build(summarise_build(build_category.row, recorded(queued)), recorded(deleted))
    )
    assert job_category.gone(
        summarise_job(summarise_job(job_category.row, recorded(job_queued)), recorded(job_deleted))
    )


def test_builds_and_jobs_know_their_number_inside_the_project() -> None:
    row = summarise_job(job_category.row, recorded(job_queued))
    assert (row.local_id, row.build_local_id) == (2, 4)
    older = job_queued.but(job=JOB.but(local_id=0), build_local_id=0)
    row = summarise_job(job_category.row, recorded(older))
    assert (row.local_id, row.build_local_id) == (5, 7)


@pytest.mark.parametrize(("month", "key"), [(7, "2026-7"), (12, "2026-12")])
def test_durations_are_added_up_by_the_month_in_which_builds_end(month: int, key: str) -> None:
    one = recorded(finished, AT.replace(month=month))
    assert month_of(one) == key
    row = add_duration(add_duration(MonthRow(), one), one)
    assert (row.date, row.duration) == (key, 121)
    assert month_of(recorded(deleted)) is None
