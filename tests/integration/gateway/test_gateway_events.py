"""Server-sent events about builds and runners."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from nats.errors import Error as NatsError

from tests.integration.gateway.event_streams import event_data, open_event_stream, parse_events, publish, read_events
from tests.support.in_process.gateway_stage import DEVELOPER, GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats
from tests.support.waiting import eventually


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            yield running


async def try_publish(stage: GatewayStage, number: int) -> bool:
    """Publish an event and return whether JetStream confirmed it. JetStream stores a repeated message id only once."""
    subject, headers = f"evt.builds.thing-{number}.BuildQueued", {"Nats-Msg-Id": str(number)}
    try:
        await stage.client.jetstream().publish(
            subject, event_data("builds", number).encode(), headers=headers, timeout=0.5
        )
    except NatsError:
        return False
    return True


async def test_an_event_has_an_id_a_name_and_one_line_of_data(stage: GatewayStage) -> None:
    await publish(stage, "builds", "BuildQueued", 1)
    async with open_event_stream(stage) as source:
        await publish(stage, "builds", "BuildFinished", 2)
        [event] = await read_events(1, source)
    assert event == {"id": "b2-r0", "event": "BuildFinished", "data": event_data("builds", 2)}


async def test_an_event_stream_resumes_after_the_last_event_id(stage: GatewayStage) -> None:
    for number in (1, 2, 3):
        await publish(stage, "builds", "BuildQueued", number)
    await publish(stage, "runners", "RunnerOnline", 4)
    async with open_event_stream(stage, **{"Last-Event-ID": "b1-r0"}) as source:
        found = await read_events(3, source)
    assert sorted((event["event"], event["data"]) for event in found) == [
        ("BuildQueued", event_data("builds", 2)),
        ("BuildQueued", event_data("builds", 3)),
        ("RunnerOnline", event_data("runners", 4)),
    ]
    assert found[-1]["id"] == "b3-r1"


async def test_an_event_stream_can_start_in_the_past(stage: GatewayStage) -> None:
    before = datetime.now(UTC).isoformat()
    for number in (1, 2):
        await publish(stage, "builds", "BuildQueued", number)
    async with open_event_stream(stage, f"?since={before}") as source:
        found = await read_events(2, source)
    assert [event["id"] for event in found] == ["b1", "b2"]


async def test_a_position_before_the_first_stored_event_is_410(stage: GatewayStage) -> None:
    before = datetime.now(UTC).isoformat()
    for number in (1, 2, 3):
        await publish(stage, "builds", "BuildQueued", number)
    await stage.client.jetstream().purge_stream("builds", seq=3)
    for query, last_id in (("", "b1-r0"), (f"?since={before}", "")):
        answer = await stage.http.get(f"/api/events{query}", headers=stage.developer | {"Last-Event-ID": last_id})
        assert (answer.status_code, answer.json()["message"]) == (410, "EVENTS_EXPIRED")
    async with open_event_stream(stage, **{"Last-Event-ID": "b2-r0"}) as source:
        assert [event["id"] for event in await read_events(1, source)] == ["b3-r0"]


async def test_an_event_stream_misses_and_repeats_nothing_over_a_nats_restart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as stage, open_event_stream(stage) as source:
            await publish(stage, "builds", "BuildQueued", 1)
            assert [event["id"] for event in await read_events(1, source)] == ["b1-r0"]
            server.kill()
            server.start()
            server.wait_ready()
            await eventually(lambda: try_publish(stage, 2), bool)
            await publish(stage, "builds", "BuildQueued", 3)
            assert [event["id"] for event in await read_events(2, source)] == ["b2-r0", "b3-r0"]


async def test_the_event_stream_needs_a_token(stage: GatewayStage) -> None:
    assert (await stage.http.get("/api/events")).status_code == 401


@pytest.mark.parametrize(("query", "last"), [("", "x1"), ("?since=soon", "")])
async def test_an_invalid_start_position_of_an_event_stream_is_400(stage: GatewayStage, query: str, last: str) -> None:
    headers = stage.developer | {"Last-Event-ID": last}
    assert (await stage.http.get(f"/api/events{query}", headers=headers)).status_code == 400


async def test_the_event_stream_of_a_disabled_user_ends(stage: GatewayStage) -> None:
    async with open_event_stream(stage) as source:
        await publish(stage, "builds", "BuildQueued", 1)
        assert len(await read_events(1, source)) == 1
        stage.users.add(DEVELOPER, "ROLE_DEVELOPER", enabled=False, epoch=2)
        seen = [event async for event in publish_until_stream_ends(stage, source)]
    assert len(seen) < 100


async def publish_until_stream_ends(
    stage: GatewayStage, source: AsyncIterator[dict[str, str]]
) -> AsyncIterator[dict[str, str]]:
    """Publish an event before each read of `source`. Yield the events read, until `source` ends."""
    async with asyncio.timeout(60):
        for number in range(2, 1000):
            await publish(stage, "builds", "BuildQueued", number)
            try:
                yield await anext(source)
            except StopAsyncIteration:
                return
            await asyncio.sleep(0.05)


async def test_event_streams_end_when_the_gateway_stops(stage: GatewayStage) -> None:
    async with open_event_stream(stage) as source:
        stage.server.begin_shutdown()
        async with asyncio.timeout(60):
            assert [event async for event in source] == []


async def test_an_event_stream_closes_its_connection_at_its_end(stage: GatewayStage) -> None:
    async with stage.http.stream("GET", "/api/events", headers=stage.developer) as response:
        assert response.headers["connection"] == "close"


async def test_a_slowly_read_event_stream_loses_no_events(stage: GatewayStage) -> None:
    async with stage.http.stream("GET", "/api/events", headers=stage.developer) as answer:
        assert isinstance(answer, httpx.Response)
        for number in range(300):
            await publish(stage, "builds", "BuildQueued", number)
        found = await read_events(300, parse_events(answer.aiter_lines()))
    assert [event["id"] for event in found[-1:]] == ["b300-r0"]


async def test_concurrent_event_streams_per_user_are_limited(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.streaming.live_events.MAX_READERS_PER_USER", 1)
    async with open_event_stream(stage):
        refused = await stage.http.get("/api/events", headers=stage.developer)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        async with stage.http.stream("GET", "/api/events", headers=stage.admin) as another:
            assert another.status_code == 200

    async def is_free() -> bool:
        async with stage.http.stream("GET", "/api/events", headers=stage.developer) as response:
            return response.status_code == 200

    assert await eventually(is_free)


async def test_a_stalled_event_stream_does_not_block_gateway_shutdown(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.http.server.SHUTDOWN_TIMEOUT_SECONDS", 0.5)
    async with stage.http.stream("GET", "/api/events", headers=stage.developer):
        for number in range(60):  # more than the buffers between NATS and the client hold
            body = b'{"number": "%s"}' % (b"x" * 400_000)
            await stage.client.jetstream().publish(f"evt.builds.thing-{number}.BuildQueued", body)
        stage.server.begin_shutdown()
        requests = stage.server.server_state.tasks
        await eventually(lambda: asyncio.sleep(0, len(requests)), lambda count: count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("streams=thing-1,thing-3", [1, 3]),
        ("types=BuildFinished", [2]),
        ("services=runners", [3]),
        ("projects=1&types=BuildQueued,BuildFinished", [1, 2]),
        ("projects=2", []),
    ],
)
async def test_a_client_gets_only_the_events_that_it_asks_for(
    stage: GatewayStage, query: str, numbers: list[int]
) -> None:
    async with open_event_stream(stage, f"?{query}") as found, open_event_stream(stage) as everything:
        await publish(stage, "builds", "BuildQueued", 1)
        await publish(stage, "builds", "BuildFinished", 2)
        await publish(stage, "runners", "RunnerOnline", 3)
        await read_events(3, everything)
        received = await read_events(len(numbers), found)
    assert sorted(json.loads(event["data"])["number"] for event in received) == numbers


async def test_an_envelope_says_when_and_by_whom_an_event_was_caused(stage: GatewayStage) -> None:
    headers = {
        "ce-id": "thing-1@4.0",
        "ce-time": "2026-03-01T10:15:30.123Z",
        "ce-actor": '[2, ""]',
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    body = event_data("builds", 1).encode()
    async with open_event_stream(stage, "?envelope=true") as found:
        await stage.client.jetstream().publish("evt.builds.thing-1.BuildQueued", body, headers=headers)
        (event,) = await read_events(1, found)
    assert json.loads(event["data"]) == {
        "at": "2026-03-01T10:15:30.123Z",
        "type": "BuildQueued",
        "stream": "thing-1",
        "version": 4,
        "actor": {"id": 2, "name": ""},
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "data": json.loads(body),
    }


@pytest.mark.parametrize("query", ["services=identity", "projects=x", "streams=" + ",".join(map(str, range(101)))])
async def test_bad_filters_of_events_are_rejected(stage: GatewayStage, query: str) -> None:
    response = await stage.http.get(f"/api/events?{query}", headers=stage.developer)
    assert (response.status_code, response.json()["message"]) == (422, "REQUEST_INVALID")
