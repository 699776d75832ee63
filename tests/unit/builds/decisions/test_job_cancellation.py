"""Canceling a job in each state, and jobs whose runner never received them or was lost."""

import pytest

from contracts.builds import (
    JobAssigned,
    JobCanceling,
    JobEvent,
    JobFinished,
    JobLost,
    JobQueued,
    JobStarted,
    JobStatus,
    LaunchedProject,
    PlannedJob,
    PlannedStep,
    Section,
    StepStarted,
)
from services.builds.domain.internal_commands import AssignJob, CancelJob, FinishJob, MarkJobLost, RecordSteps, StartJob
from services.builds.domain.job import job_decider
from tests.support.scenario import Scenario

PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
STEP = PlannedStep(name="@build", script="/b.sh")
CLEANUP = PlannedStep(name="@cleanup", script="/c.sh", on_kill=True)

queued = JobQueued(
    job_id=42,
    job_uuid="j",
    build_id=17,
    project_id=84,
    owner_alias="ivan",
    attempt=1,
    ref="main",
    sha="s",
    project=PROJECT,
    job=PlannedJob(job_id=42, job_uuid="j", name="build", steps=(STEP, CLEANUP), max_attempts=2),
)
without_cleanup = queued.replace(job=queued.job.replace(steps=(STEP,)))
ignored_cleanup = queued.replace(job=queued.job.replace(steps=(STEP, CLEANUP.replace(skipped=True))))
job_fields = {"job_id": 42, "build_id": 17, "project_id": 84, "attempt": 1}
names = {"job_name": "build", "stage": "build", "project_name": "Mill"}
assigned = JobAssigned(
    **job_fields, **names, runner_id=1, runner_uuid="r", runner_name="miller", token_hash="h", cancels_gracefully=True
)
to_a_plain_runner = assigned.replace(cancels_gracefully=False)
to_a_late_one = assigned.replace(reports_late=True)
started = JobStarted(**job_fields, **names, runner_uuid="r", runner_name="miller")
started_before = started.replace(since_assignment=True)
canceling = JobCanceling(**job_fields, **names, runner_uuid="r", runner_name="miller")
canceled = JobFinished(
    **job_fields,
    **names,
    status=JobStatus.CANCELED,
    exit_code=143,
    reason="canceled",
    message="Deployment aborted by user",
    runner_uuid="r",
    runner_name="miller",
    round=0,
)
lost = JobLost(**job_fields, **names, runner_uuid="r", runner_name="miller", reason="silence", retried=False)
cancel = CancelJob(job_id=42, graceful=True)
cancel_at_once = CancelJob(job_id=42)
lose = MarkJobLost(job_id=42, attempt=1, reason="silence")
finish = FinishJob(job_id=42, attempt=1, status=JobStatus.FAILED, exit_code=1, reason="job_canceled")
cleanup_sections = (Section(step="cleanup"),)
step = StepStarted(**job_fields, step="cleanup", started_at=None)

job = Scenario(job_decider)


@pytest.mark.parametrize(
    "history",
    [
        (without_cleanup, assigned, started),
        (ignored_cleanup, assigned, started),
        (queued, to_a_plain_runner, started),
        (queued, assigned),
        (without_cleanup, to_a_late_one),
        (queued, to_a_plain_runner.replace(reports_late=True)),
    ],
    ids=[
        "no cleanup step",
        "cleanup step ignored",
        "runner cannot clean up",
        "not started",
        "late report without cleanup step",
        "late report without support",
    ],
)
def test_a_job_that_cannot_or_need_not_clean_up_is_canceled_immediately(history: tuple[JobEvent, ...]) -> None:
    job.given(*history).when(cancel).then(canceled)


def test_a_queued_job_is_canceled_immediately() -> None:
    job.given(queued).when(cancel).then(canceled.replace(runner_uuid=None, runner_name=None))


def test_a_cancel_that_arrives_before_the_job_asks_for_a_retry() -> None:
    job.when(cancel).then_refused("CONFLICT")


def test_a_running_job_cleans_up_when_canceled() -> None:
    job.given(queued, assigned, started).when(cancel).then(canceling)


def test_a_graceful_cancel_marks_a_job_with_a_late_report_as_started() -> None:
    """A job assigned to a runner that reports late counts as started, because its script may already run."""
    job.given(queued, to_a_late_one).when(cancel).then(started_before, canceling)
    job.given(queued, to_a_late_one, started_before, canceling).when(finish).then(canceled)
    job.given(queued, to_a_late_one, started_before, canceling).when(lose).then(lost, canceled)


def test_the_start_of_a_late_report_is_the_assignment() -> None:
    start = StartJob(job_id=42, attempt=1)
    job.given(queued, to_a_late_one).when(start).then(started_before)
    job.given(queued, assigned).when(start).then(started)


def test_a_job_with_a_late_report_can_be_canceled_immediately() -> None:
    job.given(queued, to_a_late_one).when(cancel_at_once).then(canceled)


def test_repeating_a_graceful_cancel_changes_nothing() -> None:
    job.given(queued, assigned, started, canceling).when(cancel).then()


def test_a_job_that_cleans_up_can_be_canceled_immediately() -> None:
    job.given(queued, assigned, started, canceling).when(cancel_at_once).then(canceled)


@pytest.mark.parametrize("status", [JobStatus.SUCCESS, JobStatus.FAILED])
def test_a_canceling_job_ends_as_canceled_whatever_its_runner_reports(status: JobStatus) -> None:
    job.given(queued, assigned, started, canceling).when(finish.replace(status=status)).then(canceled)


def test_a_canceling_job_is_not_retried_after_its_runner_is_lost() -> None:
    job.given(queued, assigned, started, canceling).when(lose).then(lost, canceled)


def test_the_steps_of_the_cleanup_are_recorded() -> None:
    record_steps = RecordSteps(job_id=42, attempt=1, steps=cleanup_sections)
    job.given(queued, assigned, started, canceling).when(record_steps).then(step)


@pytest.mark.parametrize(("end", "outcome"), [(finish, [canceled]), (lose, [lost, canceled])])
def test_steps_in_the_rest_of_the_log_are_recorded_with_the_result(
    end: FinishJob | MarkJobLost, outcome: list[JobEvent]
) -> None:
    job.given(queued, assigned, started, canceling).when(end.replace(steps=cleanup_sections)).then(step, *outcome)


def test_steps_recorded_before_are_not_recorded_again_with_the_result() -> None:
    job.given(queued, assigned, started, canceling, step).when(finish.replace(steps=cleanup_sections)).then(canceled)


@pytest.mark.parametrize(
    "command",
    [cancel, cancel_at_once, lose, finish.replace(status=JobStatus.CANCELED)],
)
def test_a_canceled_job_ignores_further_commands(command: CancelJob | MarkJobLost | FinishJob) -> None:
    job.given(queued, assigned, started, canceling, canceled).when(command).then()


def test_a_canceling_job_is_not_assigned_again() -> None:
    assign = AssignJob(job_id=42, attempt=1, runner_id=2, runner_uuid="s", runner_name="other", token_hash="g")
    job.given(queued, assigned, started, canceling).when(assign).then_refused("JOB_STATUS")


def test_a_repeated_start_report_does_not_change_a_canceling_job() -> None:
    job.given(queued, assigned, started, canceling).when(StartJob(job_id=42, attempt=1)).then()


def test_an_undelivered_job_is_requeued_without_using_up_attempts() -> None:
    returned, second = lose.replace(delivered=False), assigned.replace(attempt=2)
    requeued = [lost.replace(retried=True, delivered=False), queued.replace(attempt=2)]
    job.given(queued, assigned).when(returned).then(*requeued)
    thrice = [lost.replace(attempt=2, retried=True, delivered=False), queued.replace(attempt=3)]
    job.given(queued, assigned, *requeued, second).when(returned.replace(attempt=2)).then(*thrice)
    job.given(queued, assigned, *requeued, second).when(lose.replace(attempt=2)).then(
        lost.replace(attempt=2, retried=True), queued.replace(attempt=3)
    )


@pytest.mark.parametrize(
    "since", [(started,), (started, canceling), (lost.replace(retried=True), queued.replace(attempt=2))]
)
def test_a_job_reported_by_its_runner_counts_as_delivered(since: tuple[JobEvent, ...]) -> None:
    job.given(queued, assigned, *since).when(lose.replace(delivered=False)).then()


def test_a_lost_job_is_retried_and_fails_after_the_last_attempt() -> None:
    requeued = queued.replace(attempt=2)
    job.given(queued, assigned, started).when(lose).then(lost.replace(retried=True), requeued)
    failed = canceled.replace(
        attempt=2,
        status=JobStatus.FAILED,
        exit_code=-2,
        reason="runner_lost",
        message="The runner was lost, 2 times: silence",
    )
    second = (requeued, assigned.replace(attempt=2), started.replace(attempt=2))
    job.given(queued, assigned, lost, *second).when(lose.replace(attempt=2)).then(lost.replace(attempt=2), failed)
