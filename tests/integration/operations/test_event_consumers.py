"""The event consumers in docs/examples read real events. The fleet example rebuilds the current state from them."""

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infra.docgen.generator import ROOT
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner, build_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

EXAMPLES = ROOT / "docs" / "examples"
TIME_FIELDS = ("registered_at", "queued_at", "assigned_at", "started_at", "finished_at")
PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")


@pytest.fixture(scope="module")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    """Run all services and a gateway. A runner counts as offline after three seconds without requests."""
    more = {"long_poll_seconds": 0.5, "runner_offline_seconds": 3.0}
    async with build_system(servers, tmp_path_factory.mktemp("whole"), **more) as whole:
        yield whole


@pytest.fixture(scope="module")
async def packages() -> Path:
    """Install the Node example's packages, once per version of the lock file. Return the example's path.

    Skips the tests without Node.js.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the example for Node is not run")
    locked = hashlib.sha256(b"".join((EXAMPLES / name).read_bytes() for name in PACKAGE_FILES)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"headrace-examples-{locked}"
    if not (folder / "node_modules" / ".package-lock.json").exists():
        folder.mkdir(exist_ok=True)
        for name in PACKAGE_FILES:
            shutil.copy(EXAMPLES / name, folder)
        npm = await asyncio.create_subprocess_exec("npm", "ci", cwd=folder, stdout=asyncio.subprocess.DEVNULL)
        assert await npm.wait() == 0
    shutil.copy(EXAMPLES / "follow.mjs", folder)
    return folder / "follow.mjs"


@asynccontextmanager
async def run_example(system: BuildSystem, *command: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "HEADRACE_NATS_URL": system.events_url}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def read_event(lines: asyncio.StreamReader) -> tuple[int, str, Body]:
    sequence, subject, event = (await asyncio.wait_for(lines.readline(), 20)).decode().split(" ", 2)
    return int(sequence), subject.rpartition(".")[2], json.loads(event)


async def read_until(lines: asyncio.StreamReader, name: str, build_id: int) -> tuple[int, list[str]]:
    """Read events up to `name` of the build. Return its sequence number and the names of all events read."""
    names = []
    while True:
        sequence, found, event = await read_event(lines)
        names.append(found)
        if found == name and event["build_id"] == build_id:
            return sequence, names


async def check_replay_follow_and_resume(system: BuildSystem, *command: str) -> None:
    project = await system.create_project()
    runner = await system.register_runner()
    first = await system.launch_build(project)
    await runner.report(await runner.wait_for_job(), "success")
    await system.wait_until_ended(first)
    async with run_example(system, *command) as lines:
        _, replayed = await read_until(lines, "BuildFinished", first)
        second = await system.launch_build(project)
        sequence, _ = await read_until(lines, "BuildQueued", second)
    await runner.report(await runner.wait_for_job(), "success")
    async with run_example(system, *command, str(sequence)) as lines:
        after = (await read_event(lines))[0]
        _, resumed = await read_until(lines, "BuildFinished", second)
    assert ("BuildQueued" in replayed, after, "BuildQueued" in resumed) == (True, sequence + 1, False)


async def test_the_python_example_replays_follows_and_resumes_events(system: BuildSystem) -> None:
    await check_replay_follow_and_resume(system, sys.executable, str(EXAMPLES / "follow.py"))


async def test_the_node_example_replays_follows_and_resumes_events(system: BuildSystem, packages: Path) -> None:
    await check_replay_follow_and_resume(system, "node", str(packages))


@pytest.fixture(scope="module")
def example() -> ModuleType:
    specification = spec_from_file_location("fleet", EXAMPLES / "fleet.py")
    assert specification
    assert specification.loader
    sys.modules["fleet"] = module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


async def get_state(system: BuildSystem, kind: str, id_: object) -> Any:
    return (await system.get(f"/api/admin/history/{kind}/{id_}?at=2999-01-01T00:00:00Z"))["state"]


async def create_history(system: BuildSystem) -> list[FakeRunner]:
    """Cause events of many types for runners and jobs. Return the runners."""
    project = await system.create_project(name="Wheel")
    tag: Body = {"tag_list": "fleet", "run_untagged": False}
    company = await system.create_company(alias="fleet-owners")
    owned = await system.create_project("fleet-owners", alias="brook")
    runners = [
        await system.register_runner(name="plain", **tag),
        await system.register_runner(f"/company/{company['alias']}/runners", name="companys", **tag),
        await system.register_runner(f"/project/fleet-owners/{owned['alias']}/runners", name="projects", **tag),
        await system.register_runner(name="deleted", **tag),
        await system.register_runner(name="shut down", **tag),
    ]
    worker = await system.register_runner(name="worker")
    edit = {"name": "edited", "tags": ["fleet", "more"], "maxTimeoutInSec": 90, "isProtected": True}
    await system.post(f"/api/admin/runners/{runners[0].uuid}/edit", edit)
    await system.post(f"/api/admin/runners/{runners[1].uuid}/edit", {"isActive": False})
    await system.http.delete(f"/api/admin/runners/{runners[3].uuid}", headers=system.admin)
    await system.post(f"/api/admin/runners/{runners[4].uuid}/shutdown")
    info = {"version": "17.1", "platform": "linux", "architecture": "arm64", "executor": "docker", "name": "theirs"}
    await system.http.post("/api/v4/jobs/request", json={"token": runners[2].token, "info": info})
    await run_jobs(system, project, worker)
    return [*runners, worker]


async def run_jobs(system: BuildSystem, project: Body, worker: FakeRunner) -> None:
    for state_, more in (("success", {}), ("failed", {"exit_code": 3, "failure_reason": "script_failure"})):
        await system.launch_build(project)
        job = await worker.wait_for_job()
        report = {"token": job["token"], "state": state_, **more}
        await system.http.put(f"/api/v4/jobs/{job['id']}", json=report)
    await system.launch_build(project)
    job = await worker.wait_for_job()
    lost = {"token": job["token"], "state": "failed", "failure_reason": "runner_system_failure"}
    await system.http.put(f"/api/v4/jobs/{job['id']}", json=lost)  # a failure after which the job is retried
    again = await worker.wait_for_job()
    await worker.report(again, "success")
    forgotten = await system.launch_build(project)
    await worker.report(await worker.wait_for_job(), "success")
    await system.wait_until_ended(forgotten)
    await system.http.delete(f"/api/admin/builds/{forgotten}", headers=system.admin)
    killed = (await system.get_build(await system.launch_build(project)))["executor_id"]
    await worker.wait_for_job()
    await system.http.delete(f"/api/developer/builds/kill/executed/{killed}", headers=system.admin)
    await system.launch_build(project)
    await worker.report(await worker.wait_for_job(), "running")
    priority = f"/api/admin/builds/{await system.launch_build(project)}/priority"
    await system.http.patch(priority, headers=system.admin, json={"build": {"priority": 9}})


def select_common_fields(known: Body, shown: Body) -> Body:
    """Return the API's values of the fields that the example knows, with times in the example's format."""
    return {
        name: shown[name] if value == shown[name] or name not in TIME_FIELDS else format_time(shown[name])
        for name, value in known.items()
    }


def format_time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


async def read_fleet_from_api(system: BuildSystem, known: Any) -> tuple[Body, Body]:
    """Return the API's runners by uuid and jobs by id, with only the fields that the example knows."""
    listed = (await system.get("/api/admin/runners/all/jobs", params={"size": 1000}))["page"]["totalElements"]
    runners = (await system.get("/api/admin/runners", params={"size": 1000}))["_embedded"][
        "restPipelineRunnerModelList"
    ]
    assert {runner["id"] for runner in runners} == known.runners.keys()
    assert listed == len(known.jobs)
    job_states = {id_: await get_state(system, "job", id_) for id_ in known.jobs}
    return (
        {
            uuid: select_common_fields(known.runners[uuid], await get_state(system, "runner", uuid))
            for uuid in known.runners
        },
        {
            id_: select_common_fields(known.jobs[id_], job | {"project_name": job["project"]["name"]})
            for id_, job in job_states.items()
        },
    )


async def test_the_fleet_built_from_events_equals_the_fleet_of_the_api(
    system: BuildSystem, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners = await create_history(system)
    monkeypatch.setenv("HEADRACE_NATS_URL", system.events_url)
    fleet = example.Fleet()
    following = [asyncio.create_task(example.follow(fleet, stream)) for stream in ("runners", "builds")]
    await eventually(lambda: bool(prioritized_job_ids(fleet)) and not online_runner_names(fleet), within=40)
    assert await read_fleet_from_api(system, fleet) == (fleet.runners, fleet.jobs)
    assert fleet.runners[runners[2].uuid]["info"]["version"] == "17.1"
    assert sorted(job["status"] for job in fleet.jobs.values())[:2] == ["CANCELED", "FAILED"]
    assert "worker               offline" in fleet.picture()
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


def prioritized_job_ids(fleet: Any) -> list[int]:
    """Return the ids of jobs with priority 9. The test sets that priority as its last change."""
    return [id_ for id_, job in fleet.jobs.items() if job["priority"] == 9]


def online_runner_names(fleet: Any) -> list[str]:
    return [runner["name"] for runner in fleet.runners.values() if runner["online"]]
