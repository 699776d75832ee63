"""Idempotency-Key on writes: the same answer and no second effect, through two replicas of every service."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.integration.whole import Headers, Whole, whole
from tests.support import eventually
from tests.support.repositories import SPEC, sample_repository
from tests.support.servers import Servers

SECRET = {"secret": {"name": "KEY", "value": "hush"}}


@pytest.fixture(scope="module")
async def here(servers: Servers) -> AsyncIterator[Whole]:
    async with whole(servers, replicas=2, local_repositories=True) as one:
        yield one


@pytest.fixture
def keyed(here: Whole) -> Headers:
    return here.admin | {"Idempotency-Key": uuid4().hex}


def told(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json() if answer.content else None


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["message"]


REUSED = (422, "IDEMPOTENCY_KEY_REUSED")


async def project(here: Whole, headers: Headers, **settings: Any) -> httpx.Response:
    (executor, *_) = (await here.http.get("/api/admin/executors", headers=here.admin)).json()
    body = {
        "name": "shop",
        "repository": "/nowhere",
        "branch": "main",
        "spec_file_path": "/ci.yaml",
        "allow_concurrent_execution": True,
        "executor_id": executor["id"],
    }
    return await here.http.post("/api/admin/projects", json={"project": body | settings}, headers=headers)


async def history(here: Whole, thing: str) -> list[str]:
    found = await here.http.get(f"/api/admin/history/{thing}", headers=here.admin)
    return [event["name"] for entry in found.json()["entries"] for event in entry["events"]]


# ---- the same request


async def test_many_at_once_have_one_effect_and_one_answer(here: Whole, keyed: Headers) -> None:
    before = len((await here.http.get("/api/developer/secrets", headers=here.admin)).json())
    wishes = [here.http.post("/api/admin/secrets", json=SECRET, headers=keyed) for _ in range(12)]
    answers = await asyncio.gather(*wishes)
    assert len({answer.text for answer in answers}) == 1
    assert (answers[0].status_code, answers[0].json()["value"]) == (201, "hush")
    assert len((await here.http.get("/api/developer/secrets", headers=here.admin)).json()) == before + 1


async def test_a_key_is_its_users_and_addresses_own(here: Whole, keyed: Headers) -> None:
    first = await here.make("executors", name="one", driver="localDriver")
    second = await here.make("executors", name="two", driver="localDriver")
    body = {"executor": {"name": "three"}}
    for one in (first, second):
        answer = await here.http.patch(f"/api/admin/executors/{one['id']}/name", json=body, headers=keyed)
        assert (answer.json()["id"], answer.json()["name"]) == (one["id"], "three")


async def test_the_answer_stays_as_it_was_although_the_thing_changed(here: Whole, keyed: Headers) -> None:
    first = await project(here, keyed)
    id_ = first.json()["id"]
    await here.http.patch(f"/api/admin/projects/{id_}/name", json={"project": {"name": "other"}}, headers=here.admin)
    assert told(await project(here, keyed)) == told(first)


async def test_a_thing_that_was_deleted_since_is_answered_as_it_was_without_what_was_erased(
    here: Whole, keyed: Headers
) -> None:
    first = (await project(here, keyed)).json()
    await here.http.delete(f"/api/admin/projects/{first['id']}", headers=here.admin)

    answers = []

    async def is_erased() -> bool:  # the other replica may remember the key for up to a minute more
        answers.append(await project(here, keyed))
        return "*" * 15 in answers[-1].text

    await eventually(is_erased, within=90)
    assert told(answers[-1]) == (201, first | {"signature_key": "*" * 15})
    assert await history(here, f"project/{first['id']}") == ["ProjectCreated", "ProjectDeleted"]


async def test_what_was_erased_cannot_be_shown_again(here: Whole, keyed: Headers) -> None:
    made = await here.make("executors", name="e", driver="localDriver")
    path = f"/api/admin/executors/{made['id']}"
    body = {"executor": {"variables": {"A": "1"}}}
    await here.http.patch(f"{path}/variables", json=body, headers=keyed)
    await here.http.delete(path, headers=here.admin)

    async def is_erased() -> bool:
        answer = await here.http.patch(f"{path}/variables", json=body, headers=keyed)
        return answer.status_code == 404

    await eventually(is_erased)


async def test_a_deletion_is_answered_alike(here: Whole, keyed: Headers) -> None:
    made = await here.make("credentials", name="key", ssh_key="-----BEGIN OPENSSH PRIVATE KEY-----\nx")
    path = f"/api/admin/credentials/{made['id']}"
    answers = [told(await here.http.delete(path, headers=keyed)) for _ in range(3)]
    assert answers == [(204, None)] * 3
    assert (await here.http.delete(path, headers=here.admin)).status_code == 404


async def test_a_launch_is_answered_alike_also_when_the_build_is_over(here: Whole, keyed: Headers) -> None:
    path = f"/api/developer/builds/{(await project(here, here.admin)).json()['id']}"
    first = await here.http.post(path, json={}, headers=keyed)

    async def is_over() -> bool:
        return "BuildFinished" in await history(here, f"build/{first.json()['build_id']}")

    await eventually(is_over)
    assert told(await here.http.post(path, json={}, headers=keyed)) == told(first)


async def test_a_kill_is_answered_alike_although_the_build_is_over_now(
    here: Whole, keyed: Headers, tmp_path: Path
) -> None:
    repository = sample_repository(tmp_path / "repository")
    made = await project(here, here.admin, repository=str(repository), spec_file_path=SPEC)
    launch = await here.http.post(f"/api/developer/builds/{made.json()['id']}", json={}, headers=here.admin)
    kill = f"/api/developer/builds/kill/queued/{launch.json()['executor_id']}"
    answers = [told(await here.http.delete(kill, headers=keyed)) for _ in range(2)]
    assert answers == [(204, None)] * 2
    assert refusal(await here.http.delete(kill, headers=here.admin)) == (404, "EXECUTOR_NOT_FOUND")
    assert (await history(here, f"build/{launch.json()['build_id']}")).count("BuildKilled") == 1


async def test_a_personal_token_is_answered_alike_although_its_value_is_kept_nowhere(
    here: Whole, keyed: Headers
) -> None:
    body = {"token": {"name": "script"}}
    answers = [told(await here.http.post("/api/user/tokens", json=body, headers=keyed)) for _ in range(2)]
    assert answers[0] == answers[1]
    token = {"Authorization": f"token {answers[0][1]['value']}"}
    assert (await here.http.get("/api/user/info", headers=token)).status_code == 200


async def test_a_renaming_is_answered_alike_although_its_address_has_gone(here: Whole, keyed: Headers) -> None:
    await here.make("developers", username="olga", password="long enough 7", roles=[])
    path = "/rest-api/admin/user/olga/change-username"
    answers = [await here.http.put(path, json={"username": "olya"}, headers=keyed) for _ in range(2)]
    assert [told(answer) for answer in answers] == [(200, None)] * 2
    assert refusal(await here.http.put(path, json={"username": "other"}, headers=keyed)) == REUSED
    stranger = here.admin | {"Idempotency-Key": uuid4().hex}
    assert (await here.http.put(path, json={"username": "olya"}, headers=stranger)).status_code == 404


async def test_a_test_mail_is_sent_once(here: Whole, keyed: Headers) -> None:
    path = "/api/admin/config/mail/test/ivan@example.org"
    answers = [told(await here.http.post(path, headers=keyed)) for _ in range(2)]
    assert answers == [(200, None)] * 2
    async with here.database("notifications") as database:
        assert await database["commits"].count_documents({"events.data.kind": "test"}) == 1


async def test_each_look_at_a_secret_is_recorded_whatever_key_it_bears(here: Whole, keyed: Headers) -> None:
    id_ = (await here.make("secrets", name="KEY", value="hush"))["id"]
    for _ in range(2):
        await here.http.get(f"/api/admin/secrets/{id_}", headers=keyed)
    assert await history(here, f"secret/{id_}") == ["SecretCreated", "SecretRevealed", "SecretRevealed"]


# ---- another request


async def test_another_body_is_refused_and_does_nothing(here: Whole, keyed: Headers) -> None:
    made = await here.http.post("/api/admin/secrets", json=SECRET, headers=keyed)
    other = {"secret": {"name": "KEY", "value": "another"}}
    assert refusal(await here.http.post("/api/admin/secrets", json=other, headers=keyed)) == REUSED
    assert await history(here, f"secret/{made.json()['id']}") == ["SecretCreated"]
    spaced = b'{"secret": {"value" : "hush",  "name": "KEY"}}'
    headers = keyed | {"Content-Type": "application/json"}
    assert told(await here.http.post("/api/admin/secrets", content=spaced, headers=headers)) == told(made)


async def test_of_other_bodies_at_once_one_is_taken(here: Whole, keyed: Headers) -> None:
    wishes = [project(here, keyed, name=f"shop {number}") for number in range(8)]
    answers = await asyncio.gather(*wishes)
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    assert {refusal(answer) for answer in answers if answer.status_code == 422} == {REUSED}


async def test_another_body_is_refused_also_where_there_was_nothing_to_do(here: Whole, keyed: Headers) -> None:
    made = await here.make("executors", name="same", driver="localDriver")
    path = f"/api/admin/executors/{made['id']}/name"
    names = ["same", "other", "same"]
    answers = [await here.http.patch(path, json={"executor": {"name": one}}, headers=keyed) for one in names]
    assert [answer.status_code for answer in answers] == [200, 422, 200]
    assert refusal(answers[1]) == REUSED
    assert await history(here, f"executor/{made['id']}") == ["ExecutorCreated"]


async def test_what_was_refused_may_be_corrected_under_its_key(here: Whole, keyed: Headers) -> None:
    assert (await project(here, keyed, name="")).status_code == 422
    assert (await project(here, keyed)).status_code == 201


async def test_the_log_does_not_help_to_guess_a_request(here: Whole, keyed: Headers) -> None:
    made = await here.http.post("/api/admin/secrets", json=SECRET, headers=keyed)
    async with here.database("projects") as database:
        commit = await database["commits"].find_one({"stream": f"secret-{made.json()['id']}"})
    assert commit
    request = json.dumps(["", {"secret_name": "KEY", "secret_value": "hush"}])
    assert commit["fingerprint"] not in ("", hashlib.sha256(request.encode()).hexdigest())


# ---- keys


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", "ключ".encode()], ids=["none", "long", "tab", "not ASCII"])
async def test_a_key_that_is_none_is_refused_before_anything_happens(here: Whole, key: bytes) -> None:
    headers = {name.encode(): value.encode() for name, value in here.admin.items()} | {b"Idempotency-Key": key}
    answer = await here.http.post("/api/admin/secrets", json=SECRET, headers=headers)
    assert refusal(answer) == (400, "IDEMPOTENCY_KEY_INVALID")


async def test_a_key_may_have_255_characters(here: Whole) -> None:
    headers = here.admin | {"Idempotency-Key": "~" * 255}
    assert (await here.http.post("/api/admin/secrets", json=SECRET, headers=headers)).status_code == 201
