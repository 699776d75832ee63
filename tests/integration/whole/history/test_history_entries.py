"""The history of objects: entries, actors, traces and pages."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.builds import LaunchedProject, PlannedJob
from contracts.history import GetState, StreamState, aggregate_types
from libs.messaging.request_reply import MessageClient
from services.builds.domain.internal_commands import QueueJob
from services.notifications.domain.internal_commands import RequestNotification
from tests.integration.whole.history.history_requests import (
    PRIVATE_KEY,
    create_developer,
    create_project,
    event_names,
    get_history,
    patch_resource,
    register_runner,
)
from tests.support.in_process.internal_commands import issue_command
from tests.support.in_process.running_system import RunningSystem
from tests.support.waiting import eventually


async def test_events_recorded_with_a_clock_ahead_are_in_the_current_state(system: RunningSystem) -> None:
    created = await create_project(system, name="ahead")
    async with system.database("projects") as database:
        later = datetime.now(UTC) + timedelta(seconds=90)
        await database["commits"].update_many({"stream": f"project-{created['id']}"}, {"$set": {"at": later}})
    async with system.stage.connected() as bus:
        found = await MessageClient(bus).query(GetState(kind="project", id=str(created["id"])))
    state = StreamState.model_validate_json(found)
    assert state.state is not None
    assert (state.state["name"], state.at >= state.changed_at) == ("ahead", True)


async def test_a_history_lists_every_change_with_actor_and_time_in_order(system: RunningSystem) -> None:
    executor = await system.create("executors", name="one", driver="localDriver")
    await patch_resource(system, f"executors/{executor['id']}/name", name="two")
    found = await get_history(system, f"executor/{executor['id']}")
    assert (found["kind"], found["id"], found["version"], found["next"]) == ("executor", str(executor["id"]), 2, None)
    assert [(entry["version"], entry["command"], event_names(entry)) for entry in found["entries"]] == [
        (1, "CreateExecutor", ["ExecutorCreated"]),
        (2, "RenameExecutor", ["ExecutorRenamed"]),
    ]
    assert [entry["actor"] for entry in found["entries"]] == [{"id": 1, "name": "admin"}] * 2
    first, second = (datetime.fromisoformat(entry["at"]) for entry in found["entries"])
    assert first <= second
    assert found["entries"][1]["events"][0]["data"] == {"executor_id": executor["id"], "name": "two"}


async def test_a_history_entry_has_the_trace_id_of_the_response(system: RunningSystem) -> None:
    body = {"executor": {"name": "traced", "driver": "localDriver"}}
    response = await system.http.post("/api/admin/executors", json=body, headers=system.admin)
    found = await get_history(system, f"executor/{response.json()['id']}")
    assert found["entries"][0]["trace_id"] == response.headers["X-Trace-Id"]


async def test_follow_up_events_of_a_launch_have_its_actor_and_trace_id(system: RunningSystem) -> None:
    boris, token = await create_developer(system, "boris")
    created = await create_project(
        system, repository="/nowhere/at/all", allow_concurrent_execution=False, developers_id=[boris["id"]]
    )
    launch = await system.http.post(f"/api/developer/builds/{created['id']}", json={}, headers=token)

    async def list_slot_entries() -> Any:
        return (await get_history(system, f"lane/{created['id']}"))["entries"]

    async def is_released() -> bool:  # before planning, the history is missing (404)
        path = f"/api/admin/history/lane/{created['id']}"
        return "LaneReleased" in (await system.http.get(path, headers=system.admin)).text

    await eventually(is_released)
    entries = [
        *await list_slot_entries(),
        *(await get_history(system, f"build/{launch.json()['build_id']}"))["entries"],
    ]
    assert {"LaneGranted", "LaneReleased", "BuildQueued", "BuildFinished"} <= {
        name for entry in entries for name in event_names(entry)
    }
    assert {entry["actor"]["name"] for entry in entries} == {"boris"}
    assert {entry["trace_id"] for entry in entries} == {launch.headers["X-Trace-Id"]}


async def test_a_long_history_is_paged_in_both_directions(system: RunningSystem) -> None:
    executor = await system.create("executors", name="0", driver="localDriver")
    path = f"executor/{executor['id']}"
    await asyncio.gather(
        *(patch_resource(system, f"executors/{executor['id']}/name", name=str(number)) for number in range(1, 5))
    )
    first = await get_history(system, path, per_page=2)
    second = await get_history(system, path, per_page=2, after=first["next"])
    third = await get_history(system, path, per_page=2, after=second["next"])
    assert [entry["version"] for part in (first, second, third) for entry in part["entries"]] == [1, 2, 3, 4, 5]
    assert (first["next"], second["next"], third["next"]) == (2, 4, None)
    newest = await get_history(system, path, per_page=3, order_by="DESC")
    older = await get_history(system, path, per_page=3, order_by="desc", after=newest["next"])
    assert [entry["version"] for part in (newest, older) for entry in part["entries"]] == [5, 4, 3, 2, 1]
    assert (await get_history(system, path, after=5))["entries"] == []
    assert [len((await get_history(system, path, per_page=size))["entries"]) for size in (0, 100_000)] == [1, 5]


async def test_a_page_of_history_is_cut_at_the_message_size_limit(
    system: RunningSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await create_project(system)
    for letter in "abcd":
        await patch_resource(system, f"projects/{created['id']}/description", description=letter * 10_000)
    monkeypatch.setattr("libs.eventstore.history.MAX_ENTRIES_BYTES", 15_000)
    parts = [await get_history(system, f"project/{created['id']}", after=after) for after in (0, 2, 3, 4)]
    assert [[entry["version"] for entry in part["entries"]] for part in parts] == [[1, 2], [3], [4], [5]]
    assert [part["next"] for part in parts] == [2, 3, 4, None]
    monkeypatch.setattr("libs.eventstore.history.MAX_ENTRIES_BYTES", 1)
    assert len((await get_history(system, f"project/{created['id']}"))["entries"]) == 1


async def test_history_is_found_by_id_and_by_uuid(system: RunningSystem) -> None:
    vera, _ = await create_developer(system, "vera")
    by_number, by_uuid = (
        await get_history(system, f"user/{vera['id']}"),
        await get_history(system, f"user/{vera['uuid']}"),
    )
    assert by_uuid["entries"] == by_number["entries"]
    runner = await register_runner(system)
    assert (await get_history(system, f"runner/{runner.id}"))["entries"] == (
        await get_history(system, f"runner/{runner.uuid}")
    )["entries"]


def queue_job_command(job_id: int, project_id: int) -> QueueJob:
    launched = LaunchedProject(
        project_id=project_id,
        name="shop",
        owner_alias="admin",
        alias="shop",
        repository="/nowhere",
        branch="main",
        spec_file_path="/ci.yaml",
    )
    planned = PlannedJob(job_id=job_id, job_uuid="u", name="build")
    return QueueJob(job_id=job_id, build_id=1, project=launched, job=planned, ref="main", sha="0" * 40)


async def test_events_caused_by_a_runner_have_the_runner_as_actor(system: RunningSystem) -> None:
    runner = await register_runner(system)
    created = await create_project(system)
    await issue_command(system.settings, queue_job_command(901, created["id"]))
    taken = await system.http.post("/api/v4/jobs/request", json={"token": runner.token})
    assert taken.status_code == 201
    report = {"token": taken.json()["token"], "state": "success"}
    await system.http.put(f"/api/v4/jobs/{taken.json()['id']}", json=report)
    entries = (await get_history(system, f"job/{taken.json()['id']}"))["entries"]
    actors = {name: entry["actor"] for entry in entries for name in event_names(entry)}
    assert actors["JobAssigned"] == actors["JobStarted"] == actors["JobFinished"] == {"id": 0, "name": "runner builder"}


async def test_every_aggregate_type_has_a_history_and_a_state(system: RunningSystem) -> None:
    ids: dict[str, Any] = {"user": 1, "executor": 1, "registration": "service"}
    ids["project"] = ids["lane"] = (await create_project(system, allow_concurrent_execution=False))["id"]
    ids["secret"] = (await system.create("secrets", name="KEY", value="hush-value"))["id"]
    ids["credential"] = (await system.create("credentials", name="key", ssh_key=PRIVATE_KEY))["id"]
    ids["runner"] = (await register_runner(system)).uuid
    launch = await system.http.post(f"/api/developer/builds/{ids['project']}", json={}, headers=system.admin)
    ids["build"] = launch.json()["build_id"]
    ids |= {"job": 900, "notification": "0b0f5e0c-54a5-4f2b-9d0c-7a1d9a2f6c31"}
    mail = RequestNotification(notification_id=ids["notification"], kind="test", title="t", text="t")
    await issue_command(system.settings, queue_job_command(900, ids["project"]))
    await issue_command(system.settings, mail)
    assert set(ids) <= set(aggregate_types())
    lane = f"/api/admin/history/lane/{ids['lane']}"
    # the planner, which runs after the launch, records the first event
    await eventually(lambda: system.http.get(lane, headers=system.admin), lambda response: response.is_success)
    for kind, id_ in ids.items():
        found = await get_history(system, f"{kind}/{id_}")
        assert [entry["version"] for entry in found["entries"]][:1] == [1]
        assert (await get_history(system, f"{kind}/{id_}", version=1))["state"]
