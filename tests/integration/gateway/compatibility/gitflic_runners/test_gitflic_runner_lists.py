"""GitFlic's routes for registration and lists of global, company and project runners."""

from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from tests.integration.gateway.compatibility.gitflic_runners.runner_routes import (
    company_runners_path,
    get_runner,
    project_runners_path,
)
from tests.support.in_process.build_system import BuildSystem, FakeRunner
from tests.support.waiting import eventually

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


async def list_runner_ids(system: BuildSystem, path: str, **query: Any) -> list[str]:
    page = await system.get(path, params=query)
    return [listed_runner["id"] for listed_runner in page["_embedded"][RUNNER_LIST_FIELD]]


async def is_deleted(system: BuildSystem, runner: FakeRunner) -> bool:
    return (await system.http.get(f"/admin/runners/{runner.uuid}", headers=system.admin)).status_code == 404


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

        await eventually(partial(is_deleted, system, runner))
        assert (await system.http.post("/api/v4/runners", json={"token": token})).status_code == 403
        assert (await system.http.get(base, headers=system.admin)).status_code == 404


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
