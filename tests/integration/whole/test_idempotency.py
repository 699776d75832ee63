"""The header Idempotency-Key: repeated writes have one effect and one response, with two replicas of every service."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.external.repositories import SPEC_FILE, create_sample_repository
from tests.support.in_process.running_system import Headers, RunningSystem, running_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually, send_until_answered

SECRET = {"secret": {"name": "KEY", "value": "hush"}}


@pytest.fixture(scope="module")
async def system(servers: Servers) -> AsyncIterator[RunningSystem]:
    async with running_system(servers, replicas=2, local_repositories=True) as running:
        yield running


@pytest.fixture
def headers_with_key(system: RunningSystem) -> Headers:
    return system.admin | {"Idempotency-Key": uuid4().hex}


def status_and_body(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json() if response.content else None


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["message"]


KEY_REUSED = (422, "IDEMPOTENCY_KEY_REUSED")


async def create_project(system: RunningSystem, headers: Headers, **settings: Any) -> httpx.Response:
    (executor, *_) = (await system.http.get("/api/admin/executors", headers=system.admin)).json()
    body = {
        "name": "shop",
        "repository": "/nowhere",
        "branch": "main",
        "spec_file_path": "/ci.yaml",
        "allow_concurrent_execution": True,
        "executor_id": executor["id"],
    }
    return await system.http.post("/api/admin/projects", json={"project": body | settings}, headers=headers)


async def list_event_names(system: RunningSystem, path: str) -> list[str]:
    found = await system.http.get(f"/api/admin/history/{path}", headers=system.admin)
    return [event["name"] for entry in found.json()["entries"] for event in entry["events"]]


async def test_concurrent_requests_with_one_key_have_one_effect_and_one_response(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    before = len((await system.http.get("/api/developer/secrets", headers=system.admin)).json())

    async def create_secret() -> httpx.Response:
        return await system.http.post("/api/admin/secrets", json=SECRET, headers=headers_with_key)

    answers = await asyncio.gather(*(send_until_answered(create_secret) for _ in range(12)))
    assert len({response.text for response in answers}) == 1
    assert (answers[0].status_code, answers[0].json()["value"]) == (201, "hush")
    assert len((await system.http.get("/api/developer/secrets", headers=system.admin)).json()) == before + 1


async def test_an_idempotency_key_is_scoped_to_its_path(system: RunningSystem, headers_with_key: Headers) -> None:
    first = await system.create("executors", name="one", driver="localDriver")
    second = await system.create("executors", name="two", driver="localDriver")
    body = {"executor": {"name": "three"}}
    for executor in (first, second):
        response = await system.http.patch(
            f"/api/admin/executors/{executor['id']}/name", json=body, headers=headers_with_key
        )
        assert (response.json()["id"], response.json()["name"]) == (executor["id"], "three")


async def test_a_repeated_request_returns_the_first_response_although_the_resource_changed(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    first = await create_project(system, headers_with_key)
    id_ = first.json()["id"]
    await system.http.patch(
        f"/api/admin/projects/{id_}/name", json={"project": {"name": "other"}}, headers=system.admin
    )
    assert status_and_body(await create_project(system, headers_with_key)) == status_and_body(first)


async def test_a_repeated_request_for_a_deleted_resource_omits_erased_values(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    first = (await create_project(system, headers_with_key)).json()
    await system.http.delete(f"/api/admin/projects/{first['id']}", headers=system.admin)

    answers = []

    async def is_erased() -> bool:  # the other replica may cache the encryption key for up to a minute
        answers.append(await create_project(system, headers_with_key))
        return "*" * 15 in answers[-1].text

    await eventually(is_erased, within=90)
    assert status_and_body(answers[-1]) == (201, first | {"signature_key": "*" * 15})
    assert await list_event_names(system, f"project/{first['id']}") == ["ProjectCreated", "ProjectDeleted"]


async def test_a_repeated_request_for_erased_values_is_404(system: RunningSystem, headers_with_key: Headers) -> None:
    executor = await system.create("executors", name="e", driver="localDriver")
    path = f"/api/admin/executors/{executor['id']}"
    body = {"executor": {"variables": {"A": "1"}}}
    await system.http.patch(f"{path}/variables", json=body, headers=headers_with_key)
    await system.http.delete(path, headers=system.admin)

    async def is_erased() -> bool:
        response = await system.http.patch(f"{path}/variables", json=body, headers=headers_with_key)
        return response.status_code == 404

    await eventually(is_erased)


async def test_a_repeated_deletion_returns_the_first_response(system: RunningSystem, headers_with_key: Headers) -> None:
    credential = await system.create("credentials", name="key", ssh_key="-----BEGIN OPENSSH PRIVATE KEY-----\nx")
    path = f"/api/admin/credentials/{credential['id']}"
    answers = [status_and_body(await system.http.delete(path, headers=headers_with_key)) for _ in range(3)]
    assert answers == [(204, None)] * 3
    assert (await system.http.delete(path, headers=system.admin)).status_code == 404


async def test_a_repeated_launch_returns_the_first_response_after_the_build_finished(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    path = f"/api/developer/builds/{(await create_project(system, system.admin)).json()['id']}"
    first = await system.http.post(path, json={}, headers=headers_with_key)

    async def is_over() -> bool:
        return "BuildFinished" in await list_event_names(system, f"build/{first.json()['build_id']}")

    await eventually(is_over)
    assert status_and_body(await system.http.post(path, json={}, headers=headers_with_key)) == status_and_body(first)


async def test_a_repeated_kill_returns_the_first_response_after_the_build_finished(
    system: RunningSystem, headers_with_key: Headers, tmp_path: Path
) -> None:
    repository = create_sample_repository(tmp_path / "repository")
    created = await create_project(system, system.admin, repository=str(repository), spec_file_path=SPEC_FILE)
    launch = await system.http.post(f"/api/developer/builds/{created.json()['id']}", json={}, headers=system.admin)
    kill = f"/api/developer/builds/kill/queued/{launch.json()['executor_id']}"
    answers = [status_and_body(await system.http.delete(kill, headers=headers_with_key)) for _ in range(2)]
    assert answers == [(204, None)] * 2
    assert error_of(await system.http.delete(kill, headers=system.admin)) == (404, "EXECUTOR_NOT_FOUND")
    assert (await list_event_names(system, f"build/{launch.json()['build_id']}")).count("BuildKilled") == 1


async def test_a_repeated_token_creation_returns_the_same_token_value(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    body = {"token": {"name": "script"}}
    answers = [
        status_and_body(await system.http.post("/api/user/tokens", json=body, headers=headers_with_key))
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    token = {"Authorization": f"token {answers[0][1]['value']}"}
    assert (await system.http.get("/api/user/info", headers=token)).status_code == 200


async def test_a_repeated_rename_returns_the_first_response_although_the_old_path_is_404(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    await system.create("developers", username="olga", password="long enough 7", roles=[])
    path = "/rest-api/admin/user/olga/change-username"
    answers = [await system.http.put(path, json={"username": "olya"}, headers=headers_with_key) for _ in range(2)]
    assert [status_and_body(answer) for answer in answers] == [(200, None)] * 2
    assert error_of(await system.http.put(path, json={"username": "other"}, headers=headers_with_key)) == KEY_REUSED
    stranger = system.admin | {"Idempotency-Key": uuid4().hex}
    assert (await system.http.put(path, json={"username": "olya"}, headers=stranger)).status_code == 404


async def test_a_repeated_test_mail_request_sends_one_mail(system: RunningSystem, headers_with_key: Headers) -> None:
    path = "/api/admin/config/mail/test/ivan@example.org"
    answers = [status_and_body(await system.http.post(path, headers=headers_with_key)) for _ in range(2)]
    assert answers == [(200, None)] * 2
    async with system.database("notifications") as database:
        assert await database["commits"].count_documents({"events.data.kind": "test"}) == 1


async def test_each_reading_of_a_secret_with_one_key_is_recorded(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    id_ = (await system.create("secrets", name="KEY", value="hush"))["id"]
    for _ in range(2):
        await system.http.get(f"/api/admin/secrets/{id_}", headers=headers_with_key)
    assert await list_event_names(system, f"secret/{id_}") == ["SecretCreated", "SecretRevealed", "SecretRevealed"]


async def test_a_reused_key_with_another_body_is_rejected(system: RunningSystem, headers_with_key: Headers) -> None:
    first = await system.http.post("/api/admin/secrets", json=SECRET, headers=headers_with_key)
    other = {"secret": {"name": "KEY", "value": "another"}}
    assert error_of(await system.http.post("/api/admin/secrets", json=other, headers=headers_with_key)) == KEY_REUSED
    assert await list_event_names(system, f"secret/{first.json()['id']}") == ["SecretCreated"]
    spaced = b'{"secret": {"value" : "hush",  "name": "KEY"}}'
    headers = headers_with_key | {"Content-Type": "application/json"}
    assert status_and_body(
        await system.http.post("/api/admin/secrets", content=spaced, headers=headers)
    ) == status_and_body(first)


async def test_one_of_concurrent_requests_with_one_key_and_different_bodies_is_accepted(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    requests = [partial(create_project, system, headers_with_key, name=f"shop {number}") for number in range(8)]
    answers = await asyncio.gather(*(send_until_answered(request) for request in requests))
    assert sorted(response.status_code for response in answers) == [201] + [422] * 7
    assert {error_of(response) for response in answers if response.status_code == 422} == {KEY_REUSED}


async def test_a_reused_key_is_rejected_also_after_a_request_without_effect(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    executor = await system.create("executors", name="same", driver="localDriver")
    path = f"/api/admin/executors/{executor['id']}/name"
    names = ["same", "other", "same"]
    answers = [
        await system.http.patch(path, json={"executor": {"name": name}}, headers=headers_with_key) for name in names
    ]
    assert [response.status_code for response in answers] == [200, 422, 200]
    assert error_of(answers[1]) == KEY_REUSED
    assert await list_event_names(system, f"executor/{executor['id']}") == ["ExecutorCreated"]


async def test_a_rejected_request_can_be_corrected_with_the_same_key(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    assert (await create_project(system, headers_with_key, name="")).status_code == 422
    assert (await create_project(system, headers_with_key)).status_code == 201


async def test_the_stored_request_fingerprint_is_not_a_plain_hash(
    system: RunningSystem, headers_with_key: Headers
) -> None:
    created = await system.http.post("/api/admin/secrets", json=SECRET, headers=headers_with_key)
    async with system.database("projects") as database:
        commit = await database["commits"].find_one({"stream": f"secret-{created.json()['id']}"})
    assert commit
    request = json.dumps(["", {"secret_name": "KEY", "secret_value": "hush"}])
    assert commit["fingerprint"] not in ("", hashlib.sha256(request.encode()).hexdigest())


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", "ключ".encode()], ids=["none", "long", "tab", "not ASCII"])
async def test_an_invalid_idempotency_key_is_400(system: RunningSystem, key: bytes) -> None:
    headers = {name.encode(): value.encode() for name, value in system.admin.items()} | {b"Idempotency-Key": key}
    answer = await system.http.post("/api/admin/secrets", json=SECRET, headers=headers)
    assert error_of(answer) == (400, "IDEMPOTENCY_KEY_INVALID")


async def test_an_idempotency_key_may_have_255_characters(system: RunningSystem) -> None:
    headers = system.admin | {"Idempotency-Key": "~" * 255}
    assert (await system.http.post("/api/admin/secrets", json=SECRET, headers=headers)).status_code == 201
