"""Personal API tokens through two gateways and two replicas of identity: what they open, and that they end at once."""

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
    ChangePassword,
    ChangeRoles,
    DeleteUser,
    GetTokenAccess,
    ListApiTokens,
    LogIn,
    RegisterUser,
    Session,
    SetUserEnabled,
)
from contracts.messages import Command, Done
from libs.connections import database_of, mongo
from libs.messaging import Caller
from libs.security.tokens import token_hash
from services.identity.app import service as identity
from services.identity.tokens import USES
from services.projects.app import service as projects
from tests.integration.gateway_stage import eventually, serving
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

PASSWORD = "millwheel-7"
ADMIN = "ROLE_ADMIN"
Gateways = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers, admin_username="root", admin_password=PASSWORD) as stage:
        await stage.migrate(identity, projects)
        async with stage.running(lambda: identity, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: Stage) -> AsyncIterator[Caller]:
    async with stage.connected() as bus:
        yield Caller(bus)


@pytest.fixture(scope="module")
async def gateways(stage: Stage) -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        _, _, first = await stack.enter_async_context(serving(stage.settings))
        _, _, second = await stack.enter_async_context(serving(stage.settings))
        yield (
            await stack.enter_async_context(httpx.AsyncClient(base_url=first, timeout=20)),
            await stack.enter_async_context(httpx.AsyncClient(base_url=second, timeout=20)),
        )


@dataclass(frozen=True)
class Person:
    id: int
    log_in: Mapping[str, str]  # headers
    http: httpx.AsyncClient

    async def made(self, **fields: Any) -> Any:
        """A token, as its answer shows it."""
        answer = await self.http.post("/api/user/tokens", json={"token": {"name": "ci"} | fields}, headers=self.log_in)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def refusal(self, **fields: Any) -> tuple[int, str]:
        answer = await self.http.post("/api/user/tokens", json={"token": fields}, headers=self.log_in)
        return answer.status_code, answer.json()["message"]

    async def listed(self) -> Any:
        return (await self.http.get("/api/user/tokens", headers=self.log_in)).raise_for_status().json()


async def person(caller: Caller, gateways: Gateways, *roles: str) -> Person:
    name = f"user-{uuid4().hex[:8]}"
    done = await caller.tell(RegisterUser(username=name, password=PASSWORD, roles=roles))
    session = Session.model_validate_json(await caller.ask(LogIn(username=name, password=PASSWORD), timeout=10))
    log_in = {"Authorization": f"Bearer {session.access_token}"}
    return Person(int(Done.model_validate_json(done).row["id"]), log_in, gateways[0])


@pytest.fixture
async def anna(caller: Caller, gateways: Gateways) -> Person:
    return await person(caller, gateways)


def bearer(token: Mapping[str, Any], scheme: str = "token") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token['value']}"}


async def status(http: httpx.AsyncClient, token: Mapping[str, Any], path: str = "/api/user/info") -> int:
    return (await http.get(path, headers=bearer(token))).status_code


async def test_a_value_is_shown_once_and_kept_nowhere(stage: Stage, anna: Person) -> None:
    token = await anna.made(name="nightly", expires_at="2999-12-31", scopes=["USER_READ"])
    [listed] = await anna.listed()
    shown = {name: value for name, value in token.items() if name != "value"}
    assert listed == shown
    assert (listed["name"], listed["expires_at"], listed["scopes"]) == ("nightly", "2999-12-31", ["USER_READ"])
    assert listed["last_used_at"] is None
    async with mongo(stage.settings, "test") as client:
        database = database_of(client, stage.settings, "identity")
        names = await database.list_collection_names()
        everything = json_util.dumps([await database[name].find().to_list() for name in names])
    assert token["value"] not in everything
    assert token_hash(token["value"]) in everything


@pytest.mark.parametrize("scheme", ["token", "TOKEN", "Bearer", "bearer"])
@pytest.mark.parametrize("prefix", ["/api", "/rest-api", "/api-free-commit", ""])
async def test_a_token_speaks_for_its_user_in_both_schemes(anna: Person, scheme: str, prefix: str) -> None:
    answer = await anna.http.get(f"{prefix}/user/info", headers=bearer(await anna.made(), scheme))
    assert (answer.status_code, answer.json()["id"]) == (200, anna.id)


async def test_a_revoked_token_is_refused_by_all_gateways(anna: Person, gateways: Gateways) -> None:
    token = await anna.made()
    assert [await status(http, token) for http in gateways] == [200, 200]
    answer = await gateways[0].delete(f"/api/user/tokens/{token['id']}", headers=anna.log_in)
    assert answer.status_code == 204
    await ends(gateways, token)
    assert await anna.listed() == []


async def ends(gateways: Gateways, token: Mapping[str, Any]) -> None:
    async def statuses() -> list[int]:
        return [await status(http, token) for http in gateways]

    await eventually(statuses, lambda found: found == [401, 401], within=10)


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
async def test_a_change_of_access_ends_a_token(
    caller: Caller, anna: Person, gateways: Gateways, change: Callable[[int], Command]
) -> None:
    token = await anna.made()
    assert [await status(http, token) for http in gateways] == [200, 200]
    await caller.tell(change(anna.id))
    await ends(gateways, token)


async def test_a_token_opens_what_its_scopes_name(anna: Person) -> None:
    token = await anna.made(scopes=["USER_READ"])
    assert await status(anna.http, token) == 200
    answer = await anna.http.delete("/api/user/tokens/1", headers=bearer(token))
    assert (answer.status_code, answer.json()["message"]) == (403, "TOKEN_SCOPE")
    assert "USER_WRITE" in answer.json()["detail"]


async def test_a_scope_gives_no_role(anna: Person) -> None:
    token = await anna.made(scopes=["PROJECT_READ"])
    answer = await anna.http.get("/api/developer/projects", headers=bearer(token))
    assert (answer.status_code, answer.json()["message"]) == (403, "FORBIDDEN")


async def test_no_token_makes_tokens(anna: Person) -> None:
    answer = await anna.http.post("/api/user/tokens", json={"token": {"name": "x"}}, headers=bearer(await anna.made()))
    assert (answer.status_code, answer.json()["message"]) == (403, "TOKEN_SCOPE")


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
async def test_bad_input_has_a_code(anna: Person, fields: Mapping[str, Any], code: str) -> None:
    assert await anna.refusal(**fields) == (422, code)
    assert await anna.listed() == []


async def test_the_same_key_makes_one_token_and_is_answered_alike(anna: Person) -> None:
    headers = {**anna.log_in, "Idempotency-Key": uuid4().hex}
    sent = [await anna.http.post("/api/user/tokens", json={"token": {"name": "x"}}, headers=headers) for _ in range(2)]
    first, second = (one.json() for one in sent)
    assert first == second
    assert [one["id"] for one in await anna.listed()] == [first["id"]]
    assert await status(anna.http, first) == 200


async def test_nobody_revokes_what_belongs_to_others(caller: Caller, anna: Person, gateways: Gateways) -> None:
    token = await (await person(caller, gateways)).made()
    answer = await anna.http.delete(f"/api/user/tokens/{token['id']}", headers=anna.log_in)
    assert (answer.status_code, answer.json()["message"]) == (404, "TOKEN_NOT_FOUND")


async def test_administrators_see_and_revoke_the_tokens_of_others(
    caller: Caller, anna: Person, gateways: Gateways
) -> None:
    root = await person(caller, gateways, ADMIN)
    token = await anna.made()
    path = f"/api/admin/developers/{anna.id}/tokens"
    [listed] = (await root.http.get(path, headers=root.log_in)).json()
    assert (listed["id"], "value" in listed) == (token["id"], False)
    assert (await root.http.delete(f"{path}/{token['id']}", headers=root.log_in)).status_code == 204
    assert (await root.http.delete(f"{path}/{token['id']}", headers=root.log_in)).status_code == 404
    assert (await anna.http.get(path, headers=anna.log_in)).status_code == 403
    assert (await root.http.get("/api/admin/developers/999999/tokens", headers=root.log_in)).status_code == 404
    await ends(gateways, token)


async def test_the_last_use_is_noted_once_a_minute(stage: Stage, caller: Caller, anna: Person) -> None:
    token = await anna.made()
    use = GetTokenAccess(token_hash=token_hash(token["value"]))

    async def noted() -> Any:
        [listed] = ApiTokens.model_validate_json(await caller.ask(ListApiTokens(user_id=anna.id))).tokens
        return listed.last_used_at

    await caller.ask(use)
    first = await noted()
    await caller.ask(use)
    assert await noted() == first
    async with mongo(stage.settings, "test") as client:
        uses = database_of(client, stage.settings, "identity")[USES]
        await uses.update_one({"_id": token["id"]}, {"$set": {"at": first - timedelta(minutes=2)}})
    await caller.ask(use)
    assert await noted() > first
