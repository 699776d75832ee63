"""All clients of the event stream share one NATS consumer for each stream, and are independent of each other."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.streaming.event_access import EventAudiences
from gateway.streaming.live_events import LiveEvents
from libs.eventstore.decider import Actor
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from tests.integration.gateway.event_streams import open_event_stream, parse_events, publish, read_events
from tests.support.in_process.gateway_stage import ADMIN, GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats
from tests.support.waiting import eventually

TOO_SLOW = ": closed: this client reads too slowly. Resume after the last event."


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            yield running


async def count_consumers(stage: GatewayStage, stream: str) -> int:
    return len(await stage.client.jetstream().consumers_info(stream))


async def count_waiting(stage: GatewayStage) -> list[int]:
    """Return the number of waiting pull requests of each consumer of the stream `builds`, in ascending order."""
    return sorted(info.num_waiting or 0 for info in await stage.client.jetstream().consumers_info("builds"))


def numbers(events: list[dict[str, str]]) -> list[int]:
    return [json.loads(event["data"])["number"] for event in events]


async def test_all_clients_share_one_consumer_per_stream(stage: GatewayStage) -> None:
    async with AsyncExitStack() as clients:
        sources = [await clients.enter_async_context(open_event_stream(stage)) for _ in range(8)]
        for number in range(20):
            await publish(stage, "builds", "BuildQueued", number)
        for source in sources:
            assert numbers(await read_events(20, source)) == [*range(20)]
        assert [await count_consumers(stage, stream) for stream in ("builds", "runners")] == [1, 1]


async def test_clients_that_have_caught_up_share_the_consumer(stage: GatewayStage) -> None:
    for number in range(200):
        await publish(stage, "builds", "BuildQueued", number)
    async with open_event_stream(stage), open_event_stream(stage, **{"Last-Event-ID": "b0-r0"}) as late:
        assert numbers(await read_events(200, late)) == [*range(200)]
        await publish(stage, "builds", "BuildQueued", 200)
        assert numbers(await read_events(1, late)) == [200]
        # the consumer of the late client is no longer read, and expires
        await eventually(lambda: count_waiting(stage), lambda counts: counts == [0, 1])
        assert len(stage.gateway.state.live_events) == 2


async def test_a_resumed_client_misses_and_repeats_nothing_while_events_are_published(stage: GatewayStage) -> None:
    total = 600

    async def publish_all() -> None:
        for number in range(total):
            await publish(stage, "builds", "BuildQueued", number)

    async with open_event_stream(stage) as steady, asyncio.TaskGroup() as publishing:
        publishing.create_task(publish_all())
        found, last, resumptions = list[dict[str, str]](), "b0-r0", 0
        while len(found) < total:
            async with open_event_stream(stage, **{"Last-Event-ID": last}) as source:
                found += await read_events(min(1 + resumptions % 40, total - len(found)), source)
            last, resumptions = found[-1]["id"], resumptions + 1
        assert numbers(found) == [*range(total)]
        assert numbers(await read_events(total, steady)) == [*range(total)]


async def test_a_client_that_reads_too_slowly_is_disconnected_and_resumes(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.streaming.live_events.MAX_WAITING_EVENTS", 10)
    monkeypatch.setattr("gateway.streaming.event_consumer.BATCH_SIZE", 4)
    total = 60
    async with open_event_stream(stage) as other:
        async with stage.http.stream("GET", "/api/events", headers=stage.developer) as answer:
            for number in range(total):
                body = b'{"number": %d, "project_id": 1, "padding": "%s"}' % (number, b"x" * 400_000)
                await stage.client.jetstream().publish(f"evt.builds.thing-{number}.BuildQueued", body)
                assert numbers(await read_events(1, other)) == [number]
            lines = [line async for line in answer.aiter_lines()]
        assert [line for line in lines if line.startswith(":")][-1] == TOO_SLOW

        async def iterate_lines() -> AsyncIterator[str]:
            for line in lines:
                yield line

        received = [event async for event in parse_events(iterate_lines()) if "data" in event]
        assert 0 < len(received) < total
        async with open_event_stream(stage, **{"Last-Event-ID": received[-1]["id"]}) as resumed:
            rest = await read_events(total - len(received), resumed)
    assert numbers(received + rest) == [*range(total)]


async def test_all_clients_get_all_events_after_a_lost_consumer(stage: GatewayStage) -> None:
    async with open_event_stream(stage) as one, open_event_stream(stage) as another:
        await publish(stage, "builds", "BuildQueued", 1)
        for source in (one, another):
            assert numbers(await read_events(1, source)) == [1]
        [lost] = await stage.client.jetstream().consumers_info("builds")
        await stage.client.jetstream().delete_consumer("builds", lost.name)
        for number in (2, 3):
            await publish(stage, "builds", "BuildQueued", number)
        for source in (one, another):
            assert numbers(await read_events(2, source)) == [2, 3]
        assert await count_consumers(stage, "builds") == 1


async def test_a_lost_message_is_read_again(stage: GatewayStage) -> None:
    async with open_event_stream(stage) as source:
        await publish(stage, "builds", "BuildQueued", 0)
        await read_events(1, source)
        jetstream = stage.client.jetstream()
        [shared] = await jetstream.consumers_info("builds")
        thief = await jetstream.pull_subscribe_bind(consumer=shared.name, stream="builds")
        stealing = asyncio.create_task(thief.fetch(1, 60))
        for number in range(1, 30):
            await publish(stage, "builds", "BuildQueued", number)
        assert len(await stealing) == 1
        await publish(stage, "builds", "BuildQueued", 30)  # shows that messages before it are missing
        assert numbers(await read_events(30, source)) == [*range(1, 31)]


async def test_no_event_is_missed_or_repeated_over_a_lost_connection(stage: GatewayStage) -> None:
    total = 300
    client = await connect(stage.gateway.state.settings, "reader")
    events = LiveEvents(client, EventAudiences(MessageClient(client), time.monotonic))
    async with events.open(Actor(ADMIN, "root", ("ROLE_ADMIN",)), last_id="b0-r0", since="") as reader:
        stream = reader.iterate(lambda: asyncio.sleep(0, True))
        found: list[str | None] = []
        for number in range(total):
            await publish(stage, "builds", "BuildQueued", number)
            if number % 50 == 25:
                await client.force_reconnect()
        async with asyncio.timeout(60):
            while len(found) < total:
                event = await anext(stream)
                found += [event.id] if event.id else []
    await client.close()
    assert found == [f"b{number + 1}-r0" for number in range(total)]


async def test_the_consumers_are_not_read_without_clients(stage: GatewayStage) -> None:
    async with open_event_stream(stage) as source:
        await publish(stage, "builds", "BuildQueued", 1)
        await read_events(1, source)

    await eventually(lambda: count_waiting(stage), lambda counts: sum(counts) == 0)
