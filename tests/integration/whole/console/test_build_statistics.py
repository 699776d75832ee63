"""Statistics of builds over HTTP: counts by day, flaky jobs, and projects that the user may not see."""

from datetime import UTC, datetime
from typing import Any

from tests.integration.whole.console.project_runners import register_project_runner
from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.waiting import eventually

PATH = "/api/developer/statistics/builds"


async def run_build(system: BuildSystem, runner: Any, project: Body, state: str) -> None:
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    await runner.report(job, "running")
    # the start of the build is recorded after the reply, and not at all after its end
    await eventually(lambda: system.get_build(build_id), lambda build: build["status"] == "RUNNING")
    assert (await runner.report(job, state)).status_code == 200
    await system.wait_until_ended(build_id)


async def test_builds_and_jobs_of_a_project_are_counted(system: BuildSystem) -> None:
    started_on = datetime.now(UTC).date()
    project = await system.create_project()
    runner = await register_project_runner(system, project)
    await run_build(system, runner, project, "success")
    await run_build(system, runner, project, "failed")

    async def read() -> Any:
        return await system.get(PATH, params={"project": project["id"]})

    async def are_counted() -> bool:
        found = await read()
        return bool(found["jobs"]) and sum(job["runs"] for job in found["jobs"]) == 2 and bool(found["buckets"])

    await eventually(are_counted)

    def are_complete(found: Any) -> bool:
        days = found["buckets"]
        return sum(day["failed"] for day in days) == 1 and bool(days) and days[-1]["wait_p50"] is not None

    found = await eventually(read, are_complete)
    assert found["buckets"][-1]["at"] in {day.isoformat() for day in (started_on, datetime.now(UTC).date())}
    assert sum(day["succeeded"] for day in found["buckets"]) == 1
    assert {job["project_id"] for job in found["jobs"]} == {project["id"]}
    assert (await system.get(PATH, params={"project": project["id"], "to": "2020-01-31"}))["buckets"] == []


async def test_a_private_project_is_not_counted_for_a_stranger(system: BuildSystem) -> None:
    project = await system.create_project(visibility="private")
    runner = await register_project_runner(system, project)
    await run_build(system, runner, project, "success")
    await system.create_user("stranger-of-statistics")
    headers = await system.log_in("stranger-of-statistics")

    async def is_counted() -> bool:
        return bool((await system.get(PATH, params={"project": project["id"]}))["buckets"])

    await eventually(is_counted)
    seen = (await system.http.get(PATH, headers=headers)).json()
    assert project["id"] not in {job["project_id"] for job in seen["jobs"]}
    refused = await system.http.get(PATH, params={"project": project["id"]}, headers=headers)
    assert (refused.status_code, refused.json()["message"]) == (404, "PROJECT_NOT_FOUND")


async def test_a_period_over_a_year_is_rejected(system: BuildSystem) -> None:
    query = {"from": "2020-01-01", "to": "2026-01-01"}
    response = await system.http.get(PATH, params=query, headers=system.admin)
    assert (response.status_code, response.json()["message"]) == (422, "REQUEST_INVALID")
