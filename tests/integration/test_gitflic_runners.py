"""Runners of the service, of companies and of projects: GitFlic's routes on all the services."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support import eventually

AT_ONCE = 8  # seconds: a held request asks again by itself after ten

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
LIST = "restPipelineRunnerModelList"


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole")) as whole:
        yield whole


def of_project(project: Body) -> str:
    return f"/project/{project['owner_alias']}/{project['alias']}/runners"


def of_company(company: Body) -> str:
    return f"/company/{company['alias']}/runners"


async def listed(here: Whole, path: str, **query: Any) -> list[str]:
    page = await here.get(path, params=query)
    return [one["id"] for one in page["_embedded"][LIST]]


async def shown(here: Whole, runner: RunnerAtWork) -> Body:
    return dict(await here.get(f"/admin/runners/{runner.uuid}"))


async def edit(here: Whole, runner: RunnerAtWork, **body: Any) -> Body:
    return dict((await here.post(f"/admin/runners/{runner.uuid}/edit", body)).json())


async def statuses(here: Whole, headers: dict[str, str], routes: list[tuple[str, str]]) -> list[int]:
    return [(await here.http.request(method, path, headers=headers)).status_code for method, path in routes]


async def is_gone(here: Whole, runner: RunnerAtWork) -> bool:
    return (await here.http.get(f"/admin/runners/{runner.uuid}", headers=here.admin)).status_code == 404


def every_route(base: str, uuid: object) -> list[tuple[str, str]]:
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


async def test_the_registration_information_is_gitflics(here: Whole) -> None:
    info = await here.get("/admin/runners/registration-info")
    assert info["id"] == "1"
    assert info["registrationUrl"] == "http://ci.example:80/-/runner/registration"
    assert str(UUID(info["registrationToken"])) == info["registrationToken"]


async def test_a_token_makes_runners_for_its_owner_until_it_is_reset(here: Whole) -> None:
    project, company = await here.project(), await here.company()
    for base, owner in (
        ("/admin/runners", ("GLOBAL", None)),
        (of_project(project), ("PROJECT", project["id"])),
        (of_company(company), ("COMPANY", company["id"])),
    ):
        old = (await here.get(f"{base}/registration-info"))["registrationToken"]
        runner = await here.runner(base)
        found = await shown(here, runner)
        assert (found["ownerType"], found["ownerId"]) == owner
        assert (await here.post(f"{base}/reset-registration-token")).content == b""
        assert (await here.http.post("/api/v4/runners", json={"token": old})).status_code == 403
        assert (await here.get(f"{base}/registration-info"))["registrationToken"] != old
        assert (await here.http.post("/api/v4/runners/verify", json={"token": runner.token})).status_code == 200
        await here.runner(base)


async def test_tokens_and_runners_of_what_is_deleted_go_with_it(here: Whole) -> None:
    project, company = await here.project(), await here.company()
    for base, deletion in (
        (of_project(project), f"/api/admin/projects/{project['id']}"),
        (of_company(company), f"/api/admin/companies/{company['id']}"),
    ):
        runner, token = await here.runner(base), (await here.get(f"{base}/registration-info"))["registrationToken"]
        assert (await here.http.delete(deletion, headers=here.admin)).status_code == 204

        await eventually(partial(is_gone, here, runner), within=20)
        assert (await here.http.post("/api/v4/runners", json={"token": token})).status_code == 403
        assert (await here.http.get(base, headers=here.admin)).status_code == 404


# ---- lists


async def test_a_runner_is_shown_as_gitflic_shows_it(here: Whole) -> None:
    company = await here.company()
    info = {"platform": "linux", "architecture": "amd64"}
    runner = await here.runner(
        of_company(company),
        name="Gloin",
        description="Agent of a company",
        tag_list="4.4,4.5",
        run_untagged=False,
        locked=True,
        access_level="ref_protected",
        maximum_timeout=100,
        info=info,
    )
    found = await shown(here, runner)
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


async def test_a_runner_of_the_service_has_no_owner_and_needs_no_limit(here: Whole) -> None:
    found = await shown(here, await here.runner())
    assert (found["ownerType"], found["ownerId"], found["maxTimeoutInSec"], found["tags"]) == ("GLOBAL", None, None, [])


async def test_runners_are_listed_by_their_last_contact_page_by_page(here: Whole) -> None:
    project = await here.project()
    base = of_project(project)
    first, second, third = [await here.runner(base) for _ in range(3)]
    await first.http.post("/api/v4/runners/verify", json={"token": first.token})
    assert await listed(here, base) == [first.uuid, third.uuid, second.uuid]
    page = await here.get(base, params={"size": 2, "page": 1})
    assert [one["id"] for one in page["_embedded"][LIST]] == [second.uuid]
    assert page["page"] == {"size": 2, "totalElements": 3, "totalPages": 2, "number": 1}
    beyond = await here.get(base, params={"size": 2, "page": 9})
    assert (beyond["_embedded"][LIST], beyond["page"]["totalElements"]) == ([], 3)
    assert {first.uuid, second.uuid, third.uuid} <= set(await listed(here, "/admin/runners", size=1000))


async def test_the_lists_of_a_project_and_of_a_company_hold_their_own_runners_alone(here: Whole) -> None:
    company = await here.company(alias="jobs")
    project = await here.project("jobs")
    of_both = [await here.runner(of_project(project)), await here.runner(of_company(company))]
    await here.runner()
    of_the_project, of_the_company = [[one.uuid] for one in of_both]
    address = f"{project['owner_alias']}/{project['alias']}"
    assert await listed(here, f"/admin/runners/project/{address}") == of_the_project
    assert await listed(here, of_project(project)) == of_the_project
    assert await listed(here, "/rest-api/admin/runners/company/jobs") == of_the_company
    assert await listed(here, of_company(company)) == of_the_company


async def test_an_owner_without_runners_has_an_empty_list(here: Whole) -> None:
    company = await here.company()
    page = await here.get(f"/admin/runners/company/{company['alias']}")
    assert page == {
        "_embedded": {LIST: []},
        "page": {"size": 10, "totalElements": 0, "totalPages": 0, "number": 0},
    }


# ---- one runner


async def test_a_runner_is_edited_in_part(here: Whole) -> None:
    runner = await here.runner(name="Balin", description="before", tag_list="old", maximum_timeout=60)
    before = await shown(here, runner)
    assert await edit(here, runner, tags=["new", " new ", "more"]) == before | {"tags": ["new", "more"]}
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
    after = await edit(here, runner, **everything)
    assert after == await shown(here, runner)
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
    assert await edit(here, runner, name=None, tags=None, isActive=None, unknown={"a": 1}) == after
    assert await edit(here, runner) == after
    assert (await edit(here, runner, maxTimeoutInSec=0))["maxTimeoutInSec"] is None


async def test_what_a_runner_shows_can_be_sent_back_and_the_longer_name_wins(here: Whole) -> None:
    runner = await here.runner()
    short = await edit(here, runner, active=False, locked=True, protected=True)
    assert (short["active"], short["locked"], short["protected"]) == (False, True, True)
    assert await edit(here, runner, **short) == short
    both = await edit(here, runner, active=False, isActive=True, locked=True, isLocked=False)
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
async def test_a_wrong_value_is_refused_and_changes_nothing(here: Whole, wrong: Body) -> None:
    runner = await here.runner()
    before = await shown(here, runner)
    path = f"/admin/runners/{runner.uuid}/edit"
    answer = await here.http.post(path, headers=here.admin, json={"description": "changed", **wrong})
    assert answer.status_code == 422, answer.text
    assert await shown(here, runner) == before
    unknown = await here.http.post(f"/admin/runners/{uuid4()}/edit", headers=here.admin, json=wrong)
    assert unknown.status_code == 404


async def test_a_body_that_is_no_json_changes_nothing(here: Whole) -> None:
    runner = await here.runner()
    path, headers = f"/admin/runners/{runner.uuid}/edit", here.admin | {"Content-Type": "application/json"}
    assert (await here.http.post(path, headers=headers, content=b"{")).status_code == 400
    assert (await here.http.post(path, headers=headers, content=b"[]")).status_code == 422


async def test_a_body_is_read_as_json_whatever_it_is_called(here: Whole) -> None:
    runner = await here.runner()
    path, headers = f"/admin/runners/{runner.uuid}/edit", here.admin | {"Content-Type": "text/plain"}
    assert (await here.http.post(path, headers=headers, content=b"isPaused=on")).status_code == 400
    assert (await here.http.post(path, headers=headers, content=b'{"description": "told"}')).status_code == 200
    assert (await shown(here, runner))["description"] == "told"


async def test_a_runner_that_is_shut_down_gets_no_job_until_it_is_switched_on(here: Whole) -> None:
    project = await here.project()
    runner = await here.runner(of_project(project))
    for _ in range(2):
        assert (await here.post(f"/admin/runners/{runner.uuid}/shutdown")).content == b""
        assert (await shown(here, runner))["active"] is False
    await here.launched(project)
    assert (await runner.ask()).status_code == 204
    await edit(here, runner, isActive=True)
    assert (await runner.job())["job_info"]["project_id"] == project["id"]


async def test_a_runner_that_is_shut_down_or_changed_while_it_works_ends_its_job(here: Whole) -> None:
    project = await here.project()
    runner = await here.runner(of_project(project))
    for change, settings in (
        ("shutdown", {}),
        ("edit", {"tags": ["other"], "runUntagged": False, "isProtected": True}),
    ):
        build_id = await here.launched(project)
        job = await runner.job()
        assert (await runner.report(job, "running")).headers["job-status"] == "running"
        await here.post(f"/admin/runners/{runner.uuid}/{change}", settings)
        assert (await runner.report(job, "running")).headers["job-status"] == "running"
        assert (await runner.report(job, "success")).status_code == 200
        assert (await here.ended(build_id))["status"] == "SUCCESS"
        assert (await edit(here, runner, isActive=True))["active"] is True


async def test_a_locked_runner_works_for_its_own_project_alone(here: Whole) -> None:
    own, other = await here.project(), await here.project()
    runner = await here.runner(of_project(own), locked=True)
    await here.launched(other)
    await here.launched(own)
    assert (await runner.job())["job_info"]["project_id"] == own["id"]
    assert (await runner.ask()).status_code == 204


async def test_a_job_that_a_deleted_runner_had_not_begun_goes_to_another_one(here: Whole) -> None:
    project = await here.project()
    leaving, staying = await here.runner(of_project(project)), await here.runner(of_project(project))
    build_id = await here.launched(project)
    await leaving.job()
    await here.http.delete(f"/admin/runners/{leaving.uuid}", headers=here.admin)
    async with asyncio.timeout(AT_ONCE):
        assert (await staying.report(await staying.job(), "success")).status_code == 200
        assert (await here.ended(build_id))["status"] == "SUCCESS"


async def test_a_deleted_runner_is_gone_and_its_running_job_has_failed(here: Whole) -> None:
    project = await here.project()
    runner = await here.runner(of_project(project))
    done = await here.launched(project)
    assert (await runner.report(await runner.job(), "success")).status_code == 200
    build_id = await here.launched(project)
    job = await runner.job()
    assert (await runner.report(job, "running")).status_code == 200
    deletion = await here.http.delete(f"/admin/runners/{runner.uuid}", headers=here.admin)
    assert (deletion.status_code, deletion.content) == (204, b"")
    async with asyncio.timeout(AT_ONCE):
        build = await here.ended(build_id)
    assert (build["status"], build["exit_code"]) == ("FAILED", -2)
    assert "was deleted" in build["exit_message"]
    late = await runner.report(job, "success")
    assert (late.status_code, late.headers["job-status"]) == (403, "failed")
    assert (await here.ended(done))["status"] == "SUCCESS"
    assert (await runner.ask()).status_code == 403
    routes = every_route("/admin/runners", runner.uuid)[3:]
    assert await statuses(here, here.admin, routes) == [404, 404, 404, 404]


@pytest.mark.parametrize("uuid", ["not-a-uuid", "0", "%00", "0b6f7c9e-5a43-4d07-9d0b-3f0c2f1f6a11", "74af2044-1111"])
async def test_a_runner_that_is_not_there_is_not_found(here: Whole, uuid: str) -> None:
    company = await here.company()
    for base in ("/admin/runners", of_company(company)):
        assert await statuses(here, here.admin, every_route(base, uuid)[3:]) == [404, 404, 404, 404]


async def test_a_uuid_is_read_in_capitals_too(here: Whole) -> None:
    runner = await here.runner()
    assert (await here.get(f"/admin/runners/{runner.uuid.upper()}"))["id"] == runner.uuid


# ---- who may


async def test_strangers_and_developers_get_403_from_the_administrators_routes(here: Whole) -> None:
    await here.user("plain-developer")
    runner = await here.runner()
    routes = [
        *every_route("/admin/runners", runner.uuid),
        ("GET", "/admin/runners/project/nobody/nothing"),
        ("GET", "/admin/runners/company/nobody"),
    ]
    for headers in ({}, {"Authorization": "token nonsense"}, await here.logged_in("plain-developer")):
        assert set(await statuses(here, headers, routes)) == {403}
    assert (await shown(here, runner))["active"] is True


async def test_owners_see_and_change_their_own_runners_and_nobody_elses(here: Whole) -> None:
    owner, member = await here.user("own-owner"), await here.user("own-member")
    await here.user("own-stranger")
    company = await here.company(member)
    of_user, of_members = await here.project("own-owner"), await here.project(company["alias"])
    tokens = {name: await here.logged_in(name) for name in ("own-owner", "own-member", "own-stranger")}
    assert (owner, member) != (0, 0)
    places = {
        of_project(of_user): {"own-owner"},
        of_project(of_members): {"own-member"},
        of_company(company): {"own-member"},
    }
    for base, may in places.items():
        runner = await here.runner(base)
        routes = every_route(base, runner.uuid)
        for name, headers in sorted(tokens.items(), key=lambda one: one[0] in may):
            expected = [200, 200, 200, 200, 200, 200, 204] if name in may else [403] * 7
            assert await statuses(here, headers, routes) == expected, (base, name)
        assert set(await statuses(here, {}, routes)) == {403}


async def test_a_runner_is_found_below_its_own_owner_only(here: Whole) -> None:
    company = await here.company()
    project = await here.project(company["alias"])
    of_the_company, of_the_service = await here.runner(of_company(company)), await here.runner()
    for base, runner in (
        (of_project(project), of_the_company),
        (of_project(project), of_the_service),
        (of_company(company), of_the_service),
    ):
        assert await statuses(here, here.admin, every_route(base, runner.uuid)[3:]) == [404, 404, 404, 404]


async def test_a_project_or_company_that_is_not_there_is_not_found(here: Whole) -> None:
    await here.user("lost-developer")
    routes = [
        ("GET", "/admin/runners/project/root/nothing"),
        ("GET", "/admin/runners/company/nobody"),
        *every_route("/project/root/nothing/runners", uuid4()),
        *every_route("/company/nobody/runners", uuid4()),
        *every_route("/company/root/runners", uuid4()),
    ]
    assert set(await statuses(here, here.admin, routes)) == {404}


# ---- work


async def test_a_waiting_runner_of_a_company_gets_the_jobs_of_its_projects_and_no_other(here: Whole) -> None:
    company, other = await here.company(), await here.company()
    ours, theirs = await here.project(company["alias"]), await here.project(other["alias"])
    runner, foreign = await here.runner(of_company(company)), await here.runner(of_company(other))
    (asking,) = await here.held(runner)
    await here.launched(theirs)
    taken = await foreign.job()
    assert taken["job_info"]["project_id"] == theirs["id"]
    assert not asking.done()
    await here.launched(ours)
    answer = await asyncio.wait_for(asking, AT_ONCE)
    assert answer.json()["job_info"]["project_id"] == ours["id"]


async def test_a_waiting_runner_of_a_project_gets_its_job_at_once(here: Whole) -> None:
    project = await here.project()
    (asking,) = await here.held(await here.runner(of_project(project)))
    await here.launched(project)
    answer = await asyncio.wait_for(asking, AT_ONCE)
    assert answer.json()["job_info"]["project_id"] == project["id"]


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"run_untagged": False}, {"runUntagged": True}),
        ({"access_level": "ref_protected"}, {"isProtected": False}),
    ],
)
async def test_an_edit_applies_to_jobs_that_wait_at_once(here: Whole, settings: Body, change: Body) -> None:
    project = await here.project(protected_branches=["release/*"])
    runner = await here.runner(of_project(project), **settings)
    await here.launched(project)
    (asking,) = await here.held(runner)
    await edit(here, runner, maxTimeoutInSec=77, **change)
    answer = await asyncio.wait_for(asking, AT_ONCE)
    assert answer.status_code == 201
    assert answer.json()["runner_info"]["timeout"] == 77


async def test_a_member_of_the_company_launches_its_builds_and_nobody_elses(here: Whole) -> None:
    member = await here.user("launching-member")
    company = await here.company(member)
    ours, theirs = await here.project(company["alias"]), await here.project()
    headers = await here.logged_in("launching-member")
    answers = [
        await here.http.post(f"/api/developer/builds/{project['id']}", headers=headers) for project in (ours, theirs)
    ]
    assert [answer.status_code for answer in answers] == [200, 403]
    assert answers[1].json()["message"] == "LAUNCH_BUILD_NOT_ALLOWED"


# ---- companies over HTTP


async def test_a_company_is_created_read_changed_and_deleted(here: Whole) -> None:
    member = await here.user("http-member")
    created = await here.company(member, title="Http Works")
    assert (created["alias"], created["title"], created["members_id"]) == ("http-works", "Http Works", [member])
    path = f"/api/admin/companies/{created['id']}"
    for part, value in (("title", "Mill"), ("alias", "http-mill"), ("members_id", [])):
        changed = f"{path}/{part.removesuffix('_id')}"
        answer = await here.http.patch(changed, headers=here.admin, json={"company": {part: value}})
        assert (answer.status_code, answer.json()[part]) == (200, value)
    developer = await here.logged_in("http-member")
    read = await here.http.get(path.replace("admin", "developer"), headers=developer)
    assert read.json() == await here.get(path)
    listed_to_both = [
        (await here.http.get(f"/api/{role}/companies", headers=headers)).json()
        for role, headers in (("admin", here.admin), ("developer", developer))
    ]
    assert read.json() in listed_to_both[0]
    assert listed_to_both[0] == listed_to_both[1]
    project = await here.project("http-mill")
    refused = await here.http.delete(path, headers=here.admin)
    assert (refused.status_code, refused.json()["message"]) == (409, "COMPANY_PROJECTS_NOT_EMPTY")
    await here.http.delete(f"/api/admin/projects/{project['id']}", headers=here.admin)
    assert (await here.http.delete(path, headers=here.admin)).status_code == 204
    assert (await here.http.get(path, headers=here.admin)).json()["message"] == "COMPANY_NOT_FOUND"


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
async def test_a_wrong_company_is_refused(here: Whole, body: Body, status: int, code: str) -> None:
    answer = await here.http.post("/api/admin/companies", headers=here.admin, json={"company": body})
    assert (answer.status_code, answer.json()["message"]) == (status, code)
