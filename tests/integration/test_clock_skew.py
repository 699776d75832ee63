"""Replicas on machines whose clocks are wrong: no job is lost and no runner is declared offline by their difference."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from contracts.builds import JobLost
from contracts.projects import Executors, ListExecutors
from contracts.runners import (
    GetRegistrationInfo,
    RegisterRunner,
    RegistrationInfo,
    RunnerOffline,
    RunnerRegistration,
    TouchRunner,
)
from infra.local import ports
from infra.local.process import Process, Program
from libs.connections import database_of, mongo
from libs.messaging import Caller
from libs.replicas import COLLECTION
from libs.service import Service
from services.builds.app import service as builds
from services.projects.app import service as projects
from services.runners.app import service as runners
from tests.integration.builds_stage import Site
from tests.integration.stage import Stage, empty_stage
from tests.integration.test_heartbeats import told_skew
from tests.support import eventually
from tests.support.repositories import sample_repository
from tests.support.servers import Servers

pytestmark = pytest.mark.timeout(180)

PATIENCE = 3.0  # seconds, of a lease and until a runner is offline
SKEWED, RIGHT = "skewed", "right"


@dataclass(frozen=True)
class Fleet:
    """Replicas of one service in processes of their own."""

    stage: Stage
    bus: Client
    service: str
    folder: Path

    @contextmanager
    def replica(self, instance: str, skew: float) -> Iterator[int]:
        """Answers the port of its health."""
        port, settings = ports.free_port(), self.stage.settings
        assert self.stage.servers is not None
        process = Process(
            Program(
                name=instance,
                argv=(sys.executable, "-m", "tests.integration.skewed_process", self.service, str(skew)),
                log=self.folder / f"{instance}.log",
                ready=lambda: ports.http_answers(port, "/healthz"),
                environment={
                    "HEADRACE_MONGODB_URL": settings.mongodb_url,
                    "HEADRACE_NATS_URL": self.stage.servers.nats_for(self.service),
                    "HEADRACE_MASTER_KEY": base64.b64encode(settings.master_keys[0]).decode(),
                    "HEADRACE_DATABASE_PREFIX": settings.database_prefix,
                    "HEADRACE_DATA": str(settings.data),
                    "HEADRACE_LOCAL_REPOSITORIES": "true",
                    "HEADRACE_JOB_LEASE_SECONDS": str(PATIENCE),
                    "HEADRACE_RUNNER_OFFLINE_SECONDS": str(PATIENCE),
                    "HEADRACE_INSTANCE": instance,
                    "HEADRACE_HEALTH_PORT": str(port),
                },
            )
        )
        process.start()
        try:
            yield port
        finally:
            process.stop()

    async def answers(self, instance: str) -> None:
        """It has taken its place among the replicas."""
        async with mongo(self.stage.settings, "test") as client:
            replicas = database_of(client, self.stage.settings, self.service)[COLLECTION]

            async def alive() -> bool:
                return await replicas.find_one({"service": self.service, "instance": instance}) is not None

            await eventually(alive, within=60)

    async def leader(self) -> str:
        return (await self.bus.request(f"lead.{self.service}", b"", timeout=5)).data.decode()

    @asynccontextmanager
    async def pair(self, skew: float, *, leading: bool) -> AsyncIterator[None]:
        """A replica whose clock is wrong and one whose clock is right."""
        skews = {SKEWED: skew, RIGHT: 0.0}
        first, second = (SKEWED, RIGHT) if leading else (RIGHT, SKEWED)
        with self.replica(first, skews[first]):
            await self.answers(first)

            async def leads() -> bool:
                return await self.leader() == first

            await eventually(leads, within=60)
            with self.replica(second, skews[second]):
                await self.answers(second)
                yield
                assert await self.leader() == first

    async def events(self, *types: type[Any]) -> list[str]:
        """The names of those that were recorded, of these types."""
        async with mongo(self.stage.settings, "test") as client:
            log = database_of(client, self.stage.settings, self.service)["commits"]
            names = [event["name"] async for commit in log.find() for event in commit["events"]]
        return [name for name in names if name in {one.wire_name for one in types}]


async def repeat(act: Callable[[], Awaitable[Any]], seconds: float) -> None:
    """As a runner does that works."""
    ends = monotonic() + seconds
    while monotonic() < ends:
        await act()
        await asyncio.sleep(PATIENCE / 20)


skewed = pytest.mark.parametrize(
    ("skew", "leading"), [(90.0, True), (-90.0, True), (90.0, False), (-90.0, False)], ids=str
)


@skewed
async def test_a_job_is_lost_when_its_runner_is_silent_and_not_before(
    servers: Servers, tmp_path: Path, skew: float, leading: bool
) -> None:
    repository = sample_repository(tmp_path / "repository")
    async with empty_stage(servers, local_repositories=True, data=tmp_path / "data") as stage:
        await stage.migrate(builds, projects, *(Service(name, categories=()) for name in ("identity", "runners")))
        async with stage.running(lambda: projects), stage.connected() as bus, mongo(stage.settings, "test") as client:
            fleet, caller = Fleet(stage, bus, "builds", tmp_path), Caller(bus)
            (default,) = Executors.model_validate_json(await caller.ask(ListExecutors())).executors
            site = Site(stage, caller, repository, default.id, database_of(client, stage.settings, "builds"))
            async with fleet.pair(skew, leading=leading):
                await site.launch(await site.project())
                job = await site.claim()
                await repeat(lambda: site.report(job, "running"), 2 * PATIENCE)
                assert await fleet.events(JobLost) == []
                silent_since = monotonic()

                async def lost() -> bool:
                    return bool(await fleet.events(JobLost))

                await eventually(lost, within=3 * PATIENCE)
                # the last sign of life may be written for the first quarter of the lease
                assert monotonic() - silent_since > 0.5 * PATIENCE


@skewed
async def test_a_runner_is_offline_when_it_is_silent_and_not_before(
    servers: Servers, tmp_path: Path, skew: float, leading: bool
) -> None:
    async with empty_stage(servers) as stage:
        await stage.migrate(*(Service(name, categories=()) for name in ("identity", "projects")), runners)
        async with stage.connected() as bus:
            fleet, caller = Fleet(stage, bus, "runners", tmp_path), Caller(bus)
            async with fleet.pair(skew, leading=leading):
                found = await caller.ask(GetRegistrationInfo(scope="service"))
                token = RegistrationInfo.model_validate_json(found).registration_token
                runner = RunnerRegistration.model_validate_json(
                    await caller.tell(RegisterRunner(registration_token=token, name="miller"))
                )
                await repeat(lambda: caller.tell(TouchRunner(token=runner.token)), 2 * PATIENCE)
                assert await fleet.events(RunnerOffline) == []

                async def offline() -> bool:
                    return bool(await fleet.events(RunnerOffline))

                await eventually(offline, within=4 * PATIENCE)


@pytest.mark.parametrize("skew", [90.0, -90.0])
async def test_a_replica_with_a_wrong_clock_is_not_ready_and_says_why(
    servers: Servers, tmp_path: Path, skew: float
) -> None:
    async with empty_stage(servers) as stage:
        await stage.migrate(*(Service(name, categories=()) for name in ("identity", "projects")), runners)
        async with stage.connected() as bus:
            fleet = Fleet(stage, bus, "runners", tmp_path)
            with fleet.replica(SKEWED, skew) as port:
                await fleet.answers(SKEWED)
                await eventually(lambda: "clock" in reasons(port), within=30)
                assert told_skew(reasons(port)["clock"]) == pytest.approx(skew, abs=1)
                assert (await Caller(bus).ask(GetRegistrationInfo(scope="service"))) != b""  # it answers all the same
    assert (tmp_path / f"{SKEWED}.log").read_text().count("synchronise it (NTP)") == 1


def reasons(port: int) -> dict[str, str]:
    return dict(httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).json()["reasons"])
