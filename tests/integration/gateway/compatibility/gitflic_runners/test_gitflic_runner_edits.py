"""GitFlic's routes for a single runner: edit, shutdown and deletion."""

from uuid import uuid4

import pytest

from tests.integration.gateway.compatibility.gitflic_runners.runner_routes import (
    company_runners_path,
    edit_runner,
    get_runner,
    project_runners_path,
    request_statuses,
    runner_routes,
)
from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.waiting import eventually


async def test_editing_a_runner_changes_only_the_given_fields(system: BuildSystem) -> None:
    runner = await system.register_runner(name="Balin", description="before", tag_list="old", maximum_timeout=60)
    before = await get_runner(system, runner)
    assert await edit_runner(system, runner, tags=["new", " new ", "more"]) == before | {"tags": ["new", "more"]}
    everything = {
        "name": "Dwalin",
        "description": "",
        "isActive": False,
        "maxTimeoutInSec": 100,
        "ipAddress": "10.0.0.1",
        "tags": [],
        "runUntagged": False,
        "isLocked": True,
        "isProtected": True,
    }
    after = await edit_runner(system, runner, **everything)
    assert after == await get_runner(system, runner)
    assert after == before | {
        "name": "Dwalin",
        "description": "",
        "active": False,
        "maxTimeoutInSec": 100,
        "tags": [],
        "runUntagged": False,
        "locked": True,
        "protected": True,
    }
    assert await edit_runner(system, runner, name=None, tags=None, isActive=None, unknown={"a": 1}) == after
    assert await edit_runner(system, runner) == after
    assert (await edit_runner(system, runner, maxTimeoutInSec=0))["maxTimeoutInSec"] is None


async def test_a_shown_runner_can_be_sent_back_and_fields_prefixed_with_is_take_precedence(system: BuildSystem) -> None:
    runner = await system.register_runner()
    short = await edit_runner(system, runner, active=False, locked=True, protected=True)
    assert (short["active"], short["locked"], short["protected"]) == (False, True, True)
    assert await edit_runner(system, runner, **short) == short
    both = await edit_runner(system, runner, active=False, isActive=True, locked=True, isLocked=False)
    assert (both["active"], both["locked"], both["protected"]) == (True, False, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "  "},
        {"name": 7},
        {"name": {"first": "x"}},
        {"name": "x" * 256},
        {"description": 7},
        {"isActive": "true"},
        {"active": "no"},
        {"isLocked": 1},
        {"isProtected": []},
        {"runUntagged": "yes"},
        {"maxTimeoutInSec": -1},
        {"maxTimeoutInSec": "100"},
        {"maxTimeoutInSec": 1.5},
        {"maxTimeoutInSec": True},
        {"maxTimeoutInSec": 10**30},
        {"tags": "a,b"},
        {"tags": [1]},
        {"tags": {"a": 1}},
        {"tags": ["x" * 256]},
    ],
)
async def test_an_invalid_runner_field_is_rejected_and_changes_nothing(system: BuildSystem, wrong: Body) -> None:
    runner = await system.register_runner()
    before = await get_runner(system, runner)
    path = f"/admin/runners/{runner.uuid}/edit"
    response = await system.http.post(path, headers=system.admin, json={"description": "changed", **wrong})
    assert response.status_code == 422, response.text
    assert await get_runner(system, runner) == before
    unknown = await system.http.post(f"/admin/runners/{uuid4()}/edit", headers=system.admin, json=wrong)
    assert unknown.status_code == 404


async def test_a_runner_edit_that_is_not_json_is_rejected(system: BuildSystem) -> None:
    runner = await system.register_runner()
    path, headers = f"/admin/runners/{runner.uuid}/edit", system.admin | {"Content-Type": "application/json"}
    assert (await system.http.post(path, headers=headers, content=b"{")).status_code == 400
    assert (await system.http.post(path, headers=headers, content=b"[]")).status_code == 422


async def test_a_runner_edit_is_read_as_json_for_every_content_type(system: BuildSystem) -> None:
    runner = await system.register_runner()
    path, headers = f"/admin/runners/{runner.uuid}/edit", system.admin | {"Content-Type": "text/plain"}
    assert (await system.http.post(path, headers=headers, content=b"isPaused=on")).status_code == 400
    assert (await system.http.post(path, headers=headers, content=b'{"description": "edited"}')).status_code == 200
    assert (await get_runner(system, runner))["description"] == "edited"


async def test_a_shut_down_runner_gets_no_job_until_it_is_activated(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await system.register_runner(project_runners_path(project))
    for _ in range(2):
        assert (await system.post(f"/admin/runners/{runner.uuid}/shutdown")).content == b""
        assert (await get_runner(system, runner))["active"] is False
    await system.launch_build(project)
    assert (await runner.request_job()).status_code == 204
    await edit_runner(system, runner, isActive=True)
    assert (await runner.wait_for_job())["job_info"]["project_id"] == project["id"]


async def test_a_runner_shut_down_or_edited_during_a_job_finishes_the_job(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await system.register_runner(project_runners_path(project))
    for change, settings in (
        ("shutdown", {}),
        ("edit", {"tags": ["other"], "runUntagged": False, "isProtected": True}),
    ):
        build_id = await system.launch_build(project)
        job = await runner.wait_for_job()
        assert (await runner.report(job, "running")).headers["job-status"] == "running"
        await system.post(f"/admin/runners/{runner.uuid}/{change}", settings)
        assert (await runner.report(job, "running")).headers["job-status"] == "running"
        assert (await runner.report(job, "success")).status_code == 200
        assert (await system.wait_until_ended(build_id))["status"] == "SUCCESS"
        assert (await edit_runner(system, runner, isActive=True))["active"] is True


async def test_a_locked_runner_gets_only_jobs_of_its_own_project(system: BuildSystem) -> None:
    own, other = await system.create_project(), await system.create_project()
    runner = await system.register_runner(project_runners_path(own), locked=True)
    waiting = await system.launch_build(other)

    async def is_planned() -> bool:
        return bool((await system.get_build(waiting))["status"] == "PLANNED")

    await eventually(is_planned)
    for _ in range(2):  # the older job of the other project stays in the queue
        await system.launch_build(own)
        assert (await runner.wait_for_job())["job_info"]["project_id"] == own["id"]
    assert await is_planned()


async def test_a_job_not_started_by_a_deleted_runner_is_assigned_to_another_runner(system: BuildSystem) -> None:
    project = await system.create_project()
    leaving, staying = (
        await system.register_runner(project_runners_path(project)),
        await system.register_runner(project_runners_path(project)),
    )
    build_id = await system.launch_build(project)
    await leaving.wait_for_job()
    await system.http.delete(f"/admin/runners/{leaving.uuid}", headers=system.admin)
    # before the lease of the deleted runner ends
    assert (await staying.report(await staying.wait_for_job(), "success")).status_code == 200
    assert (await system.wait_until_ended(build_id))["status"] == "SUCCESS"


async def test_deleting_a_runner_fails_its_running_job(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await system.register_runner(project_runners_path(project))
    done = await system.launch_build(project)
    assert (await runner.report(await runner.wait_for_job(), "success")).status_code == 200
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    assert (await runner.report(job, "running")).status_code == 200
    deletion = await system.http.delete(f"/admin/runners/{runner.uuid}", headers=system.admin)
    assert (deletion.status_code, deletion.content) == (204, b"")
    build = await system.wait_until_ended(build_id)  # before the lease of the job ends
    assert (build["status"], build["exit_code"]) == ("FAILED", -2)
    assert "was deleted" in build["exit_message"]
    late = await runner.report(job, "success")
    assert (late.status_code, late.headers["job-status"]) == (403, "failed")
    assert (await system.wait_until_ended(done))["status"] == "SUCCESS"
    assert (await runner.request_job()).status_code == 403
    routes = runner_routes("/admin/runners", runner.uuid)[3:]
    assert await request_statuses(system, system.admin, routes) == [404, 404, 404, 404]


@pytest.mark.parametrize("uuid", ["not-a-uuid", "0", "%00", "0b6f7c9e-5a43-4d07-9d0b-3f0c2f1f6a11", "74af2044-1111"])
async def test_an_unknown_runner_is_404(system: BuildSystem, uuid: str) -> None:
    company = await system.create_company()
    for base in ("/admin/runners", company_runners_path(company)):
        assert await request_statuses(system, system.admin, runner_routes(base, uuid)[3:]) == [404, 404, 404, 404]


async def test_a_runner_uuid_is_case_insensitive(system: BuildSystem) -> None:
    runner = await system.register_runner()
    assert (await system.get(f"/admin/runners/{runner.uuid.upper()}"))["id"] == runner.uuid
