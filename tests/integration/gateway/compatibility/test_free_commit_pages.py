"""Paged lists of the Free Commit API on real rows: every parameter and operator, and exact counts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest

from contracts.builds import BuildFinished, BuildStatus
from contracts.messages import Event
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.messaging import cloudevents
from tests.support.in_process.free_commit_system import FreeCommitSystem, error_of, free_commit_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

NOON = datetime(2026, 6, 27, 12, tzinfo=UTC)
NAMES = ("alpha", "Beta", "gamma=1", "100%_sure", "a.b")


@pytest.fixture(scope="module")
async def free_commit(servers: Servers) -> AsyncIterator[FreeCommitSystem]:
    async with free_commit_system(servers) as stage:
        projects = [await stage.create("project", name=name) for name in NAMES]
        await stage.create("secret", name="HERE", env="prod", projects_id=[projects[0]["id"]])
        await stage.create("secret", name="EVERYWHERE")
        await publish_finished_build(stage, projects[0], 0, None, NOON)
        await publish_finished_build(stage, projects[1], 143, "Deployment aborted by user", NOON + timedelta(hours=1))
        yield stage


async def publish_finished_build(
    free_commit: FreeCommitSystem, project: dict[str, Any], code: int, message: str | None, at: datetime
) -> None:
    number = project["id"] + 1000
    event: Event = BuildFinished(
        build_id=number,
        executor_id="e",
        project_id=project["id"],
        project_name=project["name"],
        status=BuildStatus.FAILED if code else BuildStatus.SUCCESS,
        exit_code=code,
        exit_message=message,
        queued_at=at,
    )
    recorded = RecordedEvent(f"build-{number}", 1, 0, event, CommandMetadata(f"build {number}", at))
    async with free_commit.stage.connected() as bus:
        await bus.jetstream().publish(
            cloudevents.event_subject("builds", recorded),
            cloudevents.to_body(recorded),
            headers=cloudevents.to_headers("builds", recorded),
            timeout=30,
        )
    await eventually(lambda: free_commit.get("project", project["id"]), lambda shown: shown["builds_id"] == [number])


async def get_page(free_commit: FreeCommitSystem, listing: str, query: str) -> dict[str, Any]:
    response = await free_commit.developer.get(f"/api-free-commit/developer/paginations/{listing}?{query}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def list_project_names(free_commit: FreeCommitSystem, query: str) -> list[str]:
    found = await get_page(free_commit, "project", f"order_by=ASC&{query}")
    return [row["project_name"] for row in found["data"]]


ALPHA, BETA, GAMMA, WILDCARDS, DOTTED = NAMES


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("project_name[eq]=ALPHA", [ALPHA]),
        ("project_name[ne]=alpha", [BETA, GAMMA, WILDCARDS, DOTTED]),
        ("project_name[contains]=A", [ALPHA, BETA, GAMMA, DOTTED]),
        ("project_name[necontains]=a", [WILDCARDS]),
        ("project_name[startwith]=a", [ALPHA, DOTTED]),
        ("project_name[endwith]=A", [ALPHA, BETA]),
        ("project_name[contains]=.", [DOTTED]),
        ("project_name[contains]=%25_", [*NAMES]),
        ("project_name[contains]=a%25a", [ALPHA, GAMMA]),
        ("project_name[necontains]=a%25A", [BETA, WILDCARDS, DOTTED]),
        ("project_name[contains]=A_b", [DOTTED]),
        ("project_name[contains]=%5C%25%5C_", [WILDCARDS]),
        ("project_name[contains]=%5C", []),
        ("project_name[eq]=gamma=1", [GAMMA]),
        ("project_name[contains]==", [GAMMA]),
        ("project_name%5Beq%5D=gamma%3D1", [GAMMA]),
        ("project_name[sup]=b", [GAMMA]),
        ("project_name[infeq]=Beta", [BETA, WILDCARDS]),
        ("project_name[jsoncontains]=beta", [BETA]),
        ("project_name[nejsoncontains]=beta", [ALPHA, GAMMA, WILDCARDS, DOTTED]),
        ("project_name[distancesup]=1,2;3", []),
        ("project_id[distanceinf]=1,2;3", []),
        ("project_name[eq]=alpha&project_name[eq]=beta", [ALPHA, BETA]),
        ("project_name[contains]=a&project_name[contains]=b&project_name[ne]=beta", [ALPHA, GAMMA, DOTTED]),
        ("mode=include&project_name[eq]=alpha&build_last_exit_code[eq]=143", [ALPHA, BETA]),
        ("mode=exclude&project_name[eq]=alpha&build_last_exit_code[eq]=143", []),
        ("mode=other&project_name[eq]=alpha&build_last_exit_code[eq]=0", [ALPHA]),
        ("build_last_exit_code[eq]=null", [GAMMA, WILDCARDS, DOTTED]),
        ("build_last_exit_code[ne]=null", [ALPHA, BETA]),
        ("build_last_exit_code[supeq]=143", [BETA]),
        ("build_last_exit_code[inf]=143", [ALPHA]),
        ("build_last_exit_code[contains]=4", [BETA]),
        ("build_last_exit_code[necontains]=4", [ALPHA]),
        ("build_last_exit_code[startwith]=1", [BETA]),
        ("build_last_exit_code[jsoncontains]=143", [BETA]),
        ("build_last_exit_message[contains]=ABORTED", [BETA]),
        ("build_last_exit_message[eq]=null", [ALPHA, GAMMA, WILDCARDS, DOTTED]),
        ("build_last_created_at[sup]=2026-06-27T12:00:00Z", [BETA]),
        ("build_last_created_at[infeq]=2026-06-27T15:00:00%2B03:00", [ALPHA]),
        ("build_last_created_at[startwith]=2026-06-27T12", [ALPHA]),
        ("build_last_created_at[sup]=0001-01-01T00:00:00%2B23:59", []),
        ("build_last_created_at[eq]=9999-12-31T23:59:59-23:59", []),
        ("project_id[eq]=x", []),
        ("project_id[ne]=x", [*NAMES]),
        ("unknown[eq]=1", [*NAMES]),
        ("user_username[contains]=x&secret_scope[eq]=PUBLIC", [*NAMES]),
        ("project_name[eq]=", [*NAMES]),
        ("project_name=alpha", [*NAMES]),
        ("project_name[EQ]=alpha", [*NAMES]),
        ("sort_by=NONE&order_by=DESC", [*NAMES]),
        ("sort_by=unknown", [*NAMES]),
        ("sortBy=project_id&orderBy=asc", [*NAMES]),
        ("order_by=x&sort_by=id", [*reversed(NAMES)]),
        ("sortBy=build_last_created_at&order_by=DESC&project_name[contains]=eta", [BETA]),
        ("sort_by=build_last_exit_code&orderBy=DESC&build_last_exit_code[ne]=null", [ALPHA, BETA]),
        ("per_page=100000", [*NAMES]),
        ("per_page=2&page=2", [GAMMA, WILDCARDS]),
        ("perPage=2&page=0", [ALPHA, BETA]),
        ("per_page=2&page=9", []),
    ],
)
async def test_a_page_holds_the_rows_that_match_its_query(
    free_commit: FreeCommitSystem, query: str, found: list[str]
) -> None:
    assert await list_project_names(free_commit, query) == found


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", (1, 1, 5, 20, 5, 1)),
        ("per_page=5", (1, 1, 5, 5, 5, 1)),
        ("per_page=2", (1, 1, 2, 2, 5, 3)),
        ("per_page=2&page=3", (3, 5, 5, 2, 5, 3)),
        ("per_page=2&page=9", (9, 17, 5, 2, 5, 3)),
        ("project_name[eq]=none", (1, 1, 0, 20, 0, 1)),
        ("per_page=2&dynamic_counting=true", (1, 1, 2, 2, 4, 2)),
        ("per_page=2&page=3&dynamic_counting=true", (3, 5, 6, 2, 8, 4)),
        ("per_page=2&dynamic_counting=false", (1, 1, 2, 2, 5, 3)),
    ],
)
async def test_the_counts_of_a_page_are_exact(
    free_commit: FreeCommitSystem, query: str, numbers: tuple[int, ...]
) -> None:
    found = await get_page(free_commit, "project", query)
    members = ("current_page", "from", "to", "per_page", "total", "last_page")
    assert tuple(found[member] for member in members) == numbers
    assert found.keys() == {*members, "data"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("project_name[near]=x", "PAGINATION_OPERATOR_INVALID"),
        ("per_page=x", "PAGINATION_PER_PAGE_INVALID"),
        ("page=-1", "PAGINATION_PAGE_INVALID"),
        ("&".join(["id[eq]=1"] * 101), "PAGINATION_FILTERS_INVALID"),
    ],
)
@pytest.mark.parametrize("listing", ["project", "developer", "secret"])
async def test_an_invalid_page_query_is_422(free_commit: FreeCommitSystem, listing: str, query: str, code: str) -> None:
    answer = await free_commit.developer.get(f"/api/developer/paginations/{listing}?{query}")
    assert error_of(answer) == (422, code)


async def test_a_page_query_accepts_a_hundred_long_values(free_commit: FreeCommitSystem) -> None:
    query = "&".join(f"project_name[contains]={quote('(.*)' * 30)}{number}" for number in range(100))
    assert await list_project_names(free_commit, query) == []


async def test_a_page_query_with_many_wildcards_is_fast(free_commit: FreeCommitSystem) -> None:
    long = await free_commit.create("project", name="ab" * 120)
    async with asyncio.timeout(20):
        assert await list_project_names(free_commit, f"project_name[contains]={quote('%a%b' * 512)}") == []
    assert (await free_commit.admin.delete(f"/api/admin/projects/{long['id']}")).status_code == 204


async def test_developers_are_listed_with_their_highest_role(free_commit: FreeCommitSystem) -> None:
    found = await get_page(free_commit, "developer", "sortBy=developer_id&orderBy=ASC&user_role[ne]=null")
    first, second = found["data"][:2]
    assert (first["user_username"], first["developer_email"], first["user_role"]) == ("root", None, "ROLE_ADMIN")
    assert (second["user_username"], second["user_role"]) == ("dora", "ROLE_DEVELOPER")
    assert {type(row["developer_id"]) for row in found["data"]} == {int}


async def test_secrets_are_listed_with_their_scope(free_commit: FreeCommitSystem) -> None:
    found = await get_page(free_commit, "secret", "sortBy=secret_id&order_by=ASC")
    lines = [(row["secret_name"], row["secret_env"], row["secret_scope"]) for row in found["data"]]
    assert lines == [("HERE", "prod", "PRIVATE"), ("EVERYWHERE", None, "PUBLIC")]
    public = await get_page(free_commit, "secret", "secret_scope[eq]=PUBLIC&project_name[contains]=x")
    assert [row["secret_name"] for row in public["data"]] == ["EVERYWHERE"]


async def test_pages_neither_repeat_nor_lose_rows(free_commit: FreeCommitSystem) -> None:
    pages = [
        await get_page(free_commit, "project", f"per_page=1&page={number}&sort_by=build_last_exit_code")
        for number in range(1, 6)
    ]
    ids = [one_page["data"][0]["project_id"] for one_page in pages]
    assert len(set(ids)) == 5
    assert all(one_page["total"] == 5 for one_page in pages)
    assert [earlier > later for earlier, later in pairwise(ids[2:])] == [True, True]
