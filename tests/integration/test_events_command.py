"""`headrace events` on a real nats-server: from any time on, live, over a restart of the server, and out by Ctrl-C."""

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
from infra.entry import PUBLIC, SERVICES
from infra.local.folder import DataFolder
from infra.local.nats import with_login
from libs import cloudevents
from libs.deciding import Actor, Cause, Recorded
from libs.messaging import connect
from libs.mirrors import mirror
from libs.settings import Settings
from tests.support.servers import Process, lone_nats
from tests.support.signals import heed_ctrl_c

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
    with lone_nats(tmp_path) as server:
        yield server


@pytest.fixture
async def bus(nats: Process) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=nats.program.url), "test")
    for service in SERVICES:
        await client.jetstream().add_stream(name=service, subjects=[f"evt.{service}.>"])
    yield client
    await client.close()


async def publish(bus: Client, stream: str, version: int, event: Event, seconds: float = 0) -> None:
    cause = Cause("c", NOON + timedelta(seconds=seconds), Actor(3, "ivan"))
    recorded = Recorded(stream, version, 0, event, cause)
    subject = cloudevents.subject(event.service, recorded)
    headers = cloudevents.to_headers(event.service, recorded)
    await bus.jetstream().publish(subject, cloudevents.to_body(recorded), headers=headers)


@dataclass(frozen=True)
class Terminal:
    process: asyncio.subprocess.Process

    async def line(self) -> str:
        assert self.process.stdout
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().rstrip("\n")

    async def lines(self, number: int) -> list[str]:
        return [await self.line() for _ in range(number)]

    async def interrupt(self) -> tuple[int | None, bytes]:
        self.process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode, errors


@asynccontextmanager
async def following(nats: Process, *arguments: str, url: str = "") -> AsyncIterator[Terminal]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra", "events", *arguments),
        env={**os.environ, "HEADRACE_NATS_URL": url or nats.program.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=heed_ctrl_c,
    )
    try:
        yield Terminal(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_the_events_of_all_services_come_in_the_order_of_their_times(nats: Process, bus: Client) -> None:
    await publish(bus, "user-3", 1, RENAMED, seconds=1)
    await publish(bus, "user-3", 2, DISABLED, seconds=3)
    await publish(bus, "build-17", 1, KILLED, seconds=2)
    async with following(nats, "--from", "start") as terminal:
        names = [line.split()[3] for line in await terminal.lines(3)]
    assert names == ["UserRenamed", "BuildKilled", "UserDisabled"]


async def test_a_line_tells_who_did_what_to_what(nats: Process, bus: Client) -> None:
    await publish(bus, "build-17", 1, FINISHED)
    async with following(nats, "--from", "start") as terminal:
        line = await terminal.line()
    time = f"{NOON.astimezone():%H:%M:%S}.000"
    facts = ['project_name="web', 'shop"', "status=KILLED", "project_id=5", "exit_code=143"]
    assert line.split() == [time, "builds", "build-17", "BuildFinished", "ivan", *facts]


async def test_what_happens_later_is_shown_as_it_happens(nats: Process, bus: Client) -> None:
    await publish(bus, "build-17", 1, KILLED)
    async with following(nats, "--from", "start") as terminal:
        first = await terminal.line()
        await publish(bus, "user-3", 1, RENAMED)
        second = await terminal.line()
    assert ("BuildKilled" in first, "UserRenamed" in second) == (True, True)


async def test_it_starts_at_a_time(nats: Process, bus: Client) -> None:
    await publish(bus, "user-3", 1, RENAMED)
    await publish(bus, "user-3", 2, DISABLED)
    second = await bus.jetstream().get_msg("identity", seq=2)
    assert second.time
    async with following(nats, "--from", second.time.isoformat(), "--raw") as terminal:
        assert json.loads(await terminal.line())["name"] == "UserDisabled"


async def test_raw_lines_are_json_for_programs(nats: Process, bus: Client) -> None:
    await publish(bus, "user-3", 1, RENAMED)
    async with following(nats, "--from", "start", "--raw") as terminal:
        line = await terminal.line()
    assert json.loads(line) == {
        "service": "identity",
        "stream": "user-3",
        "name": "UserRenamed",
        "at": "2026-01-31T12:00:00+00:00",
        "actor": "ivan",
        "data": {"user_id": 3, "username": "ivan", "former_username": "vanya"},
    }


async def test_a_restart_of_the_server_neither_repeats_nor_loses_an_event(nats: Process, bus: Client) -> None:
    await publish(bus, "user-3", 1, RENAMED)
    async with following(nats, "--from", "start") as terminal:
        first = await terminal.line()
        nats.stop()
        nats.start()
        nats.wait_ready()
        reconnected = await connect(Settings(nats_url=nats.program.url), "test")
        await publish(reconnected, "user-3", 2, DISABLED)
        await reconnected.close()
        second = await terminal.line()
    assert ("UserRenamed" in first, "UserDisabled" in second) == (True, True)


async def test_the_login_that_is_given_away_shows_builds_and_runners(
    nats: Process, bus: Client, tmp_path: Path
) -> None:
    await publish(bus, "user-3", 1, RENAMED)
    await publish(bus, "build-17", 1, KILLED)
    for stream in PUBLIC:
        await mirror(bus, await bus.jetstream().stream_info(stream))
    url = with_login(nats.program.address, DataFolder(tmp_path), "consumer")
    async with following(nats, "--from", "start", url=url) as terminal:
        assert "BuildKilled" in await terminal.line()


async def test_ctrl_c_ends_it_quietly(nats: Process, bus: Client) -> None:
    await publish(bus, "user-3", 1, RENAMED)
    async with following(nats, "--from", "start") as terminal:
        await terminal.line()
        assert await terminal.interrupt() == (0, b"")


@pytest.mark.usefixtures("bus")
async def test_a_time_that_is_none_is_answered_in_words(nats: Process) -> None:
    async with following(nats, "--from", "yesterday") as terminal:
        _, errors = await terminal.process.communicate()
    assert b"--from takes a time" in errors
