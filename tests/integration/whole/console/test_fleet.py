"""The fleet: runners with their current jobs, without details of projects that the user may not see."""

from tests.integration.whole.console.project_runners import register_project_runner
from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.waiting import eventually, send_until_answered


async def find_runner(system: BuildSystem, uuid: str, headers: dict[str, str]) -> Body | None:
    response = await send_until_answered(lambda: system.http.get("/api/developer/fleet", headers=headers))
    assert response.status_code == 200, response.text
    return next((runner for runner in response.json()["runners"] if runner["uuid"] == uuid), None)


async def test_a_runner_is_shown_with_its_job(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await register_project_runner(system, project)
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()

    async def find() -> Body | None:
        return await find_runner(system, runner.uuid, system.admin)

    # the builds service follows the runners service
    found = await eventually(find, lambda shown: shown is not None and shown["online"])
    assert found
    assert (found["scope"], found["owner_id"], found["online"], found["active"]) == (
        "PROJECT",
        project["id"],
        True,
        True,
    )
    (shown,) = found["jobs"]
    assert (shown["job_id"], shown["build_id"], shown["project_name"]) == (job["id"], build_id, project["name"])
    assert shown["status"] == "ASSIGNED"
    assert shown["since"]
    assert found["contacted_at"]  # may be before `since`: the request was held until the job was queued
    assert (found["finished_24h"], found["failed_24h"]) == (0, 0)
    await runner.report(job, "failed")
    await system.wait_until_ended(build_id)
    found = await find()
    assert found
    assert (found["jobs"], found["finished_24h"], found["failed_24h"]) == ([], 1, 1)


async def test_strangers_do_not_see_runners_of_private_projects(system: BuildSystem) -> None:
    project = await system.create_project(visibility="private")
    own = await register_project_runner(system, project)
    shared = await system.register_runner(tag_list="hidden-work", run_untagged=False)
    await system.create_user("fleet-stranger")
    stranger = await system.log_in("fleet-stranger")
    await eventually(lambda: find_runner(system, own.uuid, system.admin))
    await eventually(lambda: find_runner(system, shared.uuid, stranger))
    assert await find_runner(system, own.uuid, stranger) is None
