"""Jobs of pipelines: stages, allowed failures, manual jobs, retries and cancellation."""

import json

from contracts.builds import (
    Assignment,
    BuildStatus,
    CancelBuildJob,
    KillBuild,
    ListQueuedBuilds,
    PlayJob,
    RetryBuild,
    RetryJob,
)
from tests.integration.services.builds.pipelines.pipeline_runs import job_statuses, launch, run_job, wait_until_finished
from tests.support.in_process.build_stage import BuildStage
from tests.support.waiting import eventually_equal


async def find_job_id(stage: BuildStage, build_id: int, name: str) -> int:
    return next(job.job_id for job in (await stage.get_build(build_id)).jobs if job.name == name)


async def wait_for_statuses(stage: BuildStage, build_id: int, **wanted: str) -> None:
    async def have_statuses() -> bool:
        found = await job_statuses(stage, build_id)
        return all(found.get(name) == status for name, status in wanted.items())

    await eventually_equal(have_statuses, expected=True)


async def test_a_stage_starts_when_the_previous_one_finished(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {stage: build, script: x}, b: {script: x}, c: {stage: deploy, script: x}}")
    await run_job(stage, "a")
    await run_job(stage, "b")
    await run_job(stage, "c")
    build = await wait_until_finished(stage, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.SUCCESS, 0)


async def test_a_failed_job_fails_the_build_and_on_failure_jobs_still_run(stage: BuildStage) -> None:
    build_id = await launch(
        stage,
        """
        a: {stage: build, script: x}
        b: {script: x}
        rescue: {stage: deploy, script: x, when: on_failure}
        always: {stage: deploy, script: x, when: always}
        """,
    )
    await run_job(stage, "a", "failed", exit_code=7)
    names = {(await run_any_job(stage)).name, (await run_any_job(stage)).name}
    assert names == {"rescue", "always"}
    build = await wait_until_finished(stage, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.FAILED, 7)
    assert await job_statuses(stage, build_id) == {
        "a": "FAILED",
        "b": "SKIPPED",
        "rescue": "SUCCESS",
        "always": "SUCCESS",
    }


async def run_any_job(stage: BuildStage) -> Assignment:
    job = await stage.claim()
    await stage.report(job, "success")
    return job


async def test_an_allowed_failure_leaves_a_warning(stage: BuildStage) -> None:
    build_id = await launch(stage, "{lint: {script: x, allow_failure: true}, b: {stage: deploy, script: x}}")
    await run_job(stage, "lint", "failed", exit_code=1)
    await run_job(stage, "b")
    build = await wait_until_finished(stage, build_id)
    assert (build.status, build.exit_code, build.output) == (
        BuildStatus.SUCCESS,
        0,
        "The job lint failed, which is allowed.",
    )
    assert (await job_statuses(stage, build_id))["lint"] == "WARNING"


async def test_a_job_is_retried_as_often_as_its_file_says(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {script: x, retry: 1}}")
    first = await run_job(stage, "a", "failed", exit_code=1)
    second = await run_job(stage, "a", "failed", exit_code=3)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (await wait_until_finished(stage, build_id)).exit_code == 3


async def test_a_manual_job_can_be_started_after_the_build_finished(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {script: x}, b: {stage: deploy, script: x, when: manual}}")
    await run_job(stage, "a")
    assert (await wait_until_finished(stage, build_id)).status is BuildStatus.SUCCESS
    assert (await job_statuses(stage, build_id))["b"] == "MANUAL"
    await stage.send(PlayJob(job_id=await find_job_id(stage, build_id, "b")))
    assert not (await stage.get_build(build_id)).finished
    await run_job(stage, "b")
    assert (await wait_until_finished(stage, build_id)).status is BuildStatus.SUCCESS
    assert (await job_statuses(stage, build_id))["b"] == "SUCCESS"


async def test_a_blocking_manual_job_blocks_the_build(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {stage: build, script: x, rules: [{when: manual}]}, b: {script: x}}")
    await wait_for_statuses(stage, build_id, a="MANUAL")
    (queued,) = json.loads(await stage.caller.query(ListQueuedBuilds()))["rows"]
    assert queued["reason"] == "Waits until one of its manual jobs is started."
    assert await stage.try_claim() is None
    await stage.send(PlayJob(job_id=await find_job_id(stage, build_id, "a")))
    await run_job(stage, "a")
    await run_job(stage, "b")
    assert (await wait_until_finished(stage, build_id)).status is BuildStatus.SUCCESS


async def test_a_retried_build_reruns_its_failed_jobs(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {stage: build, script: x}, b: {script: x}, c: {stage: deploy, script: x}}")
    await run_job(stage, "a")
    failed = await run_job(stage, "b", "failed", exit_code=5)
    await stage.wait_until_ended(build_id)
    await stage.send(RetryBuild(build_id=build_id))
    again = await run_job(stage, "b")
    assert (again.job_id, again.attempt) == (failed.job_id, failed.attempt + 1)
    await run_job(stage, "c")
    build = await wait_until_finished(stage, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.SUCCESS, 0)
    assert await stage.get_error_code(RetryBuild(build_id=build_id)) == "BUILD_STATUS"


async def test_a_successful_job_can_be_retried(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {script: x}}")
    job = await run_job(stage, "a")
    await stage.wait_until_ended(build_id)
    await stage.send(RetryJob(job_id=job.job_id))
    await run_job(stage, "a", "failed", exit_code=4)
    assert (await wait_until_finished(stage, build_id)).exit_code == 4


async def test_without_concurrent_execution_a_retried_build_waits_for_its_turn(stage: BuildStage) -> None:
    first = await launch(stage, "{a: {script: x}}", allow_concurrent_execution=False)
    await run_job(stage, "a", "failed", exit_code=4)
    await stage.wait_until_ended(first)
    second = await stage.launch((await stage.get_build(first)).project_id)
    job = await stage.claim()
    await stage.send(RetryBuild(build_id=first))
    assert (await stage.get_build(first)).status is BuildStatus.PLANNED
    assert await stage.try_claim() is None
    await stage.report(job, "success")
    await stage.wait_until_ended(second)
    await run_job(stage, "a")
    assert (await wait_until_finished(stage, first)).status is BuildStatus.SUCCESS


async def test_a_retried_build_that_is_killed_is_still_listed(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {script: x}}")
    await run_job(stage, "a", "failed", exit_code=4)
    await stage.wait_until_ended(build_id)
    await stage.send(RetryBuild(build_id=build_id))
    await stage.send(KillBuild(build_id=build_id))
    build = await wait_until_finished(stage, build_id)
    assert (build.status, build.ran) == (BuildStatus.KILLED, True)
    assert await stage.try_claim() is None


async def test_running_and_waiting_jobs_can_be_canceled(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {script: x}, b: {stage: deploy, script: x, when: always}}")
    job = await stage.claim()
    await stage.send(CancelBuildJob(job_id=await find_job_id(stage, build_id, "b")))
    await stage.send(CancelBuildJob(job_id=job.job_id))
    build = await wait_until_finished(stage, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.FAILED, 143)
    assert await job_statuses(stage, build_id) == {"a": "CANCELED", "b": "CANCELED"}
    assert await stage.get_error_code(CancelBuildJob(job_id=job.job_id)) == "BUILD_STATUS"


async def test_killing_a_build_cancels_all_jobs(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {script: x}, b: {script: x}, c: {stage: deploy, script: x}}")
    first, second = await stage.claim(), await stage.claim()
    await stage.append_log(first, 0, b"x")
    await stage.append_log(second, 0, b"x")
    await stage.send(KillBuild(build_id=build_id))
    assert {(await stage.append_log(job, 1, b"y")).job_status for job in (first, second)} == {"canceled"}
    assert (await wait_until_finished(stage, build_id)).exit_code == 143
    assert await job_statuses(stage, build_id) == {"a": "CANCELED", "b": "CANCELED", "c": "SKIPPED"}
