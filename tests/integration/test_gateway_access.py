"""What the gateway admits without asking, how it asks identity, and what it tells it about the client."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network

import httpx
import pytest

from contracts.errors import Refused
from contracts.identity import (
    TOKEN_PREFIX,
    Access,
    GetTokenAccess,
    LogIn,
    PublicKeys,
    Session,
    TokenAccess,
    TokenScope,
    VerificationKeys,
)
from gateway.auth import Doorkeeper, Role
from libs.deciding import Actor
from libs.messaging import Caller
from libs.security.tokens import new_signing_key, token_hash
from tests.integration.gateway_stage import DEVELOPER, Stage, eventually, serving, stage
from tests.support.servers import lone_nats


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url) as one:
            yield one


@pytest.fixture(autouse=True)
def nothing_told_yet(here: Stage) -> None:
    here.services.told.clear()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


# ---- personal tokens

PERSONAL = TOKEN_PREFIX + "x" * 43


def may(*scopes: str, expires_at: date | None = None) -> Callable[[GetTokenAccess], TokenAccess]:
    access = Access(user_id=DEVELOPER, user_uuid="u", username="anna", enabled=True, roles=("ROLE_DEVELOPER",), epoch=1)
    return lambda _: TokenAccess(access=access, scopes=scopes, expires_at=expires_at)


def unknown(_query: GetTokenAccess) -> TokenAccess:
    raise Refused("TOKEN_INVALID")


def personal(here: Stage, clock: Callable[[], float] = time.monotonic) -> Callable[[], Awaitable[Actor]]:
    """Asks a gateway that knows nothing yet."""
    doorkeeper = Doorkeeper(Caller(here.client), clock)
    headers = {b"authorization": f"token {PERSONAL}".encode()}
    return lambda: doorkeeper.admit(headers, Role.DEVELOPER, TokenScope.BUILD_READ)


async def test_a_personal_token_is_known_to_identity_by_its_hash(here: Stage) -> None:
    await here.services.play(GetTokenAccess, may("BUILD_READ"))
    actor = await personal(here)()
    assert actor == Actor(DEVELOPER, "anna", ("ROLE_DEVELOPER",))
    assert [told.message for told in here.services.told] == [GetTokenAccess(token_hash=token_hash(PERSONAL))]


@pytest.mark.parametrize(
    ("scopes", "days_left", "code"),
    [
        (("BUILD_READ",), -1, "TOKEN_EXPIRED"),
        (("BUILD_WRITE", "USER_READ"), 0, "TOKEN_SCOPE"),
    ],
)
async def test_a_personal_token_is_no_good_after_its_last_day_or_without_the_scope(
    here: Stage, scopes: tuple[str, ...], days_left: int, code: str
) -> None:
    last_day = datetime.now(UTC).date() + timedelta(days=days_left)
    await here.services.play(GetTokenAccess, may(*scopes, expires_at=last_day))
    with pytest.raises(Refused, match=code):
        await personal(here)()


async def test_known_personal_tokens_go_on_for_a_minute_while_identity_is_away(here: Stage) -> None:
    clock = Clock()
    admit = personal(here, clock)
    await here.services.play(GetTokenAccess, may())
    await admit()
    await here.services.stop(GetTokenAccess)
    clock.now = 59
    assert (await admit()).id == DEVELOPER
    clock.now = 61
    with pytest.raises(Refused, match="SERVICE_UNAVAILABLE"):
        await admit()


async def test_many_requests_with_an_unknown_personal_token_ask_identity_once(here: Stage) -> None:
    await here.services.play(GetTokenAccess, unknown)
    admit = personal(here, Clock())
    outcomes = await asyncio.gather(*(admit() for _ in range(20)), return_exceptions=True)
    assert [one.code for one in outcomes if isinstance(one, Refused)] == ["TOKEN_INVALID"] * 20
    assert len(here.services.told_of(GetTokenAccess)) == 1


@pytest.mark.parametrize("token", [PERSONAL[:-1], PERSONAL + "x", TOKEN_PREFIX + "!" * 43, "x" * 5000])
async def test_what_cannot_be_a_token_costs_no_question(here: Stage, token: str) -> None:
    answer = await here.http.get("/api/user/info", headers={"Authorization": f"token {token}"})
    assert (answer.status_code, answer.json()["message"]) == (401, "TOKEN_INVALID")
    assert here.services.told_of(GetTokenAccess) == []


# ---- keys


async def test_a_token_of_a_new_key_is_good_at_once_and_one_of_an_old_key_still_is(here: Stage) -> None:
    before = here.developer
    assert (await here.http.get("/api/user/info", headers=before)).status_code == 200
    old, here.users.key = here.users.key, new_signing_key()
    both = VerificationKeys(keys={key.kid: key.public_pem for key in (old, here.users.key)})
    await here.services.play(PublicKeys, lambda _: both)
    answers = [await here.http.get("/api/user/info", headers=one) for one in (here.developer, before)]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_withdrawn_key_is_forgotten_after_a_minute(here: Stage) -> None:
    clock = Clock()
    doorkeeper = Doorkeeper(Caller(here.client), clock)
    headers = {b"authorization": b"Bearer " + here.users.token(DEVELOPER).encode()}
    await doorkeeper.admit(headers, Role.DEVELOPER, None)
    withdrawn, here.users.key = here.users.key, new_signing_key()
    await here.services.play(
        PublicKeys, lambda _: VerificationKeys(keys={here.users.key.kid: here.users.key.public_pem})
    )

    async def outcome() -> str:
        try:
            clock.now += 61
            await doorkeeper.admit(headers, Role.DEVELOPER, None)
        except Refused as refused:
            return refused.code
        return ""

    await eventually(outcome, lambda found: found == "TOKEN_INVALID", within=5)
    assert withdrawn.kid != here.users.key.kid


# ---- the limit on failed log-ins


def refuse_log_in(_query: LogIn) -> Session:
    raise Refused("UNAUTHORIZED")


def refuse_for_a_while(_query: LogIn) -> Session:
    raise Refused("TOO_MANY_REQUESTS", retry_after=30)


async def test_who_guesses_too_often_is_told_how_long_to_wait(here: Stage) -> None:
    await here.services.play(LogIn, refuse_for_a_while)
    answer = await here.http.post("/api/auth/token", json={"auth": {"username": "ivan", "password": "x"}})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert answer.json()["message"] == "TOO_MANY_REQUESTS"


async def test_the_client_of_a_trusted_proxy_is_counted_and_not_the_proxy(here: Stage) -> None:
    await here.services.play(LogIn, refuse_log_in)
    trusting = replace(here.gateway.world.settings, trusted_proxies=(ip_network("127.0.0.0/8"),))
    forwarded = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
    async with serving(trusting) as (_, _, url), httpx.AsyncClient(base_url=url) as http:
        for client in (http, here.http):
            await client.post("/api/auth/token", json={"auth": {}}, headers=forwarded)
    assert [told.message.ip_address for told in here.services.told_of(LogIn)] == ["192.0.2.7", "127.0.0.1"]
