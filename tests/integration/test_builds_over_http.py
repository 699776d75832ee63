"""Lists of jobs, statistics, outputs, deletions and logs, over HTTP on all the services."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support import eventually
from tests.support.repositories import SPEC, commit, sample_repository

JOBS = "restPipelineJobModelList"
ALL = "/admin/runners/all/jobs"
PIPELINE = """
any: {stage: build, script: x, allow_failure: true}
some: {stage: test, script: x, allow_failure: {exit_codes: [3]}}
other: {stage: deploy, script: x, allow_failure: {exit_codes: [3]}}
"""
ODD = ("@a/b", "@50% done", "@plain text", "@same", "@same", "@what?#", "@end/")


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


async def build(here: Whole, runner: RunnerAtWork, project: Body, state: str = "success") -> Body:
    """From launch to end; answers the job as its runner got it."""
    build_id = await here.launched(project)
    job = await runner.job()
    await runner.report(job, "running")
    assert (await runner.report(job, state)).status_code == 200
    await here.ended(build_id)
    return job


async def jobs(here: Whole, path: str, **query: Any) -> list[Body]:
    page = await here.get(path, params=query)
    return list(page["_embedded"][JOBS])


async def answer(here: Whole, path: str, method: str = "GET", **more: Any) -> httpx.Response:
    return await here.http.request(method, f"/api{path}", headers=here.admin, **more)


async def code(here: Whole, path: str, method: str = "GET") -> tuple[int, str]:
    found = await answer(here, path, method)
    return found.status_code, found.json()["message"]


# ---- lists of jobs


async def test_the_jobs_of_a_runner_are_listed_the_latest_first_and_before_them_what_runs(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    await build(here, runner, project)
    await build(here, runner, project, "failed")
    running_id = await here.launched(project)
    running = await runner.job()
    path = f"/admin/runners/{runner.uuid}/jobs"
    listed = await jobs(here, path)
    assert [one["status"] for one in listed] == ["RUNNING", "FAILED", "SUCCESS"]
    assert [one["localId"] for one in listed] == [3, 2, 1]
    assert [one["pipelineLocalId"] for one in listed] == [3, 2, 1]
    assert (await jobs(here, ALL))[:3] == listed
    assert [one["status"] for one in await jobs(here, path, jobStatus="running")] == ["RUNNING"]
    assert [one["status"] for one in await jobs(here, path, jobStatus="FAILED")] == ["FAILED"]
    assert await jobs(here, path, jobStatus="") == listed
    assert await jobs(here, path, jobStatus="MANUAL") == []
    page = await here.get(path, params={"size": 2, "page": 1})
    assert page["_embedded"][JOBS] == listed[2:]
    assert page["page"] == {"size": 2, "totalElements": 3, "totalPages": 2, "number": 1}
    await runner.report(running, "success")
    await here.ended(running_id)


async def test_an_allowed_failure_is_a_warning_in_every_list_of_jobs(here: Whole) -> None:
    commit(here.repository, {".gitlab-ci.yml": PIPELINE})
    runner, project = await here.runner(), await here.project(spec_file_path="/.gitlab-ci.yml")
    build_id = await here.launched(project)
    for code, name in ((1, "any"), (3, "some"), (4, "other")):
        job = await runner.job()
        assert job["job_info"]["name"] == name
        assert (await runner.report(job, "failed", exit_code=code)).status_code == 200
        assert (await runner.report(job, "failed", exit_code=code)).status_code == 200  # its answer was lost
        assert (await runner.report(job, "success")).headers["Job-Status"] == "failed"
    await here.ended(build_id)
    own = f"/admin/runners/{runner.uuid}/jobs"
    for path in (own, ALL):
        listed = await jobs(here, path, size=3)
        assert [(one["name"], one["status"]) for one in listed] == [
            ("other", "FAILED"),
            ("some", "WARNING"),
            ("any", "WARNING"),
        ]
        assert await jobs(here, path, size=2, jobStatus="warning") == listed[1:]
        assert (await jobs(here, path, jobStatus="FAILED"))[0] == listed[0]
    assert await jobs(here, own, jobStatus="FAILED") == (await jobs(here, own))[:1]
    of_build = await here.get(f"/developer/builds/{build_id}/jobs")
    assert [one["status"] for one in of_build] == ["WARNING", "WARNING", "FAILED"]


async def test_a_job_has_the_fields_that_clients_know(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    await build(here, runner, project)
    (job,) = await jobs(here, f"/admin/runners/{runner.uuid}/jobs")
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


async def test_jobs_are_for_administrators_and_of_runners_that_are_there(here: Whole) -> None:
    await here.user("reader")
    reader = await here.logged_in("reader")
    for path in (ALL, f"/admin/runners/{uuid4()}/jobs"):
        assert (await here.http.get(path)).status_code == 403
        assert (await here.http.get(path, headers=reader)).status_code == 403
    assert await code(here, f"/admin/runners/{uuid4()}/jobs") == (404, "RUNNER_NOT_FOUND")
    assert await code(here, "/admin/runners/none/jobs?jobStatus=NONSENSE") == (404, "RUNNER_NOT_FOUND")
    assert await code(here, f"{ALL}?jobStatus=NONSENSE") == (422, "JOB_STATUS_INVALID")


async def test_jobs_of_a_deleted_runner_stay_in_the_list_of_all(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    await build(here, runner, project)
    (job,) = await jobs(here, f"/admin/runners/{runner.uuid}/jobs")
    assert (await answer(here, f"/admin/runners/{runner.uuid}", "DELETE")).status_code == 204
    assert await code(here, f"/admin/runners/{runner.uuid}/jobs") == (404, "RUNNER_NOT_FOUND")
    assert job in await jobs(here, ALL, size=1000)


# ---- deletion


async def test_an_administrator_deletes_a_finished_build(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    await build(here, runner, project)
    (build_id,) = await listed_builds(here, project)
    waiting = await here.launched(project)
    assert await code(here, f"/admin/builds/{waiting}", "DELETE") == (409, "BUILD_STATUS")
    assert (await answer(here, f"/admin/builds/{build_id}", "DELETE")).status_code == 204
    assert await listed_builds(here, project) == []
    assert await code(here, f"/developer/builds/{build_id}") == (404, "BUILD_NOT_FOUND")
    assert await code(here, f"/admin/builds/{build_id}", "DELETE") == (404, "BUILD_NOT_FOUND")
    await runner.report(await runner.job(), "success")
    await here.ended(waiting)

    async def follows() -> bool:
        return bool((await here.get(f"/admin/projects/{project['id']}"))["builds_id"] == [waiting])

    await eventually(follows, within=20)


async def listed_builds(here: Whole, project: Body) -> list[int]:
    return [one["id"] for one in await here.get(f"/developer/builds/by/project/{project['id']}")]


async def test_builds_of_a_project_that_is_not_there_are_not_found(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    await build(here, runner, project)
    path = f"/developer/builds/by/project/{project['id']}"
    assert (await answer(here, f"/admin/projects/{project['id']}", "DELETE")).status_code == 204
    assert await code(here, path) == (404, "PROJECT_NOT_FOUND")


# ---- statistics and outputs


async def test_the_durations_of_builds_are_added_up_by_month(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    await build(here, runner, project)
    path = "/developer/statistics/sum/duration"

    async def counted() -> bool:
        return bool((await here.get(path))["total"] == 1)

    await eventually(counted, within=20)
    page = await here.get(path)
    (month,) = page.pop("data")
    assert page == {"current_page": 1, "from": 1, "to": 1, "per_page": 20, "total": 1, "last_page": 1}
    assert re.fullmatch(r"\d{4}-([1-9]|1[0-2])", month["date"])
    assert isinstance(month["duration"], int)
    assert (await here.get(path, params={"per_page": 5, "sort_by": "x"}))["per_page"] == 5
    assert (await here.get(path, params={"page": 2}))["data"] == []
    assert await code(here, f"{path}?per_page=x") == (422, "PAGINATION_PER_PAGE_INVALID")


async def test_the_output_of_a_build_that_waits_or_runs_is_plain_text(here: Whole) -> None:
    runner, project = await here.runner(), await here.project()
    launched = (await here.post(f"/api/developer/builds/{project['id']}")).json()
    path = f"/developer/builds/output/{launched['executor_id']}"
    waiting = await answer(here, path)
    assert (waiting.status_code, waiting.text) == (200, "The build waits in the queue or is just being started.")
    assert waiting.headers["content-type"] == "text/plain; charset=utf-8"
    job = await runner.job()

    async def started() -> bool:
        return (await answer(here, path)).text == ""

    await eventually(started, within=20)
    await runner.report(job, "success")
    await here.ended(launched["build_id"])
    assert await code(here, path) == (404, "EXECUTOR_NOT_FOUND")
    assert await code(here, f"/developer/builds/output/{uuid4()}") == (404, "EXECUTOR_NOT_FOUND")


# ---- logs of steps with odd names


async def test_steps_may_have_any_name_in_the_addresses_of_logs(here: Whole, tmp_path: Any) -> None:
    spec = "from: debian\nsteps:\n" + "".join(f'  - name: "{name}"\n    script: /ci/build.sh\n' for name in ODD)
    repository = sample_repository(tmp_path / "repository", {"build": "true\n"}, spec=spec)
    runner, project = await here.runner(), await here.project(repository=str(repository), spec_file_path=f"/{SPEC}")
    launched = (await here.post(f"/api/developer/builds/{project['id']}")).json()
    job = await runner.job()
    word = re.findall(r"hr_([0-9a-f]{12})_0", "\n".join(job["steps"][0]["script"]))[0]
    names = [name.removeprefix("@") for name in ODD]
    names[4] = "same-2"
    log = "before\n" + "".join(
        f"section_start:1:hr_{word}_{place}\r\x1b[0Kline of {place}\n\nlast\nsection_end:2:hr_{word}_{place}\r\x1b[0K\n"
        for place in range(len(ODD))
    )
    piece = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(log) - 1}", "Content-Type": "text/plain"}
    sent = await here.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=log.encode(), headers=piece)
    assert sent.status_code == 202, sent.text

    live = [await here.get(f"/api/developer/logs/{launched['executor_id']}/init/1")]
    for name in names:
        assert live[-1]["step"] == name
        assert live[-1]["line_number"] == 3
        path = f"/api/developer/logs/{launched['executor_id']}/{quote(name, safe='')}/3"
        live.append(await here.get(path))
    assert [one["log"] for one in live[:2]] == ["line of 0\n\nlast", "line of 1\n\nlast"]

    await runner.report(job, "success")
    await here.ended(launched["build_id"])
    read = [await here.get(f"/api/developer/logs/{launched['build_id']}/-1")]
    for name in names:
        read.append(await here.get(f"/api/developer/logs/{launched['build_id']}/{quote(read[-1]['step'], safe='')}"))
        assert read[-1]["step"] == name
    assert [one["log"] for one in read[:3]] == ["before", "line of 0\n\nlast", "line of 1\n\nlast"]
    last = await answer(here, f"/developer/logs/{launched['build_id']}/{quote(names[-1])}")
    assert (last.status_code, last.json()["message"]) == (404, "LOG_NOT_FOUND")


# ---- priority


async def test_an_administrator_moves_a_build_to_the_head_of_the_queue(here: Whole) -> None:
    project = await here.project()
    runner = await here.runner(f"/project/root/{project['alias']}/runners")
    first, second = await here.launched(project), await here.launched(project)
    await eventually(lambda: planned(here, first, second))
    changed = await answer(here, f"/admin/builds/{second}/priority", "PATCH", json={"build": {"priority": 5}})
    assert (changed.status_code, changed.json()["priority"]) == (200, 5)
    waiting = {one["build_id"]: one["priority"] for one in await here.get("/api/developer/builds/queueds")}
    assert (waiting[first], waiting[second]) == (0, 5)
    taken = [(await runner.job())["job_info"]["pipeline_id"] for _ in range(2)]
    assert taken == [second, first]


async def planned(here: Whole, *builds: int) -> bool:
    return {(await here.build(one))["status"] for one in builds} == {"PLANNED"}
