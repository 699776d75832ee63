"""GitFlic's user routes and SSH keys, through two gateways, on identity with two replicas."""

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
from infra.migrate import all_services
from libs.connections import database_of, mongo
from libs.messaging import Caller, connect
from services.identity.app import service as identity
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers
from tests.support.ssh_keys import WEAK_RSA
from tests.support.ssh_keys import new_key as public_key

PASSWORD = "millwheel-7"
URL = "http://ci.example:8080"
KEYS = "userPublicSshKeyModelList"
USERS = "restUserAdminModelList"
NOWHERE = "0d9b1a3c-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class GitFlic:
    """Two gateways, and a user of them made for a test."""

    one: httpx.AsyncClient  # below /rest-api, as the administrator
    two: httpx.AsyncClient
    caller: Caller
    stage: Stage

    async def user(self) -> str:
        """The alias of a new user."""
        alias = f"u{uuid4().hex[:8]}"
        made = await self.one.post("/user", json=new_user(alias))
        assert made.status_code == 200, made.text
        return alias

    async def key(self, alias: str, **more: Any) -> dict[str, Any]:
        made = await self.one.post(f"/admin/user/{alias}/key/create", json=new_key(**more))
        assert made.status_code == 200, made.text
        found: dict[str, Any] = made.json()
        return found

    async def token(self, alias: str, password: str = PASSWORD) -> httpx.Response:
        body = {"auth": {"username": alias, "password": password}}
        return await self.one.post("/auth/token", json=body, headers={"Authorization": ""})


def new_key(**more: Any) -> dict[str, Any]:
    return {"publicKey": public_key(), "title": "Laptop", **more}


def new_user(alias: str, /, **more: Any) -> dict[str, Any]:
    return {"email": f"{alias}@example.org", "password": PASSWORD, "alias": alias, **more}


@pytest.fixture(scope="module")
async def gitflic(servers: Servers) -> AsyncIterator[GitFlic]:
    async with AsyncExitStack() as opened:
        settings = {"url": URL, "admin_username": "root", "admin_password": PASSWORD}
        stage = await opened.enter_async_context(empty_stage(servers, **settings))
        await stage.migrate(*all_services())
        await opened.enter_async_context(stage.running(lambda: identity, replicas=2))
        clients = []
        for _ in range(2):
            _gateway, _server, url = await opened.enter_async_context(serving(stage.settings))
            client = httpx.AsyncClient(base_url=f"{url}/rest-api", timeout=20)
            clients.append(await opened.enter_async_context(client))
        one, two = clients
        bus = await connect(stage.settings, "test")
        opened.push_async_callback(bus.close)
        gitflic = GitFlic(one, two, Caller(bus), stage)
        token = (await gitflic.token("root")).json()["access_token"]
        one.headers["Authorization"] = two.headers["Authorization"] = f"token {token}"
        yield gitflic


def codes(answers: Sequence[httpx.Response]) -> list[tuple[int, str]]:
    return sorted((one.status_code, one.json().get("message", "")) for one in answers)


# ---- users


@pytest.mark.parametrize("prefix", ["", "/rest-api", "/api", "/api-free-commit"])
async def test_a_user_is_made_under_every_prefix(gitflic: GitFlic, prefix: str) -> None:
    alias = f"made{uuid4().hex[:8]}"
    url = str(gitflic.one.base_url).replace("/rest-api/", prefix) + "/user"
    made = await gitflic.one.post(url, json=new_user(alias))
    found = made.json()
    assert (made.status_code, made.headers["content-type"]) == (200, "application/json")
    assert found == {
        "id": str(UUID(found["id"])),
        "username": alias,
        "name": None,
        "surname": None,
        "fullName": None,
        "avatar": f"{URL}/upload/img/{found['id']}.png",
        "cover": None,
    }


async def test_a_user_of_gitflic_is_a_developer_of_free_commit(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    token = (await gitflic.token(alias.upper())).json()["access_token"]
    me = await gitflic.one.get("/user/info", headers={"Authorization": f"Bearer {token}"})
    assert (me.json()["username"], me.json()["roles"]) == (alias, ["ROLE_DEVELOPER"])
    refused = await gitflic.one.get("/admin/user", headers={"Authorization": f"token {token}"})
    assert codes([refused]) == [(403, "FORBIDDEN")]


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
async def test_a_user_with_bad_data_is_not_made(gitflic: GitFlic, change: dict[str, Any], code: str) -> None:
    await gitflic.one.post("/user", json=new_user("root-twin"))
    answer = await gitflic.one.post("/user", json=new_user("refused-user", **change))
    assert codes([answer]) == [(422, code)]
    assert {"status", "error", "message", "path"} <= answer.json().keys()


@pytest.mark.parametrize("same", ["alias", "email"])
async def test_one_name_goes_to_one_user_of_many_who_want_it_at_once(gitflic: GitFlic, same: str) -> None:
    taken = {"alias": f"race{uuid4().hex[:6]}", "email": f"race{uuid4().hex[:6]}@example.org"}[same]
    wishes = [
        client.post("/user", json=new_user(f"r{uuid4().hex[:8]}") | {same: name})
        for name in (taken, taken.upper())
        for client in (gitflic.one, gitflic.two)
    ]
    answers = await asyncio.gather(*wishes)
    code = {"alias": "DEVELOPER_USERNAME_TAKEN", "email": "DEVELOPER_EMAIL_TAKEN"}[same]
    assert [status for status, _ in codes(answers)] == [200, 422, 422, 422]
    assert [message for _, message in codes(answers)][1:] == [code] * 3


async def test_users_are_found_by_whole_values_without_case(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    one = f"{alias}@EXAMPLE.org"
    for query in (
        {"username": alias.upper()},
        {"userAlias": alias},
        {"email": one},
        {"email": one, "username": alias, "userAlias": "nobody"},
        {"email": "", "username": alias},
    ):
        found = (await gitflic.two.get("/admin/user", params=query)).json()
        assert [user["username"] for user in found["_embedded"][USERS]] == [alias], query
    for query in ({"username": alias[:-1]}, {"email": one, "username": "root"}, {"email": "x" * 5000}):
        found = (await gitflic.one.get("/admin/user", params=query)).json()
        assert found["_embedded"] == {USERS: []}
        assert found["page"] == {"size": 10, "totalElements": 0, "totalPages": 0, "number": 0}


async def test_all_users_are_in_the_order_of_their_names_and_in_pages(gitflic: GitFlic) -> None:
    for alias in ("Zoe-1", "zoe-2", "ZOE-3"):
        await gitflic.one.post("/user", json=new_user(alias))
    everybody = (await gitflic.one.get("/admin/user", params={"size": 100_000})).json()
    names = [user["username"] for user in everybody["_embedded"][USERS]]
    total = len(names)
    assert names == sorted(names, key=str.lower)
    assert everybody["page"] == {"size": 1000, "totalElements": total, "totalPages": 1, "number": 0}
    second = (await gitflic.one.get("/admin/user", params={"page": 1, "size": 2})).json()
    assert [user["username"] for user in second["_embedded"][USERS]] == names[2:4]
    assert second["page"] == {"size": 2, "totalElements": total, "totalPages": -(-total // 2), "number": 1}
    past = (await gitflic.one.get("/admin/user", params={"page": 10**12, "size": "x"})).json()
    assert past["_embedded"] == {USERS: []}
    assert past["page"] == {"size": 10, "totalElements": total, "totalPages": -(-total // 10), "number": 10**12}


async def test_a_user_as_administrators_see_it(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    found = (await gitflic.one.get("/admin/user", params={"username": alias})).json()["_embedded"][USERS][0]
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
    root = (await gitflic.one.get("/admin/user", params={"username": "root"})).json()["_embedded"][USERS][0]
    assert (root["email"], root["confirmed"]) == ("", False)


async def test_an_avatar_is_a_picture_for_everybody_and_always_the_same(gitflic: GitFlic) -> None:
    path = f"/upload/img/{uuid4()}.png"
    root = str(gitflic.one.base_url).replace("/rest-api/", "")
    async with httpx.AsyncClient() as stranger:
        first, again = await stranger.get(root + path), await stranger.get(f"{root}/rest-api{path}")
        other = await stranger.get(f"{root}/upload/img/{uuid4()}.png")
        missing = await stranger.get(f"{root}/upload/img/{NOWHERE}.jpg")
    assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
    assert first.content == again.content != other.content
    assert struct.unpack(">8s8xII", first.content[:24]) == (b"\x89PNG\r\n\x1a\n", 200, 200)
    assert codes([missing]) == [(404, "NOT_FOUND")]


async def test_an_email_is_changed(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    answer = await gitflic.one.put(f"/admin/user/{alias}/change-email", json={"email": f"new-{alias}@example.org"})
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    user = UserView.model_validate_json(await gitflic.caller.ask(GetUser(username=alias)))
    assert user.email == f"new-{alias}@example.org"


async def test_a_changed_alias_counts_at_once_and_the_old_one_no_more(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    key = await gitflic.key(alias)
    answer = await gitflic.one.put(f"/admin/user/{alias}/change-username", json={"username": f"new-{alias}"})
    assert (answer.status_code, answer.content) == (200, b"")
    old = await gitflic.two.get(f"/admin/user/{alias}/key/{key['uuid']}")
    assert codes([old]) == [(404, "DEVELOPER_NOT_FOUND")]
    assert (await gitflic.two.get(f"/admin/user/new-{alias}/key/{key['uuid']}")).json() == key
    again = await gitflic.two.post("/user", json=new_user(alias, email=f"other-{alias}@example.org"))
    assert (again.status_code, again.json()["username"]) == (200, alias)


async def test_a_password_is_changed(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    body = {"password": "mill-pond-8", "passwordConfirm": "mill-pond-8"}
    answer = await gitflic.one.put(f"/admin/user/{alias}/change-password", json=body)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await gitflic.token(alias)).status_code == 401
    assert (await gitflic.token(alias, "mill-pond-8")).status_code == 200


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
async def test_a_bad_change_is_refused_and_changes_nothing(
    gitflic: GitFlic, what: str, body: dict[str, str], code: str
) -> None:
    await gitflic.one.post("/user", json=new_user("taken-name"))
    alias = await gitflic.user()
    answer = await gitflic.one.put(f"/admin/user/{alias}/change-{what}", json=body)
    assert codes([answer]) == [(422, code)]
    user = UserView.model_validate_json(await gitflic.caller.ask(GetUser(username=alias)))
    assert (user.username, user.email) == (alias, f"{alias}@example.org")
    assert (await gitflic.token(alias)).status_code == 200


# ---- keys


async def test_a_key_is_kept_as_it_was_sent(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    text = public_key() + " Иван, ноутбук ⚡\r\n"
    key = await gitflic.key(alias, publicKey=text, title="Ноутбук", expiresAt="2999-10-10")
    user = UserView.model_validate_json(await gitflic.caller.ask(GetUser(username=alias)))
    assert key == {
        "uuid": str(UUID(key["uuid"])),
        "publicKey": text,
        "title": "Ноутбук",
        "expiresAt": "2999-10-10",
        "userUuid": user.uuid,
    }
    assert (await gitflic.two.get(f"/admin/user/{alias.upper()}/key/{key['uuid'].upper()}")).json() == key


@pytest.mark.parametrize(
    ("sent", "shown"),
    [(None, None), ("", None), ("2999-10-10T23:59:59.5+03:00", "2999-10-10"), ("2999-10-10T00:00:00Z", "2999-10-10")],
)
async def test_the_last_day_has_many_forms(gitflic: GitFlic, sent: str | None, shown: str | None) -> None:
    assert (await gitflic.key(await gitflic.user(), expiresAt=sent))["expiresAt"] == shown


async def test_keys_come_in_pages_by_their_age(gitflic: GitFlic) -> None:
    alias = await gitflic.user()
    empty = (await gitflic.one.get(f"/admin/user/{alias}/key")).json()
    assert empty == {
        "_embedded": {KEYS: []},
        "page": {"size": 10, "totalElements": 0, "totalPages": 0, "number": 0},
    }
    keys = [await gitflic.key(alias, title=f"Key {number}") for number in range(5)]
    page = (await gitflic.two.get(f"/admin/user/{alias}/key", params={"page": 1, "size": 2})).json()
    assert page == {
        "_embedded": {KEYS: keys[2:4]},
        "page": {"size": 2, "totalElements": 5, "totalPages": 3, "number": 1},
    }
    for query in ({}, {"page": -1, "size": 0}, {"page": "x", "size": "-5"}):
        default = (await gitflic.two.get(f"/admin/user/{alias}/key", params=query)).json()
        assert default["_embedded"][KEYS] == keys
        assert (default["page"]["size"], default["page"]["number"]) == (10, 0)


async def test_a_removed_key_is_gone_and_free(gitflic: GitFlic) -> None:
    alias, other = await gitflic.user(), await gitflic.user()
    key = await gitflic.key(alias)
    address = f"/admin/user/{alias}/key/delete/{key['uuid'].upper()}"
    gone = await gitflic.one.delete(address)
    assert (gone.status_code, gone.content, gone.headers["content-length"]) == (200, b"", "0")
    again = await gitflic.two.delete(address)
    shown = await gitflic.two.get(f"/admin/user/{alias}/key/{key['uuid']}")
    assert codes([again, shown]) == [(404, "KEY_NOT_FOUND")] * 2
    assert (await gitflic.key(other, publicKey=key["publicKey"]))["publicKey"] == key["publicKey"]


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
        ({"publicKey": WEAK_RSA}, "KEY_PUBLIC_KEY_WEAK"),
        ({"publicKey": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"}, "KEY_PUBLIC_KEY_PRIVATE"),
        ({"expiresAt": "2020-10-10"}, "KEY_EXPIRES_AT_PAST"),
        ({"expiresAt": "2999-10-10T10-10-10Z"}, "KEY_EXPIRES_AT_INVALID"),
        ({"expiresAt": 5}, "KEY_EXPIRES_AT_INVALID"),
    ],
)
async def test_a_key_with_bad_data_is_not_added(gitflic: GitFlic, change: dict[str, Any], code: str) -> None:
    alias = await gitflic.user()
    answer = await gitflic.one.post(f"/admin/user/{alias}/key/create", json=new_key(**change))
    assert codes([answer]) == [(422, code)]
    assert (await gitflic.one.get(f"/admin/user/{alias}/key")).json()["page"]["totalElements"] == 0


async def test_a_key_is_one_users_whatever_its_comment(gitflic: GitFlic) -> None:
    alias, other = await gitflic.user(), await gitflic.user()
    key = await gitflic.key(alias)
    again = new_key(publicKey=key["publicKey"] + " another comment")
    answers = [await gitflic.two.post(f"/admin/user/{name}/key/create", json=again) for name in (alias, other)]
    assert codes(answers) == [(422, "KEY_PUBLIC_KEY_TAKEN")] * 2


async def test_one_key_goes_to_one_user_of_many_who_want_it_at_once(gitflic: GitFlic) -> None:
    aliases = [await gitflic.user() for _ in range(3)]
    key = new_key()
    wishes = [
        client.post(f"/admin/user/{alias}/key/create", json=key)
        for alias in aliases
        for client in (gitflic.one, gitflic.two)
    ]
    answers = await asyncio.gather(*wishes)
    assert codes(answers) == [(200, ""), *[(422, "KEY_PUBLIC_KEY_TAKEN")] * 5]


async def test_the_same_request_again_makes_one_key(gitflic: GitFlic) -> None:
    alias, key = await gitflic.user(), new_key()
    wish = gitflic.one.post, f"/admin/user/{alias}/key/create"
    first, again = [await wish[0](wish[1], json=key, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()


async def test_the_keys_of_a_deleted_user_are_free_and_forgotten(gitflic: GitFlic) -> None:
    alias, other = await gitflic.user(), await gitflic.user()
    key = await gitflic.key(alias)
    user = UserView.model_validate_json(await gitflic.caller.ask(GetUser(username=alias)))
    await gitflic.caller.tell(DeleteUser(user_id=user.id))
    gone = await gitflic.one.get(f"/admin/user/{alias}/key")
    assert codes([gone]) == [(404, "DEVELOPER_NOT_FOUND")]
    async with mongo(gitflic.stage.settings, "test") as client:
        database = database_of(client, gitflic.stage.settings, "identity")
        kept = [str(await database[name].find().to_list()) for name in ("commits", "streams")]
    assert key["publicKey"] not in "".join(kept)
    await gitflic.key(other, publicKey=key["publicKey"])


# ---- what all of them share

ROUTES = [
    ("POST", "/admin/user/{alias}/key/create"),
    ("GET", "/admin/user/{alias}/key"),
    ("GET", "/admin/user/{alias}/key/" + NOWHERE),
    ("DELETE", "/admin/user/{alias}/key/delete/" + NOWHERE),
    ("PUT", "/admin/user/{alias}/change-email"),
    ("PUT", "/admin/user/{alias}/change-username"),
    ("PUT", "/admin/user/{alias}/change-password"),
    ("GET", "/admin/user"),
    ("POST", "/user"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", ["", "token", "token x.y.z", "Basic cm9vdDp4", "Bearer"])
async def test_strangers_are_told_403(gitflic: GitFlic, method: str, path: str, header: str) -> None:
    answer = await gitflic.one.request(method, path.format(alias="nobody"), headers={"Authorization": header})
    assert codes([answer]) == [(403, "FORBIDDEN")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_users_who_are_no_administrators_are_told_403(gitflic: GitFlic, method: str, path: str) -> None:
    token = (await gitflic.token(await gitflic.user())).json()["access_token"]
    headers = {"Authorization": f"token {token}"}
    answer = await gitflic.one.request(method, path.format(alias="nobody"), headers=headers)
    assert codes([answer]) == [(403, "FORBIDDEN")]


@pytest.mark.parametrize(("method", "path"), ROUTES[:7])
@pytest.mark.parametrize("body", ["{}", "{"])
async def test_a_missing_user_comes_before_a_bad_body(gitflic: GitFlic, method: str, path: str, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await gitflic.one.request(method, path.format(alias="nobody%00"), content=body, headers=headers)
    assert codes([answer]) == [(404, "DEVELOPER_NOT_FOUND")]


@pytest.mark.parametrize("uuid", [NOWHERE, "no-uuid", "%00", "x" * 4000])
async def test_a_missing_key_is_not_found(gitflic: GitFlic, uuid: str) -> None:
    alias = await gitflic.user()
    shown = await gitflic.one.get(f"/admin/user/{alias}/key/{uuid}")
    removed = await gitflic.one.delete(f"/admin/user/{alias}/key/delete/{uuid}")
    assert codes([shown, removed]) == [(404, "KEY_NOT_FOUND")] * 2
