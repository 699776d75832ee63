"""The relay between a real MongoDB and a real JetStream: every event once and in order, despite crashes."""

import asyncio
import json
import random
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from contracts.messages import parse_event
from libs.documents import Document
from libs.messaging import cloudevents
from libs.messaging.jetstream import create_stream
from libs.messaging.nats_connection import connect
from libs.messaging.relay import Relay, RelayFenced
from libs.service.connections import create_mongo_client
from libs.settings import Settings
from libs.tasks import cancel_and_wait
from tests.support import read_stream_messages
from tests.support.counters.counters import CounterOpened, CounterRaised
from tests.support.infrastructure.event_log import EventLog, create_event_log
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.waiting import eventually

RAISED = CounterRaised(by=1)


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    return await create_event_log(settings, mongo_client, bus)


async def test_the_relay_publishes_every_event_once_in_stream_order(log: EventLog) -> None:
    await log.append_commits(50)
    async with log.running_relay():
        await log.append_commits(250, start=50)
        await eventually(log.is_published)
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_an_event_is_published_as_a_cloudevent(log: EventLog) -> None:
    await log.append_commits(1, events=[CounterOpened(label="a", owner="Ivan Petrov"), RAISED])
    await log.publish_all()
    opened, raised = await read_stream_messages(log.bus, log.service)
    headers = opened.headers or {}
    assert opened.subject == f"evt.{log.service}.counter-0.CounterOpened"
    assert (
        headers
        | {
            "ce-specversion": "1.0",
            "ce-id": "counter-0@1.0",
            "ce-source": f"/headrace/{log.service}",
            "ce-type": "CounterOpened",
            "ce-subject": "counter-0",
            "content-type": "application/json",
            "traceparent": "00-trace-01",
        }
        == headers
    )
    assert (raised.headers or {})["ce-id"] == "counter-0@1.1"


async def test_personal_fields_are_encrypted_in_published_events(log: EventLog) -> None:
    await log.append_commits(1, events=[CounterOpened(label="a", owner="Ivan Petrov")])
    await log.publish_all()
    (message,) = await read_stream_messages(log.bus, log.service)
    body = json.loads(message.data)
    assert body["label"] == "a"
    assert body["owner"].startswith("s1.")


async def test_a_published_event_is_decoded_to_the_recorded_event(log: EventLog) -> None:
    await log.append_commits(1, events=[RAISED, RAISED])
    await log.publish_all()
    messages = await read_stream_messages(log.bus, log.service)
    received = [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
    recorded = await log.store.read("counter-0")
    assert [(event.id, event.event, event.at, event.metadata.command_id) for event in received] == [
        (event.id, event.event, event.at, event.metadata.command_id) for event in recorded
    ]
    assert parse_event("CounterRaised", 1, {"by": 1}) == RAISED


@pytest.mark.parametrize("seed", [1, 2])
async def test_an_often_interrupted_relay_publishes_each_event_once(log: EventLog, seed: int) -> None:
    randomness = random.Random(seed)  # noqa: S311
    adding = asyncio.create_task(log.append_commits(300, events=[RAISED, RAISED]))
    for _ in range(8):
        target_count = await log.count_published() + randomness.randrange(1, 60)

        async def is_reached(enough: int = target_count) -> bool:
            return await log.count_published() >= enough or adding.done()

        async with log.running_relay():
            await eventually(is_reached)
    await adding
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_a_killed_relay_process_publishes_each_event_once(log: EventLog, settings: Settings) -> None:
    randomness = random.Random(7)  # noqa: S311
    module = "tests.integration.libs.messaging.relay_process"
    command = (
        sys.executable,
        "-m",
        module,
        log.service,
        settings.database_prefix,
    )
    environment = {"MONGODB": settings.mongodb_url, "NATS": settings.nats_url}
    await log.append_commits(100, events=[RAISED, RAISED])
    for turn in range(1, 4):
        target_count = await log.count_published() + randomness.randrange(1, 100)
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        await eventually(partial(_has_published, log, target_count), within=30)
        process.kill()
        await process.wait()
        await log.append_commits(100, start=turn * 100, events=[RAISED, RAISED])
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_with_two_relays_one_is_fenced_and_each_event_is_published_once(log: EventLog) -> None:
    async with log.running_relay() as first, log.running_relay() as second:
        await log.append_commits(100)
        done, _ = await asyncio.wait({first, second}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert {type(task.exception()) for task in done} == {RelayFenced}
    await log.append_commits(100, start=100)
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


@pytest.mark.parametrize("seed", range(3))
async def test_two_concurrent_full_republications_publish_each_event_once(log: EventLog, seed: int) -> None:
    randomness = random.Random(seed)  # noqa: S311
    await log.append_commits(400)
    await log.publish_all()
    await log.bus.jetstream().purge_stream(log.service)
    async with log.running_relay() as first:
        await eventually(partial(_has_published, log, randomness.randrange(1, 200)))
        async with log.running_relay() as second:
            await log.append_commits(100, start=400)
            await asyncio.wait({first, second}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_a_relay_that_died_within_a_commit_publishes_its_remaining_events(log: EventLog) -> None:
    await log.append_commits(1, events=[RAISED] * 5)
    await log.publish_all()
    js = log.bus.jetstream()
    for sequence in (5, 4, 3):
        await js.delete_msg(log.service, sequence)
    half = await js.get_msg(log.service, 2)
    await js.purge_stream(log.service)
    headers = {name: value for name, value in (half.headers or {}).items() if name.startswith(("ce-", "Headrace"))}
    await js.publish(str(half.subject), half.data or b"", headers=headers)
    await log.append_commits(1, start=3)
    async with log.running_relay():
        await eventually(partial(_has_published, log, 5))
    assert (await log.list_published_by_stream())["counter-0"] == [
        f"counter-0@1.{number}" for number in (1, 2, 3, 4)
    ] + ["counter-0@2.0"]


async def _has_published(log: EventLog, count: int) -> bool:
    return await log.count_published() >= count


async def test_a_purged_stream_is_republished_from_the_start(log: EventLog) -> None:
    await log.append_commits(30)
    await log.publish_all()
    await log.bus.jetstream().purge_stream(log.service)
    await log.append_commits(30, start=30)
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_an_interrupted_republication_starts_over(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    await log.append_commits(300)
    await log.publish_all()
    await log.bus.jetstream().purge_stream(log.service)
    for target_count in (1, 100):
        async with log.running_relay():
            await eventually(partial(_has_published, log, target_count))
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_events_written_during_a_republication_are_published_once(log: EventLog) -> None:
    await log.append_commits(300)
    await log.publish_all()
    await log.bus.jetstream().purge_stream(log.service)
    async with log.running_relay():
        await log.append_commits(150, start=300)
        await eventually(log.is_published)
    await log.publish_all()
    await log.append_commits(3, start=450)
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_a_resume_token_lost_from_the_oplog_causes_a_full_republication(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.append_commits(30)
    await log.publish_all()
    await log.append_commits(30, start=30)
    relay = Relay(log.bus, log.database, log.service)
    watch = relay._commits.watch

    async def is_forgotten(pipeline: object, **options: object) -> object:
        if "resume_after" in options:
            monkeypatch.undo()
            raise OperationFailure("Resume of change stream was not possible", 286)
        return await watch(pipeline, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(relay._commits, "watch", is_forgotten)
    running = asyncio.create_task(relay.run())
    await eventually(log.is_published)
    await cancel_and_wait([running])
    assert await log.list_published_by_stream() == await log.list_by_stream()


async def test_the_relay_of_an_idle_service_advances_its_resume_token(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.messaging.relay.RESUME_TOKEN_INTERVAL_SECONDS", 0.0)
    await log.append_commits(3)
    await log.publish_all()
    last = (await read_stream_messages(log.bus, log.service))[-1].headers or {}
    token = last["Headrace-Position"].partition(" ")[0]

    async def is_ahead() -> bool:
        return await log.database["relay"].count_documents({"sequence": 3, "token": {"$gt": token}}) == 1

    async with log.running_relay():
        await eventually(is_ahead)
    await log.append_commits(3, start=3)
    await log.publish_all()
    assert await log.list_published_by_stream() == await log.list_by_stream()


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with running_servers(tmp_path) as servers:
        yield servers


async def test_events_are_republished_after_nats_lost_its_data(own_servers: Servers, tmp_path: Path) -> None:
    settings = Settings(mongodb_url=own_servers.mongodb_url, nats_url=own_servers.nats_url)
    async with create_mongo_client(settings, "test") as client:
        bus = await connect(settings, "test")
        log = await create_event_log(settings, client, bus)
        await log.append_commits(30)
        await log.publish_all()
        await _restart_nats(own_servers)
        await eventually(lambda: bus.is_connected)
        await log.append_commits(30, start=30)
        await log.publish_all()
        assert await log.list_published_by_stream() == await log.list_by_stream()
        await _restart_nats(own_servers, forget=tmp_path / "nats" / "jetstream")
        await eventually(lambda: bus.is_connected)
        await create_stream(bus.jetstream(), StreamConfig(name=log.service, subjects=[f"evt.{log.service}.>"]))
        await log.publish_all()
        assert await log.list_published_by_stream() == await log.list_by_stream()
        await bus.close()


async def _restart_nats(servers: Servers, *, forget: Path | None = None) -> None:
    """Restart nats-server. The blocking calls run in threads, so that the client's event loop notices the loss.

    `forget`: folder to delete while the server is stopped.
    """
    await asyncio.to_thread(servers.nats.kill)
    if forget:
        await asyncio.to_thread(shutil.rmtree, forget)
    # The main thread must start the server: the kernel kills the server when the thread that started it ends.
    servers.nats.start()
    await asyncio.to_thread(servers.nats.wait_ready)
