"""Pipelines on real servers: jobs follow each other, fail as they may, wait for people, are tried and run again."""

import json
from collections.abc import AsyncIterator
from textwrap import dedent

import pytest

from contracts.builds import (
    Assignment,
    BuildRow,
    BuildStatus,
    KillBuild,
    ListQueued,
    LiveSection,
    LogSection,
    PlayJob,
    ReadLiveLog,
    ReadLog,
    RetryBuild,
    RetryJob,
    StopJob,
)
from contracts.projects import CreateProject, CreateSecret, DeleteSecret
from tests.integration.builds_stage import Site, building_site, eventually
from tests.support.repositories import commit, sample_repository
from tests.support.servers import Servers

SPEC = ".gitlab-ci.yml"


@pytest.fixture(scope="module")
async def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    async with building_site(servers, folder, sample_repository(folder / "repository")) as site:
        yield site


async def launched(site: Site, source: str, **settings: bool) -> int:
    commit(site.repository, {SPEC: dedent(source)})
    settings = {"allow_concurrent_execution": True, **settings}
    wish = CreateProject(
        name="pipelines",
        repository=str(site.repository),
        branch="main",
        spec_file_path=f"/{SPEC}",
        executor_id=site.executor_id,
        **settings,
    )
    return await site.launch(int((await site.tell(wish)).row["id"]))


async def statuses(site: Site, build_id: int) -> dict[str, str]:
    return {job.name: job.status for job in (await site.build(build_id)).jobs}


async def run(site: Site, name: str, state: str = "success", **more: int) -> Assignment:
    job = await site.claim()
    assert job.name == name
    await site.report(job, state, **more)
    return job


async def finished(site: Site, build_id: int) -> BuildRow:
    await site.ended(build_id)
    return await site.build(build_id)


async def job_id(site: Site, build_id: int, name: str) -> int:
    return next(job.job_id for job in (await site.build(build_id)).jobs if job.name == name)


async def becomes(site: Site, build_id: int, **wanted: str) -> None:
    async def now() -> bool:
        found = await statuses(site, build_id)
        return all(found.get(name) == status for name, status in wanted.items())

    await eventually(now, wanted=True)


async def test_a_stage_begins_when_the_one_before_it_is_over(site: Site) -> None:
    build_id = await launched(site, "{a: {stage: build, script: x}, b: {script: x}, c: {stage: deploy, script: x}}")
    await run(site, "a")
    await run(site, "b")
    await run(site, "c")
    build = await finished(site, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.SUCCESS, 0)


async def test_a_failed_job_decides_the_build_and_who_cleans_up_still_runs(site: Site) -> None:
    build_id = await launched(
        site,
        """
        a: {stage: build, script: x}
        b: {script: x}
        rescue: {stage: deploy, script: x, when: on_failure}
        always: {stage: deploy, script: x, when: always}
        """,
    )
    await run(site, "a", "failed", exit_code=7)
    names = {(await run_any(site)).name, (await run_any(site)).name}
    assert names == {"rescue", "always"}
    build = await finished(site, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.FAILED, 7)
    assert await statuses(site, build_id) == {"a": "FAILED", "b": "SKIPPED", "rescue": "SUCCESS", "always": "SUCCESS"}


async def run_any(site: Site) -> Assignment:
    job = await site.claim()
    await site.report(job, "success")
    return job


async def test_a_job_that_may_fail_leaves_a_warning(site: Site) -> None:
    build_id = await launched(site, "{lint: {script: x, allow_failure: true}, b: {stage: deploy, script: x}}")
    await run(site, "lint", "failed", exit_code=1)
    await run(site, "b")
    build = await finished(site, build_id)
    assert (build.status, build.exit_code, build.output) == (
        BuildStatus.SUCCESS,
        0,
        "The job lint failed, as it may.",
    )
    assert (await statuses(site, build_id))["lint"] == "WARNING"


async def test_a_job_is_tried_again_as_often_as_its_file_says(site: Site) -> None:
    build_id = await launched(site, "{a: {script: x, retry: 1}}")
    first = await run(site, "a", "failed", exit_code=1)
    second = await run(site, "a", "failed", exit_code=3)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (await finished(site, build_id)).exit_code == 3


async def test_a_job_waits_for_somebody_and_goes_on_after_the_build_was_over(site: Site) -> None:
    build_id = await launched(site, "{a: {script: x}, b: {stage: deploy, script: x, when: manual}}")
    await run(site, "a")
    assert (await finished(site, build_id)).status is BuildStatus.SUCCESS
    assert (await statuses(site, build_id))["b"] == "MANUAL"
    await site.tell(PlayJob(job_id=await job_id(site, build_id, "b")))
    assert not (await site.build(build_id)).finished
    await run(site, "b")
    assert (await finished(site, build_id)).status is BuildStatus.SUCCESS
    assert (await statuses(site, build_id))["b"] == "SUCCESS"


async def test_a_job_that_holds_up_the_others_holds_up_the_build(site: Site) -> None:
    build_id = await launched(site, "{a: {stage: build, script: x, rules: [{when: manual}]}, b: {script: x}}")
    await becomes(site, build_id, a="MANUAL")
    (queued,) = json.loads(await site.caller.ask(ListQueued()))
    assert queued["reason"] == "Waits for somebody to start one of its jobs."
    assert await site.try_claim() is None
    await site.tell(PlayJob(job_id=await job_id(site, build_id, "a")))
    await run(site, "a")
    await run(site, "b")
    assert (await finished(site, build_id)).status is BuildStatus.SUCCESS


async def test_a_failed_build_is_run_again_from_where_it_failed(site: Site) -> None:
    build_id = await launched(site, "{a: {stage: build, script: x}, b: {script: x}, c: {stage: deploy, script: x}}")
    await run(site, "a")
    failed = await run(site, "b", "failed", exit_code=5)
    await site.ended(build_id)
    await site.tell(RetryBuild(build_id=build_id))
    again = await run(site, "b")
    assert (again.job_id, again.attempt) == (failed.job_id, failed.attempt + 1)
    await run(site, "c")
    build = await finished(site, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.SUCCESS, 0)
    assert await site.refusal(RetryBuild(build_id=build_id)) == "BUILD_STATUS"


async def test_a_job_that_was_good_may_run_again(site: Site) -> None:
    build_id = await launched(site, "{a: {script: x}}")
    job = await run(site, "a")
    await site.ended(build_id)
    await site.tell(RetryJob(job_id=job.job_id))
    await run(site, "a", "failed", exit_code=4)
    assert (await finished(site, build_id)).exit_code == 4


async def test_where_builds_run_one_after_the_other_one_that_goes_on_waits_for_its_turn(site: Site) -> None:
    first = await launched(site, "{a: {script: x}}", allow_concurrent_execution=False)
    await run(site, "a", "failed", exit_code=4)
    await site.ended(first)
    second = await site.launch((await site.build(first)).project_id)
    job = await site.claim()
    await site.tell(RetryBuild(build_id=first))
    assert (await site.build(first)).status is BuildStatus.PLANNED
    assert await site.try_claim() is None
    await site.report(job, "success")
    await site.ended(second)
    await run(site, "a")
    assert (await finished(site, first)).status is BuildStatus.SUCCESS


async def test_a_build_that_goes_on_and_is_killed_stays_in_the_list(site: Site) -> None:
    build_id = await launched(site, "{a: {script: x}}")
    await run(site, "a", "failed", exit_code=4)
    await site.ended(build_id)
    await site.tell(RetryBuild(build_id=build_id))
    await site.tell(KillBuild(build_id=build_id))
    build = await finished(site, build_id)
    assert (build.status, build.ran) == (BuildStatus.KILLED, True)
    assert await site.try_claim() is None


async def test_a_job_is_stopped_whether_it_runs_or_waits(site: Site) -> None:
    build_id = await launched(site, "{a: {script: x}, b: {stage: deploy, script: x, when: always}}")
    job = await site.claim()
    await site.tell(StopJob(job_id=await job_id(site, build_id, "b")))
    await site.tell(StopJob(job_id=job.job_id))
    build = await finished(site, build_id)
    assert (build.status, build.exit_code) == (BuildStatus.FAILED, 143)
    assert await statuses(site, build_id) == {"a": "CANCELED", "b": "CANCELED"}
    assert await site.refusal(StopJob(job_id=job.job_id)) == "BUILD_STATUS"


async def test_a_kill_ends_all_jobs(site: Site) -> None:
    build_id = await launched(site, "{a: {script: x}, b: {script: x}, c: {stage: deploy, script: x}}")
    first, second = await site.claim(), await site.claim()
    await site.append(first, 0, b"x")
    await site.append(second, 0, b"x")
    await site.tell(KillBuild(build_id=build_id))
    assert {(await site.append(job, 1, b"y")).job_status for job in (first, second)} == {"canceled"}
    assert (await finished(site, build_id)).exit_code == 143
    assert await statuses(site, build_id) == {"a": "CANCELED", "b": "CANCELED", "c": "SKIPPED"}


async def test_a_file_includes_others_of_its_commit(site: Site) -> None:
    commit(site.repository, {"ci/base.yml": "include: ci/deep/*.yml\n", "ci/deep/job.yml": ".job: {image: debian}\n"})
    build_id = await launched(site, "{include: /ci/base.yml, build: {extends: .job, script: make}}")
    assert (await run(site, "build")).image == "debian"
    assert (await finished(site, build_id)).status is BuildStatus.SUCCESS


async def test_a_secret_of_the_project_decides_a_rule_and_is_in_no_event_of_the_build(site: Site) -> None:
    secret = int((await site.tell(CreateSecret(name="PLACE", value="hidden-place"))).row["id"])
    source = """
        a: {script: x, rules: [{if: $PLACE == "elsewhere"}]}
        b: {script: x, rules: [{if: $PLACE == "hidden-place"}], variables: {OF: $PLACE}}
        """
    build_id = await launched(site, source)
    assert (await run(site, "b")).name == "b"
    build = await finished(site, build_id)
    assert "hidden-place" not in build.model_dump_json()
    await site.tell(DeleteSecret(secret_id=secret))


async def test_what_is_wrong_with_the_file_is_told_by_a_finished_build(site: Site) -> None:
    build_id = await launched(site, "a:\n  script: x\n  when: later\n")
    build = await finished(site, build_id)
    assert build.exit_code == -1
    assert build.output is not None
    assert build.output.startswith("line 3, column 9: `when` of the job `a` must be one of")


async def test_the_runner_gets_all_that_the_file_says(site: Site) -> None:
    build_id = await launched(
        site,
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
    job = await site.claim()
    values = {one.key: one.value for one in job.variables}
    assert (values["VERSION"], values["CI_JOB_TOKEN"]) == (f"1.{build_id}", job.token)
    assert (values["CI_COMMIT_MESSAGE"], values["CI_DEFAULT_BRANCH"]) == ("a commit", "main")
    assert job.image == f"debian:1.{build_id}"
    assert job.container is not None
    assert job.container.entrypoint == ("",)
    assert [one.name for one in job.services] == [f"redis:1.{build_id}"]
    assert [(one.key, one.value) for one in job.services[0].variables] == [("EDITION", f"v1.{build_id}")]
    assert [(one.key, one.paths, one.policy) for one in job.caches] == [
        ("main", ("$CI_PROJECT_DIR/x",), "pull"),
        ("default", ("y",), "pull-push"),
    ]
    assert job.artifacts is not None
    assert job.artifacts.paths == ("out/a",)
    assert "make test" in job.script[0]
    assert "make clean" in job.after_script[0]
    await site.report(job, "success")
    await site.ended(build_id)


def marked(job: Assignment, place: int, text: str) -> bytes:
    word = job.script[0].partition("hr_")[2][:12]
    start, end = f"section_start:1:hr_{word}_{place}", f"section_end:2:hr_{word}_{place}"
    return f"{start}\r\x1b[0K{text}\n{end}\r\x1b[0K\n".encode()


async def test_the_log_leads_through_all_jobs_by_names_of_their_own(site: Site) -> None:
    build_id = await launched(site, "{a: {stage: build, script: x, after_script: y, coverage: z}, b: {script: x}}")
    first = await site.claim()
    log = b"preparing\n" + marked(first, 0, "first") + marked(first, 1, "after")
    await site.append(first, 0, log)
    await site.report(first, "success")
    second = await site.claim()
    await site.append(second, 0, marked(second, 0, "second"))
    live = await walked_live(site, (await site.build(build_id)).executor_id)
    await site.report(second, "success")
    await site.ended(build_id)
    read = [await section(site, build_id, "-1")]
    read += [await section(site, build_id, one) for one in live[:-1]]
    assert await site.refusal(ReadLog(build_id=build_id, step=live[-1])) == "LOG_NOT_FOUND"
    assert [one.step for one in read] == ["init", "a:init", "a:script", "a:after_script", "b:init", "b:script"]
    assert live == [one.step for one in read]
    assert [one.log for one in read if one.step.endswith("script")] == ["first", "after", "second"]
    assert "`coverage` of the job `a` is not supported" in read[0].log


async def walked_live(site: Site, executor_id: str) -> list[str]:
    found = [await live(site, executor_id, "-1", 0)]
    while (one := await live(site, executor_id, found[-1].step, found[-1].line_number)).step != found[-1].step:
        found.append(one)
    return [one.step for one in found]


async def live(site: Site, executor_id: str, step: str, line_number: int) -> LiveSection:
    query = ReadLiveLog(executor_id=executor_id, step=step, line_number=line_number)
    return LiveSection.model_validate_json(await site.caller.ask(query))


async def section(site: Site, build_id: int, step: str) -> LogSection:
    return LogSection.model_validate_json(await site.caller.ask(ReadLog(build_id=build_id, step=step)))


async def test_rules_ask_for_files_of_the_commit_and_for_what_it_changed(site: Site) -> None:
    build_id = await launched(
        site,
        """
        a: {script: x, rules: [{exists: ["**/*.sh"], changes: [.gitlab-ci.yml]}]}
        b: {script: x, rules: [{changes: ["ci/*"]}]}
        c: {script: x, rules: [{exists: [nowhere]}]}
        """,
    )
    job = await site.claim()
    assert job.name == "a"
    assert (await statuses(site, build_id)).keys() == {"a"}
    await site.report(job, "success")
    assert (await finished(site, build_id)).warnings == ()
