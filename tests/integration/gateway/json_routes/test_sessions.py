"""Sessions of browsers: the cookie, its renewal, and requests of other sites."""

from http.cookies import Morsel, SimpleCookie

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.identity import LogIn, RegisterUser, RenewSession, Session
from gateway.http.session_cookie import SECURE_COOKIE, require_same_origin, set_session
from libs.settings import Settings
from tests.support.in_process.gateway_stage import ADMIN, DEVELOPER, GatewayStage

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
CREDENTIALS = {"auth": {"username": "anna", "password": "secret"}}


def cookie_of(response: httpx.Response) -> Morsel[str]:
    (cookie,) = SimpleCookie(response.headers["Set-Cookie"]).values()
    return cookie


def session_of(stage: GatewayStage, user_id: int, **more: int) -> dict[str, str]:
    return {"Cookie": f"headrace={stage.users.token(user_id, **more)}"}


async def sign_in(stage: GatewayStage, **headers: str) -> httpx.Response:
    token = stage.users.token(DEVELOPER)
    await stage.services.serve(LogIn, lambda _: Session(access_token=token, expires_in=3600, renewable_for=9000))
    # a client of its own: it keeps cookies
    async with httpx.AsyncClient(base_url=stage.http.base_url, timeout=60) as http:
        return await http.post("/api/auth/session", json=CREDENTIALS, headers=headers or SAME_ORIGIN)


async def test_a_sign_in_sets_a_cookie_that_scripts_cannot_read(stage: GatewayStage) -> None:
    response = await sign_in(stage)
    assert response.json() == {
        "user": {"id": DEVELOPER, "username": "user2", "roles": ["ROLE_DEVELOPER"]},
        "expires_in": 3600,
        "renewable_for": 9000,
    }
    cookie = cookie_of(response)
    assert (cookie.key, cookie["httponly"], cookie["samesite"], cookie["path"]) == ("headrace", True, "strict", "/")
    assert (cookie["max-age"], cookie["secure"], cookie["domain"]) == ("3600", "", "")
    assert cookie.value not in response.text
    read = await stage.http.get("/api/developer/builds/0", headers={"Cookie": f"headrace={cookie.value}"})
    assert read.status_code != 401


def test_over_tls_only_this_host_can_set_the_cookie() -> None:
    request = Request({"type": "http", "scheme": "http", "method": "POST", "path": "/", "headers": []})
    response = Response()
    set_session(response, request, Settings(url="https://ci.example"), "a.b.c", 60)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert "Secure" in cookie


async def test_a_cookie_alone_reads_but_does_not_write(stage: GatewayStage) -> None:
    headers = session_of(stage, ADMIN)
    assert (await stage.http.get("/api/user/info", headers=headers)).json()["id"] == ADMIN
    for site in ("cross-site", "same-site", "none"):
        response = await stage.http.post("/api/admin/developers", headers={**headers, "Sec-Fetch-Site": site})
        assert (response.status_code, response.json()["message"]) == (403, "SESSION_CROSS_SITE")
    response = await stage.http.post("/api/admin/developers", headers=headers)
    assert response.json()["message"] == "SESSION_CROSS_SITE"
    assert stage.services.received_of(RegisterUser) == []
    await stage.services.serve(RegisterUser, refuse_registration)
    allowed = await stage.http.post("/api/admin/developers", json={}, headers={**headers, **SAME_ORIGIN})
    assert allowed.json()["message"] == "DEVELOPER_USERNAME_REQUIRED"


def refuse_registration(_command: RegisterUser) -> None:
    raise RequestRejected("DEVELOPER_USERNAME_REQUIRED")


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"origin": "http://ci.lan:8080", "host": "ci.lan:8080"}, True),
        ({"origin": "http://evil.lan:8080", "host": "ci.lan:8080"}, False),
        ({"origin": "null", "host": "ci.lan:8080"}, False),
        ({"host": "ci.lan:8080"}, False),
        ({"origin": "http://ci.lan", "host": "ci.lan", "sec-fetch-site": "same-site"}, False),
    ],
)
def test_browsers_without_fetch_metadata_are_recognized_by_the_origin(headers: dict[str, str], accepted: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": raw})
    try:
        require_same_origin(request)
    except RequestRejected:
        assert not accepted
    else:
        assert accepted


async def test_another_site_cannot_sign_a_user_in_or_out(stage: GatewayStage) -> None:
    response = await sign_in(stage, **{"Sec-Fetch-Site": "cross-site"})
    assert (response.status_code, response.json()["message"]) == (403, "SESSION_CROSS_SITE")
    assert "Set-Cookie" not in response.headers
    assert stage.services.received_of(LogIn) == []
    assert (await stage.http.delete("/api/auth/session")).status_code == 403


async def test_a_renewal_replaces_the_token_of_the_cookie(stage: GatewayStage) -> None:
    renewed = stage.users.token(DEVELOPER)
    await stage.services.serve(RenewSession, lambda _: Session(access_token=renewed, expires_in=60, renewable_for=5))
    old = session_of(stage, DEVELOPER)
    async with httpx.AsyncClient(base_url=stage.http.base_url, timeout=60) as http:
        response = await http.post("/api/auth/session/renew", headers={**old, **SAME_ORIGIN})
    assert (cookie_of(response).value, response.json()["renewable_for"]) == (renewed, 5)
    assert stage.services.received_of(RenewSession)[0].message.token == old["Cookie"].partition("=")[2]


async def test_a_renewal_without_a_cookie_is_unauthorized(stage: GatewayStage) -> None:
    response = await stage.http.post("/api/auth/session/renew", headers={**stage.admin, **SAME_ORIGIN})
    assert (response.status_code, response.json()["message"]) == (401, "UNAUTHORIZED")


async def test_a_sign_out_deletes_the_cookie(stage: GatewayStage) -> None:
    response = await stage.http.delete("/api/auth/session", headers=SAME_ORIGIN)
    assert (response.status_code, cookie_of(response)["max-age"]) == (204, "0")


async def test_a_session_ends_with_a_change_of_the_user(stage: GatewayStage) -> None:
    response = await stage.http.get("/api/user/info", headers=session_of(stage, ADMIN, epoch=0))
    assert (response.status_code, response.json()["message"]) == (401, "TOKEN_INVALID")


async def test_a_personal_token_is_no_session(stage: GatewayStage) -> None:
    headers = {"Cookie": f"headrace=hrp_{'a' * 43}"}
    response = await stage.http.get("/api/user/info", headers=headers)
    assert (response.status_code, response.json()["message"]) == (401, "TOKEN_INVALID")
