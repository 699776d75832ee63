"""GitFlic's routes for users: creation, search, lists, avatars and changes."""

import asyncio
import struct
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.identity import GetUser, UserView
from tests.integration.gateway.compatibility.gitflic_users.gitflic_stage import (
    UNKNOWN_UUID,
    URL,
    GitFlicStage,
    sorted_errors,
    user_body,
)

USER_LIST_FIELD = "restUserAdminModelList"


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
    response = await gitflic.first_gateway.post("/user", json=user_body("refused-user", **change))
    assert sorted_errors([response]) == [(422, code)]
    assert {"status", "error", "message", "path"} <= response.json().keys()


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
    async with httpx.AsyncClient(timeout=60) as stranger:
        first, again = await stranger.get(root + path), await stranger.get(f"{root}/rest-api{path}")
        other = await stranger.get(f"{root}/upload/img/{uuid4()}.png")
        missing = await stranger.get(f"{root}/upload/img/{UNKNOWN_UUID}.jpg")
    assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
    assert first.content == again.content != other.content
    assert struct.unpack(">8s8xII", first.content[:24]) == (b"\x89PNG\r\n\x1a\n", 200, 200)
    assert sorted_errors([missing]) == [(404, "NOT_FOUND")]


async def test_the_email_of_a_user_is_changed(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    response = await gitflic.first_gateway.put(
        f"/admin/user/{alias}/change-email", json={"email": f"new-{alias}@example.org"}
    )
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "0")
    user = UserView.model_validate_json(await gitflic.caller.query(GetUser(username=alias)))
    assert user.email == f"new-{alias}@example.org"


async def test_a_changed_alias_replaces_the_old_one_at_once(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    key = await gitflic.create_key(alias)
    response = await gitflic.first_gateway.put(
        f"/admin/user/{alias}/change-username", json={"username": f"new-{alias}"}
    )
    assert (response.status_code, response.content) == (200, b"")
    old = await gitflic.second_gateway.get(f"/admin/user/{alias}/key/{key['uuid']}")
    assert sorted_errors([old]) == [(404, "DEVELOPER_NOT_FOUND")]
    assert (await gitflic.second_gateway.get(f"/admin/user/new-{alias}/key/{key['uuid']}")).json() == key
    again = await gitflic.second_gateway.post("/user", json=user_body(alias, email=f"other-{alias}@example.org"))
    assert (again.status_code, again.json()["username"]) == (200, alias)


async def test_the_password_of_a_user_is_changed(gitflic: GitFlicStage) -> None:
    alias = await gitflic.create_user()
    body = {"password": "mill-pond-8", "passwordConfirm": "mill-pond-8"}
    response = await gitflic.first_gateway.put(f"/admin/user/{alias}/change-password", json=body)
    assert (response.status_code, response.content) == (200, b"")
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
