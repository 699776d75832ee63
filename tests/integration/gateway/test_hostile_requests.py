"""Hostile input to the resource routes of the Free Commit API: each request succeeds or gets an error code."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from tests.support.gateway_routes import GatewayRoute, list_routes
from tests.support.in_process.free_commit_system import FreeCommitSystem, free_commit_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import send_until_answered

CONCURRENCY = 8  # on a slow machine, hundreds of concurrent requests would get the response 504
RESOURCES = ("project", "secret", "credential", "developer", "executor")
HOSTILE_VALUES: list[Any] = [
    None,
    "",
    "\0",
    "a\0b",
    "\u202ea",
    "\U0001f600",
    "9" * 50,
    "x" * 256,
    "x" * 70_000,
    0,
    2**63,
    10**30,
    1e308,
    True,
    [],
    ["\0"],
    [2**63 - 1],
    list(range(1, 2000)),
    ["x"] * 2000,
    {"\0": "\0"},
    {"$gt": 1, "a.b": 2},
    {"a": {"b": 1}},
    {"x" * 300: "y"},
]
HOSTILE_BODIES = [
    b"{",
    b"[]",
    b"1",
    b"\xff",
    b"NaN",
    b"[" * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"9" * 10_000,
    b'{"project": "\\ud800"}',
    b'{"project": {"\\u0000": 1}, "project": 2, "project": {"name": "x", "name": []}}',
    b'{"project": [{}, {"name": 1}], "project_name": {}}',
    b"\xef\xbb\xbf{}",
    '{"project": {}}'.encode("utf-16"),
    b" " * (1024 * 1024 + 1),
]
ROUTES = [
    route
    for route in list_routes()
    if route.body
    and route.path.startswith(tuple(f"/admin/{resource}s" for resource in RESOURCES))
    and route.body.resource() in RESOURCES
]


@pytest.fixture(scope="module")
async def free_commit(servers: Servers) -> AsyncIterator[FreeCommitSystem]:
    async with free_commit_system(servers) as stage:
        yield stage


def resource_of(route: GatewayRoute) -> str:
    assert route.body
    return route.body.resource()


async def create_route_path(free_commit: FreeCommitSystem, route: GatewayRoute) -> str:
    """Create a resource of the route's kind, if the path has an id. Return the path with that id."""
    base, captured, part = route.path.partition("/{")
    if not captured:
        return f"/api{base}"
    created = await free_commit.create(resource_of(route))
    return f"/api{base}/{created['id']}{part[part.index('}') + 1 :]}"


def list_server_errors(answers: list[httpx.Response]) -> list[tuple[int, str]]:
    return [
        (response.status_code, response.text[:200])
        for response in answers
        if response.status_code >= 500 or (response.is_error and "detail" not in response.json())
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_no_field_value_causes_a_server_error(free_commit: FreeCommitSystem, route: GatewayRoute) -> None:
    path, resource = await create_route_path(free_commit, route), resource_of(route)
    names = [route.body_fields.wire_name(name) for name in route.body_fields.model_fields]
    bodies = [{resource: free_commit.defaults[resource] | {name: value}} for name in names for value in HOSTILE_VALUES]
    permits = asyncio.Semaphore(CONCURRENCY)

    async def send(body: Any) -> httpx.Response:
        async with permits:
            return await send_until_answered(lambda: free_commit.admin.request(route.method, path, json=body))

    assert list_server_errors(await asyncio.gather(*map(send, bodies))) == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "APPLICATION/JSON; charset=latin-1", ""])
async def test_no_request_body_causes_a_server_error(free_commit: FreeCommitSystem, content_type: str) -> None:
    headers = {"Content-Type": content_type}

    async def send(raw: bytes) -> httpx.Response:
        return await send_until_answered(
            lambda: free_commit.admin.post("/api/admin/projects", content=raw, headers=headers)
        )

    answers = await asyncio.gather(*map(send, HOSTILE_BODIES))
    assert list_server_errors(answers) == []
    assert {response.status_code for response in answers} <= {400, 413, 422}


HOSTILE_IDS = (
    "0",
    "-1",
    "x",
    "1.5",
    "00000000000000000001",
    str(2**63 - 1),
    str(2**63),
    "9" * 40,
    "%00",
    "%ff",
    "%ED%A0%80",
    "1%2F2",
)


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT"])
async def test_no_id_in_the_path_causes_a_server_error(
    free_commit: FreeCommitSystem, resource: str, method: str
) -> None:
    requests = [partial(free_commit.admin.request, method, f"/api/admin/{resource}s/{id_}") for id_ in HOSTILE_IDS]
    answers = [await send_until_answered(request) for request in requests]
    assert list_server_errors(answers) == []
    assert {response.status_code for response in answers} <= {204, 404, 405}


HOSTILE_HEADERS: list[dict[str, Any]] = [
    {"Authorization": b"Bearer \xff\xfe"},
    {"Authorization": "Bearer " + "a" * 30_000},
    {"Authorization": "Bearer a.b.c"},
    {"Authorization": "Bearer e30.e30.e30"},
    {"traceparent": b"\xff"},
    {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
    {"Idempotency-Key": b"\xff"},
    {"Idempotency-Key": "k" * 5000},
    {"Content-Type": "a" * 5000},
    {"X-Forwarded-For": "x, ,::::,1"},
    {"Origin": "null"},
    {f"X-{number}": "a" for number in range(500)},
]


@pytest.mark.parametrize("headers", HOSTILE_HEADERS, ids=lambda headers: next(iter(headers)))
async def test_no_header_causes_a_server_error(free_commit: FreeCommitSystem, headers: dict[str, Any]) -> None:
    raw = json.dumps({"credential": {"name": "x"}})
    response = await send_until_answered(
        lambda: free_commit.admin.post("/api/admin/credentials", content=raw, headers=headers)
    )
    assert 400 <= response.status_code < 500
    assert response.json()["message"]
