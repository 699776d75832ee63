"""Replicas with skewed clocks: clock skew alone loses no job and sets no runner offline."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from contracts.builds import JobLost
from contracts.messages import Page
from contracts.projects import ListExecutors
from contracts.runners import (
    AuthenticateRunner,
    RegisterRunner,
    RegistrationInfo,
    RevealRegistrationToken,
    RunnerOffline,
    RunnerRegistration,
)
from infra.local import ports
from infra.local.process import Process, Program
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from libs.service.replicas import REPLICAS
from services.builds.app import service as builds
from services.projects.app import service as projects
from services.runners.app import service as runners
from tests.integration.libs.leadership.test_heartbeats import parse_skew
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_stage import BuildStage
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

LEASE_SECONDS = 3.0  # duration of a job lease; also the time without requests after which a runner is offline
MAX_WAIT_SECONDS = 60.0  # shorter than the skew of 90 s, which would delay the loss of a job by as much
SKEWED_PROCESS = "tests.integration.libs.leadership.skewed_process"
SKEWED, CORRECT = "skewed", "right"


@dataclass(frozen=True)
class ReplicaProcesses:
    stage: ServiceStage
    bus: Client
    service: str
    folder: Path

    @contextmanager
    def run_replica(self, instance: str, skew: float) -> Iterator[int]:
        port, settings = ports.find_free_port(), self.stage.settings
        assert self.stage.servers is not None
        process = Process(
            Program(
                name=instance,
                argv=(sys.executable, "-m", SKEWED_PROCESS, self.service, str(skew)),
                log=self.folder / f"{instance}.log",
                is_ready=lambda: ports.is_http_ok(port, "/healthz"),
                environment={
                    "HEADRACE_MONGODB_URL": settings.mongodb_url,
                    "HEADRACE_NATS_URL": self.stage.servers.nats_url_for(self.service),
                    "HEADRACE_MASTER_KEY": base64.b64encode(settings.master_keys[0]).decode(),
                    "HEADRACE_DATABASE_PREFIX": settings.database_prefix,
                    "HEADRACE_DATA": str(settings.data),
                    "HEADRACE_LOCAL_REPOSITORIES": "true",
                    "HEADRACE_JOB_LEASE_SECONDS": str(LEASE_SECONDS),
                    "HEADRACE_RUNNER_OFFLINE_SECONDS": str(LEASE_SECONDS),
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

    async def wait_until_registered(self, instance: str) -> None:
        async with create_mongo_client(self.stage.settings, "test") as client:
            replicas = get_database(client, self.stage.settings, self.service)[REPLICAS]

            async def is_alive() -> bool:
                return await replicas.find_one({"service": self.service, "instance": instance}) is not None

            await eventually(is_alive, within=MAX_WAIT_SECONDS)

    async def find_leader(self) -> str:
        return (await self.bus.request(f"lead.{self.service}", b"", timeout=5)).data.decode()

    @asynccontextmanager
    async def run_pair(self, skew: float, *, leading: bool) -> AsyncIterator[None]:
        """Run a replica with a skewed clock and one with a correct clock. `leading`: the skewed one leads."""
        skews = {SKEWED: skew, CORRECT: 0.0}
        first, second = (SKEWED, CORRECT) if leading else (CORRECT, SKEWED)
        with self.run_replica(first, skews[first]):
            await self.wait_until_registered(first)

            async def is_leader() -> bool:
                return await self.find_leader() == first

            await eventually(is_leader, within=MAX_WAIT_SECONDS)
            with self.run_replica(second, skews[second]):
                await self.wait_until_registered(second)
                yield
                assert await self.find_leader() == first

    async def recorded_event_names(self, *types: type[Any]) -> list[str]:
        async with create_mongo_client(self.stage.settings, "test") as client:
            log = get_database(client, self.stage.settings, self.service)["commits"]
            names = [event["name"] async for commit in log.find() for event in commit["events"]]
        return [name for name in names if name in {event_type.wire_name for event_type in types}]


async def call_repeatedly(act: Callable[[], Awaitable[Any]], seconds: float) -> None:
    ends = monotonic() + seconds
    while monotonic() < ends:
        await act()
        await asyncio.sleep(LEASE_SECONDS / 20)


for_each_skew = pytest.mark.parametrize(
    ("skew", "leading"),
    [
        pytest.param(90.0, True, id="90.0-True"),
        pytest.param(-90.0, True, id="-90.0-True", marks=pytest.mark.nightly),
        pytest.param(90.0, False, id="90.0-False", marks=pytest.mark.nightly),
        pytest.param(-90.0, False, id="-90.0-False"),
    ],
)


@for_each_skew
async def test_with_a_skewed_clock_a_job_is_lost_only_after_its_lease_expires(
    servers: Servers, tmp_path: Path, skew: float, leading: bool
) -> None:
    repository = create_sample_repository(tmp_path / "repository")
    async with empty_stage(servers, local_repositories=True, data=tmp_path / "data") as stage:
        await stage.migrate(builds, projects, *(Service(name, categories=()) for name in ("identity", "runners")))
        async with (
            stage.running(lambda: projects),
            stage.connected() as bus,
            create_mongo_client(stage.settings, "test") as client,
        ):
            fleet, caller = ReplicaProcesses(stage, bus, "builds", tmp_path), MessageClient(bus)
            (default,) = Page.model_validate_json(await caller.query(ListExecutors())).rows
            running = BuildStage(
                stage, caller, repository, default["id"], get_database(client, stage.settings, "builds")
            )
            async with fleet.run_pair(skew, leading=leading):
                await running.launch(await running.create_project())
                job = await running.claim()
                await call_repeatedly(lambda: running.report(job, "running"), 2 * LEASE_SECONDS)
                assert await fleet.recorded_event_names(JobLost) == []
                silent_since = monotonic()

                async def is_lost() -> bool:
                    return bool(await fleet.recorded_event_names(JobLost))

                await eventually(is_lost, within=MAX_WAIT_SECONDS)
                # not a whole lease: a renewal in the first quarter of a lease is not written
                assert monotonic() - silent_since > 0.5 * LEASE_SECONDS


@for_each_skew
async def test_with_a_skewed_clock_a_runner_goes_offline_only_after_the_silence_limit(
    servers: Servers, tmp_path: Path, skew: float, leading: bool
) -> None:
    async with empty_stage(servers) as stage:
        await stage.migrate(*(Service(name, categories=()) for name in ("identity", "projects")), runners)
        async with stage.connected() as bus:
            fleet, caller = ReplicaProcesses(stage, bus, "runners", tmp_path), MessageClient(bus)
            async with fleet.run_pair(skew, leading=leading):
                found = await caller.send(RevealRegistrationToken(scope="service"))
                token = RegistrationInfo.model_validate_json(found).registration_token
                runner = RunnerRegistration.model_validate_json(
                    await caller.send(RegisterRunner(registration_token=token, name="miller"))
                )
                await call_repeatedly(lambda: caller.send(AuthenticateRunner(token=runner.token)), 2 * LEASE_SECONDS)
                assert await fleet.recorded_event_names(RunnerOffline) == []

                async def is_offline() -> bool:
                    return bool(await fleet.recorded_event_names(RunnerOffline))

                await eventually(is_offline, within=MAX_WAIT_SECONDS)


async def test_a_replica_with_a_skewed_clock_is_not_ready_and_reports_the_skew(
    servers: Servers, tmp_path: Path
) -> None:
    skews = {"ahead": 90.0, "behind": -90.0}
    async with empty_stage(servers) as stage:
        await stage.migrate(*(Service(name, categories=()) for name in ("identity", "projects")), runners)
        async with stage.connected() as bus, AsyncExitStack() as stack:
            fleet = ReplicaProcesses(stage, bus, "runners", tmp_path)
            ports_of = {name: stack.enter_context(fleet.run_replica(name, skew)) for name, skew in skews.items()}
            for name, port in ports_of.items():
                await fleet.wait_until_registered(name)
                await eventually(lambda: "clock" in readiness_reasons(port))  # noqa: B023
                assert parse_skew(readiness_reasons(port)["clock"]) == pytest.approx(skews[name], abs=1)
            # the replicas still answer requests
            assert await MessageClient(bus).send(RevealRegistrationToken(scope="service")) != b""
    for name in skews:
        assert (tmp_path / f"{name}.log").read_text().count("synchronize it (NTP)") == 1


def readiness_reasons(port: int) -> dict[str, str]:
    return dict(httpx.get(f"http://127.0.0.1:{port}/readyz").json()["reasons"])
