"""The state of the running system: each process reports itself, and leaders also report their streams and the queue."""

import asyncio

from contracts.history import EVENT_SERVICES
from contracts.process_status import GATEWAY
from libs.version import VERSION
from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.waiting import eventually


async def read_system(system: BuildSystem) -> Body:
    response = await system.http.get("/api/admin/system", headers=system.admin)
    assert response.status_code == 200, response.text
    body: Body = response.json()
    return body


async def test_every_process_is_listed_with_its_state(system: BuildSystem) -> None:
    def is_complete(state: Body) -> bool:
        """Return whether every service has a leader, and every process has answered in time, and that it is ready."""
        return (
            [stream["name"] for stream in state["streams"]] == sorted(EVENT_SERVICES)
            and {process["service"] for process in state["processes"]} == {*EVENT_SERVICES, GATEWAY}
            and all(process["ready"] and process["reasons"] == [] for process in state["processes"])
        )

    state = await eventually(lambda: read_system(system), is_complete)
    processes = state["processes"]
    assert all(process["version"] == VERSION and process["rss_bytes"] > 2**20 for process in processes)
    assert {process["service"] for process in processes if process["leading"]} == {*EVENT_SERVICES}
    builds = next(process for process in processes if process["service"] == "builds" and process["leading"])
    assert builds["lags"]
    stream = next(stream for stream in state["streams"] if stream["name"] == "builds")
    assert "builds-planner" in [consumer["name"] for consumer in stream["consumers"]]
    assert state["gateway"]["event_readers"] == 0


async def test_the_queue_is_that_of_the_leader_of_builds(system: BuildSystem) -> None:
    project = await system.create_project()
    await system.launch_build(project)

    async def job_waits() -> bool:
        queue = (await read_system(system))["queue"]
        return bool(queue["builds"] and queue["jobs"] and queue["oldest_seconds"])

    await eventually(job_waits)


async def test_concurrent_requests_share_the_answers(system: BuildSystem) -> None:
    async def read_times() -> set[str]:
        return {answer["at"] for answer in await asyncio.gather(read_system(system), read_system(system))}

    # on a busy machine the second request may arrive when the first answer is already too old
    await eventually(read_times, lambda times: len(times) == 1)
