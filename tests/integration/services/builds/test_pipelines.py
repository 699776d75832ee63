"""Pipelines on real servers: stages, allowed failures, manual jobs, retries and cancellation."""

import json
from collections.abc import AsyncIterator
from textwrap import dedent

import pytest

from contracts.builds import (
    Assignment,
    BuildRow,
    BuildStatus,
    CancelBuildJob,
    GetLiveLog,
    GetLogSection,
    KillBuild,
    ListQueuedBuilds,
    LiveSection,
    LogSection,
    PlayJob,
    RetryBuild,
    RetryJob,
)
from contracts.projects import CreateProject, CreateSecret, DeleteSecret
from tests.support.external.repositories import commit_files, create_sample_repository
from tests.support.in_process.builds_stage import BuildStage, build_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually_equal

SPEC = ".gitlab-ci.yml"


@pytest.fixture(scope="module")
async def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildStage]:
    folder = tmp_path_factory.mktemp("site")
    async with build_stage(servers, folder, create_sample_repository(folder / "repository")) as site:
        yield site


async def launch(site: BuildStage, source: str, **settings: bool) -> int:
    commit_files(site.repository, {SPEC: dedent(source)})
    settings = {"allow_concurrent_execution": True, **settings}
    command = CreateProject(
        name="pipelines",
        repository=str(site.repository),
        branch="main",
        spec_file_path=f"/{SPEC}",
        executor_id=site.executor_id,
        **settings,
    )
    return await site.launch(int((await site.send(command)).row["id"]))


async def job_statuses(site: BuildStage, build_id: int) -> dict[str, str]:
    return {job.name: job.status for job in (await site.get_build(build_id)).jobs}


async def run_job(site: BuildStage, name: str, state: str = "success", **more: int) -> Assignment:
    job = await site.claim()
    assert job.name == name
    await site.report(job, state, **more)
    return job


async def wait_until_finished(site: BuildStage, build_id: int) -> BuildRow:
    await site.wait_until_ended(build_id)
    return await site.get_build(build_id)


async def find_job_id(site: BuildStage, build_id: int, name: str) -> int:
    return next(job.job_id for job in (await site.get_build(build_id)).jobs if job.name == name)


async def wait_for_statuses(site: BuildStage, build_id: int, **wanted: str) -> None:
    async def now() -> bool:
        found = await job_statuses(site, build_id)
        return all(found.get(name) == status for name, status in wanted.items())

    await eventually_equal(now, expected=True)


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


async def run_any_job(site: BuildStage) -> Assignment:
    job = await site.claim()
    await site.report(job, "success")
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
    (queued,) = json.loads(await stage.caller.query(ListQueuedBuilds()))
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


async def test_a_pipeline_file_includes_files_of_its_commit(stage: BuildStage) -> None:
    commit_files(
        stage.repository, {"ci/base.yml": "include: ci/deep/*.yml\n", "ci/deep/job.yml": ".job: {image: debian}\n"}
    )
    build_id = await launch(stage, "{include: /ci/base.yml, build: {extends: .job, script: make}}")
    assert (await run_job(stage, "build")).image == "debian"
    assert (await wait_until_finished(stage, build_id)).status is BuildStatus.SUCCESS


async def test_a_project_secret_can_decide_a_rule_and_is_not_stored_in_the_build(stage: BuildStage) -> None:
    secret = int((await stage.send(CreateSecret(name="PLACE", value="hidden-place"))).row["id"])
    source = """
        a: {script: x, rules: [{if: $PLACE == "elsewhere"}]}
        b: {script: x, rules: [{if: $PLACE == "hidden-place"}], variables: {OF: $PLACE}}
        """
    build_id = await launch(stage, source)
    assert (await run_job(stage, "b")).name == "b"
    build = await wait_until_finished(stage, build_id)
    assert "hidden-place" not in build.model_dump_json()
    await stage.send(DeleteSecret(secret_id=secret))


async def test_an_error_in_the_pipeline_file_fails_the_build_with_line_and_column(stage: BuildStage) -> None:
    build_id = await launch(stage, "a:\n  script: x\n  when: later\n")
    build = await wait_until_finished(stage, build_id)
    assert build.exit_code == -1
    assert build.output is not None
    assert build.output.startswith("line 3, column 9: `when` of the job `a` must be one of")


async def test_the_job_payload_reflects_the_pipeline_file(stage: BuildStage) -> None:
    build_id = await launch(
        stage,
        """
        variables: {VERSION: "1.$CI_PIPELINE_ID", CACHING: pull}
        a:
          image: {name: "debian:$VERSION", entrypoint: [""]}
          services: [{name: "redis:$VERSION", variables: {EDITION: "v$VERSION"}}]
          script: [make, make test]
          after_script: [make clean]
          cache: [{key: $CI_COMMIT_REF_SLUG, paths: [$CI_PROJECT_DIR/x], policy: $CACHING}, {paths: [y], policy: $WHAT}]
          artifacts: {paths: [out/$CI_JOB_NAME]}
        """,
    )
    job = await stage.claim()
    values = {variable.key: variable.value for variable in job.variables}
    assert (values["VERSION"], values["CI_JOB_TOKEN"]) == (f"1.{build_id}", job.token)
    assert (values["CI_COMMIT_MESSAGE"], values["CI_DEFAULT_BRANCH"]) == ("a commit", "main")
    assert job.image == f"debian:1.{build_id}"
    assert job.container is not None
    assert job.container.entrypoint == ("",)
    assert [service.name for service in job.services] == [f"redis:1.{build_id}"]
    assert [(variable.key, variable.value) for variable in job.services[0].variables] == [("EDITION", f"v1.{build_id}")]
    assert [(cache.key, cache.paths, cache.policy) for cache in job.caches] == [
        ("main", ("$CI_PROJECT_DIR/x",), "pull"),
        ("default", ("y",), "pull-push"),
    ]
    assert job.artifacts is not None
    assert job.artifacts.paths == ("out/a",)
    assert "make test" in job.script[0]
    assert "make clean" in job.after_script[0]
    await stage.report(job, "success")
    await stage.wait_until_ended(build_id)


def section_log(job: Assignment, place: int, text: str) -> bytes:
    nonce = job.script[0].partition("hr_")[2][:12]
    start, end = f"section_start:1:hr_{nonce}_{place}", f"section_end:2:hr_{nonce}_{place}"
    return f"{start}\r\x1b[0K{text}\n{end}\r\x1b[0K\n".encode()


async def test_the_log_of_a_build_is_read_through_the_sections_of_all_jobs(stage: BuildStage) -> None:
    build_id = await launch(stage, "{a: {stage: build, script: x, after_script: y, coverage: z}, b: {script: x}}")
    first = await stage.claim()
    log = b"preparing\n" + section_log(first, 0, "first") + section_log(first, 1, "after")
    await stage.append_log(first, 0, log)
    await stage.report(first, "success")
    second = await stage.claim()
    await stage.append_log(second, 0, section_log(second, 0, "second"))
    live = await follow_live_steps(stage, (await stage.get_build(build_id)).executor_id)
    await stage.report(second, "success")
    await stage.wait_until_ended(build_id)
    read = [await read_section(stage, build_id, "-1")]
    read += [await read_section(stage, build_id, step) for step in live[:-1]]
    assert await stage.get_error_code(GetLogSection(build_id=build_id, step=live[-1])) == "LOG_NOT_FOUND"
    assert [part.step for part in read] == ["init", "a:init", "a:script", "a:after_script", "b:init", "b:script"]
    assert live == [part.step for part in read]
    assert [part.log for part in read if part.step.endswith("script")] == ["first", "after", "second"]
    assert "`coverage` of the job `a` is not supported" in read[0].log


async def follow_live_steps(site: BuildStage, executor_id: str) -> list[str]:
    found = [await read_live(site, executor_id, "-1", 0)]
    while (part := await read_live(site, executor_id, found[-1].step, found[-1].line_number)).step != found[-1].step:
        found.append(part)
    return [part.step for part in found]


async def read_live(site: BuildStage, executor_id: str, step: str, line_number: int) -> LiveSection:
    query = GetLiveLog(executor_id=executor_id, step=step, line_number=line_number)
    return LiveSection.model_validate_json(await site.caller.query(query))


async def read_section(site: BuildStage, build_id: int, step: str) -> LogSection:
    return LogSection.model_validate_json(await site.caller.query(GetLogSection(build_id=build_id, step=step)))


async def test_rules_check_existing_and_changed_files_of_the_commit(stage: BuildStage) -> None:
    build_id = await launch(
        stage,
        """
        a: {script: x, rules: [{exists: ["**/*.sh"], changes: [.gitlab-ci.yml]}]}
        b: {script: x, rules: [{changes: ["ci/*"]}]}
        c: {script: x, rules: [{exists: [nowhere]}]}
        """,
    )
    job = await stage.claim()
    assert job.name == "a"
    assert (await job_statuses(stage, build_id)).keys() == {"a"}
    await stage.report(job, "success")
    assert (await wait_until_finished(stage, build_id)).warnings == ()
