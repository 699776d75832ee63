"""The states of a build arrive at the forge that its project names, with the token from a secret of the project."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from infra.demo.git_server import GitServer
from tests.support.external.forge_server import TOKEN, forge_server
from tests.support.external.repositories import run_git
from tests.support.in_process.build_system import BuildSystem
from tests.support.stacks.running_stack import HEADRACE_COMMAND
from tests.support.waiting import eventually


async def test_the_states_of_a_build_appear_at_its_commit(system: BuildSystem, tmp_path: Path) -> None:
    run_git(tmp_path, "clone", "--quiet", "--bare", str(system.repository), str(tmp_path / "acme" / "shop.git"))
    sha = run_git(system.repository, "rev-parse", "HEAD").strip()
    git_server = GitServer(tmp_path)
    with git_server.run_in_thread(), forge_server("gitlab") as forge:
        url = f"http://127.0.0.1:{git_server.server_port}/acme/shop.git"
        project = await system.create_project(repository=url, alias="reported")
        secret = {"name": "FORGE_TOKEN", "value": TOKEN, "projects_id": [project["id"]]}
        await system.post("/api/admin/secrets", {"secret": secret}, 201)
        body = {"forge": {"kind": "gitlab", "api_url": forge.api_url, "secret": "FORGE_TOKEN"}}
        path = f"/api/admin/projects/{project['id']}"
        changed = await system.http.put(f"{path}/forge", json=body, headers=system.admin)
        assert changed.json()["forge_secret"] == "FORGE_TOKEN"
        runner = await system.register_runner(f"/project/{project['owner_alias']}/reported/runners")
        build_id = await system.launch_build(project)
        await eventually(lambda: forge.states == ["pending"])
        job = await runner.wait_for_job()
        await eventually(lambda: forge.states == ["pending", "running"])
        await runner.report(job, "failed")
        await eventually(lambda: forge.states == ["pending", "running", "failed"])

        async def list_requests() -> Any:
            return (await system.get(f"{path}/outgoing-requests"))["outgoing_requests"]

        # the responses of the forge are recorded after it has received the requests
        listed = await eventually(list_requests, lambda found: all(request["ended_at"] for request in found))
        printed = await run_client(system, "projects", "statuses", str(project["id"]), "--limit", "2", "--json")
    assert {(status["sha"], status["name"]) for status in forge.statuses} == {(sha, "headrace/reported")}
    assert [request["state"] for request in listed] == ["failure", "running", "pending"]
    assert {request["build_id"] for request in listed} == {build_id}
    assert json.loads(printed) == listed[:2]


async def run_client(system: BuildSystem, *arguments: str) -> bytes:
    token = system.admin["Authorization"].partition(" ")[2]
    environ = os.environ | {"HEADRACE_URL": str(system.http.base_url), "HEADRACE_TOKEN": token}
    command = await asyncio.create_subprocess_exec(*HEADRACE_COMMAND, *arguments, env=environ, stdout=PIPE, stderr=PIPE)
    out, errors = await command.communicate()
    assert command.returncode == 0, errors.decode()
    return out
