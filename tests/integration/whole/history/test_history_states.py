"""Past states of objects, secrets in histories, invalid queries, and the command `headrace history`."""

import asyncio
import json
import os
import sys
from datetime import datetime, timedelta, timezone

import pytest

from contracts.identity import DeleteUser
from libs.messaging.request_reply import MessageClient
from tests.integration.whole.history.history_requests import (
    PRIVATE_KEY,
    create_developer,
    create_project,
    event_names,
    get_history,
    patch_resource,
    register_runner,
)
from tests.support.in_process.running_system import RunningSystem
from tests.support.waiting import eventually

SECRET_MARKERS = ("hush-", "s1.", "$argon2")  # how the test's secrets, ciphertexts and password hashes begin
REPOSITORY = "https://ivan:hush-login@forge.invalid/shop.git"


async def get_error(system: RunningSystem, path: str) -> tuple[int, str]:
    response = await system.http.get(f"/api/admin/history/{path}", headers=system.admin)
    return response.status_code, response.json()["message"]


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
        return "dmitri" not in json.dumps(await get_history(system, path))

    await eventually(is_erased)
    found = await get_history(system, path)
    assert [event_names(entry) for entry in found["entries"]] == [["UserRegistered"], ["UserDeleted"]]
    assert (await get_history(system, path, version=1))["state"]["username"] == ""


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
    ("path", "code"),
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
async def test_the_history_of_an_unknown_object_is_404(system: RunningSystem, path: str, code: str) -> None:
    assert await get_error(system, path) == (404, code)
    assert await get_error(system, f"{path}?at=2026-01-01") == (404, code)


async def run_history_command(system: RunningSystem, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra", "history", *arguments),
        env={**os.environ, "HEADRACE_NATS_URL": system.settings.nats_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 120)
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
