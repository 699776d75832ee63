"""Builds of all projects, newest first: pages, filters, and the newest builds of each of several projects."""

from typing import Any

import pytest

from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
async def projects(system: BuildSystem) -> list[Body]:
    """Return two projects, the first with five builds and the second with one."""
    created = [await system.create_project(), await system.create_project()]
    for project in (created[0], created[1], *[created[0]] * 4):
        await system.launch_build(project)
    return created


async def list_builds(system: BuildSystem, **query: Any) -> Body:
    return dict(await system.get("/api/developer/builds", params=query))


def ids_of(page: Body) -> list[int]:
    return [build["id"] for build in page["builds"]]


async def test_pages_follow_each_other_without_gaps(system: BuildSystem, projects: list[Body]) -> None:
    both = [project["id"] for project in projects]
    whole = ids_of(await list_builds(system, project=both))
    assert whole == sorted(whole, reverse=True)
    assert len(whole) == 6
    page = await list_builds(system, project=both, limit=4)
    newer = await system.launch_build(projects[1])
    following = await list_builds(system, project=both, limit=4, after=page["next"])
    assert ids_of(page) + ids_of(following) == whole
    assert following["next"] is None
    await system.http.delete(
        f"/api/developer/builds/kill/queued/{await executor_of(system, newer)}", headers=system.admin
    )


async def executor_of(system: BuildSystem, build_id: int) -> str:
    return str((await system.get_build(build_id))["executor_id"])


async def test_builds_are_filtered(system: BuildSystem, projects: list[Body]) -> None:
    first = projects[0]["id"]
    found = (await list_builds(system, project=first))["builds"]
    assert {build["initiator"]["name"] for build in found} == {"root"}
    assert {(build["project_name"], build["source"]) for build in found} == {(projects[0]["name"], "web")}
    everything = ids_of({"builds": found})
    assert ids_of(await list_builds(system, project=first, initiator="me")) == everything
    assert ids_of(await list_builds(system, project=first, initiator=999)) == []
    assert ids_of(await list_builds(system, project=first, source="push")) == []
    assert ids_of(await list_builds(system, project=first, status=["SUCCESS", "FAILED"])) == []
    times = sorted(build["created_at"] for build in found)
    assert ids_of(await list_builds(system, project=first, since=times[3])) == everything[:2]
    assert ids_of(await list_builds(system, project=first, until=times[3])) == everything[2:]

    async def planned() -> list[int]:
        return ids_of(await list_builds(system, project=first, ref="main", status="PLANNED"))

    await eventually(planned, lambda ids: ids == everything)
    assert ids_of(await list_builds(system, project=first, ref="other")) == []


async def test_the_newest_builds_of_each_project_are_one_call(system: BuildSystem, projects: list[Body]) -> None:
    ids = [project["id"] for project in projects]
    answer = await system.get("/api/developer/builds/recent", params={"project": [*ids, 999_999], "limit": 2})
    found = {project["project_id"]: ids_of(project) for project in answer["projects"]}
    assert list(found) == ids
    assert found[ids[0]] == ids_of(await list_builds(system, project=ids[0], limit=2))
