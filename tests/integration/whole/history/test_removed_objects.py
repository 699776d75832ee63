"""Deleted objects leave the event log: their tombstones, their histories, and events of removed runners."""

import json
import time
from datetime import timedelta
from typing import Any

from contracts.runners import DeleteRunner
from gateway.streaming.event_access import EventAudiences
from infra.service_catalog import load_services
from libs.clock import now
from libs.messaging.request_reply import MessageClient
from libs.retention.stream_removal import PURGE_DELAY, StreamRemoval
from libs.service.connections import create_vault
from services.builds.queries.statistics import MonthRow, ProjectMonthRow
from tests.integration.whole.history.history_requests import (
    PRIVATE_KEY,
    create_developer,
    create_project,
    get_history,
    patch_resource,
    register_runner,
)
from tests.support.in_process.running_system import RunningSystem

REMOVAL_DELAY = timedelta(days=7)
DETAIL = "The object was deleted, and its events left the event log."


async def create_objects(system: RunningSystem) -> dict[str, str]:
    """Create and rename a secret, a credential, an executor and a project.

    Return the path of each object's route by the path of its history.
    """
    created: dict[str, Any] = {
        "secret": await system.create("secrets", name="REMOVED", value="hush"),
        "credential": await system.create("credentials", name="removed", ssh_key=PRIVATE_KEY),
        "executor": await system.create("executors", name="removed", driver="localDriver"),
        "project": await create_project(system, name="removed"),
    }
    for kind, values in created.items():
        await patch_resource(system, f"{kind}s/{values['id']}/name", name="RENAMED")
    return {f"{kind}/{values['id']}": f"{kind}s/{values['id']}" for kind, values in created.items()}


async def remove_deleted(system: RunningSystem, delay: timedelta) -> int:
    """Run the removal of all services as of `delay` after now. Return the number of removed streams."""
    removed = 0
    for service in load_services():
        async with system.database(service.name) as database:
            removal = StreamRemoval(service, database, create_vault(database, system.settings))
            removed += await removal.run(now() + delay, REMOVAL_DELAY)
    return removed


async def count_commits(system: RunningSystem, path: str) -> int:
    async with system.database("runners" if path.startswith("runner/") else "projects") as database:
        return await database["commits"].count_documents({"stream": path.replace("/", "-", 1)})


async def get_status_and_detail(system: RunningSystem, path: str) -> tuple[int, str, str]:
    response = await system.http.get(f"/api/admin/history/{path}", headers=system.admin)
    return response.status_code, response.json()["message"], response.json()["detail"]


async def find_audience(system: RunningSystem, runner_uuid: str) -> object:
    """Return who gets an event of a runner from a gateway that has not seen its registration."""
    async with system.stage.connected() as bus:
        audiences = EventAudiences(MessageClient(bus), time.monotonic)
        return await audiences.find("runners", json.dumps({"runner_uuid": runner_uuid}))


async def test_deleted_objects_leave_the_log_after_the_grace_time(system: RunningSystem) -> None:
    paths = await create_objects(system)
    for path in paths.values():
        assert (await system.http.delete(f"/api/admin/{path}", headers=system.admin)).status_code == 204
    before = [len((await get_history(system, path))["entries"]) for path in paths]
    await remove_deleted(system, REMOVAL_DELAY - timedelta(minutes=1))
    assert [await count_commits(system, path) for path in paths] == before
    assert await remove_deleted(system, REMOVAL_DELAY + timedelta(minutes=1)) >= len(paths)
    await remove_deleted(system, REMOVAL_DELAY + PURGE_DELAY + timedelta(minutes=2))
    assert [await count_commits(system, path) for path in paths] == [1, 1, 1, 1]
    for path in paths:
        assert await get_status_and_detail(system, path) == (404, "HISTORY_NOT_FOUND", DETAIL)
        assert await get_status_and_detail(system, f"{path}?version=1") == (404, "HISTORY_NOT_FOUND", DETAIL)


async def test_only_administrators_get_events_of_a_runner_that_left_the_log(system: RunningSystem) -> None:
    uuid = (await register_runner(system)).uuid
    async with system.stage.connected() as bus:
        await MessageClient(bus).send(DeleteRunner(runner_uuid=uuid))
    assert await find_audience(system, uuid) == "everyone"
    await remove_deleted(system, REMOVAL_DELAY + timedelta(minutes=1))
    assert await find_audience(system, uuid) == "administrators"
    assert await get_status_and_detail(system, f"runner/{uuid}") == (404, "HISTORY_NOT_FOUND", DETAIL)


async def test_durations_of_a_project_that_left_the_log_are_shown_to_administrators_only(system: RunningSystem) -> None:
    _, developer = await create_developer(system, "counter")
    month = {"date": "2001-2", "months": 24014, "duration": 60, "milliseconds": 60_000}
    async with system.database("builds") as database:
        await database["view_durations_v2"].insert_one({"_id": "2001-2", "row": MonthRow(**month).model_dump()})
        row = ProjectMonthRow(**month, project_id=4711)
        await database["view_project_durations_v1"].insert_one({"_id": "4711/2001-2", "row": row.model_dump()})
    path = "/api/developer/statistics/sum/duration"
    found = {
        user: "2001-2" in (await system.http.get(path, headers=headers)).text
        for user, headers in {"developer": developer, "admin": system.admin}.items()
    }
    assert found == {"developer": False, "admin": True}
