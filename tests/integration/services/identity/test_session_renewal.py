"""Sessions are renewed with their own token, up to a maximum age."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from contracts.errors import RequestRejected
from contracts.identity import (
    ChangeRoles,
    GetVerificationKeys,
    LogIn,
    RegisterUser,
    RenewSession,
    Session,
    SetUserEnabled,
    VerificationKeys,
)
from contracts.messages import CommandReply
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import TokenClaims, issue_token, verify_token
from libs.service.connections import create_mongo_client, get_database
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.in_process.signing import read_signing_key
from tests.support.infrastructure.servers import Servers

PASSWORD = "millwheel-7"


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, admin_password=PASSWORD) as stage:
        await stage.migrate(identity, projects)
        async with stage.running(lambda: identity):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: ServiceStage) -> AsyncIterator[MessageClient]:
    async with stage.connected() as bus:
        yield MessageClient(bus)


async def sign_in(caller: MessageClient) -> tuple[int, Session]:
    """Register a user and sign in. Return the user's id and session."""
    name = f"user-{uuid4().hex[:8]}"
    registered = CommandReply.model_validate_json(await caller.send(RegisterUser(username=name, password=PASSWORD)))
    session = await caller.send(LogIn(username=name, password=PASSWORD), timeout=30)
    return int(registered.row["id"]), Session.model_validate_json(session)


async def renew(caller: MessageClient, token: str) -> Session:
    return Session.model_validate_json(await caller.send(RenewSession(token=token)))


async def renewal_error(caller: MessageClient, token: str) -> str:
    with pytest.raises(RequestRejected) as rejected:
        await renew(caller, token)
    return rejected.value.code


async def read_claims(caller: MessageClient, token: str) -> TokenClaims:
    keys = VerificationKeys.model_validate_json(await caller.query(GetVerificationKeys())).keys
    return verify_token(token, keys)


async def token_of_session(
    stage: ServiceStage, claims: TokenClaims, *, session_age: float, token_age: float = 0
) -> str:
    """Return a token of a session that began `session_age` seconds ago.

    The token was issued `token_age` seconds ago and is valid for an hour from then.
    """
    async with create_mongo_client(stage.settings, "test") as client:
        key = await read_signing_key(get_database(client, stage.settings, "identity"), stage.settings)
    now = datetime.now(UTC)
    return issue_token(
        key,
        subject=claims.user_id,
        username=claims.username,
        roles=claims.roles,
        epoch=claims.epoch,
        now=now - timedelta(seconds=token_age),
        lifetime=3600,
        signed_in_at=now - timedelta(seconds=session_age),
    )


async def test_a_renewed_session_keeps_the_time_of_the_sign_in(stage: ServiceStage, caller: MessageClient) -> None:
    user_id, session = await sign_in(caller)
    before = await read_claims(caller, session.access_token)
    assert session.renewable_for == stage.settings.session_seconds
    old = await token_of_session(stage, before, session_age=1000, token_age=1000)
    renewed = await renew(caller, old)
    claims = await read_claims(caller, renewed.access_token)
    assert (claims.user_id, claims.signed_in_at) == (user_id, (await read_claims(caller, old)).signed_in_at)
    assert claims.expires_at >= before.expires_at
    assert renewed.renewable_for <= stage.settings.session_seconds - 1000


async def test_a_session_ends_at_its_maximum_age(stage: ServiceStage, caller: MessageClient) -> None:
    _, session = await sign_in(caller)
    claims = await read_claims(caller, session.access_token)
    old = await token_of_session(stage, claims, session_age=stage.settings.session_seconds + 60)
    assert await renewal_error(caller, old) == "SESSION_EXPIRED"


async def test_an_expired_or_forged_token_is_not_renewed(stage: ServiceStage, caller: MessageClient) -> None:
    _, session = await sign_in(caller)
    claims = await read_claims(caller, session.access_token)
    expired = await token_of_session(stage, claims, session_age=7200, token_age=7200)
    assert await renewal_error(caller, expired) == "TOKEN_EXPIRED"
    assert await renewal_error(caller, session.access_token[:-4] + "AAAA") == "TOKEN_INVALID"


async def test_a_changed_or_disabled_user_cannot_renew(caller: MessageClient) -> None:
    changed_id, changed = await sign_in(caller)
    await caller.send(ChangeRoles(user_id=changed_id, roles=("ROLE_DEVELOPER",)))
    assert await renewal_error(caller, changed.access_token) == "TOKEN_INVALID"
    disabled_id, disabled = await sign_in(caller)
    await caller.send(SetUserEnabled(user_id=disabled_id, enabled=False))
    assert await renewal_error(caller, disabled.access_token) == "TOKEN_INVALID"
