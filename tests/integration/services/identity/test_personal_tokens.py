"""Personal API tokens through two gateways and two replicas of identity: scopes, revocation and expiry."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from bson import json_util

from contracts.identity import (
    ApiTokens,
    AuthenticateToken,
    ChangePassword,
    ChangeRoles,
    DeleteUser,
    ListApiTokens,
    LogIn,
    RegisterUser,
    Session,
    SetUserEnabled,
)
from contracts.messages import Command, CommandReply
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import hash_token
from libs.service.connections import create_mongo_client, get_database
from services.identity.app import service as identity
from services.identity.authentication.api_tokens import USES_COLLECTION
from services.projects.app import service as projects
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

PASSWORD = "millwheel-7"
ADMIN = "ROLE_ADMIN"
Gateways = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, admin_username="root", admin_password=PASSWORD) as stage:
        await stage.migrate(identity, projects)
        async with stage.running(lambda: identity, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: ServiceStage) -> AsyncIterator[MessageClient]:
    async with stage.connected() as bus:
        yield MessageClient(bus)


@pytest.fixture(scope="module")
async def gateways(stage: ServiceStage) -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        _, _, first = await stack.enter_async_context(running_gateway(stage.settings))
        _, _, second = await stack.enter_async_context(running_gateway(stage.settings))
        yield (
            await stack.enter_async_context(httpx.AsyncClient(base_url=first, timeout=20)),
            await stack.enter_async_context(httpx.AsyncClient(base_url=second, timeout=20)),
        )


@dataclass(frozen=True)
class TokenOwner:
    id: int
    session_headers: Mapping[str, str]  # authorize requests with the token of a login session
    http: httpx.AsyncClient

    async def create_token(self, **fields: Any) -> Any:
        response = await self.http.post(
            "/api/user/tokens", json={"token": {"name": "ci"} | fields}, headers=self.session_headers
        )
        assert response.status_code == 201, response.text
        return response.json()

    async def create_token_error(self, **fields: Any) -> tuple[int, str]:
        response = await self.http.post("/api/user/tokens", json={"token": fields}, headers=self.session_headers)
        return response.status_code, response.json()["message"]

    async def list_tokens(self) -> Any:
        return (await self.http.get("/api/user/tokens", headers=self.session_headers)).raise_for_status().json()


async def create_token_owner(caller: MessageClient, gateways: Gateways, *roles: str) -> TokenOwner:
    name = f"user-{uuid4().hex[:8]}"
    done = await caller.send(RegisterUser(username=name, password=PASSWORD, roles=roles))
    session = Session.model_validate_json(await caller.send(LogIn(username=name, password=PASSWORD), timeout=30))
    log_in = {"Authorization": f"Bearer {session.access_token}"}
    return TokenOwner(int(CommandReply.model_validate_json(done).row["id"]), log_in, gateways[0])


@pytest.fixture
async def owner(caller: MessageClient, gateways: Gateways) -> TokenOwner:
    return await create_token_owner(caller, gateways)


def token_headers(token: Mapping[str, Any], scheme: str = "token") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token['value']}"}


async def request_status(http: httpx.AsyncClient, token: Mapping[str, Any], path: str = "/api/user/info") -> int:
    return (await http.get(path, headers=token_headers(token))).status_code


async def test_a_personal_token_value_is_shown_once_and_not_stored(stage: ServiceStage, owner: TokenOwner) -> None:
    token = await owner.create_token(name="nightly", expires_at="2999-12-31", scopes=["USER_READ"])
    [listed] = await owner.list_tokens()
    shown = {name: value for name, value in token.items() if name != "value"}
    assert listed == shown
    assert (listed["name"], listed["expires_at"], listed["scopes"]) == ("nightly", "2999-12-31", ["USER_READ"])
    assert listed["last_used_at"] is None
    async with create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "identity")
        names = await database.list_collection_names()
        everything = json_util.dumps([await database[name].find().to_list() for name in names])
    assert token["value"] not in everything
    assert hash_token(token["value"]) in everything


@pytest.mark.parametrize("scheme", ["token", "TOKEN", "Bearer", "bearer"])
@pytest.mark.parametrize("prefix", ["/api", "/rest-api", "/api-free-commit", ""])
async def test_a_personal_token_authenticates_with_both_schemes_under_every_prefix(
    owner: TokenOwner, scheme: str, prefix: str
) -> None:
    response = await owner.http.get(f"{prefix}/user/info", headers=token_headers(await owner.create_token(), scheme))
    assert (response.status_code, response.json()["id"]) == (200, owner.id)


async def test_a_revoked_token_is_rejected_by_all_gateways(owner: TokenOwner, gateways: Gateways) -> None:
    token = await owner.create_token()
    assert [await request_status(http, token) for http in gateways] == [200, 200]
    response = await gateways[0].delete(f"/api/user/tokens/{token['id']}", headers=owner.session_headers)
    assert response.status_code == 204
    await wait_until_rejected(gateways, token)
    assert await owner.list_tokens() == []


async def wait_until_rejected(gateways: Gateways, token: Mapping[str, Any]) -> None:
    async def get_statuses() -> list[int]:
        return [await request_status(http, token) for http in gateways]

    await eventually(get_statuses, lambda found: found == [401, 401])


@pytest.mark.parametrize(
    "change",
    [
        lambda id_: ChangePassword(user_id=id_, password="quite another one"),
        lambda id_: ChangeRoles(user_id=id_, roles=("ROLE_DEVELOPER",)),
        lambda id_: SetUserEnabled(user_id=id_, enabled=False),
        lambda id_: DeleteUser(user_id=id_),
    ],
    ids=["another password", "other roles", "disabled", "deleted"],
)
async def test_a_change_of_access_invalidates_personal_tokens(
    caller: MessageClient, owner: TokenOwner, gateways: Gateways, change: Callable[[int], Command]
) -> None:
    token = await owner.create_token()
    assert [await request_status(http, token) for http in gateways] == [200, 200]
    await caller.send(change(owner.id))
    await wait_until_rejected(gateways, token)


async def test_a_personal_token_is_limited_to_its_scopes(owner: TokenOwner) -> None:
    token = await owner.create_token(scopes=["USER_READ"])
    assert await request_status(owner.http, token) == 200
    response = await owner.http.delete("/api/user/tokens/1", headers=token_headers(token))
    assert (response.status_code, response.json()["message"]) == (403, "TOKEN_SCOPE")
    assert "USER_WRITE" in response.json()["detail"]


async def test_a_token_scope_does_not_grant_a_role(owner: TokenOwner) -> None:
    token = await owner.create_token(scopes=["PROJECT_READ"])
    response = await owner.http.get("/api/developer/projects", headers=token_headers(token))
    assert (response.status_code, response.json()["message"]) == (403, "FORBIDDEN")


async def test_a_personal_token_cannot_create_tokens(owner: TokenOwner) -> None:
    response = await owner.http.post(
        "/api/user/tokens", json={"token": {"name": "x"}}, headers=token_headers(await owner.create_token())
    )
    assert (response.status_code, response.json()["message"]) == (403, "TOKEN_SCOPE")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "TOKEN_NAME_REQUIRED"),
        ({"name": 7}, "TOKEN_NAME_INVALID"),
        ({"name": "${x}"}, "TOKEN_NAME_INVALID"),
        ({"name": "x" * 256}, "TOKEN_NAME_INVALID"),
        ({"name": "x", "expires_at": "soon"}, "TOKEN_EXPIRES_AT_INVALID"),
        ({"name": "x", "expires_at": 7}, "TOKEN_EXPIRES_AT_INVALID"),
        ({"name": "x", "expires_at": "0001-01-01T00:00+14:00"}, "TOKEN_EXPIRES_AT_INVALID"),
        ({"name": "x", "expires_at": "2020-10-10"}, "TOKEN_EXPIRES_AT_INVALID"),
        ({"name": "x", "scopes": ["EVERYTHING"]}, "TOKEN_SCOPES_INVALID"),
        ({"name": "x", "scopes": "USER_READ"}, "TOKEN_SCOPES_INVALID"),
    ],
)
async def test_invalid_input_is_rejected_with_its_error_code(
    owner: TokenOwner, fields: Mapping[str, Any], code: str
) -> None:
    assert await owner.create_token_error(**fields) == (422, code)
    assert await owner.list_tokens() == []


async def test_a_repeated_idempotency_key_creates_one_token_with_the_same_response(owner: TokenOwner) -> None:
    headers = {**owner.session_headers, "Idempotency-Key": uuid4().hex}
    sent = [await owner.http.post("/api/user/tokens", json={"token": {"name": "x"}}, headers=headers) for _ in range(2)]
    first, second = (response.json() for response in sent)
    assert first == second
    assert [listed_token["id"] for listed_token in await owner.list_tokens()] == [first["id"]]
    assert await request_status(owner.http, first) == 200


async def test_a_user_cannot_revoke_tokens_of_others(
    caller: MessageClient, owner: TokenOwner, gateways: Gateways
) -> None:
    token = await (await create_token_owner(caller, gateways)).create_token()
    response = await owner.http.delete(f"/api/user/tokens/{token['id']}", headers=owner.session_headers)
    assert (response.status_code, response.json()["message"]) == (404, "TOKEN_NOT_FOUND")


async def test_administrators_see_and_revoke_the_tokens_of_others(
    caller: MessageClient, owner: TokenOwner, gateways: Gateways
) -> None:
    root = await create_token_owner(caller, gateways, ADMIN)
    token = await owner.create_token()
    path = f"/api/admin/developers/{owner.id}/tokens"
    [listed] = (await root.http.get(path, headers=root.session_headers)).json()
    assert (listed["id"], "value" in listed) == (token["id"], False)
    assert (await root.http.delete(f"{path}/{token['id']}", headers=root.session_headers)).status_code == 204
    assert (await root.http.delete(f"{path}/{token['id']}", headers=root.session_headers)).status_code == 404
    assert (await owner.http.get(path, headers=owner.session_headers)).status_code == 403
    assert (await root.http.get("/api/admin/developers/999999/tokens", headers=root.session_headers)).status_code == 404
    await wait_until_rejected(gateways, token)


async def test_the_last_use_of_a_token_is_updated_once_a_minute(
    stage: ServiceStage, caller: MessageClient, owner: TokenOwner
) -> None:
    token = await owner.create_token()
    use = AuthenticateToken(token_hash=hash_token(token["value"]))

    async def get_last_use() -> Any:
        [listed] = ApiTokens.model_validate_json(await caller.query(ListApiTokens(user_id=owner.id))).tokens
        return listed.last_used_at

    await caller.send(use)
    first = await get_last_use()
    await caller.send(use)
    assert await get_last_use() == first
    async with create_mongo_client(stage.settings, "test") as client:
        uses = get_database(client, stage.settings, "identity")[USES_COLLECTION]
        await uses.update_one({"_id": token["id"]}, {"$set": {"at": first - timedelta(minutes=2)}})
    await caller.send(use)
    assert await get_last_use() > first
