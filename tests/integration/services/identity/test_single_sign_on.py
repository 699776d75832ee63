"""Sign-in with a real OpenID provider, through two gateways and two replicas of the identity service."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from bson import json_util

from libs.service.connections import create_mongo_client, get_database
from tests.integration.services.identity.sign_in_stage import (
    PASSWORD,
    SAME_ORIGIN,
    SignInStage,
    open_sign_in_stage,
    result_of,
)
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[SignInStage]:
    async with open_sign_in_stage(servers) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"user-{uuid4().hex[:8]}"


async def dump_identity_database(stage: SignInStage, *collections: str) -> str:
    async with create_mongo_client(stage.stage.settings, "test") as client:
        database = get_database(client, stage.stage.settings, "identity")
        names = collections or await database.list_collection_names()
        return json_util.dumps([await database[collection].find().to_list() for collection in names])


async def test_a_new_account_gets_a_user_and_a_session_on_any_gateway(stage: SignInStage, name: str) -> None:
    claims = {"email": f"{name}@example.org", "email_verified": True, "groups": ["developers", "others"]}
    stage.provider.set_account(f"sub-{name}", preferred_username=f"{name}@example.org", **claims)
    browser = stage.browser()
    url = await stage.begin(browser, "/ui/builds/17?tab=log#L3")
    query = parse_qs(urlsplit(url).query)
    assert query["redirect_uri"] == ["http://ci.example/api/auth/oidc/callback"]
    assert (query["code_challenge_method"], query["scope"]) == (["S256"], ["openid profile email"])
    page = await stage.finish(browser, await stage.provider.authorize(url, f"sub-{name}"))
    assert page == "/ui/builds/17?tab=log&sign_in=ok#L3"
    assert [*browser.cookies] == ["headrace"]  # the cookie of the sign-in is deleted
    user = await browser.get_user()
    assert (user["username"], user["roles"]) == (name, [DEVELOPER])
    shown = (await stage.change_user("GET", user["id"])).json()
    assert shown["email"] == f"{name}@example.org"
    again, _ = await stage.sign_in(f"sub-{name}")
    assert (await again.get_user())["id"] == user["id"]


async def test_roles_follow_the_groups_at_each_sign_in(stage: SignInStage, name: str) -> None:
    stage.provider.set_account(name, preferred_username=name, groups=["developers", "admins"])
    administrator, _ = await stage.sign_in(name)
    assert (await administrator.get_user())["roles"] == [ADMIN, DEVELOPER]
    stage.provider.set_account(name, preferred_username=name, groups=["developers"])
    developer, _ = await stage.sign_in(name)

    async def is_replaced() -> bool:  # a gateway looks once a second for changed users
        return [isinstance(await browser.get_user(), dict) for browser in (administrator, developer)] == [False, True]

    await eventually(is_replaced)
    user = await developer.get_user()
    assert user["roles"] == [DEVELOPER]
    stage.provider.set_account(name, preferred_username=name, groups=["others"])
    _, result = await stage.sign_in(name)
    assert result == "OIDC_GROUP_REQUIRED"
    assert (await stage.change_user("GET", user["id"])).json()["roles"] == []


async def test_the_last_administrator_keeps_the_role(stage: SignInStage, name: str) -> None:
    listed = (await stage.first.get("/api/admin/developers", headers=stage.admin)).json()
    [root] = [user for user in listed if user["username"] == "root"]
    for user in listed:
        if user["id"] != root["id"] and ADMIN in user["roles"]:
            await stage.change_user("PATCH", user["id"], "/roles", {"developer": {"roles": []}})
    assert (await stage.change_user("PUT", root["id"], "/identity", {"identity": {"subject": name}})).status_code == 204
    stage.provider.set_account(name, groups=["admins", "developers"])
    _, result = await stage.sign_in(name)
    stage.provider.set_account(name, groups=["developers"])
    browser, after = await stage.sign_in(name)
    assert (result, after) == ("ok", "ok")
    assert (await browser.get_user())["roles"] == [ADMIN, DEVELOPER]


async def test_a_response_for_another_sign_in_is_refused(stage: SignInStage, name: str) -> None:
    stage.provider.set_account(name, preferred_username=name, groups=["developers"])
    browser, attacker = stage.browser(), stage.browser()
    url = await stage.begin(browser)
    answer = await stage.provider.authorize(url, name)
    assert result_of(await stage.finish(stage.browser(), answer)) == "OIDC_STATE_INVALID"  # no cookie
    await stage.begin(attacker)
    assert result_of(await stage.finish(attacker, answer)) == "OIDC_STATE_INVALID"  # the cookie of another sign-in
    browser.cookies["headrace-sign-in"] = (sign_in := browser.cookies["headrace-sign-in"])
    assert result_of(await stage.finish(browser, {**answer, "state": "x"})) == "OIDC_STATE_INVALID"
    assert browser.cookies == {}  # deleted: the user begins again
    browser.cookies["headrace-sign-in"] = sign_in
    assert result_of(await stage.finish(browser, {**answer, "iss": "https://evil.example"})) == "OIDC_RESPONSE_INVALID"
    browser.cookies["headrace-sign-in"] = sign_in
    assert result_of(await stage.finish(browser, answer)) == "ok"
    browser.cookies["headrace-sign-in"] = sign_in
    assert result_of(await stage.finish(browser, answer)) == "OIDC_RESPONSE_INVALID"  # the code was used


async def test_a_token_for_another_nonce_is_refused(stage: SignInStage, name: str) -> None:
    stage.provider.set_account(name, preferred_username=name, groups=["developers"])
    browser = stage.browser()
    url = await stage.begin(browser)
    [nonce] = parse_qs(urlsplit(url).query)["nonce"]
    answer = await stage.provider.authorize(url.replace(nonce, "another"), name)
    assert result_of(await stage.finish(browser, answer)) == "OIDC_RESPONSE_INVALID"
    assert browser.cookies == {}


async def test_a_refusal_by_the_provider_is_shown_on_the_page(stage: SignInStage) -> None:
    browser = stage.browser()
    answer = await stage.provider.deny(await stage.begin(browser, "/ui/queue"))
    state = parse_qs(urlsplit(await stage.begin(browser, "/ui/queue")).query)["state"][0]
    page = await stage.finish(browser, {"state": state, **answer})
    assert page == "/ui/queue?sign_in=OIDC_DENIED"


async def test_an_account_with_the_name_of_a_user_is_not_linked_to_it(stage: SignInStage, name: str) -> None:
    user_id = await stage.create_user(name, DEVELOPER)
    stage.provider.set_account(f"sub-{name}", preferred_username=name.upper(), groups=["developers"])
    _, result = await stage.sign_in(f"sub-{name}")
    assert result == "OIDC_USERNAME_TAKEN"
    body = {"identity": {"subject": f"sub-{name}"}}
    assert (await stage.change_user("PUT", user_id, "/identity", body)).status_code == 204
    shown = (await stage.change_user("GET", user_id, "/identity")).json()
    assert shown == {"issuer": stage.provider.issuer, "subject": f"sub-{name}"}
    browser, result = await stage.sign_in(f"sub-{name}")
    assert (result, (await browser.get_user())["id"]) == ("ok", user_id)
    other_id = await stage.create_user(f"{name}-2")
    taken = await stage.change_user("PUT", other_id, "/identity", body)
    assert taken.json()["message"] == "DEVELOPER_IDENTITY_TAKEN"
    assert (await stage.change_user("PUT", user_id, "/identity", {"identity": {"subject": ""}})).status_code == 204
    _, result = await stage.sign_in(f"sub-{name}")
    assert result == "OIDC_USERNAME_TAKEN"


async def test_a_signed_in_user_links_an_account_with_the_password(stage: SignInStage, name: str) -> None:
    user_id = await stage.create_user(name, DEVELOPER)
    stage.provider.set_account(f"sub-{name}", groups=["developers"])
    browser = stage.browser()
    await browser.sign_in_with_password(name)
    wrong = await browser.request("POST", "/api/user/identity", json={"current_password": "guess"})
    assert wrong.json()["message"] == "PASSWORD_WRONG"
    begun = await browser.request("POST", "/api/user/identity", json={"current_password": PASSWORD})
    answer = await stage.provider.authorize(begun.json()["url"], f"sub-{name}")
    session = browser.cookies.pop("headrace")  # `SameSite=Strict`: not sent on the way back from the provider
    assert await stage.finish(browser, answer) == "/ui/me?sign_in=linked"
    assert "headrace" not in browser.cookies
    browser.cookies["headrace"] = session
    linked = await browser.request("GET", "/api/user/identity")
    assert linked.json()["subject"] == f"sub-{name}"
    other, _ = await stage.sign_in(f"sub-{name}")
    assert (await other.get_user())["id"] == user_id


async def test_a_link_that_a_disabled_user_has_begun_is_not_made(stage: SignInStage, name: str) -> None:
    user_id = await stage.create_user(name, DEVELOPER)
    browser = stage.browser()
    await browser.sign_in_with_password(name)
    begun = await browser.request("POST", "/api/user/identity", json={"current_password": PASSWORD})
    answer = await stage.provider.authorize(begun.json()["url"], f"sub-{name}")
    for enabled in (False, True):  # the session has ended, although the user is enabled again
        await stage.change_user("PATCH", user_id, "/enabled", {"developer": {"enabled": enabled}})
    assert result_of(await stage.finish(browser, answer)) == "OIDC_STATE_INVALID"
    assert (await stage.change_user("GET", user_id, "/identity")).json()["subject"] is None


async def test_a_disabled_user_cannot_sign_in_and_an_erased_one_is_gone(stage: SignInStage, name: str) -> None:
    subject = f"sub-{name}"
    stage.provider.set_account(subject, preferred_username=name, groups=["developers"])
    browser, _ = await stage.sign_in(subject)
    user_id = (await browser.get_user())["id"]
    await stage.change_user("PATCH", user_id, "/enabled", {"developer": {"enabled": False}})
    _, result = await stage.sign_in(subject)
    assert result == "OIDC_USER_DISABLED"
    assert subject not in await dump_identity_database(stage, "commits", "claims")
    assert subject in await dump_identity_database(stage, "streams")
    await stage.change_user("DELETE", user_id)

    async def is_erased() -> bool:
        return subject not in await dump_identity_database(stage)

    await eventually(is_erased)
    browser, _ = await stage.sign_in(subject)
    assert (await browser.get_user())["id"] != user_id


@pytest.mark.parametrize("page", ["https://evil.example/", "//evil.example/ui/", "/ui/../api/user/info", "/api"])
async def test_the_browser_returns_only_to_pages_of_the_console(stage: SignInStage, page: str) -> None:
    response = await stage.first.get("/api/auth/oidc/login", params={"return_to": page})
    assert (response.status_code, response.json()["message"]) == (422, "REQUEST_INVALID")


async def test_the_console_learns_how_users_sign_in(stage: SignInStage) -> None:
    provider = {"name": "Example SSO", "path": "/api/auth/oidc/login"}
    assert (await stage.first.get("/api/auth/methods")).json() == {"password": True, "oidc": provider}
    assert (await stage.second.get("/api/auth/methods")).json() == {"password": False, "oidc": provider}
    body = {"auth": {"username": "root", "password": PASSWORD}}
    refused = await stage.second.post("/api/auth/session", json=body, headers=SAME_ORIGIN)
    assert (refused.status_code, refused.json()["message"]) == (403, "PASSWORD_SIGN_IN_DISABLED")
    assert (await stage.second.post("/api/auth/token", json=body)).status_code == 200
