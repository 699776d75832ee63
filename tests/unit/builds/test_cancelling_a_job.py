"""What a cancel means for a job, wherever it stands; and what becomes of a job that its runner gave back."""

import pytest

from contracts.builds import (
    AssignJob,
    CancelJob,
    FinishJob,
    JobAssigned,
    JobCanceling,
    JobEvent,
    JobFinished,
    JobLost,
    JobQueued,
    JobStarted,
    JobStatus,
    LaunchedProject,
    LoseJob,
    PlannedJob,
    PlannedStep,
    RecordSteps,
    Section,
    StartJob,
    StepStarted,
)
from libs.testing.scenario import Scenario
from services.builds.domain.job import job_decider

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
without_cleanup = queued.but(job=queued.job.but(steps=(STEP,)))
ignored_cleanup = queued.but(job=queued.job.but(steps=(STEP, CLEANUP.but(skipped=True))))
here = {"job_id": 42, "build_id": 17, "project_id": 84, "attempt": 1}
names = {"job_name": "build", "stage": "build", "project_name": "Mill"}
assigned = JobAssigned(
    **here, **names, runner_id=1, runner_uuid="r", runner_name="miller", token_hash="h", cancels_gracefully=True
)
to_a_plain_runner = assigned.but(cancels_gracefully=False)
to_a_late_one = assigned.but(reports_late=True)
started = JobStarted(**here, **names, runner_uuid="r", runner_name="miller")
started_before = started.but(since_assignment=True)
canceling = JobCanceling(**here, **names, runner_uuid="r", runner_name="miller")
canceled = JobFinished(
    **here,
    **names,
    status=JobStatus.CANCELED,
    exit_code=143,
    reason="canceled",
    message="Deployment aborted by user",
    runner_uuid="r",
    runner_name="miller",
)
lost = JobLost(**here, **names, runner_uuid="r", runner_name="miller", reason="silence", retried=False)
cancel = CancelJob(job_id=42, graceful=True)
cancel_at_once = CancelJob(job_id=42)
lose = LoseJob(job_id=42, attempt=1, reason="silence")
finish = FinishJob(job_id=42, attempt=1, status=JobStatus.FAILED, exit_code=1, reason="job_canceled")
shown = (Section(step="cleanup"),)
step = StepStarted(**here, step="cleanup", started_at=None)

job = Scenario(job_decider)


@pytest.mark.parametrize(
    "history",
    [
        (without_cleanup, assigned, started),
        (ignored_cleanup, assigned, started),
        (queued, to_a_plain_runner, started),
        (queued, assigned),
        (without_cleanup, to_a_late_one),
        (queued, to_a_plain_runner.but(reports_late=True)),
    ],
    ids=["nothing to clean up", "clean-up ignored", "runner cannot", "not started", "late, no need", "late, no means"],
)
def test_a_job_without_need_or_means_to_clean_up_is_over_at_once(history: tuple[JobEvent, ...]) -> None:
    job.given(*history).when(cancel).then(canceled)


def test_a_waiting_job_is_over_at_once() -> None:
    job.given(queued).when(cancel).then(canceled.but(runner_uuid=None, runner_name=None))


def test_a_cancel_that_comes_before_the_job_is_to_be_told_again() -> None:
    job.when(cancel).then_refused("CONFLICT")


def test_a_running_job_cleans_up() -> None:
    job.given(queued, assigned, started).when(cancel).then(canceling)


def test_a_job_whose_runner_reports_late_cleans_up_before_the_first_report() -> None:
    """Its script may run. One whose runner reports first has no script yet, and would drop the job without a word."""
    job.given(queued, to_a_late_one).when(cancel).then(started_before, canceling)
    job.given(queued, to_a_late_one, started_before, canceling).when(finish).then(canceled)
    job.given(queued, to_a_late_one, started_before, canceling).when(lose).then(lost, canceled)


def test_a_runner_that_reports_late_has_worked_since_it_got_the_job() -> None:
    start = StartJob(job_id=42, attempt=1)
    job.given(queued, to_a_late_one).when(start).then(started_before)
    job.given(queued, assigned).when(start).then(started)


def test_a_job_whose_runner_reports_late_can_be_ended_at_once() -> None:
    job.given(queued, to_a_late_one).when(cancel_at_once).then(canceled)


def test_the_same_cancel_told_again_changes_nothing() -> None:
    job.given(queued, assigned, started, canceling).when(cancel).then()


def test_a_job_that_cleans_up_can_be_ended_at_once() -> None:
    job.given(queued, assigned, started, canceling).when(cancel_at_once).then(canceled)


@pytest.mark.parametrize("status", [JobStatus.SUCCESS, JobStatus.FAILED])
def test_whatever_its_runner_says_a_canceled_job_is_canceled(status: JobStatus) -> None:
    job.given(queued, assigned, started, canceling).when(finish.but(status=status)).then(canceled)


def test_a_job_whose_runner_is_lost_while_it_cleans_up_is_not_tried_again() -> None:
    job.given(queued, assigned, started, canceling).when(lose).then(lost, canceled)


def test_the_steps_of_the_clean_up_are_recorded() -> None:
    seen = RecordSteps(job_id=42, attempt=1, steps=shown)
    job.given(queued, assigned, started, canceling).when(seen).then(step)


@pytest.mark.parametrize(("end", "over"), [(finish, [canceled]), (lose, [lost, canceled])])
def test_what_the_end_of_the_log_shows_is_recorded_with_the_end(end: FinishJob | LoseJob, over: list[JobEvent]) -> None:
    job.given(queued, assigned, started, canceling).when(end.but(steps=shown)).then(step, *over)


def test_steps_that_are_known_are_not_recorded_again_with_the_end() -> None:
    job.given(queued, assigned, started, canceling, step).when(finish.but(steps=shown)).then(canceled)


@pytest.mark.parametrize(
    "command",
    [cancel, cancel_at_once, lose, finish.but(status=JobStatus.CANCELED)],
)
def test_a_canceled_job_stays_as_it_is(command: CancelJob | LoseJob | FinishJob) -> None:
    job.given(queued, assigned, started, canceling, canceled).when(command).then()


def test_a_canceling_job_is_given_to_nobody_else() -> None:
    assign = AssignJob(job_id=42, attempt=1, runner_id=2, runner_uuid="s", runner_name="other", token_hash="g")
    job.given(queued, assigned, started, canceling).when(assign).then_refused("JOB_STATUS")


def test_a_canceling_job_that_reports_itself_started_again_changes_nothing() -> None:
    job.given(queued, assigned, started, canceling).when(StartJob(job_id=42, attempt=1)).then()


def test_a_job_that_could_not_be_delivered_is_queued_again_however_often() -> None:
    returned, second = lose.but(delivered=False), assigned.but(attempt=2)
    again = [lost.but(retried=True, delivered=False), queued.but(attempt=2)]
    job.given(queued, assigned).when(returned).then(*again)
    thrice = [lost.but(attempt=2, retried=True, delivered=False), queued.but(attempt=3)]
    job.given(queued, assigned, *again, second).when(returned.but(attempt=2)).then(*thrice)
    job.given(queued, assigned, *again, second).when(lose.but(attempt=2)).then(
        lost.but(attempt=2, retried=True), queued.but(attempt=3)
    )


@pytest.mark.parametrize("since", [(started,), (started, canceling), (lost.but(retried=True), queued.but(attempt=2))])
def test_a_job_that_was_heard_of_was_delivered(since: tuple[JobEvent, ...]) -> None:
    job.given(queued, assigned, *since).when(lose.but(delivered=False)).then()


def test_a_lost_job_is_tried_again_and_then_given_up() -> None:
    again = queued.but(attempt=2)
    job.given(queued, assigned, started).when(lose).then(lost.but(retried=True), again)
    failed = canceled.but(
        attempt=2,
        status=JobStatus.FAILED,
        exit_code=-2,
        reason="runner_lost",
        message="The runner was lost, 2 times: silence",
    )
    second = (again, assigned.but(attempt=2), started.but(attempt=2))
    job.given(queued, assigned, lost, *second).when(lose.but(attempt=2)).then(lost.but(attempt=2), failed)
