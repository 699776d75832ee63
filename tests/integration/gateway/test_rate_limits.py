"""Rate limits of a gateway: per user, and per address for requests without valid credentials."""

from collections.abc import AsyncIterator

import pytest

from contracts.errors import RequestRejected
from contracts.identity import TOKEN_PREFIX, Access, AuthenticateToken, TokenAccess
from contracts.runners import AuthenticateRunner, RunnerProfile
from libs.security.tokens import hash_token
from libs.settings import RateLimitSettings
from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats

LIMITS = RateLimitSettings(user=4, address=3)
KNOWN_TOKEN = TOKEN_PREFIX + "k" * 43
OTHER_USER = 9
PING, USER_INFO, RUNNER_VERIFY = "/api/guest/ping", "/api/user/info", "/api/v4/runners/verify"


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, rate_limit=LIMITS) as running:
            await running.services.serve(AuthenticateToken, authenticate_token)
            await running.services.serve(AuthenticateRunner, refuse_runner)
            yield running


def authenticate_token(command: AuthenticateToken) -> TokenAccess:
    if command.token_hash != hash_token(KNOWN_TOKEN):
        raise RequestRejected("TOKEN_INVALID")
    access = Access(user_id=OTHER_USER, user_uuid="u", username="eva", enabled=True, roles=("ROLE_DEVELOPER",), epoch=1)
    return TokenAccess(access=access, scopes=(), expires_at=None)


def refuse_runner(_command: AuthenticateRunner) -> RunnerProfile:
    raise RequestRejected("RUNNER_TOKEN")


def personal(token: str) -> dict[str, str]:
    return {"Authorization": f"token {token}"}


async def call_until_limited(stage: GatewayStage, path: str, headers: dict[str, str], method: str = "GET") -> list[int]:
    responses = [await stage.http.request(method, path, headers=headers) for _ in range(LIMITS.user + 1)]
    limited = [response for response in responses if response.status_code == 429]
    assert all(1 <= int(response.headers["Retry-After"]) <= 60 for response in limited)
    return [response.status_code for response in responses]


async def test_each_user_has_a_limit(stage: GatewayStage) -> None:
    assert await call_until_limited(stage, USER_INFO, stage.developer) == [200] * LIMITS.user + [429]
    assert (await stage.http.get(USER_INFO, headers=stage.admin)).status_code == 200


async def test_requests_without_a_token_share_the_limit_of_their_address(stage: GatewayStage) -> None:
    assert await call_until_limited(stage, PING, {}) == [200, 200, 200, 429, 429]
    assert (await stage.http.get(USER_INFO, headers=stage.developer)).status_code == 200


async def test_unknown_tokens_are_not_looked_up_after_the_limit(stage: GatewayStage) -> None:
    assert (await stage.http.get(USER_INFO, headers=personal(KNOWN_TOKEN))).status_code == 200
    statuses = [
        (await stage.http.get(USER_INFO, headers=personal(TOKEN_PREFIX + letter * 43))).status_code
        for letter in "abcde"
    ]
    assert statuses == [401, 401, 401, 429, 429]
    assert len(stage.services.received_of(AuthenticateToken)) == 1 + LIMITS.address
    assert (await stage.http.get(USER_INFO, headers=personal(KNOWN_TOKEN))).status_code == 200


async def test_runners_with_unknown_tokens_are_not_looked_up_after_the_limit(stage: GatewayStage) -> None:
    headers = {"RUNNER-TOKEN": "glrt-unknown"}
    assert await call_until_limited(stage, RUNNER_VERIFY, headers, "POST") == [403, 403, 403, 429, 429]
    assert len(stage.services.received_of(AuthenticateRunner)) == LIMITS.address
