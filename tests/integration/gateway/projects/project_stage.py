"""An internal and a private project with every kind of resource that a route may name, and a user for each role."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.integration.whole.artifacts.artifact_requests import (
    BOUNDARY,
    SMALL,
    artifacts_path,
    job_token_header,
    multipart_body,
)
from tests.support.external.forge_webhooks import gitlab_headers, gitlab_push_body
from tests.support.gateway_routes import GatewayRoute
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner, build_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

TABLE = yaml.load((Path(__file__).parent / "project_access.yaml").read_text(), yaml.CSafeLoader)
USERS: Mapping[str, Mapping[str, Sequence[str]]] = TABLE["users"]
ROLES = ("reader", "developer", "maintainer")
VISIBILITIES = ("internal", "private")


@dataclass(frozen=True)
class Project:
    """A project with a finished build, which has a log and an artifact, a running build, a secret and a runner."""

    visibility: str
    ids: Mapping[str, str]  # path parameter -> id


@dataclass(frozen=True)
class Stage:
    system: BuildSystem
    users: Mapping[str, dict[str, str]]  # request headers, by user
    users_id: Mapping[str, int]
    projects: Mapping[str, Project]  # visibility -> project

    def runner_uuids(self, visibility: str) -> set[str]:
        return {self.projects[visibility].ids["runner_uuid"]}

    async def call(self, route: GatewayRoute, project: Project, user: str) -> httpx.Response:
        ids = {**project.ids, "executor_id": project.ids.get(route.name, project.ids["executor_id"])}
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: ids[found[1]], route.path)
        # a placeholder is replaced together with its quotes, because ids in bodies are numbers
        body = re.sub(r'"\{(\w+)\}"', lambda found: ids[found[1]], json.dumps(TABLE["bodies"].get(route.name, {})))
        content = None if route.method in ("GET", "DELETE") else json.loads(body)
        return await self.system.http.request(route.method, f"/api{path}", headers=self.users[user], json=content)


@asynccontextmanager
async def open_stage(servers: Servers, folder: Path) -> AsyncIterator[Stage]:
    limits: Body = {"long_poll_seconds": 0.5, "max_interval": 0.5}
    async with build_system(servers, folder, **limits) as system:
        users_id = {name: await system.create_user(name) for name in ("stranger", "owner", *ROLES)}
        users_id["administrator"] = await system.create_user("administrator", "ROLE_ADMIN", "ROLE_DEVELOPER")
        users = {name: await system.log_in(name) for name in USERS}
        runner = await system.register_runner()
        projects = {
            visibility: await create_project(system, visibility, users_id, runner) for visibility in VISIBILITIES
        }
        projects = {name: await with_queued_builds(system, project) for name, project in projects.items()}
        await wait_for_memberships(system, projects["private"], users)
        yield Stage(system, users, users_id, projects)


async def wait_for_memberships(system: BuildSystem, project: Project, users: Mapping[str, dict[str, str]]) -> None:
    """Wait until the builds service, whose projection follows the projects service, knows the members."""
    path = f"/api/developer/builds/{project.ids['build_id']}"

    async def statuses() -> set[int]:
        return {(await system.http.get(path, headers=users[user])).status_code for user in ("owner", *ROLES)}

    await eventually(statuses, lambda found: found == {200})


async def create_project(
    system: BuildSystem, visibility: str, users_id: Mapping[str, int], runner: FakeRunner
) -> Project:
    project = await system.create_project(
        "owner", alias=visibility, name=f"{visibility} project", visibility=visibility
    )
    for role in ROLES:
        path = f"/api/admin/projects/{project['id']}/members/{users_id[role]}"
        response = await system.http.put(path, json={"member": {"role": role}}, headers=system.admin)
        assert response.status_code == 204, response.text
    receiver = {"kind": "slack", "url": "http://127.0.0.1:1/", "events": ["finished"]}
    path = f"/api/admin/projects/{project['id']}/receivers"
    received = await system.post(path, {"receiver": receiver}, 201)
    job, artifact = await run_build(system, project, runner)
    overview = await system.get(f"/api/developer/builds/{job['job_info']['pipeline_id']}/overview")
    launched = (await system.post(f"/api/developer/builds/{project['id']}")).json()
    await runner.wait_for_job()
    secret = {"name": f"KEY_{visibility}", "value": "hush-hush", "projects_id": [project["id"]]}
    created = await system.post("/api/admin/secrets", {"secret": secret}, 201)
    schedule = {"cron": "@yearly", "variables": [{"name": "SUITE", "value": "all"}]}
    path = f"/api/admin/projects/{project['id']}/schedules"
    scheduled = await system.post(path, {"schedule": schedule}, 201)
    outgoing = await eventually(
        lambda: system.get(f"/api/admin/projects/{project['id']}/outgoing-requests"),
        lambda page: page["outgoing_requests"],
    )
    own_runner = await system.register_runner(f"/project/owner/{visibility}/runners")
    return Project(
        visibility,
        {
            "project_id": str(project["id"]),
            "owner_alias": "owner",
            "project_alias": visibility,
            "build_id": str(job["job_info"]["pipeline_id"]),
            "job_id": str(job["id"]),
            "build_local_id": str(overview["local_id"]),
            "job_local_id": str(overview["jobs"][0]["local_id"]),
            "executor_id": launched["executor_id"],
            "artifact_id": artifact,
            "artifact_uuid": artifact,
            "step": "-1",
            "line_number": "0",
            "secret_id": str(created.json()["id"]),
            "schedule_id": str(scheduled.json()["id"]),
            "receiver_id": str(received.json()["id"]),
            "outgoing_request_id": outgoing["outgoing_requests"][0]["id"],
            "runner_uuid": own_runner.uuid,
            "user_id": str(users_id["administrator"]),  # not a member of the project
            "delivery_id": await deliver_webhook(system, project),
        },
    )


async def deliver_webhook(system: BuildSystem, project: Body) -> str:
    """Deliver a push whose sender is unknown, so that it starts no build. Return the delivery's id."""
    path = f"/api/guest/webhooks/build/{project['id']}"
    headers = gitlab_headers(project["signature_key"])
    response = await system.http.post(path, content=gitlab_push_body("1" * 40, username="stranger"), headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["delivery_id"])


async def with_queued_builds(system: BuildSystem, project: Project) -> Project:
    """Queue a build for each route that kills builds, and one that stays in the queue.

    Return the project with the executor ids of the former, by route.
    """
    ids = dict(project.ids)
    for route in (
        "DELETE /developer/builds/kill/executed/{executor_id}",
        "DELETE /developer/builds/kill/queued/{executor_id}",
    ):
        ids[route] = (await system.post(f"/api/developer/builds/{ids['project_id']}")).json()["executor_id"]
    await system.launch_build({"id": ids["project_id"]})
    return Project(project.visibility, ids)


async def run_build(system: BuildSystem, project: Body, runner: FakeRunner) -> tuple[Body, str]:
    """Run a build whose job writes a log and uploads an artifact. Return the job and the artifact's id."""
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    headers = {"JOB-TOKEN": job["token"], "Content-Range": "0-5"}
    await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", headers=headers, content=b"hello\n")
    upload = {**job_token_header(job), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    response = await system.http.post(artifacts_path(job), headers=upload, content=multipart_body(SMALL))
    assert response.status_code == 201, response.text
    await runner.report(job, "success")
    await system.wait_until_ended(build_id)
    (artifact,) = await system.get(f"/api/developer/jobs/{job['id']}/artifacts")
    return {**job, "job_info": {"pipeline_id": build_id}}, artifact["id"]
