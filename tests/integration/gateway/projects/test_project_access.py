"""Each kind of user calls each route of an internal and of a private project, as project_access.yaml says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

import httpx
import pytest

from contracts.builds import DeleteBuild, GetArtifactChunk, GetBuild, GetTrace, KillBuild, ListJobs
from contracts.errors import RequestRejected
from contracts.history import GetHistory
from contracts.messages import Message, Query
from contracts.projects import RenameProject, RevealSecret
from contracts.runners import DeleteRunner
from libs.eventstore.decider import Actor
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from tests.integration.gateway.projects.project_stage import TABLE, USERS, VISIBILITIES, Stage, open_stage
from tests.support.gateway_routes import GatewayRoute, list_routes
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually, send_until_answered


def matches(pattern: str, name: str) -> bool:
    parts = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
    return pattern == name or re.fullmatch(parts, name) is not None


def find_line(route: GatewayRoute) -> Sequence[str] | None:
    return next((line for pattern, line in TABLE["routes"].items() if matches(pattern, route.name)), None)


def last_place(route: GatewayRoute) -> int:
    """Return the position, from 1, of a route that must be called after all others. 0 for the others."""
    return next((place for place, pattern in enumerate(TABLE["last"], 1) if matches(pattern, route.name)), 0)


def code_of(response: httpx.Response) -> str:
    return str(response.json()["message"]) if response.status_code >= 400 else ""


ROUTES = sorted((route for route in list_routes() if find_line(route)), key=last_place)


@pytest.fixture(scope="module")
async def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_stage(servers, tmp_path_factory.mktemp("access")) as opened:
        yield opened


def test_every_route_is_in_the_table() -> None:
    known = [*TABLE["routes"], *TABLE["lists"], *TABLE["others"]]
    names = [route.name for route in list_routes()]
    assert [name for name in names if not any(matches(pattern, name) for pattern in known)] == []
    assert [pattern for pattern in known if not any(matches(pattern, name) for name in names)] == []


LISTS = {
    "projects": "private project",
    "paginations/project": "private project",
    "builds/queueds": "private project",
    "builds/executeds": "private project",
    "builds": "private project",
    "secrets": "KEY_private",
    "paginations/secret": "KEY_private",
}


@pytest.mark.parametrize("path", LISTS)
async def test_lists_contain_private_projects_only_for_their_members(stage: Stage, path: str) -> None:
    async def readers() -> list[str]:
        found = {
            user: await stage.system.http.get(f"/api/developer/{path}", headers=stage.users[user]) for user in USERS
        }
        texts = {user: response.text for user, response in found.items() if response.status_code == 200}
        if not all(LISTS[path].replace("private", "internal") in texts.get(user, "") for user in USERS):
            return []  # the builds service has not received the project yet, or a response was late
        return [user for user, text in texts.items() if LISTS[path] in text]

    await eventually(readers, lambda users: users == [user for user in USERS if user != "stranger"])


async def test_recent_builds_leave_out_private_projects(stage: Stage) -> None:
    ids = {name: int(project.ids["project_id"]) for name, project in stage.projects.items()}
    path = f"/api/developer/builds/recent?project={ids['internal']}&project={ids['private']}"

    async def projects(user: str) -> list[int]:
        response = await send_until_answered(lambda: stage.system.http.get(path, headers=stage.users[user]))
        return [project["project_id"] for project in response.json()["projects"]]

    assert await projects("stranger") == [ids["internal"]]
    assert await projects("reader") == [ids["internal"], ids["private"]]


async def test_counts_and_pages_leave_out_private_projects(stage: Stage) -> None:
    path = "/api/developer/paginations/project?per_page=1&page=1"

    async def count(user: str) -> int:
        response = await send_until_answered(lambda: stage.system.http.get(path, headers=stage.users[user]))
        return int(response.json()["total"])

    assert (await count("stranger"), await count("reader")) == (1, 2)


async def read_event_projects(stage: Stage, user: str, last_build: int) -> tuple[set[int], set[str]]:
    """Read the user's event stream up to the build `last_build` and all runners of the internal project.

    Return the ids of the projects and the UUIDs of the registered runners that the events name.
    """
    projects, runners, builds = set[int](), set[str](), set[int]()
    headers = {**stage.users[user], "Last-Event-ID": "b0-r0"}
    async with asyncio.timeout(60), stage.system.http.stream("GET", "/api/events", headers=headers) as response:
        async for line in response.aiter_lines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            projects |= {event["project_id"]} if "project_id" in event else set()
            runners |= {event["runner_uuid"]} if "owner_type" in event else set()
            builds |= {event["build_id"]} if "build_id" in event else set()
            # Builds and runners come from two streams, in any order.
            if last_build in builds and stage.runner_uuids("internal") <= runners:
                return projects, runners
    raise AssertionError("the stream ended")


async def test_the_event_stream_has_private_projects_only_for_their_members(stage: Stage) -> None:
    last_build = await stage.system.launch_build({"id": stage.projects["internal"].ids["project_id"]})
    private_id = int(stage.projects["private"].ids["project_id"])
    projects, runners = await read_event_projects(stage, "stranger", last_build)
    assert private_id not in projects
    assert not stage.runner_uuids("private") & runners
    projects, _ = await read_event_projects(stage, "reader", last_build)
    assert private_id in projects


async def test_services_reject_messages_of_users_without_access(stage: Stage) -> None:
    ids = stage.projects["private"].ids
    stranger = Actor(stage.users_id["stranger"], "stranger", ("ROLE_DEVELOPER",))
    messages: Mapping[str, Sequence[Message]] = {
        "PROJECT_NOT_FOUND": [RenameProject(project_id=int(ids["project_id"]), name="mine")],
        "EXECUTOR_NOT_FOUND": [KillBuild(executor_id=ids["executor_id"])],
        "BUILD_NOT_FOUND": [DeleteBuild(build_id=int(ids["build_id"])), GetBuild(build_id=int(ids["build_id"]))],
        "JOB_NOT_FOUND": [GetTrace(job_id=int(ids["job_id"]))],
        "ARTIFACT_NOT_FOUND": [GetArtifactChunk(artifact_id=ids["artifact_id"], offset=0)],
        "RUNNER_NOT_FOUND": [DeleteRunner(runner_uuid=ids["runner_uuid"])],
        "FORBIDDEN": [
            ListJobs(),
            RevealSecret(secret_id=int(ids["secret_id"])),
            GetHistory(kind="build", id=ids["build_id"]),
        ],
    }
    bus = await connect(stage.system.settings, "test")
    client = MessageClient(bus)
    try:
        for code, sent in messages.items():
            for message in sent:
                with pytest.raises(RequestRejected) as rejected:
                    await (
                        client.query(message, actor=stranger)
                        if isinstance(message, Query)
                        else client.send(message, actor=stranger)  # type: ignore[arg-type]
                    )
                assert (message.wire_name, rejected.value.code) == (message.wire_name, code)
    finally:
        await bus.close()


async def test_a_new_member_sees_the_project_until_removed(stage: Stage) -> None:
    ids = stage.projects["private"].ids
    path = f"/api/developer/projects/{ids['project_id']}/members/{stage.users_id['stranger']}"
    maintainer = stage.users["maintainer"]

    async def status() -> int:
        path = f"/api/developer/builds/{ids['build_id']}"
        return (await stage.system.http.get(path, headers=stage.users["stranger"])).status_code

    await eventually(status, lambda found: found == 404)
    added = await stage.system.http.put(path, json={"member": {"role": "reader"}}, headers=maintainer)
    assert added.status_code == 204, added.text
    await eventually(status, lambda found: found == 200)
    assert (await stage.system.http.delete(path, headers=maintainer)).status_code == 204
    await eventually(status, lambda found: found == 404)


async def test_a_project_that_becomes_private_disappears_for_strangers(stage: Stage) -> None:
    project = await stage.system.create_project("owner")
    build_id = await stage.system.launch_build(project)
    path = f"/api/developer/builds/{build_id}"
    stranger = stage.users["stranger"]

    async def status() -> int:
        return (await stage.system.http.get(path, headers=stranger)).status_code

    await eventually(status, lambda found: found == 200)
    change = {"project": {"visibility": "private"}}
    url = f"/api/developer/projects/{project['id']}/visibility"
    changed = await stage.system.http.patch(url, json=change, headers=stage.users["owner"])
    assert changed.json()["visibility"] == "private"
    await eventually(status, lambda found: found == 404)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize("visibility", VISIBILITIES)
async def test_each_user_may_do_what_the_role_allows(stage: Stage, visibility: str, route: GatewayRoute) -> None:
    action, not_found = find_line(route) or ("", "")
    denied_code = "LAUNCH_BUILD_NOT_ALLOWED" if action == "launch" else "FORBIDDEN"
    allowed = [user for user in USERS if action in USERS[user][visibility]]
    unexpected = {}
    for user in [*(user for user in USERS if user not in allowed), *(allowed[:1] if last_place(route) else allowed)]:
        call = partial(stage.call, route, stage.projects[visibility], user)
        # a call without effect can be repeated, if a service did not answer it in time on a busy machine
        has_effect = user in allowed and route.method != "GET"
        response = await (call() if has_effect else send_until_answered(call))
        if user in allowed:
            is_expected = response.status_code in route.statuses - {401, 403, 404}
            is_expected = is_expected and (route.method != "GET" or response.status_code == route.status)
        else:
            code = denied_code if "read" in USERS[user][visibility] else not_found
            is_expected = code_of(response) == code
        if not is_expected:
            unexpected[user] = response.status_code, response.text
    assert unexpected == {}
