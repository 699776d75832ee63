"""GitFlic's routes for users and SSH keys, through two gateways and two replicas of identity."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.identity import DeleteUser, GetUser, UserView
from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from services.identity.app import service as identity
from tests.support.external.ssh_keys import WEAK_RSA_KEY
from tests.support.external.ssh_keys import generate_public_key as public_key
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers

PASSWORD = "millwheel-7"
URL = "http://ci.example:8080"
KEY_LIST_FIELD = "userPublicSshKeyModelList"
USER_LIST_FIELD = "restUserAdminModelList"
UNKNOWN_UUID = "0d9b1a3c-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class GitFlicStage:
    """Two gateways and helpers that create users and keys."""

    first_gateway: httpx.AsyncClient  # base URL ends in /rest-api; authenticated as administrator
    second_gateway: httpx.AsyncClient
    caller: MessageClient
    stage: ServiceStage

    async def create_user(self) -> str:
        """Create a user and return its alias."""
        alias = f"u{uuid4().hex[:8]}"
        created = await self.first_gateway.post("/user", json=user_body(alias))
        assert created.status_code == 200, created.text
        return alias

    async def create_key(self, alias: str, **more: Any) -> dict[str, Any]:
        created = await self.first_gateway.post(f"/admin/user/{alias}/key/create", json=key_body(**more))
        assert created.status_code == 200, created.text
        found: dict[str, Any] = created.json()
        return found

    async def log_in(self, alias: str, password: str = PASSWORD) -> httpx.Response:
        body = {"auth": {"username": alias, "password": password}}
        return await self.first_gateway.post("/auth/token", json=body, headers={"Authorization": ""})


def key_body(**more: Any) -> dict[str, Any]:
    return {"publicKey": public_key(), "title": "Laptop", **more}


def user_body(alias: str, /, **more: Any) -> dict[str, Any]:
    return {"email": f"{alias}@example.org", "password": PASSWORD, "alias": alias, **more}


@pytest.fixture(scope="module")
async def gitflic(servers: Servers) -> AsyncIterator[GitFlicStage]:
    async with AsyncExitStack() as opened:
        settings = {"url": URL, "admin_username": "root", "admin_password": PASSWORD}
        stage = await opened.enter_async_context(empty_stage(servers, **settings))
        await stage.migrate(*load_services())
        await opened.enter_async_context(stage.running(lambda: identity, replicas=2))
        clients = []
        for _ in range(2):
            _gateway, _server, url = await opened.enter_async_context(running_gateway(stage.settings))
            client = httpx.AsyncClient(base_url=f"{url}/rest-api", timeout=20)
            clients.append(await opened.enter_async_context(client))
        first, two = clients
        bus = await connect(stage.settings, "test")
        opened.push_async_callback(bus.close)
        gitflic = GitFlicStage(first, two, MessageClient(bus), stage)
        token = (await gitflic.log_in("root")).json()["access_token"]
        first.headers["Authorization"] = two.headers["Authorization"] = f"token {token}"
        yield gitflic


def sorted_errors(answers: Sequence[httpx.Response]) -> list[tuple[int, str]]:
    return sorted((response.status_code, response.json().get("message", "")) for response in answers)


# ---- users


@pytest.mark.parametrize("prefix", ["", "/rest-api", "/api", "/api-free-commit"])
async def test_a_user_is_created_under_every_path_prefix(gitflic: GitFlicStage, prefix: str) -> None:
    alias = f"made{uuid4().hex[:8]}"
    url = str(gitflic.first_gateway.base_url).replace("/rest-api/", prefix) + "/user"
    created = await gitflic.first_gateway.post(url, json=user_body(alias))
    found = created.json()
    assert (created.status_code, created.headers["content-type"]) == (200, "application/json")
    assert found == {
        "id": str(UUID(found["id"])),
        "username": alias,
        "name": None,
        "surname": None,
        "fullName": None,
        "avatar": f"{URL}/upload/img/{found['id']}.png",
        "cover": None,
    }


async def test_a_user_created_by_gitflics_api_has_the_developer_role(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    token = (await gitflic.log_in(alias.upper())).json()["access_token"]
    me = await gitflic.first_gateway.get("/user/info", headers={"Authorization": f"Bearer {token}"})
    assert (me.json()["username"], me.json()["roles"]) == (alias, ["ROLE_DEVELOPER"])
    refused = await gitflic.first_gateway.get("/admin/user", headers={"Authorization": f"token {token}"})
    assert sorted_errors([refused]) == [(403, "FORBIDDEN")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"email": None}, "DEVELOPER_EMAIL_REQUIRED"),
        ({"email": "nowhere"}, "DEVELOPER_EMAIL_INVALID"),
        ({"email": 5}, "DEVELOPER_EMAIL_INVALID"),
        ({"email": "ROOT-twin@example.org"}, "DEVELOPER_EMAIL_TAKEN"),
        ({"alias": ""}, "DEVELOPER_USERNAME_REQUIRED"),
        ({"alias": "a b"}, "DEVELOPER_USERNAME_INVALID"),
        ({"alias": "Root"}, "DEVELOPER_USERNAME_TAKEN"),
        ({"alias": ["x"]}, "DEVELOPER_USERNAME_INVALID"),
        ({"password": None}, "DEVELOPER_PASSWORD_REQUIRED"),
        ({"password": "qwertyuiop"}, "DEVELOPER_PASSWORD_WEAK"),
        ({"password": "xx-refused-user-xx"}, "DEVELOPER_PASSWORD_WEAK"),
    ],
)
async def test_a_user_with_invalid_data_is_rejected(gitflic: GitFlicStage, change: dict[str, Any], code: str) -> None:
    await gitflic.first_gateway.post("/user", json=user_body("root-twin"))
    answer = await gitflic.first_gateway.post("/user", json=user_body("refused-user", **change))
    assert sorted_errors([answer]) == [(422, code)]
    assert {"status", "error", "message", "path"} <= answer.json().keys()


@pytest.mark.parametrize("same", ["alias", "email"])
async def test_users_racing_for_one_alias_or_email_get_one_winner(gitflic: GitFlicStage, same: str) -> None:
    taken = {"alias": f"race{uuid4().hex[:6]}", "email": f"race{uuid4().hex[:6]}@example.org"}[same]
    requests = [
        client.post("/user", json=user_body(f"r{uuid4().hex[:8]}") | {same: name})
        for name in (taken, taken.upper())
        for client in (gitflic.first_gateway, gitflic.second_gateway)
    ]
    answers = await asyncio.gather(*requests)
    code = {"alias": "DEVELOPER_USERNAME_TAKEN", "email": "DEVELOPER_EMAIL_TAKEN"}[same]
    assert [status for status, _ in sorted_errors(answers)] == [200, 422, 422, 422]
    assert [message for _, message in sorted_errors(answers)][1:] == [code] * 3


async def test_users_are_found_by_exact_values_regardless_of_case(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    email = f"{alias}@EXAMPLE.org"
    for query in (
        {"username": alias.upper()},
        {"userAlias": alias},
        {"email": email},
        {"email": email, "username": alias, "userAlias": "unknown"},
        {"email": "", "username": alias},
    ):
        found = (await gitflic.second_gateway.get("/admin/user", params=query)).json()
        assert [user["username"] for user in found["_embedded"][USER_LIST_FIELD]] == [alias], query
    for query in ({"username": alias[:-1]}, {"email": email, "username": "root"}, {"email": "x" * 5000}):
        found = (await gitflic.first_gateway.get("/admin/user", params=query)).json()
        assert found["_embedded"] == {USER_LIST_FIELD: []}
        assert found["page"] == {"size": 10, "totalElements": 0, "totalPages": 0, "number": 0}


async def test_users_are_listed_by_name_in_pages(gitflic: GitFlicStage) -> None:
    for alias in ("Zoe-1", "zoe-2", "ZOE-3"):
        await gitflic.first_gateway.post("/user", json=user_body(alias))
    all_users = (await gitflic.first_gateway.get("/admin/user", params={"size": 100_000})).json()
    names = [user["username"] for user in all_users["_embedded"][USER_LIST_FIELD]]
    total = len(names)
    assert names == sorted(names, key=str.lower)
    assert all_users["page"] == {"size": 1000, "totalElements": total, "totalPages": 1, "number": 0}
    second = (await gitflic.first_gateway.get("/admin/user", params={"page": 1, "size": 2})).json()
    assert [user["username"] for user in second["_embedded"][USER_LIST_FIELD]] == names[2:4]
    assert second["page"] == {"size": 2, "totalElements": total, "totalPages": -(-total // 2), "number": 1}
    past = (await gitflic.first_gateway.get("/admin/user", params={"page": 10**12, "size": "x"})).json()
    assert past["_embedded"] == {USER_LIST_FIELD: []}
    assert past["page"] == {"size": 10, "totalElements": total, "totalPages": -(-total // 10), "number": 10**12}


async def test_administrators_see_a_user_with_all_fields(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    found = (await gitflic.first_gateway.get("/admin/user", params={"username": alias})).json()["_embedded"][
        USER_LIST_FIELD
    ][0]
    assert found == {
        "id": str(UUID(found["id"])),
        "username": alias,
        "email": f"{alias}@example.org",
        "name": None,
        "surname": None,
        "fullName": None,
        "avatar": f"{URL}/upload/img/{found['id']}.png",
        "cover": None,
        "confirmed": True,
    }
    root = (await gitflic.first_gateway.get("/admin/user", params={"username": "root"})).json()["_embedded"][
        USER_LIST_FIELD
    ][0]
    assert (root["email"], root["confirmed"]) == ("", False)


async def test_an_avatar_is_a_stable_public_image(gitflic: GitFlicStage) -> None:
    path = f"/upload/img/{uuid4()}.png"
    root = str(gitflic.first_gateway.base_url).replace("/rest-api/", "")
    async with httpx.AsyncClient() as stranger:
        first, again = await stranger.get(root + path), await stranger.get(f"{root}/rest-api{path}")
        other = await stranger.get(f"{root}/upload/img/{uuid4()}.png")
        missing = await stranger.get(f"{root}/upload/img/{UNKNOWN_UUID}.jpg")
    assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
    assert first.content == again.content != other.content
    assert struct.unpack(">8s8xII", first.content[:24]) == (b"\x89PNG\r\n\x1a\n", 200, 200)
    assert sorted_errors([missing]) == [(404, "NOT_FOUND")]


async def test_the_email_of_a_user_is_changed(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    answer = await gitflic.first_gateway.put(
        f"/admin/user/{alias}/change-email", json={"email": f"new-{alias}@example.org"}
    )
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    user = UserView.model_validate_json(await gitflic.caller.query(GetUser(username=alias)))
    assert user.email == f"new-{alias}@example.org"


async def test_a_changed_alias_replaces_the_old_one_at_once(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    key = await gitflic.create_key(alias)
    answer = await gitflic.first_gateway.put(f"/admin/user/{alias}/change-username", json={"username": f"new-{alias}"})
    assert (answer.status_code, answer.content) == (200, b"")
    old = await gitflic.second_gateway.get(f"/admin/user/{alias}/key/{key['uuid']}")
    assert sorted_errors([old]) == [(404, "DEVELOPER_NOT_FOUND")]
    assert (await gitflic.second_gateway.get(f"/admin/user/new-{alias}/key/{key['uuid']}")).json() == key
    again = await gitflic.second_gateway.post("/user", json=user_body(alias, email=f"other-{alias}@example.org"))
    assert (again.status_code, again.json()["username"]) == (200, alias)


async def test_the_password_of_a_user_is_changed(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    body = {"password": "mill-pond-8", "passwordConfirm": "mill-pond-8"}
    answer = await gitflic.first_gateway.put(f"/admin/user/{alias}/change-password", json=body)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await gitflic.log_in(alias)).status_code == 401
    assert (await gitflic.log_in(alias, "mill-pond-8")).status_code == 200


@pytest.mark.parametrize(
    ("what", "body", "code"),
    [
        ("email", {}, "DEVELOPER_EMAIL_REQUIRED"),
        ("email", {"email": ""}, "DEVELOPER_EMAIL_REQUIRED"),
        ("email", {"email": "@"}, "DEVELOPER_EMAIL_INVALID"),
        ("email", {"email": "Taken-Name@Example.org"}, "DEVELOPER_EMAIL_TAKEN"),
        ("username", {}, "DEVELOPER_USERNAME_REQUIRED"),
        ("username", {"username": "-x"}, "DEVELOPER_USERNAME_INVALID"),
        ("username", {"username": "TAKEN-name"}, "DEVELOPER_USERNAME_TAKEN"),
        ("password", {}, "DEVELOPER_PASSWORD_REQUIRED"),
        ("password", {"password": "", "passwordConfirm": ""}, "DEVELOPER_PASSWORD_REQUIRED"),
        ("password", {"password": "mill-pond-8"}, "REQUEST_INVALID"),
        (
            "password",
            {"password": "mill-pond-8", "passwordConfirm": "Mill-pond-8"},
            "DEVELOPER_PASSWORDS_DIFFER",
        ),
        ("password", {"password": "12345678", "passwordConfirm": "12345678"}, "DEVELOPER_PASSWORD_WEAK"),
    ],
)
async def test_an_invalid_change_of_a_user_is_rejected_and_changes_nothing(
    gitflic: GitFlicStage, what: str, body: dict[str, str], code: str
) -> None:
    await gitflic.first_gateway.post("/user", json=user_body("taken-name"))
    alias = await gitflic.create_user()
    answer = await gitflic.first_gateway.put(f"/admin/user/{alias}/change-{what}", json=body)
    assert sorted_errors([answer]) == [(422, code)]
    user = UserView.model_validate_json(await gitflic.caller.query(GetUser(username=alias)))
    assert (user.username, user.email) == (alias, f"{alias}@example.org")
    assert (await gitflic.log_in(alias)).status_code == 200


# ---- SSH keys


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


# ---- errors common to all routes

ROUTES = [
    ("POST", "/admin/user/{alias}/key/create"),
    ("GET", "/admin/user/{alias}/key"),
    ("GET", "/admin/user/{alias}/key/" + UNKNOWN_UUID),
    ("DELETE", "/admin/user/{alias}/key/delete/" + UNKNOWN_UUID),
    ("PUT", "/admin/user/{alias}/change-email"),
    ("PUT", "/admin/user/{alias}/change-username"),
    ("PUT", "/admin/user/{alias}/change-password"),
    ("GET", "/admin/user"),
    ("POST", "/user"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", ["", "token", "token x.y.z", "Basic cm9vdDp4", "Bearer"])
async def test_anonymous_callers_get_403_from_user_routes(
    gitflic: GitFlicStage, method: str, path: str, header: str
) -> None:
    answer = await gitflic.first_gateway.request(
        method, path.format(alias="unknown"), headers={"Authorization": header}
    )
    assert sorted_errors([answer]) == [(403, "FORBIDDEN")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_developers_get_403_from_user_routes(gitflic: GitFlicStage, method: str, path: str) -> None:
    token = (await gitflic.log_in(await gitflic.create_user())).json()["access_token"]
    headers = {"Authorization": f"token {token}"}
    answer = await gitflic.first_gateway.request(method, path.format(alias="unknown"), headers=headers)
    assert sorted_errors([answer]) == [(403, "FORBIDDEN")]


@pytest.mark.parametrize(("method", "path"), ROUTES[:7])
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
