"""The relay between a real MongoDB and a real JetStream: everything, in order, once, whatever dies meanwhile."""

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

from contracts.messages import event_from
from libs import cloudevents
from libs.connections import Document, mongo
from libs.ending import end
from libs.messaging import connect
from libs.relay import Fenced, Relay
from libs.settings import Settings
from libs.streams import made
from tests.support import eventually, stored
from tests.support.log import Log, new_log
from tests.support.servers import Servers, servers_in
from tests.toy.counters import CounterOpened, CounterRaised

RAISED = CounterRaised(by=1)


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> Log:
    return await new_log(settings, mongo_client, bus)


async def test_every_event_is_published_once_in_the_order_of_its_stream(log: Log) -> None:
    await log.add(50)
    async with log.relayed():
        await log.add(250, start=50)
        await eventually(log.is_published)
    assert await log.published_by_stream() == await log.by_stream()


async def test_an_event_travels_as_a_cloud_event(log: Log) -> None:
    await log.add(1, events=[CounterOpened(label="a", owner="Ivan Petrov"), RAISED])
    await log.publish()
    opened, raised = await stored(log.bus, log.service)
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


async def test_personal_fields_stay_sealed_on_the_wire(log: Log) -> None:
    await log.add(1, events=[CounterOpened(label="a", owner="Ivan Petrov")])
    await log.publish()
    (message,) = await stored(log.bus, log.service)
    body = json.loads(message.data)
    assert body["label"] == "a"
    assert body["owner"].startswith("s1.")


async def test_a_follower_reads_what_was_recorded(log: Log) -> None:
    await log.add(1, events=[RAISED, RAISED])
    await log.publish()
    messages = await stored(log.bus, log.service)
    received = [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
    recorded = await log.store.read("counter-0")
    assert [(one.id, one.event, one.at, one.cause.command_id) for one in received] == [
        (one.id, one.event, one.at, one.cause.command_id) for one in recorded
    ]
    assert event_from("CounterRaised", 1, {"by": 1}) == RAISED


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_relay_cut_off_again_and_again_loses_and_doubles_nothing(log: Log, seed: int) -> None:
    moments = random.Random(seed)  # noqa: S311
    adding = asyncio.create_task(log.add(300, events=[RAISED, RAISED]))
    for _ in range(8):
        enough = await log.published() + moments.randrange(1, 60)

        async def is_reached(enough: int = enough) -> bool:
            return await log.published() >= enough or adding.done()

        async with log.relayed():
            await eventually(is_reached)
    await adding
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


async def test_a_killed_relay_process_loses_and_doubles_nothing(log: Log, settings: Settings) -> None:
    moments = random.Random(7)  # noqa: S311
    command = (sys.executable, "-m", "tests.integration.relay_process", log.service, settings.database_prefix)
    environment = {"MONGODB": settings.mongodb_url, "NATS": settings.nats_url}
    await log.add(100, events=[RAISED, RAISED])
    for turn in range(1, 4):
        enough = await log.published() + moments.randrange(1, 100)
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        await eventually(partial(_reaches, log, enough), within=30)
        process.kill()
        await process.wait()
        await log.add(100, start=turn * 100, events=[RAISED, RAISED])
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


async def test_of_two_relays_at_least_one_is_fenced_off_and_nothing_is_doubled(log: Log) -> None:
    async with log.relayed() as one, log.relayed() as other:
        await log.add(100)
        done, _ = await asyncio.wait({one, other}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert {type(task.exception()) for task in done} == {Fenced}
    await log.add(100, start=100)
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


@pytest.mark.parametrize("seed", range(3))
async def test_two_relays_that_publish_everything_anew_do_not_mix(log: Log, seed: int) -> None:
    moments = random.Random(seed)  # noqa: S311
    await log.add(400)
    await log.publish()
    await log.bus.jetstream().purge_stream(log.service)
    async with log.relayed() as one:
        await eventually(partial(_reaches, log, moments.randrange(1, 200)))
        async with log.relayed() as other:
            await log.add(100, start=400)
            await asyncio.wait({one, other}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


async def test_a_relay_that_died_between_two_events_of_a_commit_sends_the_others(log: Log) -> None:
    await log.add(1, events=[RAISED] * 5)
    await log.publish()
    js = log.bus.jetstream()
    for sequence in (5, 4, 3):
        await js.delete_msg(log.service, sequence)
    half = await js.get_msg(log.service, 2)
    await js.purge_stream(log.service)
    headers = {name: value for name, value in (half.headers or {}).items() if name.startswith(("ce-", "Headrace"))}
    await js.publish(str(half.subject), half.data or b"", headers=headers)
    await log.add(1, start=3)
    async with log.relayed():
        await eventually(partial(_reaches, log, 5))
    assert (await log.published_by_stream())["counter-0"] == [f"counter-0@1.{place}" for place in (1, 2, 3, 4)] + [
        "counter-0@2.0"
    ]


async def _reaches(log: Log, count: int) -> bool:
    return await log.published() >= count


async def test_a_purged_stream_is_published_again_from_the_start(log: Log) -> None:
    await log.add(30)
    await log.publish()
    await log.bus.jetstream().purge_stream(log.service)
    await log.add(30, start=30)
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


async def test_an_interrupted_republication_starts_over(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    await log.add(300)
    await log.publish()
    await log.bus.jetstream().purge_stream(log.service)
    for enough in (1, 100):
        async with log.relayed():
            await eventually(partial(_reaches, log, enough))
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


async def test_what_is_written_during_a_republication_is_published_once(log: Log) -> None:
    await log.add(300)
    await log.publish()
    await log.bus.jetstream().purge_stream(log.service)
    async with log.relayed():
        await log.add(150, start=300)
        await eventually(log.is_published)
    await log.publish()
    await log.add(3, start=450)
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


async def test_a_position_that_the_oplog_forgot_publishes_everything_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.add(30)
    await log.publish()
    await log.add(30, start=30)
    relay = Relay(log.bus, log.database, log.service)
    watch = relay._commits.watch

    async def forgotten(pipeline: object, **options: object) -> object:
        if "resume_after" in options:
            monkeypatch.undo()
            raise OperationFailure("Resume of change stream was not possible", 286)
        return await watch(pipeline, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(relay._commits, "watch", forgotten)
    running = asyncio.create_task(relay.run())
    await eventually(log.is_published)
    await end([running])
    assert await log.published_by_stream() == await log.by_stream()


async def test_a_silent_service_keeps_its_place_in_the_oplog(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.relay.MARK_EVERY", 0.0)
    await log.add(3)
    await log.publish()
    last = (await stored(log.bus, log.service))[-1].headers or {}
    token = last["Headrace-Position"].partition(" ")[0]

    async def is_ahead() -> bool:
        return await log.database["relay"].count_documents({"sequence": 3, "token": {"$gt": token}}) == 1

    async with log.relayed():
        await eventually(is_ahead)
    await log.add(3, start=3)
    await log.publish()
    assert await log.published_by_stream() == await log.by_stream()


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with servers_in(tmp_path) as servers:
        yield servers


async def test_when_the_message_server_dies_and_loses_everything_all_is_published_again(
    own_servers: Servers, tmp_path: Path
) -> None:
    settings = Settings(mongodb_url=own_servers.mongodb_url, nats_url=own_servers.nats_url)
    async with mongo(settings, "test") as client:
        bus = await connect(settings, "test")
        log = await new_log(settings, client, bus)
        await log.add(30)
        await log.publish()
        await _crash(own_servers)
        await eventually(lambda: bus.is_connected)
        await log.add(30, start=30)
        await log.publish()
        assert await log.published_by_stream() == await log.by_stream()
        await _crash(own_servers, forget=tmp_path / "nats" / "jetstream")
        await eventually(lambda: bus.is_connected)
        await made(bus.jetstream(), StreamConfig(name=log.service, subjects=[f"evt.{log.service}.>"]))
        await log.publish()
        assert await log.published_by_stream() == await log.by_stream()
        await bus.close()


async def _crash(servers: Servers, *, forget: Path | None = None) -> None:
    """Off the loop: what we are connected to must not find us asleep."""
    await asyncio.to_thread(servers.nats.kill)
    if forget:
        await asyncio.to_thread(shutil.rmtree, forget)
    # the kernel ends a server with the thread that started it: this one stays
    servers.nats.start()
    await asyncio.to_thread(servers.nats.wait_ready)
