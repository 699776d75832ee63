"""Events of a build with several jobs after one of its jobs ends, is retried, is played or is canceled."""

from datetime import UTC, datetime

from contracts.builds import (
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildQueued,
    BuildResumed,
    BuildStarted,
    BuildStatus,
    JobStatus,
    JobStatusChange,
    LaunchedProject,
    PlannedJob,
    RetryBuild,
)
from services.builds.domain.build import build_decider
from services.builds.domain.internal_commands import (
    ContinueBuild,
    PlayBuildJob,
    RecordJobResult,
    RerunBuildJob,
    StartBuild,
    StopBuild,
    StopBuildJob,
)
from tests.support.scenario import Scenario

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
first = PlannedJob(job_id=1, job_uuid="1", name="first", commands=("x",))
second = PlannedJob(job_id=2, job_uuid="2", name="second", commands=("x",), stage_place=1)
manual = PlannedJob(
    job_id=3, job_uuid="3", name="offered", commands=("x",), stage_place=2, when="manual", allow_failure=True
)
queued = BuildQueued(build_id=17, executor_id="e", project_id=84, project=PROJECT, queued_at=NOON)
planned = BuildPlanned(
    build_id=17,
    project_id=84,
    project=PROJECT,
    sha="s",
    ref="refs/heads/main",
    available_steps=(),
    jobs=(first, second, manual),
    warnings=("line 1, column 1: nothing",),
)


def advanced(*released: PlannedJob, **more: object) -> BuildJobsChanged:
    return BuildJobsChanged(
        build_id=17, project_id=84, project=PROJECT, sha="s", ref="refs/heads/main", released=released
    ).replace(**more)


def status_change(job_id: int, status: str) -> JobStatusChange:
    return JobStatusChange(job_id=job_id, status=JobStatus(status))


def job_result(job_id: int, status: str, **more: object) -> RecordJobResult:
    return RecordJobResult(build_id=17, job_id=job_id, status=JobStatus(status), exit_code=0).replace(**more)


second_released = advanced(second, ended=(status_change(1, "SUCCESS"),))
first_failed = advanced(
    ended=(status_change(1, "FAILED"),), waiting=(status_change(2, "SKIPPED"), status_change(3, "SKIPPED")), exit_code=7
)
failed_build = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=84,
    project_name="Mill",
    status=BuildStatus.FAILED,
    exit_code=7,
    output="line 1, column 1: nothing",
    queued_at=NOON,
)
successful_build = failed_build.replace(status=BuildStatus.SUCCESS, exit_code=0)
resumed = BuildResumed(build_id=17, project_id=84, executor_id="e", job_ids=(1,))
last = advanced(ended=(status_change(2, "SUCCESS"),), waiting=(status_change(3, "MANUAL"),))
build = Scenario(build_decider)


def test_the_end_of_a_job_releases_the_jobs_that_waited_for_it() -> None:
    build.given(queued, planned).when(job_result(1, "SUCCESS")).then(second_released)


def test_a_build_ends_with_its_last_job_although_a_manual_job_is_left() -> None:
    build.given(queued, planned, second_released).when(job_result(2, "SUCCESS")).then(last, successful_build)


def test_a_failed_job_ends_the_build_with_its_exit_code() -> None:
    build.given(queued, planned).when(job_result(1, "FAILED", exit_code=7)).then(first_failed, failed_build)


def test_repeating_the_result_of_a_job_changes_nothing() -> None:
    build.given(queued, planned, second_released).when(job_result(1, "SUCCESS")).then()


def test_the_result_of_a_job_that_was_not_queued_is_ignored() -> None:
    build.given(queued, planned).when(job_result(2, "SUCCESS")).then()


def test_a_rerun_job_resets_the_jobs_that_were_skipped_after_it() -> None:
    restarted = advanced(first.replace(round=1), waiting=(status_change(2, "CREATED"), status_change(3, "CREATED")))
    build.given(queued, planned, first_failed, failed_build).when(RetryBuild(build_id=17)).then(resumed, restarted)
    build.given(queued, planned, first_failed, failed_build, resumed, restarted).when(job_result(1, "SUCCESS")).then(
        second_released
    )


def test_a_killed_build_records_only_the_time_since_it_was_resumed() -> None:
    earlier_end = failed_build.replace(duration=60, duration_ms=60_000)
    waits = resumed.replace(needs_lane=True)
    killed = BuildKilled(build_id=17, project_id=84)
    end = failed_build.replace(
        status=BuildStatus.KILLED,
        exit_code=143,
        exit_message="Deployment aborted by user",
        output="The build ended with exit code 143: Deployment aborted by user",
        duration=15,
        duration_ms=15_000,
    )
    total = StopBuild(build_id=17, duration_ms=75_000)
    build.given(queued, planned, first_failed, earlier_end, waits).when(total).then(killed, end)


def test_a_killed_build_does_not_succeed_before_all_canceled_jobs_ran_again() -> None:
    beside = second.replace(stage_place=0)
    killed = failed_build.replace(status=BuildStatus.KILLED, exit_code=143)
    again = (resumed, advanced(first.replace(round=1)))
    history = (queued, planned.replace(jobs=(first, beside), warnings=()), killed, *again)
    end = failed_build.replace(exit_code=143, exit_message="Deployment aborted by user", output=None)
    build.given(*history).when(job_result(1, "SUCCESS")).then(advanced(ended=(status_change(1, "SUCCESS"),)), end)


def test_the_canceled_job_of_a_build_with_one_job_is_recorded_as_canceled() -> None:
    result = job_result(1, "CANCELED", exit_code=143, exit_message="Deployment aborted by user")
    ended = advanced(ended=(status_change(1, "CANCELED"),), exit_code=143, exit_message="Deployment aborted by user")
    end = failed_build.replace(exit_code=143, exit_message="Deployment aborted by user", output=None)
    build.given(queued, planned.replace(jobs=(first,), warnings=())).when(result).then(ended, end)


def test_a_resumed_build_waits_for_its_concurrency_slot() -> None:
    with_slot = (queued.replace(needs_lane=True), planned, first_failed, failed_build.replace(held_lane=True))
    waits = resumed.replace(needs_lane=True)
    restarted = advanced(first.replace(round=1), waiting=(status_change(2, "CREATED"), status_change(3, "CREATED")))
    build.given(*with_slot).when(RerunBuildJob(build_id=17, job_id=1)).then(waits)
    build.given(*with_slot, waits).when(ContinueBuild(build_id=17, round=1)).then(restarted)


def test_a_resumed_build_starts_again_with_its_first_job() -> None:
    restarted = advanced(first.replace(round=1), waiting=(status_change(2, "CREATED"), status_change(3, "CREATED")))
    start = StartBuild(17, "miller", 1)
    started = BuildStarted(build_id=17, project_id=84, executor_id="e", runner_name="miller")
    ended = (queued, planned, first_failed, failed_build)
    waits = resumed.replace(needs_lane=True)
    build.given(*ended, resumed, restarted).when(start).then(started)
    build.given(*ended, waits).when(start).then()
    build.given(*ended, waits, restarted).when(start).then(started)
    build.given(*ended, waits, restarted).when(ContinueBuild(build_id=17, round=1)).then()


def test_a_running_build_has_started_although_one_of_its_jobs_is_run_again() -> None:
    start = StartBuild(17, "miller", 1)
    started = BuildStarted(build_id=17, project_id=84, executor_id="e", runner_name="miller", queued_at=NOON)
    running = (queued, planned, started, second_released)
    rerun = build.given(*running).when(RerunBuildJob(build_id=17, job_id=1)).events
    assert rerun == [advanced(first.replace(round=1))]
    build.given(*running, *rerun).when(start).then()


def test_a_canceled_build_queues_no_job_after_its_cleanup() -> None:
    cleaning = first.replace(after_commands=("clean",))
    killed = BuildKilled(build_id=17, project_id=84, job_ids=(1,), job_rounds=(0,), graceful=True)
    ended = advanced(ended=(status_change(1, "SUCCESS"),))
    history = (queued, planned.replace(jobs=(cleaning, second)), killed)
    outcome = build.given(*history).when(job_result(1, "SUCCESS"))
    assert outcome.events[0] == ended
    assert [event.wire_name for event in outcome.events] == ["BuildAdvanced", "BuildFinished"]


def test_a_manual_job_can_be_played_after_the_build_ended() -> None:
    play = PlayBuildJob(build_id=17, job_id=3)
    build.given(queued, planned, second_released, last, successful_build).when(play).then(
        resumed.replace(job_ids=(3,)), advanced(manual)
    )
    build.given(queued, planned).when(play).then_refused("JOB_STATUS")


def test_retrying_a_queued_job_changes_nothing() -> None:
    build.given(queued, planned).when(RerunBuildJob(build_id=17, job_id=1)).then()


def test_a_build_that_did_not_fail_cannot_be_retried() -> None:
    build.given(queued, planned, second_released, last, successful_build).when(RetryBuild(build_id=17)).then_refused(
        "BUILD_STATUS"
    )


def test_a_queued_job_is_canceled_by_its_runner_and_a_waiting_one_immediately() -> None:
    aborted = {"exit_code": 143, "exit_message": "Deployment aborted by user"}
    build.given(queued, planned).when(StopBuildJob(build_id=17, job_id=1)).then(
        advanced(stopped=(1,), stopped_rounds=(0,))
    )
    build.given(queued, planned).when(StopBuildJob(build_id=17, job_id=2)).then(
        advanced(ended=(status_change(2, "CANCELED"),), **aborted)
    )


def test_canceling_a_build_cancels_its_queued_and_running_jobs() -> None:
    killed = BuildKilled(build_id=17, project_id=84, job_ids=(2,), job_rounds=(0,))
    message = "Deployment aborted by user"
    output = f"The build ended with exit code 143: {message}"
    aborted = failed_build.replace(
        status=BuildStatus.KILLED, exit_code=143, exit_message=message, output=output, ran=False
    )
    build.given(queued, planned, second_released).when(StopBuild(build_id=17)).then(killed, aborted)
