"""Pipeline files: includes, secrets in rules, errors, job payloads and log sections."""

from contracts.builds import (
    Assignment,
    BuildStatus,
    GetLiveLog,
    GetLogSection,
    LiveSection,
    LogSection,
)
from contracts.projects import CreateSecret, DeleteSecret
from tests.integration.services.builds.pipelines.pipeline_runs import job_statuses, launch, run_job, wait_until_finished
from tests.support.external.repositories import commit_files
from tests.support.in_process.build_stage import BuildStage


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
    build_id = await launch(
        stage, "{a: {stage: build, script: x, after_script: y, interruptible: true}, b: {script: x}}"
    )
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
    assert "`interruptible` of the job `a` is not supported" in read[0].log


async def follow_live_steps(stage: BuildStage, executor_id: str) -> list[str]:
    found = [await read_live(stage, executor_id, "-1", 0)]
    while (part := await read_live(stage, executor_id, found[-1].step, found[-1].line_number)).step != found[-1].step:
        found.append(part)
    return [part.step for part in found]


async def read_live(stage: BuildStage, executor_id: str, step: str, line_number: int) -> LiveSection:
    query = GetLiveLog(executor_id=executor_id, step=step, line_number=line_number)
    return LiveSection.model_validate_json(await stage.caller.query(query))


async def read_section(stage: BuildStage, build_id: int, step: str) -> LogSection:
    return LogSection.model_validate_json(await stage.caller.query(GetLogSection(build_id=build_id, step=step)))


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
