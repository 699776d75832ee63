"""Reactions of projects to renamed users, deleted users and finished builds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client

from contracts.builds import BuildDeleted, BuildFinished, BuildPlanned, BuildStatus, LaunchedProject
from contracts.identity import DeleteUser, RegisterUser, RenameUser
from contracts.messages import Event, Page
from contracts.paging import Filter
from contracts.projects import (
    CreateProject,
    LastBuild,
    ListProjects,
    ListProjectsPage,
    SetProjectDevelopers,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from libs.messaging import cloudevents
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, create_vault, get_database
from services.projects.domain.internal_commands import SelectProjects
from services.projects.projections import membership_category
from tests.integration.services.projects.resources.project_queries import get_project, send_for_id
from tests.support.in_process.service_stage import ServiceStage
from tests.support.waiting import eventually

QUEUED_AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


async def test_projects_follow_renamed_and_deleted_users(caller: MessageClient, new_project: CreateProject) -> None:
    owner = await send_for_id(caller, RegisterUser(username="follow-1", password="millwheel-7"))
    other = await send_for_id(caller, RegisterUser(username="follow-x", password="millwheel-7"))
    project_id = await send_for_id(caller, new_project.replace(name="Followed", owner_alias="follow-1"))
    await caller.send(SetProjectDevelopers(project_id=project_id, developers_id=(owner, other)))
    await caller.send(RenameUser(user_id=owner, username="follow-2"))
    await caller.send(RenameUser(user_id=owner, username="follow-3"))
    await caller.send(DeleteUser(user_id=other))

    async def has_followed() -> bool:
        view = await get_project(caller, project_id)
        return (view.owner_alias, view.developers_id) == ("follow-3", (owner,))

    await eventually(has_followed)


async def test_a_command_whose_reactions_were_lost_is_completed_by_the_subscription(
    stage: ServiceStage, caller: MessageClient, new_project: CreateProject
) -> None:
    developer = await send_for_id(caller, RegisterUser(username="batch-member", password="millwheel-7"))
    joined = await send_for_id(caller, new_project.replace(name="Joined"))
    left = await send_for_id(caller, new_project.replace(name="Left", developers_id=(developer,)))
    command = SelectProjects(developer_id=developer, projects_id=(joined,), joined=(joined,), left=(left,))
    async with create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "projects")
        store = MongoEventStore(database, create_vault(database, stage.settings))
        await CommandHandler(store).handle(
            membership_category, command, CommandMetadata("a command without reactions", QUEUED_AT)
        )
        await store.drain()

    async def is_fulfilled() -> bool:
        members = [(await get_project(caller, project_id)).developers_id for project_id in (joined, left)]
        return members == [(developer,), ()]

    await eventually(is_fulfilled)


LAUNCHED_PROJECT = LaunchedProject(
    project_id=0, name="", owner_alias="", alias="", repository="", branch="main", spec_file_path="/spec.yaml"
)


async def publish_build_event(bus: Client, number: int, event: Event) -> None:
    recorded = RecordedEvent(
        f"build-{number}", 1, 0, event, CommandMetadata(f"{number}-{type(event).__name__}", QUEUED_AT)
    )
    await bus.jetstream().publish(
        cloudevents.event_subject("builds", recorded),
        cloudevents.to_body(recorded),
        headers=cloudevents.to_headers("builds", recorded),
    )


async def test_projects_show_and_can_be_filtered_by_their_last_build(
    bus: Client, caller: MessageClient, new_project: CreateProject
) -> None:
    good, bad, never = [
        await send_for_id(caller, new_project.replace(name=f"Listed {name}")) for name in ("good", "Bad", "never")
    ]
    planned = BuildPlanned(
        build_id=1,
        project_id=good,
        project=LAUNCHED_PROJECT,
        sha="s",
        ref="main",
        available_steps=("@a", "@cleanup"),
        jobs=(),
    )
    finished = BuildFinished(
        build_id=1,
        executor_id="e",
        project_id=good,
        project_name="Listed good",
        status=BuildStatus.SUCCESS,
        exit_code=0,
        queued_at=QUEUED_AT,
    )
    failed = {"build_id": 2, "project_id": bad, "exit_code": 1000, "exit_message": "Spec file not found"}
    await publish_build_event(bus, 1, planned)
    await publish_build_event(bus, 1, finished)
    await publish_build_event(bus, 2, finished.replace(**failed, queued_at=QUEUED_AT + timedelta(hours=1)))

    async def is_shown() -> bool:
        return (await get_project(caller, bad)).builds_id == (2,)

    await eventually(is_shown)
    view = await get_project(caller, good)
    assert (view.available_steps, view.builds_id) == (("@a", "@cleanup"), (1,))
    assert view.last_build == LastBuild(exit_code=0, exit_message=None, created_at=QUEUED_AT)

    async def list_ids(*filters: Filter, **order: Any) -> list[int]:
        name_filter = Filter(column="project_name", operator="startwith", values=("LISTED ",))
        page = Page.model_validate_json(await caller.query(ListProjectsPage(filters=(*filters, name_filter), **order)))
        return [row["project_id"] for row in page.rows]

    async def filter_by(column: str, operator: Any, *values: str) -> set[int]:
        return set(await list_ids(Filter(column=column, operator=operator, values=values)))

    code, message, at = "build_last_exit_code", "build_last_exit_message", "build_last_created_at"
    assert await filter_by(code, "eq", "0") == {good}
    assert await filter_by(code, "sup", "0") == {bad}
    assert await filter_by(code, "eq", "null") == {never}
    assert await filter_by(code, "eq", "null", "0") == {never, good}
    assert await filter_by(code, "ne", "null") == {good, bad}
    assert await filter_by(code, "ne", "0") == {bad}
    assert await filter_by(code, "eq", "zero") == set()
    assert await filter_by(message, "contains", "NOT found") == {bad}
    assert await filter_by(message, "eq", "null") == {good, never}
    assert await filter_by(at, "supeq", "2026-11-22T11:15:00Z") == {bad}
    assert await filter_by("project_name", "endwith", "ER", "bad") == {never, bad}
    assert await filter_by("project_name", "necontains", "bad") == {good, never}
    assert await filter_by("project_id", "eq", str(good), "x", "9" * 40) == {good}
    assert await filter_by("project_name", "contains", ".*", "\0", "(") == set()
    assert await filter_by("unknown", "eq", "1") == {good, bad, never}
    assert await list_ids(sort_by=code, descending=True) == [bad, good, never]
    assert await list_ids(sort_by=at, descending=False, limit=2) == [never, good]
    assert await list_ids(sort_by=at, descending=False, skip=2, limit=2) == [bad]
    assert await list_ids(sort_by="project_id", skip=10**12) == []
    only = Filter(column="id", operator="eq", values=(str(bad),))
    whole = await caller.query(ListProjectsPage(filters=(only,), counted=True))
    assert Page.model_validate_json(whole) == Page(
        rows=(
            {
                "project_id": bad,
                "project_name": "Listed Bad",
                "build_last_exit_code": 1000,
                "build_last_exit_message": "Spec file not found",
                "build_last_created_at": "2026-11-22T11:15:00Z",
            },
        ),
        total=1,
    )


async def test_a_deleted_build_is_no_longer_the_last_build_of_its_project(
    bus: Client, caller: MessageClient, new_project: CreateProject
) -> None:
    project_id = await send_for_id(caller, new_project.replace(name="Tidy"))

    def ended(build_id: int) -> BuildFinished:
        return BuildFinished(
            build_id=build_id,
            executor_id="e",
            project_id=project_id,
            project_name="Tidy",
            status=BuildStatus.FAILED,
            exit_code=build_id,
            queued_at=QUEUED_AT,
        )

    async def wait_for_builds(builds_id: tuple[int, ...], exit_code: int | None) -> None:
        async def is_shown() -> bool:
            view = await get_project(caller, project_id)
            return (view.builds_id, view.last_build.exit_code) == (builds_id, exit_code)

        await eventually(is_shown)

    await publish_build_event(bus, 23, ended(23))  # queued last, ends first
    await publish_build_event(bus, 21, ended(21))
    await publish_build_event(bus, 22, ended(22))
    await wait_for_builds((21, 22, 23), 23)
    await publish_build_event(bus, 23, BuildDeleted(build_id=23, project_id=project_id))
    await wait_for_builds((21, 22), 22)
    await publish_build_event(bus, 21, BuildDeleted(build_id=21, project_id=project_id))
    await wait_for_builds((22,), 22)
    await publish_build_event(bus, 22, BuildDeleted(build_id=22, project_id=project_id))
    await wait_for_builds((), None)


async def test_build_ids_of_a_project_are_limited_to_the_newest_builds(
    bus: Client, caller: MessageClient, new_project: CreateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.projects.build_activity.MAX_BUILD_IDS", 2)
    monkeypatch.setattr("services.projects.build_activity.MAX_BUILD_IDS_IN_LIST", 1)
    project_id = await send_for_id(caller, new_project.replace(name="Busy"))
    for build_id in (31, 33, 32):
        finished = BuildFinished(
            build_id=build_id,
            executor_id="e",
            project_id=project_id,
            project_name="Busy",
            status=BuildStatus.SUCCESS,
            exit_code=0,
            queued_at=QUEUED_AT,
        )
        await publish_build_event(bus, build_id, finished)

    async def are_the_newest() -> bool:
        return (await get_project(caller, project_id)).builds_id == (32, 33)

    await eventually(are_the_newest)
    listed = Page.model_validate_json(await caller.query(ListProjects()))
    assert {row["id"]: row["builds_id"] for row in listed.rows}[project_id] == [33]
