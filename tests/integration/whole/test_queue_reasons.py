"""The reason that the API shows for a queued build changes as runners appear, work and disappear."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.in_process.build_system import BuildSystem, FakeRunner, build_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    async with build_system(servers, tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


async def wait_for_reason(system: BuildSystem, build_id: int, wanted: str) -> None:
    async def is_shown() -> bool:
        return wanted in [
            build["reason"]
            for build in await system.get("/api/developer/builds/queueds")
            if build["build_id"] == build_id
        ]

    await eventually(is_shown)


async def edit_runner(system: BuildSystem, runner: FakeRunner, **settings: Any) -> None:
    await system.post(f"/admin/runners/{runner.uuid}/edit", settings)


async def test_the_queue_explains_why_each_build_waits(system: BuildSystem) -> None:
    project = await system.create_project(allow_concurrent_execution=False)
    first, second = await system.launch_build(project), await system.launch_build(project)
    await wait_for_reason(system, first, "Waits for a runner: none is registered.")
    await wait_for_reason(
        system, second, f"Waits until build {first} is finished: the project does not allow concurrent builds."
    )

    other = await system.create_project()
    stranger = await system.register_runner(f"/project/root/{other['alias']}/runners", name="stranger")
    await wait_for_reason(system, first, "Waits for a runner: all runners belong to other projects or companies.")
    runner = await system.register_runner(name="miller", tag_list="linux", run_untagged=False)
    await wait_for_reason(system, first, "Waits for a runner: it has no tags, and miller may only take jobs with tags.")
    await edit_runner(system, runner, runUntagged=True, isActive=False)
    await wait_for_reason(system, first, "Waits for a runner: those that fit are paused: miller.")
    await edit_runner(system, runner, isActive=True)
    await wait_for_reason(system, first, "Waits for a runner: those that fit are offline: miller.")

    assert (await system.http.post("/api/v4/jobs/request", json={"token": runner.token})).status_code == 201
    waiting = await system.launch_build(await system.create_project())
    await wait_for_reason(system, waiting, "Waits for a free runner: all that fit are busy (miller).")
    await system.http.post("/api/v4/runners/verify", json={"token": stranger.token})
    await wait_for_reason(system, await system.launch_build(other), "Waits until a runner requests a job: stranger.")
    priority = {"build": {"priority": 5}}
    await system.http.patch(f"/api/admin/builds/{waiting}/priority", headers=system.admin, json=priority)
    last = await system.launch_build(await system.create_project())
    await wait_for_reason(system, last, "Waits for a free runner: jobs of a higher priority come first (miller).")
