"""Login, tokens and roles at the gateway."""

import asyncio
from dataclasses import dataclass

import httpx
import pytest

from contracts.errors import RequestRejected
from contracts.identity import GetAccess, LogIn, Session
from gateway import auth
from gateway.auth import Authenticator, Role
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import generate_signing_key
from tests.integration.gateway.json_routes.sample_views import ERROR_FIELDS
from tests.support.in_process.gateway_stage import ADMIN, DEVELOPER, GatewayStage
from tests.support.waiting import eventually


async def test_a_login_response_has_the_fields_of_free_commit(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, lambda _: Session(access_token="a.b.c", expires_in=3600))
    response = await stage.http.post("/api/auth/token", json={"auth": {"username": "ivan", "password": "secret"}})
    assert response.status_code == 200
    assert response.json() == {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600}
    assert stage.services.received_of(LogIn)[0].message == LogIn(
        username="ivan", password="secret", ip_address="127.0.0.1"
    )


def refuse_log_in(_command: LogIn) -> Session:
    raise RequestRejected("UNAUTHORIZED")


async def test_a_failed_login_returns_an_error_with_all_fields(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, refuse_log_in)
    response = await stage.http.post("/api-free-commit/auth/token", json={})
    assert response.status_code == 401
    assert response.json().keys() == ERROR_FIELDS
    assert (response.json()["message"], response.json()["path"]) == ("UNAUTHORIZED", "/api-free-commit/auth/token")


async def test_user_info_comes_from_the_identity_service_and_not_from_the_token(stage: GatewayStage) -> None:
    response = await stage.http.get("/api/user/info", headers=stage.developer)
    assert response.json() == {"id": DEVELOPER, "username": "user2", "roles": ["ROLE_DEVELOPER"]}


@pytest.mark.parametrize("prefix", ["/api", "/api-free-commit", "/rest-api", ""])
async def test_every_path_prefix_leads_to_the_same_routes(stage: GatewayStage, prefix: str) -> None:
    assert (await stage.http.get(f"{prefix}/guest/ping")).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "token", "Token"])
async def test_the_authorization_scheme_is_case_insensitive(stage: GatewayStage, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {stage.users.token(ADMIN)}"}
    assert (await stage.http.get("/api/user/info", headers=headers)).status_code == 200


async def test_each_token_error_has_its_code(stage: GatewayStage) -> None:
    stranger = generate_signing_key()
    known, stage.users.key = stage.users.key, stranger
    forged = stage.users.token(ADMIN)
    stage.users.key = known
    codes = {
        name: (await stage.http.get("/api/user/info", headers=headers)).json()["message"]
        for name, headers in {
            "none": {},
            "null": {"Authorization": "Bearer null"},
            "forged": {"Authorization": f"Bearer {forged}"},
            "old": stage.bearer(ADMIN, age=7200),
            "of an unknown user": stage.bearer(999),
            "before a change": stage.bearer(ADMIN, epoch=0),
        }.items()
    }
    assert codes == {
        "none": "UNAUTHORIZED",
        "null": "TOKEN_INVALID",
        "forged": "TOKEN_INVALID",
        "old": "TOKEN_EXPIRED",
        "of an unknown user": "TOKEN_INVALID",
        "before a change": "TOKEN_INVALID",
    }


async def test_an_administrator_cannot_use_developer_routes(stage: GatewayStage) -> None:
    response = await stage.http.get("/api/developer/builds/queueds", headers=stage.admin)
    assert (response.status_code, response.json()["message"]) == (403, "FORBIDDEN")


async def test_a_developer_cannot_use_administrator_routes(stage: GatewayStage) -> None:
    response = await stage.http.get("/api/admin/executors", headers=stage.developer)
    assert (response.status_code, response.json()["message"]) == (403, "FORBIDDEN")


async def test_a_disabled_user_is_rejected(stage: GatewayStage) -> None:
    stage.users.add(3, "ROLE_DEVELOPER")
    headers = stage.bearer(3)
    assert (await stage.http.get("/api/user/info", headers=headers)).status_code == 200
    stage.users.add(3, "ROLE_DEVELOPER", enabled=False, epoch=2)
    await eventually(lambda: stage.http.get("/api/user/info", headers=headers), is_unauthorized)


def is_unauthorized(response: httpx.Response) -> bool:
    return response.status_code == 401


@dataclass
class ManualClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_the_access_of_a_user_is_requested_again_after_a_second(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REFRESH_TIMEOUT_SECONDS", 60.0)
    clock = ManualClock()
    authenticator = Authenticator(MessageClient(stage.client), clock)
    stage.users.add(6, "ROLE_DEVELOPER")
    token = stage.users.token(6)
    await authenticator.authenticate(token, Role.DEVELOPER, None)
    stage.users.add(6, "ROLE_DEVELOPER", enabled=False, epoch=2)
    clock.now = 0.9
    await authenticator.authenticate(token, Role.DEVELOPER, None)
    clock.now = 1
    with pytest.raises(RequestRejected, match="TOKEN_INVALID"):
        await authenticator.authenticate(token, Role.DEVELOPER, None)


async def test_concurrent_requests_of_one_user_send_one_access_query(stage: GatewayStage) -> None:
    authenticator = Authenticator(MessageClient(stage.client), ManualClock())
    stage.users.add(4, "ROLE_DEVELOPER")
    token = stage.users.token(4)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(authenticator.authenticate(token, Role.DEVELOPER, None))
    assert len(stage.services.received_of(GetAccess)) == 1


async def test_cached_access_is_used_for_a_minute_while_identity_is_unavailable(stage: GatewayStage) -> None:
    clock = ManualClock()
    authenticator = Authenticator(MessageClient(stage.client), clock)
    token = stage.users.token(DEVELOPER)
    await authenticator.authenticate(token, Role.DEVELOPER, None)
    await stage.services.stop(GetAccess)
    clock.now = 59
    assert (await authenticator.authenticate(token, Role.DEVELOPER, None)).id == DEVELOPER
    clock.now = 61
    with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
        await authenticator.authenticate(token, Role.DEVELOPER, None)
    await stage.services.serve(GetAccess, stage.users.get)


async def test_only_a_refresh_of_cached_access_has_a_short_timeout(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REFRESH_TIMEOUT_SECONDS", 0.0001)
    clock = ManualClock()
    authenticator = Authenticator(MessageClient(stage.client), clock)
    stage.users.add(5, "ROLE_DEVELOPER")
    token = stage.users.token(5)
    assert (await authenticator.authenticate(token, Role.DEVELOPER, None)).id == 5
    stage.users.add(5, "ROLE_DEVELOPER", enabled=False, epoch=2)
    clock.now = 2  # the cached access is older than its time to live
    assert (await authenticator.authenticate(token, Role.DEVELOPER, None)).id == 5
