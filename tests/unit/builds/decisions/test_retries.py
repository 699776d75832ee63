"""Retries of failed jobs, and reruns on request."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.builds import (
    JobAssigned,
    JobEvent,
    JobFinished,
    JobLost,
    JobQueued,
    JobRetried,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    Section,
    StepFinished,
    StepStarted,
)
from services.builds.domain.internal_commands import FinishJob, MarkJobLost, QueueJob
from services.builds.domain.job import job_decider
from tests.support.scenario import Scenario

PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
HERE = {"job_id": 42, "build_id": 17, "project_id": 84}
NAMES = {"job_name": "build", "stage": "build", "project_name": "Mill"}
once = PlannedJob(job_id=42, job_uuid="j", name="build", commands=("make",), retries=1, max_attempts=2)
selective = once.replace(retry_when=("runner_system_failure",))
rerun = once.replace(round=1)


def queued(job: PlannedJob, attempt: int = 1) -> JobQueued:
    return JobQueued(
        **HERE, job_uuid="j", owner_alias="ivan", attempt=attempt, ref="main", sha="s", project=PROJECT, job=job
    )


def assigned(attempt: int = 1) -> JobAssigned:
    return JobAssigned(
        **HERE, **NAMES, attempt=attempt, runner_id=1, runner_uuid="r", runner_name="miller", token_hash="t"
    )


def fail(attempt: int = 1) -> FinishJob:
    return FinishJob(job_id=42, attempt=attempt, status=JobStatus.FAILED, exit_code=7, reason="script_failure")


def failed(attempt: int) -> JobFinished:
    return JobFinished(
        **HERE,
        **NAMES,
        attempt=attempt,
        status=JobStatus.FAILED,
        exit_code=7,
        reason="script_failure",
        runner_uuid="r",
        runner_name="miller",
        round=0,
    )


def queue_command(job: PlannedJob) -> QueueJob:
    return QueueJob(job_id=42, build_id=17, project=PROJECT, job=job, ref="main", sha="s")


retried = JobRetried(
    **HERE, **NAMES, attempt=1, exit_code=7, reason="script_failure", runner_uuid="r", runner_name="miller"
)
lost = JobLost(**HERE, **NAMES, attempt=2, runner_uuid="r", runner_name="miller", reason="silence", retried=True)
job = Scenario(job_decider)


def test_the_duration_of_the_steps_is_recorded_with_the_result_and_with_a_retry() -> None:
    start = datetime(2030, 5, 1, tzinfo=UTC)
    step = Section(step="build", start_at=start, closed_at=start + timedelta(seconds=5), success=False)
    ids = {**HERE, "attempt": 1, "step": "build"}
    steps = (StepStarted(**ids, started_at=start), StepFinished(**ids, finished_at=step.closed_at, success=False))
    end = fail().replace(steps=(step,))
    never = once.replace(retries=0)
    job.given(queued(never), assigned()).when(end).then(*steps, failed(1).replace(duration_ms=5000))
    job.given(queued(once), assigned()).when(end).then(*steps, retried.replace(duration_ms=5000), queued(once, 2))


def test_a_repeated_result_with_steps_changes_nothing() -> None:
    step = Section(step="build", start_at=datetime(2030, 5, 1, tzinfo=UTC))
    never = once.replace(retries=0)
    job.given(queued(never), assigned(), failed(1)).when(fail().replace(steps=(step,))).then()
    lose = MarkJobLost(job_id=42, attempt=1, reason="silence", steps=(step,))
    job.given(queued(never), assigned(), failed(1)).when(lose).then()


def test_a_failed_job_with_retries_left_is_queued_again() -> None:
    job.given(queued(once), assigned()).when(fail()).then(retried, queued(once, 2))


@pytest.mark.parametrize(
    ("settings", "rerun"),
    [
        ({"retry_codes": (7,)}, True),
        ({"retry_codes": (8,)}, False),
        ({"retry_codes": (8,), "retry_when": ("script_failure",)}, True),
        ({"retry_codes": (7,), "retry_when": ("runner_system_failure",)}, True),
    ],
)
def test_a_job_is_retried_only_for_the_listed_exit_codes_or_reasons(settings: dict[str, Any], rerun: bool) -> None:
    chosen = once.replace(**settings)
    events = [retried, queued(chosen, 2)] if rerun else [failed(1)]
    job.given(queued(chosen), assigned()).when(fail()).then(*events)


def test_a_job_is_retried_no_more_often_than_configured() -> None:
    job.given(queued(once), assigned(), retried, queued(once, 2), assigned(2)).when(fail(2)).then(failed(2))


def test_a_job_is_not_retried_for_an_unlisted_reason() -> None:
    job.given(queued(selective), assigned()).when(fail()).then(failed(1))


def test_lost_runners_and_failures_are_counted_separately() -> None:
    lose = MarkJobLost(job_id=42, attempt=2, reason="silence")
    job.given(queued(once), assigned(), retried, queued(once, 2), assigned(2)).when(lose).then(lost, queued(once, 3))


def test_a_finished_job_can_be_rerun() -> None:
    job.given(queued(once), assigned(), failed(1)).when(queue_command(rerun)).then(queued(rerun, 2))


def test_a_rerun_job_has_all_its_retries_again() -> None:
    before = (queued(once), assigned(), retried, queued(once, 2), assigned(2), failed(2), queued(rerun, 3), assigned(3))
    job.given(*before).when(fail(3)).then(retried.replace(attempt=3), queued(rerun, 4))


def test_requesting_the_same_rerun_twice_changes_nothing() -> None:
    job.given(queued(once), assigned(), failed(1), queued(rerun, 2)).when(queue_command(rerun)).then()
    job.given(queued(once), assigned(), failed(1)).when(queue_command(once)).then()


PASSED = failed(1).replace(status=JobStatus.SUCCESS, exit_code=0, reason="")
UNDELIVERED = lost.replace(attempt=1, delivered=False)
CANCELED = failed(1).replace(status=JobStatus.CANCELED)


@pytest.mark.parametrize(
    ("before", "recovered"),
    [
        ((retried, queued(once, 2)), True),
        ((lost.replace(attempt=1), queued(once, 2)), True),
        ((failed(1), queued(rerun, 2)), True),
        ((failed(1), queued(rerun, 2), CANCELED, queued(rerun.replace(round=2), 2)), True),
        ((UNDELIVERED, queued(once, 2)), False),
        ((PASSED, queued(rerun, 2)), False),
        ((CANCELED, queued(rerun, 2)), False),
        ((failed(1), queued(rerun, 2), PASSED, queued(rerun.replace(round=2), 2)), False),
    ],
)
def test_a_job_that_passes_after_a_failure_has_recovered(before: tuple[JobEvent, ...], recovered: bool) -> None:
    last = before[-1]
    assert isinstance(last, JobQueued)
    passed = PASSED.replace(attempt=2, round=last.job.round, recovered=recovered)
    report = FinishJob(job_id=42, attempt=2, status=JobStatus.SUCCESS, exit_code=0)
    job.given(queued(once), assigned(), *before, assigned(2)).when(report).then(passed)
