"""`headrace events` on a real nats-server: start time, live events, a server restart and Ctrl-C."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client

from contracts.builds import BuildFinished, BuildKilled, BuildStatus
from contracts.identity import UserDisabled, UserRenamed
from contracts.messages import Event
from infra.local.data_folder import DataFolder
from infra.local.nats_server import with_login
from infra.service_catalog import PUBLIC_SERVICES, SERVICES
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from libs.messaging import cloudevents
from libs.messaging.nats_connection import connect
from libs.messaging.stream_mirrors import ensure_mirror
from libs.settings import Settings
from tests.support.infrastructure.servers import Process, running_nats
from tests.support.signals import restore_sigint

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RENAMED = UserRenamed(user_id=3, username="ivan", former_username="vanya")
DISABLED = UserDisabled(user_id=3, epoch=2)
KILLED = BuildKilled(build_id=17, project_id=5)
FINISHED = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=5,
    project_name="web shop",
    status=BuildStatus.KILLED,
    exit_code=143,
    queued_at=NOON,
)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Process]:
    with running_nats(tmp_path) as server:
        yield server


@pytest.fixture
async def bus(nats: Process) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=nats.program.url), "test")
    for service in SERVICES:
        await client.jetstream().add_stream(name=service, subjects=[f"evt.{service}.>"])
    yield client
    await client.close()


async def publish_event(bus: Client, stream: str, version: int, event: Event, seconds: float = 0) -> None:
    cause = CommandMetadata("c", NOON + timedelta(seconds=seconds), Actor(3, "ivan"))
    recorded = RecordedEvent(stream, version, 0, event, cause)
    subject = cloudevents.event_subject(event.service, recorded)
    headers = cloudevents.to_headers(event.service, recorded)
    await bus.jetstream().publish(subject, cloudevents.to_body(recorded), headers=headers)


@dataclass(frozen=True)
class EventsCommand:
    process: asyncio.subprocess.Process

    async def read_line(self) -> str:
        assert self.process.stdout
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().rstrip("\n")

    async def read_lines(self, number: int) -> list[str]:
        return [await self.read_line() for _ in range(number)]

    async def interrupt(self) -> tuple[int | None, bytes]:
        self.process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode, errors


@asynccontextmanager
async def run_events_command(nats: Process, *arguments: str, url: str = "") -> AsyncIterator[EventsCommand]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra", "events", *arguments),
        env={**os.environ, "HEADRACE_NATS_URL": url or nats.program.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=restore_sigint,
    )
    try:
        yield EventsCommand(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_events_of_all_services_are_printed_in_order_of_time(nats: Process, bus: Client) -> None:
    await publish_event(bus, "user-3", 1, RENAMED, seconds=1)
    await publish_event(bus, "user-3", 2, DISABLED, seconds=3)
    await publish_event(bus, "build-17", 1, KILLED, seconds=2)
    async with run_events_command(nats, "--from", "start") as terminal:
        names = [line.split()[3] for line in await terminal.read_lines(3)]
    assert names == ["UserRenamed", "BuildKilled", "UserDisabled"]


async def test_an_event_line_shows_time_service_stream_event_actor_and_data(nats: Process, bus: Client) -> None:
    await publish_event(bus, "build-17", 1, FINISHED)
    async with run_events_command(nats, "--from", "start") as terminal:
        line = await terminal.read_line()
    time = f"{NOON.astimezone():%H:%M:%S}.000"
    facts = ['project_name="web', 'shop"', "status=KILLED", "project_id=5", "exit_code=143"]
    assert line.split() == [time, "builds", "build-17", "BuildFinished", "user", "3", *facts]


async def test_later_events_are_printed_live(nats: Process, bus: Client) -> None:
    await publish_event(bus, "build-17", 1, KILLED)
    async with run_events_command(nats, "--from", "start") as terminal:
        first = await terminal.read_line()
        await publish_event(bus, "user-3", 1, RENAMED)
        second = await terminal.read_line()
    assert ("BuildKilled" in first, "UserRenamed" in second) == (True, True)


async def test_the_events_command_starts_at_a_given_time(nats: Process, bus: Client) -> None:
    await publish_event(bus, "user-3", 1, RENAMED)
    await publish_event(bus, "user-3", 2, DISABLED)
    second = await bus.jetstream().get_msg("identity", seq=2)
    assert second.time
    async with run_events_command(nats, "--from", second.time.isoformat(), "--raw") as terminal:
        assert json.loads(await terminal.read_line())["name"] == "UserDisabled"


async def test_raw_output_is_one_json_object_per_line(nats: Process, bus: Client) -> None:
    await publish_event(bus, "user-3", 1, RENAMED)
    async with run_events_command(nats, "--from", "start", "--raw") as terminal:
        line = await terminal.read_line()
    assert json.loads(line) == {
        "service": "identity",
        "stream": "user-3",
        "name": "UserRenamed",
        "at": "2026-01-31T12:00:00+00:00",
        "actor": "user 3",
        "data": {"user_id": 3, "username": "", "former_username": ""},
    }


async def test_a_nats_restart_neither_repeats_nor_loses_an_event(nats: Process, bus: Client) -> None:
    await publish_event(bus, "user-3", 1, RENAMED)
    async with run_events_command(nats, "--from", "start") as terminal:
        first = await terminal.read_line()
        nats.stop()
        nats.start()
        nats.wait_ready()
        reconnected = await connect(Settings(nats_url=nats.program.url), "test")
        await publish_event(reconnected, "user-3", 2, DISABLED)
        await reconnected.close()
        second = await terminal.read_line()
    assert ("UserRenamed" in first, "UserDisabled" in second) == (True, True)


async def test_the_public_consumer_login_shows_builds_and_runners(nats: Process, bus: Client, tmp_path: Path) -> None:
    await publish_event(bus, "user-3", 1, RENAMED)
    await publish_event(bus, "build-17", 1, KILLED)
    for stream in PUBLIC_SERVICES:
        await ensure_mirror(bus, await bus.jetstream().stream_info(stream))
    url = with_login(nats.program.address, DataFolder(tmp_path), "consumer")
    async with run_events_command(nats, "--from", "start", url=url) as terminal:
        assert "BuildKilled" in await terminal.read_line()


async def test_ctrl_c_ends_the_events_command_without_an_error(nats: Process, bus: Client) -> None:
    await publish_event(bus, "user-3", 1, RENAMED)
    async with run_events_command(nats, "--from", "start") as terminal:
        await terminal.read_line()
        assert await terminal.interrupt() == (0, b"")


@pytest.mark.usefixtures("bus")
async def test_an_invalid_start_time_is_explained(nats: Process) -> None:
    async with run_events_command(nats, "--from", "yesterday") as terminal:
        _, errors = await terminal.process.communicate()
    assert b"--from must be a time such as" in errors
