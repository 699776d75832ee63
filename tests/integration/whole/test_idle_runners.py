"""Idle runners cause no database writes except for their heartbeats."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from libs.service.connections import create_mongo_client
from libs.settings import Settings
from tests.support.in_process.build_system import BuildSystem, build_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

RUNNER_COUNT = 20
WRITE_OPERATIONS = ["insert", "update", "remove"]


@pytest.fixture(scope="module")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    async with build_system(servers, tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


async def switch_profiling(settings: Settings, *, profiled: bool) -> "Counter[str]":
    """Switch the MongoDB profiler on, or off. Return the number of writes by collection while it was on."""
    writes: Counter[str] = Counter()
    async with create_mongo_client(settings, "test") as client:
        for name in await client.list_database_names():
            if name.startswith(settings.database_prefix):
                await client[name].command("profile", 0)
                found = await client[name]["system.profile"].find({"op": {"$in": WRITE_OPERATIONS}}).to_list()
                await client[name].drop_collection("system.profile")
                await client[name].command("profile", 2 if profiled else 0)
                writes += Counter(entry["ns"].removeprefix(f"{name}.") for entry in found)
    return writes


async def test_idle_runners_cause_only_heartbeat_writes(system: BuildSystem) -> None:
    runners = [await system.register_runner() for _ in range(RUNNER_COUNT)]

    async def request_jobs() -> "tuple[set[int], Counter[str]]":
        """Let each runner request a job three times. Return the statuses, and the writes in this time."""
        await switch_profiling(system.settings, profiled=True)
        answers = [await asyncio.gather(*(runner.request_job() for runner in runners)) for _ in range(3)]
        writes = await switch_profiling(system.settings, profiled=False)
        return {response.status_code for round_ in answers for response in round_}, writes

    def are_idle(found: "tuple[set[int], Counter[str]]") -> bool:
        statuses, writes = found
        # replica heartbeats and leader scans do not depend on the number of runners
        return (
            statuses == {204}
            and writes.keys() <= {"presence", "presence_looks", "replicas"}
            and writes["presence"] <= 3 * RUNNER_COUNT
            and writes["presence_looks"] + writes["replicas"] < RUNNER_COUNT
        )

    # repeated: first, the registrations cause writes; later, a rare periodic task may run at the time
    await eventually(request_jobs, are_idle)
