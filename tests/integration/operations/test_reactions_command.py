"""`headrace admin reactions`: list parked events, and let a service retry them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from typer.testing import CliRunner, Result

from contracts.builds import BuildDeleted
from infra import parked_events
from infra.cli import app
from libs.documents import Document
from libs.eventstore.decider import AnyEvent
from libs.reactions.parking import FailedEvent, ParkedEvents, RunReaction
from libs.service.connections import get_database
from libs.settings import Settings
from libs.tasks import cancel_and_wait

PARKED_ID = "builds/builds-planner/build-17@1.0"
HEADERS = {
    "ce-id": "build-17@1.0",
    "ce-type": "BuildDeleted",
    "ce-time": "2026-01-31T12:00:00Z",
    "ce-schemaversion": "1",
    "ce-actor": '[1, "olga"]',
    "ce-causationid": "c1",
}


@pytest.fixture
async def parked(
    settings: Settings, bus: Client, mongo_client: AsyncMongoClient[Document], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ParkedEvents]:
    assert bus.is_connected
    monkeypatch.setenv("HEADRACE_MONGODB_URL", settings.mongodb_url)
    monkeypatch.setenv("HEADRACE_NATS_URL", settings.nats_url)
    monkeypatch.setenv("HEADRACE_DATABASE_PREFIX", settings.database_prefix)
    monkeypatch.setenv("HEADRACE_MASTER_KEY", base64.b64encode(settings.master_keys[0]).decode())
    database = get_database(mongo_client, settings, "builds")
    yield ParkedEvents(database)
    await mongo_client.drop_database(database.name)


async def run_command(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["reactions", *arguments]))


async def park(parked: ParkedEvents) -> None:
    body = BuildDeleted(build_id=17, project_id=5).model_dump_json().encode()
    await parked.park(FailedEvent("builds-planner", "builds", 4, HEADERS, body, ValueError("secret text"), 8))


async def test_nothing_is_listed_or_retried_without_parked_events(parked: ParkedEvents) -> None:
    assert await parked.count() == 0
    for command in ("list", "retry"):
        result = await run_command(command)
        assert (result.exit_code, result.output) == (0, "No events are parked.\n")


async def test_parked_events_are_listed_without_the_text_of_the_error(parked: ParkedEvents) -> None:
    await park(parked)
    table = (await run_command("list")).output
    assert [PARKED_ID in table, "BuildDeleted" in table, "ValueError" in table] == [True, True, True]
    listed = json.loads((await run_command("list", "--raw")).output)
    assert (listed["id"], listed["tries"], listed["error"]) == (PARKED_ID, 8, "ValueError")
    assert "secret text" not in table


@asynccontextmanager
async def leading(parked: ParkedEvents, run_reaction: RunReaction) -> AsyncIterator[None]:
    """During the block, retry requested events as the leader of the service does."""

    async def lead() -> None:
        while True:
            await parked.retry_requested(run_reaction)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(lead())
    try:
        yield
    finally:
        await cancel_and_wait([task])


async def test_a_retried_event_is_reported_as_handled(parked: ParkedEvents) -> None:
    handled: list[tuple[str, str]] = []

    async def run_reaction(name: str, recorded: AnyEvent) -> None:
        handled.append((name, recorded.id))

    await park(parked)
    async with leading(parked, run_reaction):
        result = await run_command("retry", PARKED_ID)
    assert (result.exit_code, result.output) == (0, f"{PARKED_ID}: handled\n")
    assert handled == [("builds-planner", "build-17@1.0")]


async def test_a_retry_that_fails_again_is_reported(parked: ParkedEvents) -> None:
    async def run_reaction(name: str, _recorded: AnyEvent) -> None:
        raise KeyError(name)

    await park(parked)
    async with leading(parked, run_reaction):
        result = await run_command("retry")
    assert result.exit_code == 1
    assert result.output.startswith(f"{PARKED_ID}: failed again: KeyError in test_reactions_command.py:")


async def test_a_retry_without_a_running_service_is_reported(
    parked: ParkedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked_events, "RETRY_TIMEOUT_SECONDS", 0.1)
    await park(parked)
    result = await run_command("retry")
    assert (result.exit_code, "not retried yet" in result.output) == (1, True)


async def test_an_unknown_id_is_an_error(parked: ParkedEvents) -> None:
    assert await parked.count() == 0
    result = await run_command("retry", "builds/builds-planner/build-1@1.0")
    assert result.exit_code == 1
    assert "No event is parked as builds/builds-planner/build-1@1.0" in result.output
