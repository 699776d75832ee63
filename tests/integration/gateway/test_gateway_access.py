"""How the gateway authenticates callers, caches responses of the identity service and determines the client IP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network

import httpx
import pytest

from contracts.errors import RequestRejected
from contracts.identity import (
    TOKEN_PREFIX,
    Access,
    AuthenticateToken,
    GetVerificationKeys,
    LogIn,
    Session,
    TokenAccess,
    TokenScope,
    VerificationKeys,
)
from gateway.auth import Authenticator, Role
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import generate_signing_key, hash_token
from tests.support.in_process.gateway_stage import DEVELOPER, GatewayStage, open_gateway_stage, running_gateway
from tests.support.infrastructure.servers import running_nats
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            yield running


@pytest.fixture(autouse=True)
def clear_received_messages(stage: GatewayStage) -> None:
    stage.services.received.clear()


@dataclass
class ManualClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


PERSONAL_TOKEN = TOKEN_PREFIX + "x" * 43


def grant_access(*scopes: str, expires_at: date | None = None) -> Callable[[AuthenticateToken], TokenAccess]:
    access = Access(user_id=DEVELOPER, user_uuid="u", username="anna", enabled=True, roles=("ROLE_DEVELOPER",), epoch=1)
    return lambda _: TokenAccess(access=access, scopes=scopes, expires_at=expires_at)


def reject_token(_command: AuthenticateToken) -> TokenAccess:
    raise RequestRejected("TOKEN_INVALID")


def authenticate_with_token(
    stage: GatewayStage, clock: Callable[[], float] = time.monotonic
) -> Callable[[], Awaitable[Actor]]:
    """Return a function that authenticates PERSONAL_TOKEN. It uses an authenticator with an empty cache."""
    authenticator = Authenticator(MessageClient(stage.client), clock)
    return lambda: authenticator.authenticate(PERSONAL_TOKEN, Role.DEVELOPER, TokenScope.BUILD_READ)


async def test_a_personal_token_is_sent_to_identity_as_a_hash(stage: GatewayStage) -> None:
    await stage.services.serve(AuthenticateToken, grant_access("BUILD_READ"))
    actor = await authenticate_with_token(stage)()
    assert actor == Actor(DEVELOPER, "anna", ("ROLE_DEVELOPER",))
    assert [received.message for received in stage.services.received] == [
        AuthenticateToken(token_hash=hash_token(PERSONAL_TOKEN))
    ]


@pytest.mark.parametrize(
    ("scopes", "days_left", "code"),
    [
        (("BUILD_READ",), -1, "TOKEN_EXPIRED"),
        (("BUILD_WRITE", "USER_READ"), 0, "TOKEN_SCOPE"),
    ],
)
async def test_a_personal_token_is_rejected_after_its_last_day_or_without_the_scope(
    stage: GatewayStage, scopes: tuple[str, ...], days_left: int, code: str
) -> None:
    last_day = datetime.now(UTC).date() + timedelta(days=days_left)
    await stage.services.serve(AuthenticateToken, grant_access(*scopes, expires_at=last_day))
    with pytest.raises(RequestRejected, match=code):
        await authenticate_with_token(stage)()


async def test_cached_personal_tokens_are_used_for_a_minute_while_identity_is_unavailable(stage: GatewayStage) -> None:
    clock = ManualClock()
    admit = authenticate_with_token(stage, clock)
    await stage.services.serve(AuthenticateToken, grant_access())
    await admit()
    await stage.services.stop(AuthenticateToken)
    clock.now = 59
    assert (await admit()).id == DEVELOPER
    clock.now = 61
    with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
        await admit()


async def test_concurrent_requests_with_an_unknown_personal_token_send_one_query(stage: GatewayStage) -> None:
    await stage.services.serve(AuthenticateToken, reject_token)
    admit = authenticate_with_token(stage, ManualClock())
    outcomes = await asyncio.gather(*(admit() for _ in range(20)), return_exceptions=True)
    assert [outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)] == ["TOKEN_INVALID"] * 20
    assert len(stage.services.received_of(AuthenticateToken)) == 1


@pytest.mark.parametrize("token", [PERSONAL_TOKEN[:-1], PERSONAL_TOKEN + "x", TOKEN_PREFIX + "!" * 43, "x" * 5000])
async def test_a_malformed_personal_token_is_rejected_without_a_query(stage: GatewayStage, token: str) -> None:
    response = await stage.http.get("/api/user/info", headers={"Authorization": f"token {token}"})
    assert (response.status_code, response.json()["message"]) == (401, "TOKEN_INVALID")
    assert stage.services.received_of(AuthenticateToken) == []


async def test_tokens_of_a_new_and_of_the_previous_signing_key_are_accepted(stage: GatewayStage) -> None:
    before = stage.developer
    assert (await stage.http.get("/api/user/info", headers=before)).status_code == 200
    old, stage.users.key = stage.users.key, generate_signing_key()
    both = VerificationKeys(keys={key.kid: key.public_pem for key in (old, stage.users.key)})
    await stage.services.serve(GetVerificationKeys, lambda _: both)
    answers = [await stage.http.get("/api/user/info", headers=headers) for headers in (stage.developer, before)]
    assert [response.status_code for response in answers] == [200, 200]


async def test_a_withdrawn_signing_key_is_rejected_after_a_minute(stage: GatewayStage) -> None:
    clock = ManualClock()
    authenticator = Authenticator(MessageClient(stage.client), clock)
    token = stage.users.token(DEVELOPER)
    await authenticator.authenticate(token, Role.DEVELOPER, None)
    withdrawn, stage.users.key = stage.users.key, generate_signing_key()
    await stage.services.serve(
        GetVerificationKeys, lambda _: VerificationKeys(keys={stage.users.key.kid: stage.users.key.public_pem})
    )

    async def outcome() -> str:
        try:
            clock.now += 61
            await authenticator.authenticate(token, Role.DEVELOPER, None)
        except RequestRejected as refused:
            return refused.code
        return ""

    await eventually(outcome, lambda found: found == "TOKEN_INVALID")
    assert withdrawn.kid != stage.users.key.kid


def refuse_log_in(_command: LogIn) -> Session:
    raise RequestRejected("UNAUTHORIZED")


def refuse_for_a_while(_command: LogIn) -> Session:
    raise RequestRejected("TOO_MANY_REQUESTS", retry_after=30)


async def test_a_throttled_login_gets_429_with_retry_after(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, refuse_for_a_while)
    response = await stage.http.post("/api/auth/token", json={"auth": {"username": "ivan", "password": "x"}})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "30")
    assert response.json()["message"] == "TOO_MANY_REQUESTS"


async def test_the_client_ip_behind_a_trusted_proxy_is_taken_from_the_forwarded_header(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, refuse_log_in)
    trusting = stage.gateway.state.settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    forwarded = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
    async with running_gateway(trusting) as (_, _, url), httpx.AsyncClient(base_url=url, timeout=60) as http:
        for client in (http, stage.http):
            await client.post("/api/auth/token", json={"auth": {}}, headers=forwarded)
    assert [received.message.ip_address for received in stage.services.received_of(LogIn)] == ["192.0.2.7", "127.0.0.1"]
