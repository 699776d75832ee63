"""The notifications service reports the states of builds to a forge: order, retries, and failures with a reason."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from uuid import uuid4

import pytest
from bson import json_util
from nats.aio.client import Client

from contracts.builds import (
    BuildFinished,
    BuildPlanned,
    BuildRow,
    BuildStarted,
    BuildStatus,
    GetBuild,
    LaunchedProject,
)
from contracts.messages import Event, Page
from contracts.notifications import ListOutgoing, OutgoingRow
from contracts.projects import Forge, ForgeKind, GetForge
from libs.clock import now
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.messaging.cloudevents import event_subject, to_body, to_headers
from libs.messaging.message_server import MessageServer
from libs.messaging.request_reply import Headers, MessageClient
from libs.security.envelopes import encrypt_for
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from libs.settings import PUBLIC
from services.notifications.app import create_service
from tests.support import wait_until_handled
from tests.support.external.forge_server import TOKEN, ForgeServer, forge_server
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS, eventually

SHA = "4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f"
PROJECT = LaunchedProject(
    project_id=3,
    name="Shop",
    owner_alias="",
    alias="shop",
    repository="ssh://git@forge.test/acme/shop.git",
    branch="main",
    spec_file_path="/headrace.yaml",
)
PLANNED = BuildPlanned(
    build_id=17, project_id=3, project=PROJECT, sha=SHA, ref="refs/heads/main", available_steps=(), jobs=()
)
STARTED = BuildStarted(build_id=17, project_id=3, executor_id="e", runner_name="miller")
SUCCEEDED = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=3,
    project_name="Shop",
    status=BuildStatus.SUCCESS,
    exit_code=0,
    queued_at=now(),
)


@dataclass
class Builds:
    """Fakes of the services `builds` and `projects`, with one build and the forge of its project."""

    bus: Client
    forge: Forge
    token: str = TOKEN  # the secret that the forge's settings name; empty: the project has no such secret
    status: BuildStatus = BuildStatus.QUEUED
    versions: "count[int]" = field(default_factory=lambda: count(1))

    async def get_build(self, _body: bytes, _headers: Headers) -> bytes:
        row = BuildRow(id=17, project_id=3, project=PROJECT, sha=SHA, ref="refs/heads/main", status=self.status)
        return row.model_dump_json().encode()

    async def get_forge(self, body: bytes, _headers: Headers) -> bytes:
        query = GetForge.model_validate_json(body)
        wanted = query.public_key and self.token
        encrypted = encrypt_for(self.token, query.public_key, "forge-3") if wanted else ""
        return self.forge.replace(encrypted=encrypted).model_dump_json().encode()

    async def advance(self, event: Event, status: BuildStatus) -> int:
        self.status = status
        return await self.publish(event)

    async def publish(self, event: Event, version: int = 0) -> int:
        """Publish the event. Return its number in the stream."""
        cause = CommandMetadata(str(uuid4()), now())
        recorded: RecordedEvent[Event] = RecordedEvent("build-17", version or next(self.versions), 0, event, cause)
        message = event_subject("builds", recorded), to_body(recorded)
        js = self.bus.jetstream(timeout=WITHIN_SECONDS)
        return (await js.publish(*message, headers=to_headers("builds", recorded))).seq

    async def list_requests(self) -> list[OutgoingRow]:
        """Return the requests, oldest first."""
        page = Page.model_validate_json(await MessageClient(self.bus).query(ListOutgoing(project_id=3)))
        return [OutgoingRow.model_validate(row) for row in reversed(page.rows)]

    async def wait_for(self, count: int, reached: Callable[[OutgoingRow], object]) -> list[OutgoingRow]:
        """Wait until there are `count` requests and all satisfy the predicate."""

        async def found() -> list[OutgoingRow]:
            rows = await self.list_requests()
            return rows if len(rows) == count and all(map(reached, rows)) else []

        return await eventually(found, bool)

    async def wait_until_ended(self, count: int = 1) -> list[OutgoingRow]:
        return await self.wait_for(count, lambda row: row.ended_at)


@asynccontextmanager
async def running_builds(
    stage: ServiceStage, forge: ForgeServer, *, retry_delays: tuple[float, ...] = (0.05,) * 10_000, **changes: str
) -> AsyncIterator[Builds]:
    own = ServiceStage(stage.settings.model_copy(update={"url": "http://ci.test"}))
    settings = Forge(
        kind=ForgeKind(forge.kind), api_url=forge.api_url, repository=PROJECT.repository, alias="shop"
    ).replace(**changes)
    declare = partial(create_service, retry_delays=retry_delays)
    async with own.running(declare, replicas=2), own.connected() as bus:
        builds = Builds(bus, settings)
        responder = MessageServer(bus, "builds")
        await responder.serve(GetBuild, builds.get_build)
        await responder.serve(GetForge, builds.get_forge)
        yield builds
        await responder.stop(1)


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(Service("builds", categories=()), create_service())
        yield stage


@pytest.fixture
def gitlab() -> Iterator[ForgeServer]:
    with forge_server("gitlab") as forge:
        yield forge


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        ("github", ["pending", "pending", "success"]),
        ("gitlab", ["pending", "running", "success"]),
        ("gitea", ["pending", "pending", "success"]),
    ],
)
async def test_a_forge_shows_each_state_of_a_build_with_a_link(
    stage: ServiceStage, kind: str, states: list[str]
) -> None:
    with forge_server(kind) as forge:
        async with running_builds(stage, forge) as builds:
            await builds.advance(PLANNED, BuildStatus.PLANNED)
            await builds.wait_until_ended(1)
            await builds.advance(STARTED, BuildStatus.RUNNING)
            await builds.wait_until_ended(2)
            await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
            rows = await builds.wait_until_ended(3)
    assert [row.status for row in rows] == ["sent"] * 3
    assert [row.state for row in rows] == ["pending", "running", "success"]
    assert forge.states == states
    last = forge.statuses[-1]
    assert (last["target_url"], last["sha"]) == ("http://ci.test/ui/builds/17", SHA)
    assert last["description"] == "Build 17 succeeded"
    assert last.get("context", last.get("name")) == "headrace/shop"


async def test_an_older_state_never_follows_a_newer_one(stage: ServiceStage, gitlab: ForgeServer) -> None:
    gitlab.failures += [503] * 1000
    async with running_builds(stage, gitlab, retry_delays=(0.5,) * 1000) as builds:
        await builds.advance(STARTED, BuildStatus.RUNNING)
        await builds.wait_for(1, lambda row: row.attempts)
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        await builds.wait_for(2, lambda row: row.ended_at or row.state == "success")
        gitlab.failures.clear()
        running, finished = await builds.wait_until_ended(2)
    assert (running.status, running.reason) == ("skipped", "the build has a newer state, which is reported instead")
    assert finished.status == "sent"
    assert gitlab.states == ["success"]


async def test_a_status_is_retried_until_the_forge_accepts_it(stage: ServiceStage, gitlab: ForgeServer) -> None:
    gitlab.failures += [503, 429]
    async with running_builds(stage, gitlab) as builds:
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        (row,) = await builds.wait_until_ended()
    assert (row.status, row.attempts) == ("sent", 3)
    assert gitlab.states == ["success"]


async def test_a_status_is_abandoned_after_the_last_retry(stage: ServiceStage, gitlab: ForgeServer) -> None:
    gitlab.failures += [503] * 3
    async with running_builds(stage, gitlab, retry_delays=(0.05, 0.05)) as builds:
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        (row,) = await builds.wait_until_ended()
    assert (row.status, row.attempts) == ("gave_up", 3)
    assert row.reason == "the forge is overloaded or has a failure (503)"


async def test_a_status_that_gitlab_already_has_counts_as_sent(stage: ServiceStage, gitlab: ForgeServer) -> None:
    gitlab.statuses.append({"state": "success"})
    async with running_builds(stage, gitlab) as builds:
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        (row,) = await builds.wait_until_ended()
    assert (row.status, gitlab.request_count) == ("sent", 1)


@pytest.mark.parametrize(
    ("token", "repository", "reason"),
    [
        ("", PROJECT.repository, "the project has no secret with the name in its settings"),
        ("wrong", PROJECT.repository, "the forge refused the token (401)"),
        ("wrong\ntoken", PROJECT.repository, "the URL of the forge or the secret for it is malformed"),
    ],
    ids=["missing", "refused", "malformed"],
)
async def test_an_unusable_token_is_a_failure_without_a_retry(
    stage: ServiceStage, gitlab: ForgeServer, token: str, repository: str, reason: str
) -> None:
    async with running_builds(stage, gitlab, repository=repository) as builds:
        builds.token = token
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        (row,) = await builds.wait_until_ended()
    assert (row.status, row.attempts, row.reason) == ("gave_up", 1, reason)
    assert gitlab.states == []


async def test_no_token_is_sent_for_a_build_of_the_former_repository(stage: ServiceStage, gitlab: ForgeServer) -> None:
    async with running_builds(stage, gitlab, repository="ssh://git@forge.test/acme/other.git") as builds:
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        (row,) = await builds.wait_until_ended()
    assert (row.status, row.reason) == ("skipped", "the project has another repository by now")
    assert gitlab.request_count == 0


async def test_a_forge_outside_the_allowed_networks_gets_no_token(stage: ServiceStage, gitlab: ForgeServer) -> None:
    limited = ServiceStage(stage.settings.model_copy(update={"repository_networks": (PUBLIC,)}))
    async with running_builds(limited, gitlab) as builds:
        await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        (row,) = await builds.wait_until_ended()
    assert row.status == "gave_up"
    assert "HEADRACE_REPOSITORY_NETWORKS" in row.reason
    assert gitlab.request_count == 0


async def test_a_redelivered_event_sends_one_status_and_the_token_is_stored_nowhere(
    stage: ServiceStage, gitlab: ForgeServer
) -> None:
    gitlab.failures += [400]
    async with running_builds(stage, gitlab) as builds:
        builds.status = BuildStatus.SUCCESS
        for _ in range(2):
            await builds.publish(SUCCEEDED, version=100)
        await builds.advance(PLANNED, BuildStatus.PLANNED)
        rows = await builds.wait_until_ended(2)
        async with create_mongo_client(stage.settings, "test") as client:
            database = get_database(client, stage.settings, "notifications")
            names = await database.list_collection_names()
            stored = json_util.dumps([await database[name].find().to_list() for name in names])
    assert len(rows) == 2
    assert rows[0].id in stored
    assert "canary" not in stored


async def test_a_project_without_a_forge_reports_nothing(stage: ServiceStage, gitlab: ForgeServer) -> None:
    async with running_builds(stage, gitlab, kind=ForgeKind.NONE) as builds:
        sequence = await builds.advance(SUCCEEDED, BuildStatus.SUCCESS)
        await wait_until_handled(builds.bus, "builds", "notifications-build-statuses", sequence)
        assert await builds.list_requests() == []
