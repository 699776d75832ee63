"""Server-sent events: what a browser or a script sees of builds and runners."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest
from nats.errors import Error as NatsError

from tests.integration.gateway_stage import DEVELOPER, Stage, eventually, stage
from tests.support.servers import lone_nats


@pytest.fixture
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url) as one:
            yield one


async def publish(here: Stage, service: str, name: str, number: int) -> None:
    body = b'{"number": %d}' % number
    await here.client.jetstream().publish(f"evt.{service}.thing-{number}.{name}", body)


async def published(here: Stage, number: int) -> bool:
    """Whether the bus took it; repeating that is harmless."""
    subject, headers = f"evt.builds.thing-{number}.BuildQueued", {"Nats-Msg-Id": str(number)}
    try:
        await here.client.jetstream().publish(subject, b'{"number": %d}' % number, headers=headers, timeout=0.5)
    except NatsError:
        return False
    return True


@asynccontextmanager
async def listening(here: Stage, query: str = "", **headers: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """The events, once the stream is open."""
    async with here.http.stream("GET", f"/api/events{query}", headers=here.developer | headers) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(":")
        yield events(lines)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    event: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name:
            event[name] = value
        elif event:
            yield event
            event = {}


async def first(count: int, source: AsyncIterator[dict[str, str]]) -> list[dict[str, str]]:
    async with asyncio.timeout(10):
        return [await anext(source) for _ in range(count)]


async def test_an_event_has_an_id_a_name_and_one_line_of_data(here: Stage) -> None:
    await publish(here, "builds", "BuildQueued", 1)
    async with listening(here) as source:
        await publish(here, "builds", "BuildFinished", 2)
        [event] = await first(1, source)
    assert event == {"id": "b2-r0", "event": "BuildFinished", "data": '{"number": 2}'}


async def test_a_reader_resumes_after_the_last_event_it_saw(here: Stage) -> None:
    for number in (1, 2, 3):
        await publish(here, "builds", "BuildQueued", number)
    await publish(here, "runners", "RunnerOnline", 4)
    async with listening(here, **{"Last-Event-ID": "b1-r0"}) as source:
        found = await first(3, source)
    assert sorted((one["event"], one["data"]) for one in found) == [
        ("BuildQueued", '{"number": 2}'),
        ("BuildQueued", '{"number": 3}'),
        ("RunnerOnline", '{"number": 4}'),
    ]
    assert found[-1]["id"] == "b3-r1"


async def test_a_reader_may_start_earlier(here: Stage) -> None:
    before = datetime.now(UTC).isoformat()
    for number in (1, 2):
        await publish(here, "builds", "BuildQueued", number)
    async with listening(here, f"?since={before}") as source:
        found = await first(2, source)
    assert [one["id"] for one in found] == ["b1", "b2"]


async def test_nothing_is_missed_or_repeated_over_a_restart_of_the_bus(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url) as here, listening(here) as source:
            await publish(here, "builds", "BuildQueued", 1)
            assert [one["id"] for one in await first(1, source)] == ["b1-r0"]
            server.kill()
            server.start()
            server.wait_ready()
            await eventually(lambda: published(here, 2), bool, within=20)
            await publish(here, "builds", "BuildQueued", 3)
            assert [one["id"] for one in await first(2, source)] == ["b2-r0", "b3-r0"]


async def test_events_need_a_token(here: Stage) -> None:
    assert (await here.http.get("/api/events")).status_code == 401


@pytest.mark.parametrize(("query", "last"), [("", "x1"), ("?since=soon", "")])
async def test_a_place_that_cannot_be_read_is_a_bad_request(here: Stage, query: str, last: str) -> None:
    headers = here.developer | {"Last-Event-ID": last}
    assert (await here.http.get(f"/api/events{query}", headers=headers)).status_code == 400


async def test_a_disabled_user_sees_no_further_event(here: Stage) -> None:
    async with listening(here) as source:
        await publish(here, "builds", "BuildQueued", 1)
        assert len(await first(1, source)) == 1
        here.users.put(DEVELOPER, "ROLE_DEVELOPER", enabled=False, epoch=2)
        seen = [one async for one in publishing_until_the_end(here, source)]
    assert len(seen) < 100


async def publishing_until_the_end(here: Stage, source: AsyncIterator[dict[str, str]]) -> AsyncIterator[dict[str, str]]:
    """An event every few hundredths of a second, for as long as they are shown."""
    async with asyncio.timeout(10):
        for number in range(2, 1000):
            await publish(here, "builds", "BuildQueued", number)
            try:
                yield await anext(source)
            except StopAsyncIteration:
                return
            await asyncio.sleep(0.05)


async def test_open_streams_end_when_the_gateway_stops(here: Stage) -> None:
    async with listening(here) as source:
        here.server.leave()
        async with asyncio.timeout(5):
            assert [one async for one in source] == []


async def test_no_client_keeps_the_connection_of_a_stream_for_its_next_request(here: Stage) -> None:
    async with here.http.stream("GET", "/api/events", headers=here.developer) as answer:
        assert answer.headers["connection"] == "close"


async def test_a_stream_that_is_read_slowly_is_no_mistake_of_anybody(here: Stage) -> None:
    async with here.http.stream("GET", "/api/events", headers=here.developer) as answer:
        assert isinstance(answer, httpx.Response)
        for number in range(300):
            await publish(here, "builds", "BuildQueued", number)
        found = await first(300, events(answer.aiter_lines()))
    assert [one["id"] for one in found[-1:]] == ["b300-r0"]


async def test_one_user_may_read_so_many_times_at_once(here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.events.MOST_READERS", 1)
    async with listening(here):
        refused = await here.http.get("/api/events", headers=here.developer)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        async with here.http.stream("GET", "/api/events", headers=here.admin) as another:
            assert another.status_code == 200

    async def free() -> bool:
        async with here.http.stream("GET", "/api/events", headers=here.developer) as answer:
            return answer.status_code == 200

    assert await eventually(free, bool, within=10)


async def test_a_reader_that_takes_nothing_keeps_no_gateway_from_leaving(
    here: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.app.GRACE", 0.5)
    async with here.http.stream("GET", "/api/events", headers=here.developer):
        for number in range(60):  # more than all buffers on the way hold
            body = b'{"number": "%s"}' % (b"x" * 400_000)
            await here.client.jetstream().publish(f"evt.builds.thing-{number}.BuildQueued", body)
        here.server.leave()
        requests = here.server.server_state.tasks
        await eventually(lambda: asyncio.sleep(0, len(requests)), lambda count: count == 0, within=20)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
