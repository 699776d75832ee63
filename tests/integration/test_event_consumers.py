"""Programs of others: the examples in docs/examples follow a real stack's events and draw its fleet from them alone."""

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

from infra.docs import ROOT
from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support import eventually

EXAMPLES = ROOT / "docs" / "examples"
TIMES = ("registered_at", "queued_at", "assigned_at", "started_at", "finished_at")
PACKAGES = ("package.json", "package-lock.json", ".npmrc")


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    """Whoever is silent for three seconds is offline."""
    more = {"long_poll_seconds": 0.5, "runner_offline_seconds": 3.0}
    async with whole_stage(tmp_path_factory.mktemp("whole"), **more) as whole:
        yield whole


@pytest.fixture(scope="module")
async def packages() -> Path:
    """The packages that the example for Node locks; kept from run to run."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the example for Node is not run")
    locked = hashlib.sha256(b"".join((EXAMPLES / name).read_bytes() for name in PACKAGES)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"headrace-examples-{locked}"
    if not (folder / "node_modules" / ".package-lock.json").exists():
        folder.mkdir(exist_ok=True)
        for name in PACKAGES:
            shutil.copy(EXAMPLES / name, folder)
        npm = await asyncio.create_subprocess_exec("npm", "ci", cwd=folder, stdout=asyncio.subprocess.DEVNULL)
        assert await npm.wait() == 0
    shutil.copy(EXAMPLES / "follow.mjs", folder)
    return folder / "follow.mjs"


@asynccontextmanager
async def following(here: Whole, *command: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "HEADRACE_NATS_URL": here.events_url}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def told(lines: asyncio.StreamReader) -> tuple[int, str, Body]:
    sequence, subject, event = (await asyncio.wait_for(lines.readline(), 20)).decode().split(" ", 2)
    return int(sequence), subject.rpartition(".")[2], json.loads(event)


async def until(lines: asyncio.StreamReader, name: str, build_id: int) -> tuple[int, list[str]]:
    """Up to this event of the build: its sequence, and the names of all that came."""
    names = []
    while True:
        sequence, found, event = await told(lines)
        names.append(found)
        if found == name and event["build_id"] == build_id:
            return sequence, names


async def replays_then_lives_then_resumes(here: Whole, *command: str) -> None:
    project = await here.project()
    runner = await here.runner()
    first = await here.launched(project)
    await runner.report(await runner.job(), "success")
    await here.ended(first)
    async with following(here, *command) as lines:
        _, replayed = await until(lines, "BuildFinished", first)
        second = await here.launched(project)
        sequence, _ = await until(lines, "BuildQueued", second)
    await runner.report(await runner.job(), "success")
    async with following(here, *command, str(sequence)) as lines:
        after = (await told(lines))[0]
        _, resumed = await until(lines, "BuildFinished", second)
    assert ("BuildQueued" in replayed, after, "BuildQueued" in resumed) == (True, sequence + 1, False)


async def test_ten_lines_of_python_replay_follow_and_resume(here: Whole) -> None:
    await replays_then_lives_then_resumes(here, sys.executable, str(EXAMPLES / "follow.py"))


async def test_ten_lines_for_node_replay_follow_and_resume(here: Whole, packages: Path) -> None:
    await replays_then_lives_then_resumes(here, "node", str(packages))


# ---- the fleet


@pytest.fixture(scope="module")
def example() -> ModuleType:
    specification = spec_from_file_location("fleet", EXAMPLES / "fleet.py")
    assert specification
    assert specification.loader
    sys.modules["fleet"] = module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


async def state(here: Whole, kind: str, id_: object) -> Any:
    """What the API says of one thing; None when it is deleted."""
    return (await here.get(f"/api/admin/history/{kind}/{id_}?at=2999-01-01T00:00:00Z"))["state"]


async def eventful(here: Whole) -> list[RunnerAtWork]:
    """Everything that can happen to runners and jobs happens."""
    project = await here.project(name="Wheel")
    tag: Body = {"tag_list": "fleet", "run_untagged": False}
    company = await here.company(alias="fleet-owners")
    owned = await here.project("fleet-owners", alias="brook")
    runners = [
        await here.runner(name="plain", **tag),
        await here.runner(f"/company/{company['alias']}/runners", name="companys", **tag),
        await here.runner(f"/project/fleet-owners/{owned['alias']}/runners", name="projects", **tag),
        await here.runner(name="deleted", **tag),
        await here.runner(name="shut down", **tag),
    ]
    worker = await here.runner(name="worker")
    edit = {"name": "edited", "tags": ["fleet", "more"], "maxTimeoutInSec": 90, "isProtected": True}
    await here.post(f"/api/admin/runners/{runners[0].uuid}/edit", edit)
    await here.post(f"/api/admin/runners/{runners[1].uuid}/edit", {"isActive": False})
    await here.http.delete(f"/api/admin/runners/{runners[3].uuid}", headers=here.admin)
    await here.post(f"/api/admin/runners/{runners[4].uuid}/shutdown")
    info = {"version": "17.1", "platform": "linux", "architecture": "arm64", "executor": "docker", "name": "theirs"}
    await here.http.post("/api/v4/jobs/request", json={"token": runners[2].token, "info": info})
    await jobs(here, project, worker)
    return [*runners, worker]


async def jobs(here: Whole, project: Body, worker: RunnerAtWork) -> None:
    for state_, more in (("success", {}), ("failed", {"exit_code": 3, "failure_reason": "script_failure"})):
        await here.launched(project)
        job = await worker.job()
        report = {"token": job["token"], "state": state_, **more}
        await here.http.put(f"/api/v4/jobs/{job['id']}", json=report)
    await here.launched(project)
    job = await worker.job()
    lost = {"token": job["token"], "state": "failed", "failure_reason": "runner_system_failure"}
    await here.http.put(f"/api/v4/jobs/{job['id']}", json=lost)  # and so it waits for another try
    again = await worker.job()
    await worker.report(again, "success")
    forgotten = await here.launched(project)
    await worker.report(await worker.job(), "success")
    await here.ended(forgotten)
    await here.http.delete(f"/api/admin/builds/{forgotten}", headers=here.admin)
    killed = (await here.build(await here.launched(project)))["executor_id"]
    await worker.job()
    await here.http.delete(f"/api/developer/builds/kill/executed/{killed}", headers=here.admin)
    await here.launched(project)
    await worker.report(await worker.job(), "running")
    priority = f"/api/admin/builds/{await here.launched(project)}/priority"
    await here.http.patch(priority, headers=here.admin, json={"build": {"priority": 9}})


def of(drawn: Body, said: Body) -> Body:
    """As much of what the API says as was drawn; times are written in two ways."""
    return {
        name: said[name] if value == said[name] or name not in TIMES else moment(said[name])
        for name, value in drawn.items()
    }


def moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


async def of_the_api(here: Whole, drawn: Any) -> tuple[Body, Body]:
    """The same runners and jobs as drawn, if there are no others, and of each as much as was drawn."""
    listed = (await here.get("/api/admin/runners/all/jobs", params={"size": 1000}))["page"]["totalElements"]
    runners = (await here.get("/api/admin/runners", params={"size": 1000}))["_embedded"]["restPipelineRunnerModelList"]
    assert {one["id"] for one in runners} == drawn.runners.keys()
    assert listed == len(drawn.jobs)
    said_of_jobs = {id_: await state(here, "job", id_) for id_ in drawn.jobs}
    return (
        {uuid: of(drawn.runners[uuid], await state(here, "runner", uuid)) for uuid in drawn.runners},
        {
            id_: of(drawn.jobs[id_], said | {"project_name": said["project"]["name"]})
            for id_, said in said_of_jobs.items()
        },
    )


async def test_the_fleet_drawn_from_events_is_the_fleet_of_the_api(
    here: Whole, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners = await eventful(here)
    monkeypatch.setenv("HEADRACE_NATS_URL", here.events_url)
    fleet = example.Fleet()
    following = [asyncio.create_task(example.follow(fleet, stream)) for stream in ("runners", "builds")]
    await eventually(lambda: bool(moved_up(fleet)) and not online(fleet), within=40)
    assert await of_the_api(here, fleet) == (fleet.runners, fleet.jobs)
    assert fleet.runners[runners[2].uuid]["info"]["version"] == "17.1"
    assert sorted(job["status"] for job in fleet.jobs.values())[:2] == ["CANCELED", "FAILED"]
    assert "worker               offline" in fleet.picture()
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


def moved_up(fleet: Any) -> list[int]:
    """The last that happens on purpose."""
    return [id_ for id_, job in fleet.jobs.items() if job["priority"] == 9]


def online(fleet: Any) -> list[str]:
    """The last that happens by itself: everybody is silent."""
    return [one["name"] for one in fleet.runners.values() if one["online"]]
