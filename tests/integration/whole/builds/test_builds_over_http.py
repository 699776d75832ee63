"""Build routes over HTTP with all services: job lists, statistics, outputs, deletion, logs and priorities."""

import re
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from tests.support.external.repositories import SPEC_FILE, commit_files, create_sample_repository
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually

JOB_LIST_FIELD = "restPipelineJobModelList"
ALL_JOBS_PATH = "/admin/runners/all/jobs"
PIPELINE = """
any: {stage: build, script: x, allow_failure: true}
some: {stage: test, script: x, allow_failure: {exit_codes: [3]}}
other: {stage: deploy, script: x, allow_failure: {exit_codes: [3]}}
"""
ODD_STEP_NAMES = ("@a/b", "@50% done", "@plain text", "@same", "@same", "@what?#", "@end/")


async def run_build(system: BuildSystem, runner: FakeRunner, project: Body, state: str = "success") -> Body:
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    await runner.report(job, "running")
    assert (await runner.report(job, state)).status_code == 200
    await system.wait_until_ended(build_id)
    return job


async def list_jobs(system: BuildSystem, path: str, **query: Any) -> list[Body]:
    page = await system.get(path, params=query)
    return list(page["_embedded"][JOB_LIST_FIELD])


async def send_request(system: BuildSystem, path: str, method: str = "GET", **more: Any) -> httpx.Response:
    return await system.http.request(method, f"/api{path}", headers=system.admin, **more)


async def error_of(system: BuildSystem, path: str, method: str = "GET") -> tuple[int, str]:
    found = await send_request(system, path, method)
    return found.status_code, found.json()["message"]


async def test_jobs_of_a_runner_are_listed_running_first_then_newest_first(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    await run_build(system, runner, project)
    await run_build(system, runner, project, "failed")
    running_id = await system.launch_build(project)
    running = await runner.wait_for_job()
    path = f"/admin/runners/{runner.uuid}/jobs"
    listed = await list_jobs(system, path)
    assert [job["status"] for job in listed] == ["RUNNING", "FAILED", "SUCCESS"]
    assert [job["localId"] for job in listed] == [3, 2, 1]
    assert [job["pipelineLocalId"] for job in listed] == [3, 2, 1]
    assert (await list_jobs(system, ALL_JOBS_PATH))[:3] == listed
    assert [job["status"] for job in await list_jobs(system, path, jobStatus="running")] == ["RUNNING"]
    assert [job["status"] for job in await list_jobs(system, path, jobStatus="FAILED")] == ["FAILED"]
    assert await list_jobs(system, path, jobStatus="") == listed
    assert await list_jobs(system, path, jobStatus="MANUAL") == []
    page = await system.get(path, params={"size": 2, "page": 1})
    assert page["_embedded"][JOB_LIST_FIELD] == listed[2:]
    assert page["page"] == {"size": 2, "totalElements": 3, "totalPages": 2, "number": 1}
    await runner.report(running, "success")
    await system.wait_until_ended(running_id)


async def test_an_allowed_failure_is_listed_as_a_warning_in_every_list_of_jobs(system: BuildSystem) -> None:
    commit_files(system.repository, {".gitlab-ci.yml": PIPELINE})
    runner, project = await system.register_runner(), await system.create_project(spec_file_path="/.gitlab-ci.yml")
    build_id = await system.launch_build(project)
    for code, name in ((1, "any"), (3, "some"), (4, "other")):
        job = await runner.wait_for_job()
        assert job["job_info"]["name"] == name
        assert (await runner.report(job, "failed", exit_code=code)).status_code == 200
        # repeated, as after a lost response
        assert (await runner.report(job, "failed", exit_code=code)).status_code == 200
        assert (await runner.report(job, "success")).headers["Job-Status"] == "failed"
    await system.wait_until_ended(build_id)
    own = f"/admin/runners/{runner.uuid}/jobs"
    for path in (own, ALL_JOBS_PATH):
        listed = await list_jobs(system, path, size=3)
        assert [(listed_job["name"], listed_job["status"]) for listed_job in listed] == [
            ("other", "FAILED"),
            ("some", "WARNING"),
            ("any", "WARNING"),
        ]
        assert await list_jobs(system, path, size=2, jobStatus="warning") == listed[1:]
        assert (await list_jobs(system, path, jobStatus="FAILED"))[0] == listed[0]
    assert await list_jobs(system, own, jobStatus="FAILED") == (await list_jobs(system, own))[:1]
    of_build = await system.get(f"/developer/builds/{build_id}/jobs")
    assert [build_job["status"] for build_job in of_build] == ["WARNING", "WARNING", "FAILED"]


async def test_a_listed_job_has_the_documented_fields(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    await run_build(system, runner, project)
    (job,) = await list_jobs(system, f"/admin/runners/{runner.uuid}/jobs")
    instant = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert instant.fullmatch(job.pop("startedAt"))
    assert instant.fullmatch(job.pop("finishedAt"))
    assert len(job.pop("id")) == 36
    assert job == {
        "localId": 1,
        "name": "build",
        "stageName": "build",
        "tag": False,
        "ref": "main",
        "erasedAt": None,
        "artifactsExpireAt": None,
        "status": "SUCCESS",
        "pipelineLocalId": 1,
    }


async def test_only_administrators_list_jobs_and_only_of_existing_runners(system: BuildSystem) -> None:
    await system.create_user("reader")
    reader = await system.log_in("reader")
    for path in (ALL_JOBS_PATH, f"/admin/runners/{uuid4()}/jobs"):
        assert (await system.http.get(path)).status_code == 403
        assert (await system.http.get(path, headers=reader)).status_code == 403
    assert await error_of(system, f"/admin/runners/{uuid4()}/jobs") == (404, "RUNNER_NOT_FOUND")
    assert await error_of(system, "/admin/runners/none/jobs?jobStatus=NONSENSE") == (404, "RUNNER_NOT_FOUND")
    assert await error_of(system, f"{ALL_JOBS_PATH}?jobStatus=NONSENSE") == (422, "JOB_STATUS_INVALID")


async def test_jobs_of_a_deleted_runner_remain_in_the_list_of_all_jobs(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    await run_build(system, runner, project)
    (job,) = await list_jobs(system, f"/admin/runners/{runner.uuid}/jobs")
    assert (await send_request(system, f"/admin/runners/{runner.uuid}", "DELETE")).status_code == 204
    assert await error_of(system, f"/admin/runners/{runner.uuid}/jobs") == (404, "RUNNER_NOT_FOUND")
    assert job in await list_jobs(system, ALL_JOBS_PATH, size=1000)


async def test_an_administrator_deletes_a_finished_build(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    await run_build(system, runner, project)
    (build_id,) = await list_build_ids(system, project)
    waiting = await system.launch_build(project)
    assert await error_of(system, f"/admin/builds/{waiting}", "DELETE") == (409, "BUILD_STATUS")
    assert (await send_request(system, f"/admin/builds/{build_id}", "DELETE")).status_code == 204
    assert await list_build_ids(system, project) == []
    assert await error_of(system, f"/developer/builds/{build_id}") == (404, "BUILD_NOT_FOUND")
    assert await error_of(system, f"/admin/builds/{build_id}", "DELETE") == (404, "BUILD_NOT_FOUND")
    await runner.report(await runner.wait_for_job(), "success")
    await system.wait_until_ended(waiting)

    async def is_updated() -> bool:
        return bool((await system.get(f"/admin/projects/{project['id']}"))["builds_id"] == [waiting])

    await eventually(is_updated)


async def list_build_ids(system: BuildSystem, project: Body) -> list[int]:
    return [build["id"] for build in await system.get(f"/developer/builds/by/project/{project['id']}")]


async def test_listing_builds_of_a_deleted_project_is_404(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    await run_build(system, runner, project)
    path = f"/developer/builds/by/project/{project['id']}"
    assert (await send_request(system, f"/admin/projects/{project['id']}", "DELETE")).status_code == 204
    assert await error_of(system, path) == (404, "PROJECT_NOT_FOUND")


async def test_build_durations_are_summed_per_month(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    await run_build(system, runner, project)
    path = "/developer/statistics/sum/duration"

    async def is_counted() -> bool:
        return bool((await system.get(path))["total"] == 1)

    await eventually(is_counted)
    page = await system.get(path)
    (month,) = page.pop("data")
    assert page == {"current_page": 1, "from": 1, "to": 1, "per_page": 20, "total": 1, "last_page": 1}
    assert re.fullmatch(r"\d{4}-([1-9]|1[0-2])", month["date"])
    assert isinstance(month["duration"], int)
    assert (await system.get(path, params={"per_page": 5, "sort_by": "x"}))["per_page"] == 5
    assert (await system.get(path, params={"page": 2}))["data"] == []
    assert await error_of(system, f"{path}?per_page=x") == (422, "PAGINATION_PER_PAGE_INVALID")


async def test_the_output_of_a_waiting_or_running_build_is_plain_text(system: BuildSystem) -> None:
    runner, project = await system.register_runner(), await system.create_project()
    launched = (await system.post(f"/api/developer/builds/{project['id']}")).json()
    path = f"/developer/builds/output/{launched['executor_id']}"
    waiting = await send_request(system, path)
    assert (waiting.status_code, waiting.text) == (200, "The build is queued or about to start.")
    assert waiting.headers["content-type"] == "text/plain; charset=utf-8"
    job = await runner.wait_for_job()

    async def is_started() -> bool:
        return (await send_request(system, path)).text == ""

    await eventually(is_started)
    await runner.report(job, "success")
    await system.wait_until_ended(launched["build_id"])
    assert await error_of(system, path) == (404, "EXECUTOR_NOT_FOUND")
    assert await error_of(system, f"/developer/builds/output/{uuid4()}") == (404, "EXECUTOR_NOT_FOUND")


async def test_logs_of_steps_with_unusual_names_can_be_read_by_url(system: BuildSystem, tmp_path: Any) -> None:
    spec = "from: debian\nsteps:\n" + "".join(
        f'  - name: "{name}"\n    script: /ci/build.sh\n' for name in ODD_STEP_NAMES
    )
    repository = create_sample_repository(tmp_path / "repository", {"build": "true\n"}, spec=spec)
    runner, project = (
        await system.register_runner(),
        await system.create_project(repository=str(repository), spec_file_path=f"/{SPEC_FILE}"),
    )
    launched = (await system.post(f"/api/developer/builds/{project['id']}")).json()
    job = await runner.wait_for_job()
    nonce = re.findall(r"hr_([0-9a-f]{12})_0", "\n".join(job["steps"][0]["script"]))[0]
    names = [name.removeprefix("@") for name in ODD_STEP_NAMES]
    names[4] = "same-2"
    log = "before\n" + "".join(
        f"section_start:1:hr_{nonce}_{number}\r\x1b[0K"
        f"line of {number}\n\nlast\nsection_end:2:hr_{nonce}_{number}\r\x1b[0K\n"
        for number in range(len(ODD_STEP_NAMES))
    )
    chunk = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(log) - 1}", "Content-Type": "text/plain"}
    sent = await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=log.encode(), headers=chunk)
    assert sent.status_code == 202, sent.text

    live = [await system.get(f"/api/developer/logs/{launched['executor_id']}/init/1")]
    for name in names:
        assert live[-1]["step"] == name
        assert live[-1]["line_number"] == 3
        path = f"/api/developer/logs/{launched['executor_id']}/{quote(name, safe='')}/3"
        live.append(await system.get(path))
    assert [section["log"] for section in live[:2]] == ["line of 0\n\nlast", "line of 1\n\nlast"]

    await runner.report(job, "success")
    await system.wait_until_ended(launched["build_id"])
    read = [await system.get(f"/api/developer/logs/{launched['build_id']}/-1")]
    for name in names:
        read.append(await system.get(f"/api/developer/logs/{launched['build_id']}/{quote(read[-1]['step'], safe='')}"))
        assert read[-1]["step"] == name
    assert [section["log"] for section in read[:3]] == ["before", "line of 0\n\nlast", "line of 1\n\nlast"]
    last = await send_request(system, f"/developer/logs/{launched['build_id']}/{quote(names[-1])}")
    assert (last.status_code, last.json()["message"]) == (404, "LOG_NOT_FOUND")


async def test_an_administrator_raises_the_priority_of_a_queued_build(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await system.register_runner(f"/project/root/{project['alias']}/runners")
    first, second = await system.launch_build(project), await system.launch_build(project)
    await eventually(lambda: are_planned(system, first, second))
    changed = await send_request(system, f"/admin/builds/{second}/priority", "PATCH", json={"build": {"priority": 5}})
    assert (changed.status_code, changed.json()["priority"]) == (200, 5)
    waiting = {build["build_id"]: build["priority"] for build in await system.get("/api/developer/builds/queueds")}
    assert (waiting[first], waiting[second]) == (0, 5)
    taken = [(await runner.wait_for_job())["job_info"]["pipeline_id"] for _ in range(2)]
    assert taken == [second, first]


async def are_planned(system: BuildSystem, *builds: int) -> bool:
    return {(await system.get_build(build_id))["status"] for build_id in builds} == {"PLANNED"}
