"""Owners of runners: permissions, the jobs their runners get, and companies over HTTP."""

from uuid import uuid4

import pytest

from gateway.adapters.gitlab import job_request
from tests.integration.gateway.compatibility.gitflic_runners.runner_routes import (
    company_runners_path,
    edit_runner,
    project_runners_path,
    request_statuses,
    runner_routes,
)
from tests.support.in_process.build_system import Body, BuildSystem


@pytest.fixture(autouse=True)
def no_rechecks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only hints wake held requests, so that a request without a hint gets no job until its hold ends."""
    monkeypatch.setattr(job_request, "RECHECK_SECONDS", 600.0)


async def test_owners_manage_only_their_own_runners(system: BuildSystem) -> None:
    owner, member = await system.create_user("own-owner"), await system.create_user("own-member")
    await system.create_user("own-stranger")
    company = await system.create_company(member)
    of_user, of_members = await system.create_project("own-owner"), await system.create_project(company["alias"])
    tokens = {name: await system.log_in(name) for name in ("own-owner", "own-member", "own-stranger")}
    assert (owner, member) != (0, 0)
    owners_by_path = {
        project_runners_path(of_user): {"own-owner"},
        project_runners_path(of_members): {"own-member"},
        company_runners_path(company): {"own-member"},
    }
    for base, may in owners_by_path.items():
        runner = await system.register_runner(base)
        routes = runner_routes(base, runner.uuid)
        for name, headers in sorted(tokens.items(), key=lambda item: item[0] in may):
            expected = [200, 200, 200, 200, 200, 200, 204] if name in may else [403] * 7
            assert await request_statuses(system, headers, routes) == expected, (base, name)
        assert set(await request_statuses(system, {}, routes)) == {403}


async def test_a_runner_is_found_only_below_the_path_of_its_owner(system: BuildSystem) -> None:
    company = await system.create_company()
    project = await system.create_project(company["alias"])
    of_the_company, of_the_service = (
        await system.register_runner(company_runners_path(company)),
        await system.register_runner(),
    )
    for base, runner in (
        (project_runners_path(project), of_the_company),
        (project_runners_path(project), of_the_service),
        (company_runners_path(company), of_the_service),
    ):
        assert await request_statuses(system, system.admin, runner_routes(base, runner.uuid)[3:]) == [
            404,
            404,
            404,
            404,
        ]


async def test_runner_routes_of_an_unknown_project_or_company_are_404(system: BuildSystem) -> None:
    await system.create_user("lost-developer")
    routes = [
        ("GET", "/admin/runners/project/root/unknown"),
        ("GET", "/admin/runners/company/unknown"),
        *runner_routes("/project/root/unknown/runners", uuid4()),
        *runner_routes("/company/unknown/runners", uuid4()),
        *runner_routes("/company/root/runners", uuid4()),
    ]
    assert set(await request_statuses(system, system.admin, routes)) == {404}


async def test_a_held_company_runner_gets_only_jobs_of_the_company(system: BuildSystem) -> None:
    company, other = await system.create_company(), await system.create_company()
    ours, theirs = await system.create_project(company["alias"]), await system.create_project(other["alias"])
    runner, foreign = (
        await system.register_runner(company_runners_path(company)),
        await system.register_runner(company_runners_path(other)),
    )
    (pending,) = await system.hold_requests(runner)
    await system.launch_build(theirs)
    taken = await foreign.wait_for_job()
    assert taken["job_info"]["project_id"] == theirs["id"]
    assert not pending.done()
    await system.launch_build(ours)
    response = await pending
    assert response.json()["job_info"]["project_id"] == ours["id"]


async def test_a_held_project_runner_gets_a_new_job_at_once(system: BuildSystem) -> None:
    project = await system.create_project()
    (pending,) = await system.hold_requests(await system.register_runner(project_runners_path(project)))
    await system.launch_build(project)
    response = await pending
    assert response.json()["job_info"]["project_id"] == project["id"]


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"run_untagged": False}, {"runUntagged": True}),
        ({"access_level": "ref_protected"}, {"isProtected": False}),
    ],
)
async def test_a_runner_edit_lets_a_held_request_take_a_queued_job_at_once(
    system: BuildSystem, settings: Body, change: Body
) -> None:
    project = await system.create_project(protected_branches=["release/*"])
    runner = await system.register_runner(project_runners_path(project), **settings)
    await system.launch_build(project)
    (pending,) = await system.hold_requests(runner)
    await edit_runner(system, runner, maxTimeoutInSec=77, **change)
    response = await pending
    assert response.status_code == 201
    assert response.json()["runner_info"]["timeout"] == 77


async def test_a_company_member_launches_builds_of_the_company_only(system: BuildSystem) -> None:
    member = await system.create_user("launching-member")
    company = await system.create_company(member)
    ours, theirs = await system.create_project(company["alias"]), await system.create_project()
    headers = await system.log_in("launching-member")
    answers = [
        await system.http.post(f"/api/developer/builds/{project['id']}", headers=headers) for project in (ours, theirs)
    ]
    assert [response.status_code for response in answers] == [200, 403]
    assert answers[1].json()["message"] == "LAUNCH_BUILD_NOT_ALLOWED"


async def test_a_company_is_created_read_patched_and_deleted_over_http(system: BuildSystem) -> None:
    member = await system.create_user("http-member")
    created = await system.create_company(member, title="Http Works")
    assert (created["alias"], created["title"], created["members_id"]) == ("http-works", "Http Works", [member])
    path = f"/api/admin/companies/{created['id']}"
    for part, value in (("title", "Mill"), ("alias", "http-mill"), ("members_id", [])):
        changed = f"{path}/{part.removesuffix('_id')}"
        response = await system.http.patch(changed, headers=system.admin, json={"company": {part: value}})
        assert (response.status_code, response.json()[part]) == (200, value)
    developer = await system.log_in("http-member")
    read = await system.http.get(path.replace("admin", "developer"), headers=developer)
    assert read.json() == await system.get(path)
    listed_to_both = [
        (await system.http.get(f"/api/{role}/companies", headers=headers)).json()
        for role, headers in (("admin", system.admin), ("developer", developer))
    ]
    assert read.json() in listed_to_both[0]
    assert listed_to_both[0] == listed_to_both[1]
    project = await system.create_project("http-mill")
    refused = await system.http.delete(path, headers=system.admin)
    assert (refused.status_code, refused.json()["message"]) == (409, "COMPANY_PROJECTS_NOT_EMPTY")
    await system.http.delete(f"/api/admin/projects/{project['id']}", headers=system.admin)
    assert (await system.http.delete(path, headers=system.admin)).status_code == 204
    assert (await system.http.get(path, headers=system.admin)).json()["message"] == "COMPANY_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "COMPANY_TITLE_REQUIRED"),
        ({"title": ""}, 422, "COMPANY_TITLE_REQUIRED"),
        ({"title": 7}, 422, "REQUEST_INVALID"),
        ({"title": "x", "alias": "a b"}, 422, "COMPANY_ALIAS_INVALID"),
        ({"title": "x", "alias": "ROOT"}, 422, "COMPANY_ALIAS_TAKEN"),
        ({"title": "x", "members_id": [999999]}, 404, "DEVELOPER_NOT_FOUND"),
        ({"title": "x", "members_id": "1"}, 422, "REQUEST_INVALID"),
    ],
)
async def test_an_invalid_company_is_rejected(system: BuildSystem, body: Body, status: int, code: str) -> None:
    response = await system.http.post("/api/admin/companies", headers=system.admin, json={"company": body})
    assert (response.status_code, response.json()["message"]) == (status, code)
