"""History and time travel through the gateway, on the real services."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from contracts.builds import LaunchedProject, PlannedJob, QueueJob
from contracts.history import GetState, State, kinds
from contracts.identity import DeleteUser
from contracts.notifications import RequestNotification
from contracts.runners import RegisterRunner, RunnerRegistration
from libs.messaging import Caller
from tests.integration.whole import Headers, Whole, whole
from tests.support import eventually
from tests.support.servers import Servers

PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nhush-key\n-----END OPENSSH PRIVATE KEY-----"
HUSH = ("hush-", "s1.", "$argon2")  # what was given as a secret, ciphertext, hashes of passwords
REPOSITORY = "https://ivan:hush-login@forge.invalid/shop.git"


@pytest.fixture(scope="module")
async def here(servers: Servers) -> AsyncIterator[Whole]:
    async with whole(servers, local_repositories=True) as one:
        yield one


async def history(here: Whole, thing: str, **query: Any) -> Any:
    answer = await here.http.get(f"/api/admin/history/{thing}", params=query, headers=here.admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refusal(here: Whole, thing: str) -> tuple[int, str]:
    answer = await here.http.get(f"/api/admin/history/{thing}", headers=here.admin)
    return answer.status_code, answer.json()["message"]


async def change(here: Whole, thing: str, **body: Any) -> None:
    resource = thing.split("/")[0].removesuffix("s")
    answer = await here.http.patch(f"/api/admin/{thing}", json={resource: body}, headers=here.admin)
    assert answer.status_code == 200, answer.text


async def test_what_a_replica_recorded_whose_clock_is_ahead_counts_at_once(here: Whole) -> None:
    made = await project(here, name="ahead")
    async with here.database("projects") as database:
        later = datetime.now(UTC) + timedelta(seconds=90)
        await database["commits"].update_many({"stream": f"project-{made['id']}"}, {"$set": {"at": later}})
    async with here.stage.connected() as bus:
        found = await Caller(bus).ask(GetState(kind="project", id=str(made["id"])))
    state = State.model_validate_json(found)
    assert state.state is not None
    assert (state.state["name"], state.at >= state.changed_at) == ("ahead", True)


async def project(here: Whole, **settings: Any) -> Any:
    body = {
        "name": "shop",
        "repository": "https://forge.invalid/shop.git",
        "branch": "main",
        "spec_file_path": "/ci.yaml",
        "allow_concurrent_execution": True,
        "executor_id": 1,
    }
    return await here.make("projects", **(body | settings))


async def developer(here: Whole, username: str) -> tuple[Any, Headers]:
    made = await here.make(
        "developers",
        username=username,
        password="hush-password",
        email=f"{username}@example.org",
        roles=["ROLE_DEVELOPER"],
    )
    return made, await here.log_in(username, "hush-password")


def names(entry: Any) -> list[str]:
    return [event["name"] for event in entry["events"]]


# ---- what happened


async def test_every_change_stands_there_with_who_and_when_in_order(here: Whole) -> None:
    made = await here.make("executors", name="one", driver="localDriver")
    await change(here, f"executors/{made['id']}/name", name="two")
    found = await history(here, f"executor/{made['id']}")
    assert (found["kind"], found["id"], found["version"], found["next"]) == ("executor", str(made["id"]), 2, None)
    assert [(one["version"], one["command"], names(one)) for one in found["entries"]] == [
        (1, "CreateExecutor", ["ExecutorCreated"]),
        (2, "RenameExecutor", ["ExecutorRenamed"]),
    ]
    assert [one["actor"] for one in found["entries"]] == [{"id": 1, "name": "admin"}] * 2
    first, second = (datetime.fromisoformat(one["at"]) for one in found["entries"])
    assert first <= second
    assert found["entries"][1]["events"][0]["data"] == {"executor_id": made["id"], "name": "two"}


async def test_an_entry_has_the_trace_that_the_client_was_told(here: Whole) -> None:
    body = {"executor": {"name": "traced", "driver": "localDriver"}}
    answer = await here.http.post("/api/admin/executors", json=body, headers=here.admin)
    found = await history(here, f"executor/{answer.json()['id']}")
    assert found["entries"][0]["trace_id"] == answer.headers["X-Trace-Id"]


async def test_what_follows_from_a_launch_names_who_launched_and_its_trace(here: Whole) -> None:
    boris, token = await developer(here, "boris")
    made = await project(
        here, repository="/nowhere/at/all", allow_concurrent_execution=False, developers_id=[boris["id"]]
    )
    launch = await here.http.post(f"/api/developer/builds/{made['id']}", json={}, headers=token)

    async def lane() -> Any:
        return (await history(here, f"lane/{made['id']}"))["entries"]

    async def is_released() -> bool:
        return "LaneReleased" in [name for one in await lane() for name in names(one)]

    await eventually(is_released)
    entries = [*await lane(), *(await history(here, f"build/{launch.json()['build_id']}"))["entries"]]
    assert {"LaneGranted", "LaneReleased", "BuildQueued", "BuildFinished"} <= {
        name for one in entries for name in names(one)
    }
    assert {one["actor"]["name"] for one in entries} == {"boris"}
    assert {one["trace_id"] for one in entries} == {launch.headers["X-Trace-Id"]}


async def test_a_long_history_is_read_in_parts_from_either_end(here: Whole) -> None:
    made = await here.make("executors", name="0", driver="localDriver")
    thing = f"executor/{made['id']}"
    await asyncio.gather(*(change(here, f"executors/{made['id']}/name", name=str(one)) for one in range(1, 5)))
    first = await history(here, thing, per_page=2)
    second = await history(here, thing, per_page=2, after=first["next"])
    third = await history(here, thing, per_page=2, after=second["next"])
    assert [one["version"] for part in (first, second, third) for one in part["entries"]] == [1, 2, 3, 4, 5]
    assert (first["next"], second["next"], third["next"]) == (2, 4, None)
    newest = await history(here, thing, per_page=3, order_by="DESC")
    older = await history(here, thing, per_page=3, order_by="desc", after=newest["next"])
    assert [one["version"] for part in (newest, older) for one in part["entries"]] == [5, 4, 3, 2, 1]
    assert (await history(here, thing, after=5))["entries"] == []
    assert [len((await history(here, thing, per_page=size))["entries"]) for size in (0, 100_000)] == [1, 5]


async def test_an_answer_holds_no_more_than_the_bus_can_carry(here: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await project(here)
    for letter in "abcd":
        await change(here, f"projects/{made['id']}/description", description=letter * 10_000)
    monkeypatch.setattr("libs.history.LARGEST", 15_000)
    parts = [await history(here, f"project/{made['id']}", after=after) for after in (0, 2, 3, 4)]
    assert [[one["version"] for one in part["entries"]] for part in parts] == [[1, 2], [3], [4], [5]]
    assert [part["next"] for part in parts] == [2, 3, 4, None]
    monkeypatch.setattr("libs.history.LARGEST", 1)
    assert len((await history(here, f"project/{made['id']}"))["entries"]) == 1


async def test_a_thing_is_found_by_its_number_and_by_its_uuid(here: Whole) -> None:
    vera, _ = await developer(here, "vera")
    by_number, by_uuid = await history(here, f"user/{vera['id']}"), await history(here, f"user/{vera['uuid']}")
    assert by_uuid["entries"] == by_number["entries"]
    runner = await register(here)
    assert (await history(here, f"runner/{runner.id}"))["entries"] == (await history(here, f"runner/{runner.uuid}"))[
        "entries"
    ]


async def register(here: Whole) -> RunnerRegistration:
    token = (await here.http.get("/api/admin/runners/registration-info", headers=here.admin)).json()
    async with here.stage.connected() as bus:
        wish = RegisterRunner(registration_token=token["registrationToken"], name="builder")
        return RunnerRegistration.model_validate_json(await Caller(bus).tell(wish))


def job(job_id: int, project_id: int) -> QueueJob:
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


async def test_what_a_runner_did_bears_its_name_and_no_users_number(here: Whole) -> None:
    runner = await register(here)
    made = await project(here)
    async with here.stage.connected() as bus:
        await Caller(bus).tell(job(901, made["id"]))
    taken = await here.http.post("/api/v4/jobs/request", json={"token": runner.token})
    assert taken.status_code == 201
    report = {"token": taken.json()["token"], "state": "success"}
    await here.http.put(f"/api/v4/jobs/{taken.json()['id']}", json=report)
    entries = (await history(here, f"job/{taken.json()['id']}"))["entries"]
    actors = {name: one["actor"] for one in entries for name in names(one)}
    assert actors["JobAssigned"] == actors["JobStarted"] == actors["JobFinished"] == {"id": 0, "name": "runner builder"}


async def test_every_kind_of_stream_has_a_history_and_a_state(here: Whole) -> None:
    ids: dict[str, Any] = {"user": 1, "executor": 1, "registration": "service"}
    ids["project"] = ids["lane"] = (await project(here, allow_concurrent_execution=False))["id"]
    ids["secret"] = (await here.make("secrets", name="KEY", value="hush-value"))["id"]
    ids["credential"] = (await here.make("credentials", name="key", ssh_key=PRIVATE_KEY))["id"]
    ids["runner"] = (await register(here)).uuid
    launch = await here.http.post(f"/api/developer/builds/{ids['project']}", json={}, headers=here.admin)
    ids["build"] = launch.json()["build_id"]
    ids |= {"job": 900, "notification": "0b0f5e0c-54a5-4f2b-9d0c-7a1d9a2f6c31"}
    mail = RequestNotification(notification_id=ids["notification"], kind="test", title="t", text="t")
    async with here.stage.connected() as bus:
        await Caller(bus).tell(job(900, ids["project"]))
        await Caller(bus).tell(mail)
    assert set(ids) <= set(kinds())
    for kind, id_ in ids.items():
        found = await history(here, f"{kind}/{id_}")
        assert [one["version"] for one in found["entries"]][:1] == [1]
        assert (await history(here, f"{kind}/{id_}", version=1))["state"]


# ---- secrets and personal data


async def test_nothing_secret_is_in_a_history_or_a_state(here: Whole) -> None:
    secret = await here.make("secrets", name="PASSPHRASE", value="hush-value")
    await change(here, f"secrets/{secret['id']}/value", value="hush-value-2")
    credential = await here.make("credentials", name="key", ssh_key=PRIVATE_KEY)
    executor = await here.make("executors", name="e", driver="localDriver")
    await change(here, f"executors/{executor['id']}/variables", variables={"X": "hush-variable"})
    made = await project(here, repository=REPOSITORY, secrets_id=[secret["id"]])
    await change(here, f"projects/{made['id']}/signature_key")
    user, _ = await developer(here, "galina")
    await change(here, f"developers/{user['id']}/password", password="hush-password-2")
    runner = await register(here)
    things = {
        f"secret/{secret['id']}": "PASSPHRASE",
        f"credential/{credential['id']}": "CredentialCreated",
        f"executor/{executor['id']}": "ExecutorVariablesChanged",
        f"project/{made['id']}": "ProjectSignatureKeyRenewed",
        f"user/{user['id']}": "UserPasswordChanged",
        f"runner/{runner.uuid}": "RunnerRegistered",
        "registration/service": "RegistrationTokenReset",
    }
    for thing, shown in things.items():
        told = json.dumps(await history(here, thing))
        then = json.dumps(await history(here, thing, at="2999-01-01"))
        assert shown in told
        assert [one for one in (*HUSH, "hash", "sealed", runner.token) if one in told + then] == []


async def test_personal_data_is_shown_until_the_user_is_deleted(here: Whole) -> None:
    user, _ = await developer(here, "dmitri")
    thing = f"user/{user['id']}"
    assert (await history(here, thing))["entries"][0]["events"][0]["data"]["email"] == "dmitri@example.org"
    async with here.stage.connected() as bus:
        await Caller(bus).tell(DeleteUser(user_id=user["id"]))

    async def is_erased() -> bool:
        return "dmitri@" not in json.dumps(await history(here, thing))

    await eventually(is_erased)
    found = await history(here, thing)
    assert [names(one) for one in found["entries"]] == [["UserRegistered"], ["UserDeleted"]]
    assert (await history(here, thing, version=1))["state"]["username"] == "dmitri"


# ---- what it was like


async def test_a_thing_is_shown_as_it_was_at_each_moment(here: Whole) -> None:
    made = await project(here, name="before")
    await change(here, f"projects/{made['id']}/name", name="after")
    await here.http.delete(f"/api/admin/projects/{made['id']}", headers=here.admin)
    thing = f"project/{made['id']}"
    times = [datetime.fromisoformat(one["at"]) for one in (await history(here, thing))["entries"]]
    states = [await history(here, thing, at=at.isoformat()) for at in times]
    assert [state["version"] for state in states] == [1, 2, 3]
    assert [state["state"] and state["state"]["name"] for state in states] == ["before", "after", None]
    assert [datetime.fromisoformat(state["changed_at"]) for state in states] == times
    between = await history(here, thing, version=2)
    assert (between["version"], between["state"]["name"]) == (2, "after")
    too_early = (times[0] - timedelta(milliseconds=1)).isoformat().replace("+", "%2B")
    assert await refusal(here, f"{thing}?at={too_early}") == (404, "HISTORY_NOT_FOUND")


async def test_a_time_may_have_any_zone_none_or_be_a_date(here: Whole) -> None:
    made = await here.make("executors", name="zoned", driver="localDriver")
    thing = f"executor/{made['id']}"
    then = datetime.fromisoformat((await history(here, thing))["entries"][0]["at"])
    east = then.astimezone(timezone(timedelta(hours=5, minutes=30)))
    naive = then.replace(tzinfo=None)
    texts = [east.isoformat(), naive.isoformat(), naive.isoformat(" "), then.isoformat().replace("+00:00", "Z")]
    for text in texts:
        assert datetime.fromisoformat((await history(here, thing, at=text))["at"]) == then
    unescaped = await here.http.get(f"/api/admin/history/{thing}?at={east.isoformat()}", headers=here.admin)
    assert unescaped.json()["version"] == 1
    assert (await history(here, thing, at="2999-12-31"))["at"] == "2999-12-31T00:00:00Z"
    assert await refusal(here, f"{thing}?at=2000-01-01") == (404, "HISTORY_NOT_FOUND")


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
async def test_a_query_that_cannot_be_read_is_a_bad_request(here: Whole, query: str) -> None:
    assert await refusal(here, f"executor/1?{query}") == (400, "REQUEST_MALFORMED")


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
async def test_what_never_was_is_not_found(here: Whole, thing: str, code: str) -> None:
    assert await refusal(here, thing) == (404, code)
    assert await refusal(here, f"{thing}?at=2026-01-01") == (404, code)


# ---- on the command line


async def headrace(here: Whole, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra", "history", *arguments),
        env={**os.environ, "HEADRACE_NATS_URL": here.settings.nats_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), errors.decode()


async def test_the_command_tells_the_history_and_the_state_of_a_thing(here: Whole) -> None:
    made = await here.make("executors", name="told", driver="localDriver")
    status, out, _ = await headrace(here, "executor", str(made["id"]))
    assert (status, out.split()[2:5]) == (0, ["admin", "ExecutorCreated", "name=told"])
    _, out, _ = await headrace(here, "executor", str(made["id"]), "--at", "2999-01-01T00:00:00Z")
    assert json.loads(out)["state"]["name"] == "told"
    status, _, errors = await headrace(here, "planet", "1")
    assert status == 1
    assert errors.startswith("headrace: The kinds are build, ")
