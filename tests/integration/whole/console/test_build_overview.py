"""One call returns a build with its jobs, attempts, steps, artifacts, and the reasons why jobs wait."""

import httpx

from tests.integration.whole.artifacts.artifact_requests import (
    BOUNDARY,
    SMALL,
    artifacts_path,
    job_token_header,
    multipart_body,
)
from tests.integration.whole.console.project_runners import register_project_runner
from tests.support.external.repositories import commit_files, run_git
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually

PIPELINE = """
stages: [build, test, ship]
compile: {stage: build, script: make, tags: [TAG], retry: 1}
lint: {stage: test, script: lint, needs: [], tags: [TAG]}
unit: {stage: test, script: unit, tags: [TAG]}
ship: {stage: ship, script: ship, needs: [unit], when: manual, tags: [TAG]}
"""


async def get_overview(system: BuildSystem, build_id: int) -> Body:
    return dict(await system.get(f"/api/developer/builds/{build_id}/overview"))


async def launch_pipeline(system: BuildSystem, tag: str) -> tuple[int, FakeRunner]:
    commit_files(system.repository, {"overview/.gitlab-ci.yml": PIPELINE.replace("TAG", tag)})
    project = await system.create_project(spec_file_path="/overview/.gitlab-ci.yml")
    runner = await register_project_runner(system, project, tag_list=tag)
    build_id = await system.launch_build(project)

    async def jobs() -> list[Body]:
        return list((await get_overview(system, build_id))["jobs"])

    await eventually(jobs)
    return build_id, runner


def job_of(overview: Body, name: str) -> Body:
    return next(job for job in overview["jobs"] if job["name"] == name)


async def upload_artifact(system: BuildSystem, job: Body) -> httpx.Response:
    headers = {**job_token_header(job), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return await system.http.post(artifacts_path(job), headers=headers, content=multipart_body(SMALL))


async def test_a_waiting_pipeline_says_what_each_job_waits_for(system: BuildSystem) -> None:
    build_id, _ = await launch_pipeline(system, "slow")
    offline = "Waits for a runner: those that fit are offline: runner "

    def waits_for_the_runner(overview: Body) -> bool:  # the builds service follows the runners service
        return str(job_of(overview, "compile")["waiting_for"]).startswith(offline)

    overview = await eventually(lambda: get_overview(system, build_id), waits_for_the_runner)
    assert [(job["name"], job["stage_index"], job["needs"]) for job in overview["jobs"]] == [
        ("compile", 1, None),
        ("lint", 2, []),
        ("unit", 2, None),
        ("ship", 3, ["unit"]),
    ]
    assert overview["waiting_for"] == job_of(overview, "compile")["waiting_for"]
    assert job_of(overview, "unit")["waiting_for"] == "Waits for compile."
    assert job_of(overview, "unit")["attempts"] == []
    assert overview["initiator"]["name"] == "root"
    assert overview["project"]["owner_alias"] == "root"
    assert overview["message"]
    assert (overview["source"], overview["finished"], overview["killed_by"]) == ("web", False, None)


async def test_earlier_attempts_keep_their_runner_times_and_log(system: BuildSystem) -> None:
    build_id, runner = await launch_pipeline(system, "fast")
    failing = await runner.wait_for_job()
    headers = {"JOB-TOKEN": failing["token"], "Content-Range": "0-5"}
    await system.http.patch(f"/api/v4/jobs/{failing['id']}/trace", headers=headers, content=b"first\n")
    await runner.report(failing, "failed", exit_code=2, failure_reason="script_failure")
    again = await runner.wait_for_job()
    while again["job_info"]["name"] != failing["job_info"]["name"]:
        await runner.report(again, "success")
        again = await runner.wait_for_job()
    await upload_artifact(system, again)
    await runner.report(again, "success")
    overview = await get_overview(system, build_id)
    first, second = job_of(overview, failing["job_info"]["name"])["attempts"]
    assert (first["number"], first["status"], first["exit_code"]) == (1, "FAILED", 2)
    assert (first["reason"], first["log_bytes"]) == ("script_failure", 6)
    assert first["steps"][0] | {"start_at": "", "closed_at": ""} == {
        "index": 0,
        "name": "init",
        "lines": 1,
        "start_at": "",
        "closed_at": "",
        "success": False,
        "skipped": None,
        "timed_out": False,
    }
    assert (second["number"], second["status"], second["exit_code"]) == (2, "SUCCESS", 0)
    assert first["runner_uuid"] == second["runner_uuid"] == runner.uuid
    assert first["queued_at"] < first["assigned_at"] < first["completed_at"] <= second["queued_at"]
    assert job_of(overview, failing["job_info"]["name"])["artifacts"][0]["size"] == len(SMALL)


async def test_a_job_that_a_user_retries_keeps_its_attempts(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await register_project_runner(system, project)
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    await runner.report(job, "failed")
    await system.wait_until_ended(build_id)
    await system.post(f"/api/developer/jobs/{job['id']}/retry", status=204)

    async def attempts() -> list[tuple[int, str]]:
        (shown,) = (await get_overview(system, build_id))["jobs"]
        return [(attempt["number"], attempt["status"]) for attempt in shown["attempts"]]

    # the retry is queued after the reply
    await eventually(attempts, lambda found: found == [(1, "FAILED"), (2, "QUEUED")])
    await system.http.delete(
        f"/api/developer/builds/kill/queued/{(await get_overview(system, build_id))['executor_id']}",
        headers=system.admin,
    )
    assert (await get_overview(system, build_id))["killed_by"]["name"] == "root"


async def test_an_unknown_build_is_not_found(system: BuildSystem) -> None:
    response = await system.http.get("/api/developer/builds/999999/overview", headers=system.admin)
    assert (response.status_code, response.json()["message"]) == (404, "BUILD_NOT_FOUND")


async def test_a_user_chooses_the_branch_of_a_build(system: BuildSystem) -> None:
    run_git(system.repository, "branch", "feature/one")
    project = await system.create_project()
    path = f"/api/developer/builds/{project['id']}"
    for ref in ("feature/one", "refs/heads/feature/one"):
        build_id = (await system.post(path, {"build": {"ref": ref}})).json()["build_id"]

        async def ref_of_build(build_id: int = build_id) -> str | None:
            return str((await system.get_build(build_id))["ref"])

        await eventually(ref_of_build, lambda found: found == "refs/heads/feature/one")
    unknown = (await system.post(path, {"build": {"ref": "no-such-branch"}})).json()["build_id"]
    assert "no-such-branch does not exist" in (await system.wait_until_ended(unknown))["exit_message"]
    for bad in ("--upload-pack=x", "a..b", "a b", "refs/heads/"):
        response = await system.http.post(path, json={"build": {"ref": bad}}, headers=system.admin)
        assert (response.status_code, response.json()["message"]) == (422, "BUILD_REF_INVALID")
