"""Why a build waits, as the queue tells over HTTP, while runners come, work and go."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.whole_stage import RunnerAtWork, Whole, whole_stage
from tests.support import eventually


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


async def says(here: Whole, build_id: int, wanted: str) -> None:
    """In the end: the queue hears of runners a moment later."""

    async def said() -> bool:
        return wanted in [
            one["reason"] for one in await here.get("/api/developer/builds/queueds") if one["build_id"] == build_id
        ]

    await eventually(said)


async def edit(here: Whole, runner: RunnerAtWork, **settings: Any) -> None:
    await here.post(f"/admin/runners/{runner.uuid}/edit", settings)


async def test_the_queue_says_in_words_why_a_build_waits(here: Whole) -> None:
    project = await here.project(allow_concurrent_execution=False)
    first, second = await here.launched(project), await here.launched(project)
    await says(here, first, "Waits for a runner: none is registered.")
    await says(here, second, f"Waits until build {first} is over: the project's builds run one after the other.")

    other = await here.project()
    stranger = await here.runner(f"/project/root/{other['alias']}/runners", name="stranger")
    await says(here, first, "Waits for a runner: all runners belong to other projects or companies.")
    runner = await here.runner(name="miller", tag_list="linux", run_untagged=False)
    await says(here, first, "Waits for a runner: it has no tags, and miller may only take jobs with tags.")
    await edit(here, runner, runUntagged=True, isActive=False)
    await says(here, first, "Waits for a runner: those that fit are switched off: miller.")
    await edit(here, runner, isActive=True)
    await says(here, first, "Waits for a runner: those that fit are offline: miller.")

    assert (await here.http.post("/api/v4/jobs/request", json={"token": runner.token})).status_code == 201
    waiting = await here.launched(await here.project())
    await says(here, waiting, "Waits for a free runner: all that fit are busy (miller).")
    await here.http.post("/api/v4/runners/verify", json={"token": stranger.token})
    await says(here, await here.launched(other), "Waits until a runner asks for work: stranger.")
    priority = {"build": {"priority": 5}}
    await here.http.patch(f"/api/admin/builds/{waiting}/priority", headers=here.admin, json=priority)
    last = await here.launched(await here.project())
    await says(here, last, "Waits for a free runner: jobs of a higher priority come first (miller).")
