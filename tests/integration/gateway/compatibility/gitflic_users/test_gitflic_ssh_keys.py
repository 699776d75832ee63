"""GitFlic's routes for SSH keys, and errors common to all user routes."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from contracts.identity import DeleteUser, GetUser, UserView
from libs.service.connections import create_mongo_client, get_database
from tests.integration.gateway.compatibility.gitflic_users.gitflic_stage import (
    UNKNOWN_UUID,
    GitFlicStage,
    key_body,
    sorted_errors,
)
from tests.support.external.ssh_keys import WEAK_RSA_KEY
from tests.support.external.ssh_keys import generate_public_key as public_key

KEY_LIST_FIELD = "userPublicSshKeyModelList"


async def test_an_ssh_key_is_stored_as_it_was_sent(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    text = public_key() + " Иван, ноутбук ⚡\r\n"
    key = await gitflic.create_key(alias, publicKey=text, title="Ноутбук", expiresAt="2999-10-10")
    user = UserView.model_validate_json(await gitflic.caller.query(GetUser(username=alias)))
    assert key == {
        "uuid": str(UUID(key["uuid"])),
        "publicKey": text,
        "title": "Ноутбук",
        "expiresAt": "2999-10-10",
        "userUuid": user.uuid,
    }
    assert (await gitflic.second_gateway.get(f"/admin/user/{alias.upper()}/key/{key['uuid'].upper()}")).json() == key


@pytest.mark.parametrize(
    ("sent", "shown"),
    [(None, None), ("", None), ("2999-10-10T23:59:59.5+03:00", "2999-10-10"), ("2999-10-10T00:00:00Z", "2999-10-10")],
)
async def test_the_expiry_date_of_a_key_is_accepted_in_several_forms(
    gitflic: GitFlicStage, sent: str | None, shown: str | None
) -> None:
    assert (await gitflic.create_key(await gitflic.create_user(), expiresAt=sent))["expiresAt"] == shown


async def test_ssh_keys_are_listed_oldest_first_in_pages(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    empty = (await gitflic.first_gateway.get(f"/admin/user/{alias}/key")).json()
    assert empty == {
        "_embedded": {KEY_LIST_FIELD: []},
        "page": {"size": 10, "totalElements": 0, "totalPages": 0, "number": 0},
    }
    keys = [await gitflic.create_key(alias, title=f"Key {number}") for number in range(5)]
    page = (await gitflic.second_gateway.get(f"/admin/user/{alias}/key", params={"page": 1, "size": 2})).json()
    assert page == {
        "_embedded": {KEY_LIST_FIELD: keys[2:4]},
        "page": {"size": 2, "totalElements": 5, "totalPages": 3, "number": 1},
    }
    for query in ({}, {"page": -1, "size": 0}, {"page": "x", "size": "-5"}):
        default = (await gitflic.second_gateway.get(f"/admin/user/{alias}/key", params=query)).json()
        assert default["_embedded"][KEY_LIST_FIELD] == keys
        assert (default["page"]["size"], default["page"]["number"]) == (10, 0)


async def test_a_deleted_ssh_key_is_404_and_can_be_added_again(gitflic: GitFlicStage) -> None:
    alias, other = await gitflic.create_user(), await gitflic.create_user()
    key = await gitflic.create_key(alias)
    address = f"/admin/user/{alias}/key/delete/{key['uuid'].upper()}"
    gone = await gitflic.first_gateway.delete(address)
    assert (gone.status_code, gone.content, gone.headers["content-length"]) == (200, b"", "0")
    again = await gitflic.second_gateway.delete(address)
    shown = await gitflic.second_gateway.get(f"/admin/user/{alias}/key/{key['uuid']}")
    assert sorted_errors([again, shown]) == [(404, "KEY_NOT_FOUND")] * 2
    assert (await gitflic.create_key(other, publicKey=key["publicKey"]))["publicKey"] == key["publicKey"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"title": None}, "KEY_TITLE_REQUIRED"),
        ({"title": 5}, "REQUEST_INVALID"),
        ({"title": "x" * 256}, "REQUEST_INVALID"),
        ({"publicKey": None}, "KEY_PUBLIC_KEY_REQUIRED"),
        ({"publicKey": {}}, "KEY_PUBLIC_KEY_INVALID"),
        ({"publicKey": "ssh-ed25519 AAAA"}, "KEY_PUBLIC_KEY_INVALID"),
        ({"publicKey": "x" * 9000}, "KEY_PUBLIC_KEY_INVALID"),
        ({"publicKey": WEAK_RSA_KEY}, "KEY_PUBLIC_KEY_WEAK"),
        ({"publicKey": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"}, "KEY_PUBLIC_KEY_PRIVATE"),
        ({"expiresAt": "2020-10-10"}, "KEY_EXPIRES_AT_PAST"),
        ({"expiresAt": "2999-10-10T10-10-10Z"}, "KEY_EXPIRES_AT_INVALID"),
        ({"expiresAt": 5}, "KEY_EXPIRES_AT_INVALID"),
    ],
)
async def test_an_ssh_key_with_invalid_data_is_rejected(
    gitflic: GitFlicStage, change: dict[str, Any], code: str
) -> None:
    alias = await gitflic.create_user()
    answer = await gitflic.first_gateway.post(f"/admin/user/{alias}/key/create", json=key_body(**change))
    assert sorted_errors([answer]) == [(422, code)]
    assert (await gitflic.first_gateway.get(f"/admin/user/{alias}/key")).json()["page"]["totalElements"] == 0


async def test_an_ssh_key_belongs_to_one_user_regardless_of_its_comment(gitflic: GitFlicStage) -> None:
    alias, other = await gitflic.create_user(), await gitflic.create_user()
    key = await gitflic.create_key(alias)
    again = key_body(publicKey=key["publicKey"] + " another comment")
    answers = [
        await gitflic.second_gateway.post(f"/admin/user/{name}/key/create", json=again) for name in (alias, other)
    ]
    assert sorted_errors(answers) == [(422, "KEY_PUBLIC_KEY_TAKEN")] * 2


async def test_users_racing_for_one_ssh_key_get_one_winner(gitflic: GitFlicStage) -> None:
    aliases = [await gitflic.create_user() for _ in range(3)]
    key = key_body()
    requests = [
        client.post(f"/admin/user/{alias}/key/create", json=key)
        for alias in aliases
        for client in (gitflic.first_gateway, gitflic.second_gateway)
    ]
    answers = await asyncio.gather(*requests)
    assert sorted_errors(answers) == [(200, ""), *[(422, "KEY_PUBLIC_KEY_TAKEN")] * 5]


async def test_a_repeated_request_creates_one_ssh_key(gitflic: GitFlicStage) -> None:
    alias, key = await gitflic.create_user(), key_body()
    send_request = gitflic.first_gateway.post, f"/admin/user/{alias}/key/create"
    first, again = [
        await send_request[0](send_request[1], json=key, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()


async def test_the_ssh_keys_of_a_deleted_user_are_erased_and_can_be_added_again(gitflic: GitFlicStage) -> None:
    alias, other = await gitflic.create_user(), await gitflic.create_user()
    key = await gitflic.create_key(alias)
    user = UserView.model_validate_json(await gitflic.caller.query(GetUser(username=alias)))
    await gitflic.caller.send(DeleteUser(user_id=user.id))
    gone = await gitflic.first_gateway.get(f"/admin/user/{alias}/key")
    assert sorted_errors([gone]) == [(404, "DEVELOPER_NOT_FOUND")]
    async with create_mongo_client(gitflic.stage.settings, "test") as client:
        database = get_database(client, gitflic.stage.settings, "identity")
        documents = [str(await database[name].find().to_list()) for name in ("commits", "streams")]
    assert key["publicKey"] not in "".join(documents)
    await gitflic.create_key(other, publicKey=key["publicKey"])


ROUTES_OF_ONE_USER = [
    ("POST", "/admin/user/{alias}/key/create"),
    ("GET", "/admin/user/{alias}/key"),
    ("GET", "/admin/user/{alias}/key/" + UNKNOWN_UUID),
    ("DELETE", "/admin/user/{alias}/key/delete/" + UNKNOWN_UUID),
    ("PUT", "/admin/user/{alias}/change-email"),
    ("PUT", "/admin/user/{alias}/change-username"),
    ("PUT", "/admin/user/{alias}/change-password"),
]


@pytest.mark.parametrize("header", ["", "token", "token x.y.z", "Basic cm9vdDp4", "Bearer"])
async def test_a_malformed_authorization_header_is_403(gitflic: GitFlicStage, header: str) -> None:
    answer = await gitflic.first_gateway.request("GET", "/admin/user", headers={"Authorization": header})
    assert sorted_errors([answer]) == [(403, "FORBIDDEN")]


@pytest.mark.parametrize(("method", "path"), ROUTES_OF_ONE_USER)
@pytest.mark.parametrize("body", ["{}", "{"])
async def test_an_unknown_user_is_reported_before_an_invalid_body(
    gitflic: GitFlicStage, method: str, path: str, body: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await gitflic.first_gateway.request(method, path.format(alias="unknown%00"), content=body, headers=headers)
    assert sorted_errors([answer]) == [(404, "DEVELOPER_NOT_FOUND")]


@pytest.mark.parametrize("uuid", [UNKNOWN_UUID, "no-uuid", "%00", "x" * 4000])
async def test_an_unknown_ssh_key_is_404(gitflic: GitFlicStage, uuid: str) -> None:
    alias = await gitflic.create_user()
    shown = await gitflic.first_gateway.get(f"/admin/user/{alias}/key/{uuid}")
    removed = await gitflic.first_gateway.delete(f"/admin/user/{alias}/key/delete/{uuid}")
    assert sorted_errors([shown, removed]) == [(404, "KEY_NOT_FOUND")] * 2
