"""The activity of all services: order, pages, filters and redaction."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.whole.history.history_requests import create_developer, create_project, event_names, get_history
from tests.support.in_process.running_system import RunningSystem
from tests.support.waiting import eventually


async def get_activity(system: RunningSystem, **query: Any) -> Any:
    response = await system.http.get("/api/admin/activity", params=query, headers=system.admin)
    assert response.status_code == 200, response.text
    return response.json()


async def read_pages(system: RunningSystem, **query: Any) -> list[Any]:
    """Return the entries of all pages."""
    page = await get_activity(system, **query)
    entries = page["entries"]
    while page["next"]:
        page = await get_activity(system, **query, after=page["next"])
        entries += page["entries"]
    return list(entries)


def places(entries: list[Any]) -> list[tuple[str, str, int]]:
    return [(entry["kind"], entry["id"], entry["version"]) for entry in entries]


async def test_all_objects_are_listed_newest_first_without_gaps_between_pages(system: RunningSystem) -> None:
    user, _ = await create_developer(system, "alma")
    created = await create_project(system, name="busy")
    until = datetime.now(UTC).isoformat()  # later entries, which reactions still record, are not compared
    everything = await read_pages(system, until=until, limit=200)
    times = [entry["at"] for entry in everything]
    assert times == sorted(times, reverse=True)
    assert {("user", str(user["id"]), 1), ("project", str(created["id"]), 1)} <= {*places(everything)}
    assert len({entry["service"] for entry in everything}) > 1

    async def are_equal() -> bool:  # entries of reactions that began before `until` may be recorded later
        small, large = [places(await read_pages(system, until=until, limit=limit)) for limit in (3, 200)]
        return small == large and {*places(everything)} <= {*large}

    await eventually(are_equal)


async def test_a_search_that_examines_many_entries_continues_on_the_next_page(
    system: RunningSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await create_project(system, name="rare")
    for number in range(5):
        await create_developer(system, f"crowd-{number}")
    monkeypatch.setattr("libs.subscriptions.activity.MAX_EXAMINED_COMMITS", 2)
    first = await get_activity(system, project=created["id"])
    assert first["next"]
    found = await read_pages(system, project=created["id"])
    assert ("project", str(created["id"]), 1) in places(found)
    assert len(places(found)) == len({*places(found)})


async def test_entries_are_filtered_by_kind_user_and_request(system: RunningSystem) -> None:
    _, headers = await create_developer(system, "berta", roles=["ROLE_ADMIN"])
    body = {"executor": {"name": "hers", "driver": "localDriver"}}
    response = await system.http.post("/api/admin/executors", json=body, headers=headers)
    id_ = str(response.json()["id"])
    actor = (await get_history(system, f"executor/{id_}"))["entries"][0]["actor"]
    by_user = await read_pages(system, actor=actor["id"], kind="executor")
    assert [(entry["id"], entry["actor"], event_names(entry)) for entry in by_user] == [
        (id_, actor, ["ExecutorCreated"])
    ]
    by_trace = await read_pages(system, trace=response.headers["X-Trace-Id"])
    assert places(by_trace) == [("executor", id_, 1)]


async def test_secret_values_and_long_data_are_left_out(system: RunningSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = await system.create("secrets", name="token", value="hush-hush", env="TOKEN")
    entries = await read_pages(system, kind="secret")
    assert [str(secret["id"])] == [entry["id"] for entry in entries if entry["id"] == str(secret["id"])]
    assert "hush-hush" not in json.dumps(entries)
    monkeypatch.setattr("libs.subscriptions.activity.MAX_EVENT_BYTES", 10)
    assert {event["data"] for entry in await read_pages(system, kind="secret") for event in entry["events"]} == {None}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"kind": "nothing"}, 404, "HISTORY_KIND_UNKNOWN"),
        ({"after": "x"}, 422, "PAGINATION_CURSOR_INVALID"),
        ({"after": "999999999999999.builds.1.x"}, 422, "PAGINATION_CURSOR_INVALID"),
        ({"until": "soon"}, 400, "REQUEST_MALFORMED"),
    ],
)
async def test_invalid_filters_are_rejected(
    system: RunningSystem, query: dict[str, str], status: int, code: str
) -> None:
    response = await system.http.get("/api/admin/activity", params=query, headers=system.admin)
    assert (response.status_code, response.json()["message"]) == (status, code)
