"""History and point-in-time state through the gateway, on the real services."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from contracts.builds import LaunchedProject, PlannedJob, QueueJob
from contracts.history import GetState, StreamState, aggregate_types
from contracts.identity import DeleteUser
from contracts.notifications import RequestNotification
from contracts.runners import RegisterRunner, RunnerRegistration
from libs.messaging.request_reply import MessageClient
from tests.support.in_process.whole import Headers, RunningSystem, running_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nhush-key\n-----END OPENSSH PRIVATE KEY-----"
SECRET_MARKERS = ("hush-", "s1.", "$argon2")  # secrets given by the test, ciphertext, password hashes
REPOSITORY = "https://ivan:hush-login@forge.invalid/shop.git"


@pytest.fixture(scope="module")
async def system(servers: Servers) -> AsyncIterator[RunningSystem]:
    async with running_system(servers, local_repositories=True) as running:
        yield running


async def get_history(here: RunningSystem, thing: str, **query: Any) -> Any:
    answer = await here.http.get(f"/api/admin/history/{thing}", params=query, headers=here.admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get_error(here: RunningSystem, thing: str) -> tuple[int, str]:
    answer = await here.http.get(f"/api/admin/history/{thing}", headers=here.admin)
    return answer.status_code, answer.json()["message"]


async def patch_resource(here: RunningSystem, thing: str, **body: Any) -> None:
    resource = thing.split("/")[0].removesuffix("s")
    answer = await here.http.patch(f"/api/admin/{thing}", json={resource: body}, headers=here.admin)
    assert answer.status_code == 200, answer.text


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


async def create_project(here: RunningSystem, **settings: Any) -> Any:
    body = {
        "name": "shop",
        "repository": "https://forge.invalid/shop.git",
        "branch": "main",
        "spec_file_path": "/ci.yaml",
        "allow_concurrent_execution": True,
        "executor_id": 1,
    }
    return await here.create("projects", **(body | settings))


async def create_developer(here: RunningSystem, username: str) -> tuple[Any, Headers]:
    user = await here.create(
        "developers",
        username=username,
        password="hush-password",
        email=f"{username}@example.org",
        roles=["ROLE_DEVELOPER"],
    )
    return user, await here.log_in(username, "hush-password")


def event_names(entry: Any) -> list[str]:
    return [event["name"] for event in entry["events"]]


# ---- history


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
    answer = await system.http.post("/api/admin/executors", json=body, headers=system.admin)
    found = await get_history(system, f"executor/{answer.json()['id']}")
    assert found["entries"][0]["trace_id"] == answer.headers["X-Trace-Id"]


async def test_follow_up_events_of_a_launch_have_its_actor_and_trace_id(system: RunningSystem) -> None:
    boris, token = await create_developer(system, "boris")
    created = await create_project(
        system, repository="/nowhere/at/all", allow_concurrent_execution=False, developers_id=[boris["id"]]
    )
    launch = await system.http.post(f"/api/developer/builds/{created['id']}", json={}, headers=token)

    async def lane() -> Any:
        return (await get_history(system, f"lane/{created['id']}"))["entries"]

    async def is_released() -> bool:
        return "LaneReleased" in [name for entry in await lane() for name in event_names(entry)]

    await eventually(is_released)
    entries = [*await lane(), *(await get_history(system, f"build/{launch.json()['build_id']}"))["entries"]]
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


async def register_runner(here: RunningSystem) -> RunnerRegistration:
    token = (await here.http.get("/api/admin/runners/registration-info", headers=here.admin)).json()
    async with here.stage.connected() as bus:
        command = RegisterRunner(registration_token=token["registrationToken"], name="builder")
        return RunnerRegistration.model_validate_json(await MessageClient(bus).send(command))


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
    async with system.stage.connected() as bus:
        await MessageClient(bus).send(queue_job_command(901, created["id"]))
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
    async with system.stage.connected() as bus:
        await MessageClient(bus).send(queue_job_command(900, ids["project"]))
        await MessageClient(bus).send(mail)
    assert set(ids) <= set(aggregate_types())
    for kind, id_ in ids.items():
        found = await get_history(system, f"{kind}/{id_}")
        assert [entry["version"] for entry in found["entries"]][:1] == [1]
        assert (await get_history(system, f"{kind}/{id_}", version=1))["state"]


# ---- secrets and personal data


async def test_history_and_state_contain_no_secrets(system: RunningSystem) -> None:
    secret = await system.create("secrets", name="PASSPHRASE", value="hush-value")
    await patch_resource(system, f"secrets/{secret['id']}/value", value="hush-value-2")
    credential = await system.create("credentials", name="key", ssh_key=PRIVATE_KEY)
    executor = await system.create("executors", name="e", driver="localDriver")
    await patch_resource(system, f"executors/{executor['id']}/variables", variables={"X": "hush-variable"})
    created = await create_project(system, repository=REPOSITORY, secrets_id=[secret["id"]])
    await patch_resource(system, f"projects/{created['id']}/signature_key")
    user, _ = await create_developer(system, "galina")
    await patch_resource(system, f"developers/{user['id']}/password", password="hush-password-2")
    runner = await register_runner(system)
    things = {
        f"secret/{secret['id']}": "PASSPHRASE",
        f"credential/{credential['id']}": "CredentialCreated",
        f"executor/{executor['id']}": "ExecutorVariablesChanged",
        f"project/{created['id']}": "ProjectSignatureKeyRenewed",
        f"user/{user['id']}": "UserPasswordChanged",
        f"runner/{runner.uuid}": "RunnerRegistered",
        "registration/service": "RegistrationTokenReset",
    }
    for path, shown in things.items():
        entries = json.dumps(await get_history(system, path))
        state = json.dumps(await get_history(system, path, at="2999-01-01"))
        assert shown in entries
        assert [
            marker for marker in (*SECRET_MARKERS, "hash", "sealed", runner.token) if marker in entries + state
        ] == []


async def test_personal_data_is_shown_until_the_user_is_deleted(system: RunningSystem) -> None:
    user, _ = await create_developer(system, "dmitri")
    path = f"user/{user['id']}"
    assert (await get_history(system, path))["entries"][0]["events"][0]["data"]["email"] == "dmitri@example.org"
    async with system.stage.connected() as bus:
        await MessageClient(bus).send(DeleteUser(user_id=user["id"]))

    async def is_erased() -> bool:
        return "dmitri@" not in json.dumps(await get_history(system, path))

    await eventually(is_erased)
    found = await get_history(system, path)
    assert [event_names(entry) for entry in found["entries"]] == [["UserRegistered"], ["UserDeleted"]]
    assert (await get_history(system, path, version=1))["state"]["username"] == "dmitri"


# ---- point-in-time state


async def test_the_state_can_be_read_as_of_each_moment(system: RunningSystem) -> None:
    created = await create_project(system, name="before")
    await patch_resource(system, f"projects/{created['id']}/name", name="after")
    await system.http.delete(f"/api/admin/projects/{created['id']}", headers=system.admin)
    path = f"project/{created['id']}"
    times = [datetime.fromisoformat(entry["at"]) for entry in (await get_history(system, path))["entries"]]
    states = [await get_history(system, path, at=at.isoformat()) for at in times]
    assert [state["version"] for state in states] == [1, 2, 3]
    assert [state["state"] and state["state"]["name"] for state in states] == ["before", "after", None]
    assert [datetime.fromisoformat(state["changed_at"]) for state in states] == times
    between = await get_history(system, path, version=2)
    assert (between["version"], between["state"]["name"]) == (2, "after")
    too_early = (times[0] - timedelta(milliseconds=1)).isoformat().replace("+", "%2B")
    assert await get_error(system, f"{path}?at={too_early}") == (404, "HISTORY_NOT_FOUND")


async def test_a_point_in_time_may_have_any_time_zone_no_zone_or_be_a_date(system: RunningSystem) -> None:
    executor = await system.create("executors", name="zoned", driver="localDriver")
    path = f"executor/{executor['id']}"
    recorded_at = datetime.fromisoformat((await get_history(system, path))["entries"][0]["at"])
    east = recorded_at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    naive = recorded_at.replace(tzinfo=None)
    texts = [east.isoformat(), naive.isoformat(), naive.isoformat(" "), recorded_at.isoformat().replace("+00:00", "Z")]
    for text in texts:
        assert datetime.fromisoformat((await get_history(system, path, at=text))["at"]) == recorded_at
    unescaped = await system.http.get(f"/api/admin/history/{path}?at={east.isoformat()}", headers=system.admin)
    assert unescaped.json()["version"] == 1
    assert (await get_history(system, path, at="2999-12-31"))["at"] == "2999-12-31T00:00:00Z"
    assert await get_error(system, f"{path}?at=2000-01-01") == (404, "HISTORY_NOT_FOUND")


@pytest.mark.parametrize(
    "query",
    [
        "at=yesterday",
        "at=",
        "at=0001-01-01T00:00:00%2B14:00",
        "version=0",
        "version=x",
        "version=99999999999999999999",
        "per_page=-1",
        "per_page=x",
        "after=-1",
        "after=99999999999999999999",
        "order_by=up",
    ],
)
async def test_an_invalid_history_query_is_400(system: RunningSystem, query: str) -> None:
    assert await get_error(system, f"executor/1?{query}") == (400, "REQUEST_MALFORMED")


@pytest.mark.parametrize(
    ("thing", "code"),
    [
        ("planet/1", "HISTORY_KIND_UNKNOWN"),
        ("User/1", "HISTORY_KIND_UNKNOWN"),
        ("*/1", "HISTORY_KIND_UNKNOWN"),
        ("executor/999", "HISTORY_NOT_FOUND"),
        ("executor/1.0", "HISTORY_NOT_FOUND"),
        ("executor/99999999999999999999", "HISTORY_NOT_FOUND"),
        ("executor/%00", "HISTORY_NOT_FOUND"),
        ("executor/%ED%A0%80", "HISTORY_NOT_FOUND"),
        (f"executor/{'9' * 300}", "HISTORY_NOT_FOUND"),
        ("job/nothing", "HISTORY_NOT_FOUND"),
    ],
)
async def test_the_history_of_an_unknown_object_is_404(system: RunningSystem, thing: str, code: str) -> None:
    assert await get_error(system, thing) == (404, code)
    assert await get_error(system, f"{thing}?at=2026-01-01") == (404, code)


# ---- the command


async def run_history_command(here: RunningSystem, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra", "history", *arguments),
        env={**os.environ, "HEADRACE_NATS_URL": here.settings.nats_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), errors.decode()


async def test_the_history_command_prints_history_and_state(system: RunningSystem) -> None:
    executor = await system.create("executors", name="printed", driver="localDriver")
    status, out, _ = await run_history_command(system, "executor", str(executor["id"]))
    assert (status, out.split()[2:5]) == (0, ["admin", "ExecutorCreated", "name=printed"])
    _, out, _ = await run_history_command(system, "executor", str(executor["id"]), "--at", "2999-01-01T00:00:00Z")
    assert json.loads(out)["state"]["name"] == "printed"
    status, _, errors = await run_history_command(system, "planet", "1")
    assert status == 1
    assert errors.startswith("headrace: The kinds are build, ")
