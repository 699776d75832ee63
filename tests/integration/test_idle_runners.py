"""What runners cost that wait for work: nothing but the note that they were seen."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from libs.connections import mongo
from libs.settings import Settings
from tests.integration.whole_stage import Whole, whole_stage

RUNNERS = 20
WRITES = ["insert", "update", "remove"]


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


async def written(settings: Settings, *, profiled: bool) -> "Counter[str]":
    """Switch the profile of the stage's databases on or off; answers what was written, by collection."""
    writes: Counter[str] = Counter()
    async with mongo(settings, "test") as client:
        for name in await client.list_database_names():
            if name.startswith(settings.database_prefix):
                await client[name].command("profile", 2 if profiled else 0)
                found = await client[name]["system.profile"].find({"op": {"$in": WRITES}}).to_list()
                writes += Counter(one["ns"].removeprefix(f"{name}.") for one in found)
    return writes


async def test_idle_runners_write_nothing_but_that_they_were_seen(here: Whole) -> None:
    runners = [await here.runner() for _ in range(RUNNERS)]
    for _ in range(3):  # what their registration left to do is done meanwhile
        await asyncio.gather(*(one.ask() for one in runners))
    await written(here.settings, profiled=True)
    answers = [await asyncio.gather(*(one.ask() for one in runners)) for _ in range(3)]
    writes = await written(here.settings, profiled=False)
    assert {one.status_code for round_ in answers for one in round_} == {204}
    # and that the processes are alive, and when the leader looked for silent runners: however many runners there are
    assert writes.keys() <= {"presence", "presence_looks", "replicas"}
    assert writes["presence"] <= 3 * RUNNERS
    assert writes["presence_looks"] + writes["replicas"] < RUNNERS
