"""Each kind of caller calls each route. For each call, access.yaml expects success or the status of an error."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.security.tokens import issue_token
from tests.support.gateway_routes import GatewayRoute, list_routes
from tests.support.in_process.running_system import Headers, RunningSystem, running_system
from tests.support.in_process.signing import read_signing_key
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import UNANSWERED_STATUSES, eventually

ACCESS_TABLE = yaml.load((Path(__file__).parent / "access.yaml").read_text(), yaml.CSafeLoader)
CALLERS: list[str] = ACCESS_TABLE["callers"]
ROUTES = list_routes()
# members of a project get 404 from these routes unless the project exists
OF_PROJECTS = {"POST /developer/builds/{project_id:id}", "POST /developer/projects/{project_id:id}/plan"}
UNKNOWN_ID = "999999999"
MAX_REPETITIONS = 3  # of one request

Ids = Mapping[str, str]


def name_of(route: GatewayRoute) -> str:
    return route.name


def matches(pattern: str, name: str) -> bool:
    if pattern == name:
        return True
    parts = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
    return re.fullmatch(parts, name) is not None


def expected_outcomes(route: GatewayRoute) -> Mapping[str, Any]:
    """Return the expected outcome by caller: `in` for success, or the status of an error."""
    line = next((line for pattern, line in ACCESS_TABLE["routes"].items() if matches(pattern, name_of(route))), None)
    assert line, f"access.yaml says nothing of {name_of(route)}"
    return dict(zip(CALLERS, line, strict=True))


def expected_code(route: GatewayRoute, caller: str, status: int) -> str:
    own = ACCESS_TABLE["codes"].get(f"{status} of {name_of(route)} for {caller}")
    general = ACCESS_TABLE["codes"][status]
    return str(own or (general if isinstance(general, str) else general[caller]))


@pytest.fixture(scope="module")
async def system(servers: Servers) -> AsyncIterator[RunningSystem]:
    async with running_system(servers, local_repositories=True) as running:
        yield running


@pytest.fixture(scope="module")
async def callers(system: RunningSystem) -> Mapping[str, Headers]:
    developer, administrator = (
        await log_in_new_user(system, "dev", "ROLE_DEVELOPER"),
        await log_in_new_user(system, "root", "ROLE_ADMIN"),
    )
    return {
        "no token": {},
        "bad token": {"Authorization": developer["Authorization"][:-4] + "AAAA"},
        "expired token": await expired_token_headers(system),
        "disabled user": await disabled_user_headers(system),
        "developer": developer,
        "other developer": await log_in_new_user(system, "other", "ROLE_DEVELOPER"),
        "administrator": administrator,
    }


PASSWORD = "long enough 7"


async def log_in_new_user(system: RunningSystem, username: str, role: str) -> Headers:
    await system.create("developers", username=username, password=PASSWORD, roles=[role])
    return await system.log_in(username, PASSWORD)


async def disabled_user_headers(system: RunningSystem) -> Headers:
    user = await system.create("developers", username="gone", password=PASSWORD, roles=["ROLE_ADMIN", "ROLE_DEVELOPER"])
    headers = await system.log_in("gone", PASSWORD)
    body = {"developer": {"enabled": False}}
    await system.http.patch(f"/api/admin/developers/{user['id']}/enabled", json=body, headers=system.admin)

    async def is_rejected() -> bool:
        return (await system.http.get("/api/user/info", headers=headers)).status_code == 401

    await eventually(is_rejected)
    return headers


async def expired_token_headers(system: RunningSystem) -> Headers:
    async with system.database("identity") as database:
        key = await read_signing_key(database, system.settings)
    issued_at = datetime.now(UTC) - timedelta(hours=2)
    roles = ("ROLE_ADMIN", "ROLE_DEVELOPER")
    token = issue_token(key, subject=1, username="admin", roles=roles, epoch=0, now=issued_at, lifetime=3600)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
async def resource_ids(system: RunningSystem, callers: Mapping[str, Headers]) -> Ids:
    """Create the resources that the paths need. Return the ids by path parameter."""
    me = (await system.http.get("/api/user/info", headers=callers["developer"])).json()["id"]
    company = await system.create("companies", title="Acme", alias="acme", members_id=[me])
    project = await system.create(
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
        "secret_id": str((await system.create("secrets", name="KEY", value="hush"))["id"]),
        "credential_id": str((await system.create("credentials", name="key", ssh_key="-----BEGIN X-----\nx"))["id"]),
        "kind": "executor",
        "id": "1",
    }


OWNERS = {"owner_alias", "project_alias", "company_alias"}
"""Owners named in the path must exist, or an allowed caller gets 404; the object to be changed must not exist."""


def visible_ids(route: GatewayRoute, things: Ids) -> Ids:
    if route.method == "GET" or name_of(route) in OF_PROJECTS:
        return things
    return {name: value for name, value in things.items() if name in OWNERS}


def request_path(route: GatewayRoute, known: Ids) -> str:
    def value(captured: re.Match[str]) -> str:
        return known.get(captured[1] + captured[2], known.get(captured[1], UNKNOWN_ID))

    return "/api" + re.sub(r"\{(\w+)((?::id)?)\}", value, route.path)


def allowed_statuses(route: GatewayRoute, address: str, *, public: bool) -> Set[int]:
    """Return the statuses that a permitted call may have. A GET request with existing ids must succeed."""
    if route.method == "GET" and UNKNOWN_ID not in address:
        return {route.status}
    refusals = UNANSWERED_STATUSES if public else {401, 403, *UNANSWERED_STATUSES}
    return route.statuses - refusals


@dataclass(frozen=True)
class Answer:
    address: str
    status: int
    code: str


@pytest.fixture(scope="module")
async def answers(
    system: RunningSystem, callers: Mapping[str, Headers], resource_ids: Ids
) -> Mapping[tuple[str, str], Answer]:
    """Send every request, 16 at a time. Return the responses by route and caller.

    As clients do, repeat a request that a service did not answer in time on a busy machine.
    """
    turn = asyncio.Semaphore(16)

    async def send(route: GatewayRoute, caller: str) -> Answer:
        path = request_path(route, visible_ids(route, resource_ids))
        async with turn, system.http.stream(route.method, path, headers=callers[caller]) as response:
            if response.status_code < 400:  # the body is not read, because an event stream has no end
                return Answer(path, response.status_code, "")
            await response.aread()
            return Answer(path, response.status_code, response.json()["message"])

    async def ask(route: GatewayRoute, caller: str) -> Answer:
        for _ in range(MAX_REPETITIONS):
            answer = await send(route, caller)
            if answer.status not in UNANSWERED_STATUSES:
                return answer
        return await send(route, caller)

    requests = {(name_of(route), caller): ask(route, caller) for route in ROUTES for caller in CALLERS}
    return dict(zip(requests, await asyncio.gather(*requests.values()), strict=True))


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_each_route_answers_each_caller_as_the_access_table_says(
    answers: Mapping[tuple[str, str], Answer], route: GatewayRoute
) -> None:
    outcomes, unexpected = expected_outcomes(route), {}
    for caller, expected in outcomes.items():
        answer = answers[name_of(route), caller]
        if expected == "in":
            allowed = allowed_statuses(route, answer.address, public=outcomes["no token"] == "in")
            is_expected = answer.status in allowed
        else:
            is_expected = (answer.status, answer.code) == (expected, expected_code(route, caller, expected))
        if not is_expected:
            unexpected[caller] = (answer, expected)
    assert unexpected == {}


def test_every_line_of_the_access_table_matches_a_route() -> None:
    names = [name_of(route) for route in ROUTES]
    assert [pattern for pattern in ACCESS_TABLE["routes"] if not any(matches(pattern, name) for name in names)] == []
