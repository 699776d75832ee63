"""GitFlic's runner routes for global, company and project runners, on all services."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.in_process.whole_stage import Body, BuildSystem, FakeRunner, build_system
from tests.support.waiting import eventually

PROMPT_SECONDS = 8  # less than the ten seconds after which a held request repeats its claim

RUNNER_FIELDS = {
    "id": str,
    "description": str,
    "connectedAt": str,
    "active": bool,
    "name": str,
    "platform": str,
    "architecture": str,
    "ipAddress": str,
    "tags": list,
    "ownerType": str,
    "ownerId": int,
    "runUntagged": bool,
    "locked": bool,
    "maxTimeoutInSec": int,
    "protected": bool,
}
RUNNER_LIST_FIELD = "restPipelineRunnerModelList"


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    async with build_system(tmp_path_factory.mktemp("whole")) as whole:
        yield whole


def project_runners_path(project: Body) -> str:
    return f"/project/{project['owner_alias']}/{project['alias']}/runners"


def company_runners_path(company: Body) -> str:
    return f"/company/{company['alias']}/runners"


async def list_runner_ids(here: BuildSystem, path: str, **query: Any) -> list[str]:
    page = await here.get(path, params=query)
    return [listed_runner["id"] for listed_runner in page["_embedded"][RUNNER_LIST_FIELD]]


async def get_runner(here: BuildSystem, runner: FakeRunner) -> Body:
    return dict(await here.get(f"/admin/runners/{runner.uuid}"))


async def edit_runner(here: BuildSystem, runner: FakeRunner, **body: Any) -> Body:
    return dict((await here.post(f"/admin/runners/{runner.uuid}/edit", body)).json())


async def request_statuses(here: BuildSystem, headers: dict[str, str], routes: list[tuple[str, str]]) -> list[int]:
    return [(await here.http.request(method, path, headers=headers)).status_code for method, path in routes]


async def is_deleted(here: BuildSystem, runner: FakeRunner) -> bool:
    return (await here.http.get(f"/admin/runners/{runner.uuid}", headers=here.admin)).status_code == 404


def runner_routes(base: str, uuid: object) -> list[tuple[str, str]]:
    return [
        ("GET", f"{base}/registration-info"),
        ("POST", f"{base}/reset-registration-token"),
        ("GET", base),
        ("GET", f"{base}/{uuid}"),
        ("POST", f"{base}/{uuid}/shutdown"),
        ("POST", f"{base}/{uuid}/edit"),
        ("DELETE", f"{base}/{uuid}"),
    ]


# ---- registration


async def test_the_registration_information_has_the_format_of_gitflic(system: BuildSystem) -> None:
    info = await system.get("/admin/runners/registration-info")
    assert info["id"] == "1"
    assert info["registrationUrl"] == "http://ci.example:80/-/runner/registration"
    assert str(UUID(info["registrationToken"])) == info["registrationToken"]


async def test_a_registration_token_registers_runners_for_its_owner_until_it_is_reset(system: BuildSystem) -> None:
    project, company = await system.create_project(), await system.create_company()
    for base, owner in (
        ("/admin/runners", ("GLOBAL", None)),
        (project_runners_path(project), ("PROJECT", project["id"])),
        (company_runners_path(company), ("COMPANY", company["id"])),
    ):
        old = (await system.get(f"{base}/registration-info"))["registrationToken"]
        runner = await system.register_runner(base)
        found = await get_runner(system, runner)
        assert (found["ownerType"], found["ownerId"]) == owner
        assert (await system.post(f"{base}/reset-registration-token")).content == b""
        assert (await system.http.post("/api/v4/runners", json={"token": old})).status_code == 403
        assert (await system.get(f"{base}/registration-info"))["registrationToken"] != old
        assert (await system.http.post("/api/v4/runners/verify", json={"token": runner.token})).status_code == 200
        await system.register_runner(base)


async def test_deleting_a_project_or_company_deletes_its_registration_token_and_runners(system: BuildSystem) -> None:
    project, company = await system.create_project(), await system.create_company()
    for base, deletion in (
        (project_runners_path(project), f"/api/admin/projects/{project['id']}"),
        (company_runners_path(company), f"/api/admin/companies/{company['id']}"),
    ):
        runner, token = (
            await system.register_runner(base),
            (await system.get(f"{base}/registration-info"))["registrationToken"],
        )
        assert (await system.http.delete(deletion, headers=system.admin)).status_code == 204

        await eventually(partial(is_deleted, system, runner), within=20)
        assert (await system.http.post("/api/v4/runners", json={"token": token})).status_code == 403
        assert (await system.http.get(base, headers=system.admin)).status_code == 404


# ---- lists


async def test_a_runner_has_the_fields_of_gitflic(system: BuildSystem) -> None:
    company = await system.create_company()
    info = {"platform": "linux", "architecture": "amd64"}
    runner = await system.register_runner(
        company_runners_path(company),
        name="Gloin",
        description="Agent of a company",
        tag_list="4.4,4.5",
        run_untagged=False,
        locked=True,
        access_level="ref_protected",
        maximum_timeout=100,
        info=info,
    )
    found = await get_runner(system, runner)
    assert {name: type(value) for name, value in found.items()} == RUNNER_FIELDS
    assert datetime.fromisoformat(found.pop("connectedAt")).tzinfo is None
    assert found == {
        "id": runner.uuid,
        "description": "Agent of a company",
        "active": True,
        "name": "Gloin",
        "platform": "Linux",
        "architecture": "amd64",
        "ipAddress": "127.0.0.1",
        "tags": ["4.4", "4.5"],
        "ownerType": "COMPANY",
        "ownerId": company["id"],
        "runUntagged": False,
        "locked": True,
        "maxTimeoutInSec": 100,
        "protected": True,
    }


async def test_a_global_runner_has_no_owner_and_no_timeout(system: BuildSystem) -> None:
    found = await get_runner(system, await system.register_runner())
    assert (found["ownerType"], found["ownerId"], found["maxTimeoutInSec"], found["tags"]) == ("GLOBAL", None, None, [])


async def test_runners_are_listed_by_last_contact_in_pages(system: BuildSystem) -> None:
    project = await system.create_project()
    base = project_runners_path(project)
    first, second, third = [await system.register_runner(base) for _ in range(3)]
    await first.http.post("/api/v4/runners/verify", json={"token": first.token})
    assert await list_runner_ids(system, base) == [first.uuid, third.uuid, second.uuid]
    page = await system.get(base, params={"size": 2, "page": 1})
    assert [listed_runner["id"] for listed_runner in page["_embedded"][RUNNER_LIST_FIELD]] == [second.uuid]
    assert page["page"] == {"size": 2, "totalElements": 3, "totalPages": 2, "number": 1}
    beyond = await system.get(base, params={"size": 2, "page": 9})
    assert (beyond["_embedded"][RUNNER_LIST_FIELD], beyond["page"]["totalElements"]) == ([], 3)
    assert {first.uuid, second.uuid, third.uuid} <= set(await list_runner_ids(system, "/admin/runners", size=1000))


async def test_runner_lists_of_a_project_and_of_a_company_hold_only_their_own_runners(system: BuildSystem) -> None:
    company = await system.create_company(alias="jobs")
    project = await system.create_project("jobs")
    of_both = [
        await system.register_runner(project_runners_path(project)),
        await system.register_runner(company_runners_path(company)),
    ]
    await system.register_runner()
    of_the_project, of_the_company = [[runner.uuid] for runner in of_both]
    address = f"{project['owner_alias']}/{project['alias']}"
    assert await list_runner_ids(system, f"/admin/runners/project/{address}") == of_the_project
    assert await list_runner_ids(system, project_runners_path(project)) == of_the_project
    assert await list_runner_ids(system, "/rest-api/admin/runners/company/jobs") == of_the_company
    assert await list_runner_ids(system, company_runners_path(company)) == of_the_company


async def test_an_owner_without_runners_has_an_empty_list(system: BuildSystem) -> None:
    company = await system.create_company()
    page = await system.get(f"/admin/runners/company/{company['alias']}")
    assert page == {
        "_embedded": {RUNNER_LIST_FIELD: []},
        "page": {"size": 10, "totalElements": 0, "totalPages": 0, "number": 0},
    }


# ---- a single runner


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
    answer = await system.http.post(path, headers=system.admin, json={"description": "changed", **wrong})
    assert answer.status_code == 422, answer.text
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
    await system.launch_build(other)
    await system.launch_build(own)
    assert (await runner.wait_for_job())["job_info"]["project_id"] == own["id"]
    assert (await runner.request_job()).status_code == 204


async def test_a_job_not_started_by_a_deleted_runner_is_assigned_to_another_runner(system: BuildSystem) -> None:
    project = await system.create_project()
    leaving, staying = (
        await system.register_runner(project_runners_path(project)),
        await system.register_runner(project_runners_path(project)),
    )
    build_id = await system.launch_build(project)
    await leaving.wait_for_job()
    await system.http.delete(f"/admin/runners/{leaving.uuid}", headers=system.admin)
    async with asyncio.timeout(PROMPT_SECONDS):
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
    async with asyncio.timeout(PROMPT_SECONDS):
        build = await system.wait_until_ended(build_id)
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


# ---- permissions


async def test_anonymous_callers_and_developers_get_403_from_admin_runner_routes(system: BuildSystem) -> None:
    await system.create_user("plain-developer")
    runner = await system.register_runner()
    routes = [
        *runner_routes("/admin/runners", runner.uuid),
        ("GET", "/admin/runners/project/unknown/unknown"),
        ("GET", "/admin/runners/company/unknown"),
    ]
    for headers in ({}, {"Authorization": "token nonsense"}, await system.log_in("plain-developer")):
        assert set(await request_statuses(system, headers, routes)) == {403}
    assert (await get_runner(system, runner))["active"] is True


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


# ---- jobs


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
    answer = await asyncio.wait_for(pending, PROMPT_SECONDS)
    assert answer.json()["job_info"]["project_id"] == ours["id"]


async def test_a_held_project_runner_gets_a_new_job_at_once(system: BuildSystem) -> None:
    project = await system.create_project()
    (pending,) = await system.hold_requests(await system.register_runner(project_runners_path(project)))
    await system.launch_build(project)
    answer = await asyncio.wait_for(pending, PROMPT_SECONDS)
    assert answer.json()["job_info"]["project_id"] == project["id"]


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
    answer = await asyncio.wait_for(pending, PROMPT_SECONDS)
    assert answer.status_code == 201
    assert answer.json()["runner_info"]["timeout"] == 77


async def test_a_company_member_launches_builds_of_the_company_only(system: BuildSystem) -> None:
    member = await system.create_user("launching-member")
    company = await system.create_company(member)
    ours, theirs = await system.create_project(company["alias"]), await system.create_project()
    headers = await system.log_in("launching-member")
    answers = [
        await system.http.post(f"/api/developer/builds/{project['id']}", headers=headers) for project in (ours, theirs)
    ]
    assert [answer.status_code for answer in answers] == [200, 403]
    assert answers[1].json()["message"] == "LAUNCH_BUILD_NOT_ALLOWED"


# ---- companies over HTTP


async def test_a_company_is_created_read_patched_and_deleted_over_http(system: BuildSystem) -> None:
    member = await system.create_user("http-member")
    created = await system.create_company(member, title="Http Works")
    assert (created["alias"], created["title"], created["members_id"]) == ("http-works", "Http Works", [member])
    path = f"/api/admin/companies/{created['id']}"
    for part, value in (("title", "Mill"), ("alias", "http-mill"), ("members_id", [])):
        changed = f"{path}/{part.removesuffix('_id')}"
        answer = await system.http.patch(changed, headers=system.admin, json={"company": {part: value}})
        assert (answer.status_code, answer.json()[part]) == (200, value)
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
    answer = await system.http.post("/api/admin/companies", headers=system.admin, json={"company": body})
    assert (answer.status_code, answer.json()["message"]) == (status, code)
