"""Every route for everybody: whom access.yaml lets in is let in, and nobody else."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.errors import CODES
from gateway.auth import Role
from gateway.openapi.failures import codes
from gateway.routes import TABLE
from gateway.routing import Route
from libs.connections import vault_of
from libs.security.tokens import SigningKey, issue
from services.identity.signing import KEYS, SUBJECT
from tests.integration.whole import Headers, Whole, whole
from tests.support import eventually
from tests.support.servers import Servers

WRITTEN = yaml.safe_load((Path(__file__).parent / "access.yaml").read_text())
CALLERS: list[str] = WRITTEN["callers"]
EVENTS = Route("GET", "/events", Role.USER)
ROUTES = [*TABLE, EVENTS]
LAUNCH = "POST /developer/builds/{project_id:id}"
NOTHING = "999999999"

Ids = Mapping[str, str]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def fits(pattern: str, name: str) -> bool:
    if pattern == name:
        return True
    parts = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
    return re.fullmatch(parts, name) is not None


def outcomes(route: Route) -> Mapping[str, Any]:
    """By caller."""
    line = next((line for pattern, line in WRITTEN["routes"].items() if fits(pattern, name_of(route))), None)
    assert line, f"access.yaml says nothing of {name_of(route)}"
    return dict(zip(CALLERS, line, strict=True))


def code_of(route: Route, caller: str, status: int) -> str:
    own = WRITTEN["codes"].get(f"{status} of {name_of(route)} for {caller}")
    general = WRITTEN["codes"][status]
    return str(own or (general if isinstance(general, str) else general[caller]))


# ---- the callers, and what there is to be seen


@pytest.fixture(scope="module")
async def here(servers: Servers) -> AsyncIterator[Whole]:
    async with whole(servers, local_repositories=True) as one:
        yield one


@pytest.fixture(scope="module")
async def callers(here: Whole) -> Mapping[str, Headers]:
    developer, administrator = await user(here, "dev", "ROLE_DEVELOPER"), await user(here, "root", "ROLE_ADMIN")
    return {
        "no token": {},
        "bad token": {"Authorization": developer["Authorization"][:-4] + "AAAA"},
        "expired token": await expired(here),
        "disabled user": await disabled(here),
        "developer": developer,
        "other developer": await user(here, "other", "ROLE_DEVELOPER"),
        "administrator": administrator,
    }


PASSWORD = "long enough 7"


async def user(here: Whole, username: str, role: str) -> Headers:
    await here.make("developers", username=username, password=PASSWORD, roles=[role])
    return await here.log_in(username, PASSWORD)


async def disabled(here: Whole) -> Headers:
    made = await here.make("developers", username="gone", password=PASSWORD, roles=["ROLE_ADMIN", "ROLE_DEVELOPER"])
    headers = await here.log_in("gone", PASSWORD)
    body = {"developer": {"enabled": False}}
    await here.http.patch(f"/api/admin/developers/{made['id']}/enabled", json=body, headers=here.admin)

    async def is_out() -> bool:
        return (await here.http.get("/api/user/info", headers=headers)).status_code == 401

    await eventually(is_out)
    return headers


async def expired(here: Whole) -> Headers:
    async with here.database("identity") as database:
        stored = await database[KEYS].find_one(sort=[("_id", -1)])
        assert stored
        private = await vault_of(database, here.settings).open(SUBJECT, stored["sealed_private_pem"])
    key = SigningKey(stored["kid"], private, stored["public_pem"])
    then = datetime.now(UTC) - timedelta(hours=2)
    roles = ("ROLE_ADMIN", "ROLE_DEVELOPER")
    token = issue(key, subject=1, username="admin", roles=roles, epoch=0, now=then, lifetime=3600)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
async def things(here: Whole, callers: Mapping[str, Headers]) -> Ids:
    """What the paths may name, so that reading finds something."""
    me = (await here.http.get("/api/user/info", headers=callers["developer"])).json()["id"]
    company = await here.make("companies", title="Acme", alias="acme", members_id=[me])
    project = await here.make(
        "projects",
        name="shop",
        alias="shop",
        owner_alias="dev",
        repository="/nowhere",
        branch="main",
        spec_file_path="/ci.yaml",
        allow_concurrent_execution=True,
        executor_id=1,
        developers_id=[me],
    )
    return {
        "user_id": str(me),
        "user_alias": "dev",
        "company_id": str(company["id"]),
        "company_alias": "acme",
        "project_id": str(project["id"]),
        "owner_alias": "dev",
        "project_alias": "shop",
        "executor_id:id": "1",
        "secret_id": str((await here.make("secrets", name="KEY", value="hush"))["id"]),
        "credential_id": str((await here.make("credentials", name="key", ssh_key="-----BEGIN X-----\nx"))["id"]),
        "kind": "executor",
        "id": "1",
    }


OWNERS = {"owner_alias", "project_alias", "company_alias"}
"""Whose things a path speaks of must be there for anybody to be let in; what would be changed must not."""


def known(route: Route, things: Ids) -> Ids:
    if route.method == "GET" or name_of(route) == LAUNCH:
        return things
    return {name: value for name, value in things.items() if name in OWNERS}


def address(route: Route, known: Ids) -> str:
    def value(captured: re.Match[str]) -> str:
        return known.get(captured[1] + captured[2], known.get(captured[1], NOTHING))

    return "/api" + re.sub(r"\{(\w+)((?::id)?)\}", value, route.path)


def answers_of(route: Route, address: str, *, public: bool) -> set[int]:
    """Of whoever is let in. Where everything that the path names is there, reading finds it."""
    if route.method == "GET" and NOTHING not in address:
        return {route.status}
    refusals = {503, 504} if public else {401, 403, 503, 504}
    return {route.status, *(CODES[code].status for code in codes(route))} - refusals


@dataclass(frozen=True)
class Answer:
    address: str
    status: int
    code: str


@pytest.fixture(scope="module")
async def answers(here: Whole, callers: Mapping[str, Headers], things: Ids) -> Mapping[tuple[str, str], Answer]:
    """What everybody was answered everywhere, by route and caller; many at once, for a bad token is looked at twice."""
    turn = asyncio.Semaphore(16)

    async def ask(route: Route, caller: str) -> Answer:
        path = address(route, known(route, things))
        async with turn, here.http.stream(route.method, path, headers=callers[caller]) as answer:
            if answer.status_code < 400:  # events have no end
                return Answer(path, answer.status_code, "")
            await answer.aread()
            return Answer(path, answer.status_code, answer.json()["message"])

    wishes = {(name_of(route), caller): ask(route, caller) for route in ROUTES for caller in CALLERS}
    return dict(zip(wishes, await asyncio.gather(*wishes.values()), strict=True))


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_route_lets_in_whom_it_should(answers: Mapping[tuple[str, str], Answer], route: Route, caller: str) -> None:
    answer = answers[name_of(route), caller]
    expected = outcomes(route)
    if expected[caller] == "in":
        assert answer.status in answers_of(route, answer.address, public=expected["no token"] == "in")
    else:
        assert (answer.status, answer.code) == (expected[caller], code_of(route, caller, expected[caller]))


def test_every_line_of_the_file_speaks_of_some_route() -> None:
    names = [name_of(route) for route in ROUTES]
    assert [pattern for pattern in WRITTEN["routes"] if not any(fits(pattern, name) for name in names)] == []
