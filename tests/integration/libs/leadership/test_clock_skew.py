"""Replicas with skewed clocks: clock skew alone loses no job and sets no runner offline."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

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
from libs.documents import Document
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

LEASE_SECONDS = 5.0  # duration of a job lease; also the time without requests after which a runner is offline
MAX_WAIT_SECONDS = 60.0  # shorter than the skew of 90 s, which would delay the loss of a job by as much
SKEWED_PROCESS = "tests.integration.libs.leadership.skewed_process"
SKEWED, CORRECT = "skewed", "right"
SERVICES = ("builds", "runners")


@dataclass(frozen=True)
class SkewedSystem:
    """Two processes, each with a replica of the builds and of the runners service. One of them has a skewed clock."""

    stage: ServiceStage
    bus: Client
    client: AsyncMongoClient[Document]
    folder: Path
    skew: float
    health_ports: dict[str, Mapping[str, int]] = field(default_factory=dict)  # health ports by process and service

    def database(self, service: str) -> AsyncDatabase[Document]:
        return get_database(self.client, self.stage.settings, service)

    def log_file(self, instance: str) -> Path:
        return self.folder / f"{instance}.log"

    @contextmanager
    def run_process(self, instance: str, skew: float) -> Iterator[None]:
        settings = self.stage.settings
        found = self.health_ports[instance] = {service: ports.find_free_port() for service in SERVICES}
        replicas = (f"{service}={port}" for service, port in found.items())
        process = Process(
            Program(
                name=instance,
                argv=(sys.executable, "-m", SKEWED_PROCESS, str(skew), *replicas),
                log=self.log_file(instance),
                is_ready=lambda: all(ports.is_http_ok(port, "/healthz") for port in found.values()),
                environment={
                    "HEADRACE_MONGODB_URL": settings.mongodb_url,
                    "HEADRACE_NATS_URL": settings.nats_url,
                    "HEADRACE_MASTER_KEY": base64.b64encode(settings.master_keys[0]).decode(),
                    "HEADRACE_DATABASE_PREFIX": settings.database_prefix,
                    "HEADRACE_DATA": str(settings.data),
                    "HEADRACE_LOCAL_REPOSITORIES": "true",
                    "HEADRACE_JOB_LEASE_SECONDS": str(LEASE_SECONDS),
                    "HEADRACE_RUNNER_OFFLINE_SECONDS": str(LEASE_SECONDS),
                    "HEADRACE_INSTANCE": instance,
                },
            )
        )
        process.start()
        try:
            yield
        finally:
            process.stop()

    async def wait_until_registered(self, instance: str) -> None:
        async def are_alive() -> bool:
            found = [await self.database(name)[REPLICAS].find_one({"instance": instance}) for name in SERVICES]
            return all(found)

        await eventually(are_alive, within=MAX_WAIT_SECONDS)

    async def find_leaders(self) -> list[str]:
        return [(await self.bus.request(f"lead.{name}", b"", timeout=5)).data.decode() for name in SERVICES]

    @asynccontextmanager
    async def running(self, *, leading: bool) -> AsyncIterator[None]:
        """Run both processes. `leading`: whether the process with the skewed clock leads."""
        skews = {SKEWED: self.skew, CORRECT: 0.0}
        first, second = (SKEWED, CORRECT) if leading else (CORRECT, SKEWED)
        with self.run_process(first, skews[first]):
            await self.wait_until_registered(first)

            async def is_leader() -> bool:
                return await self.find_leaders() == [first, first]

            await eventually(is_leader, within=MAX_WAIT_SECONDS)
            with self.run_process(second, skews[second]):
                await self.wait_until_registered(second)
                yield
                assert await self.find_leaders() == [first, first]

    async def has_recorded(self, service: str, event_type: type[Any]) -> bool:
        log = self.database(service)["commits"]
        return await log.find_one({"events.name": event_type.wire_name}) is not None


async def call_repeatedly(act: Callable[[], Awaitable[Any]], seconds: float) -> None:
    ends = monotonic() + seconds
    while monotonic() < ends:
        await act()
        await asyncio.sleep(LEASE_SECONDS / 20)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((90.0, True), id="90.0-True"),
        pytest.param((-90.0, True), id="-90.0-True", marks=pytest.mark.nightly),
        pytest.param((90.0, False), id="90.0-False", marks=pytest.mark.nightly),
        pytest.param((-90.0, False), id="-90.0-False"),
    ],
)
async def system(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[SkewedSystem]:
    skew, leading = request.param
    folder = tmp_path_factory.mktemp("skewed")
    async with empty_stage(servers, local_repositories=True, data=folder / "data") as stage:
        await stage.migrate(builds, projects, runners, Service("identity", categories=()))
        async with (
            stage.running(lambda: projects),
            stage.connected() as bus,
            create_mongo_client(stage.settings, "test") as client,
        ):
            system = SkewedSystem(stage, bus, client, folder, skew)
            async with system.running(leading=leading):
                yield system


async def test_with_a_skewed_clock_a_job_is_lost_only_after_its_lease_expires(
    system: SkewedSystem, tmp_path: Path
) -> None:
    repository, caller = create_sample_repository(tmp_path / "repository"), MessageClient(system.bus)
    (default,) = Page.model_validate_json(await caller.query(ListExecutors())).rows
    running = BuildStage(system.stage, caller, repository, default["id"], system.database("builds"))
    await running.launch(await running.create_project())
    job = await running.claim()
    await call_repeatedly(lambda: running.report(job, "running"), 2 * LEASE_SECONDS)
    assert not await system.has_recorded("builds", JobLost)
    silent_since = monotonic()
    await eventually(partial(system.has_recorded, "builds", JobLost), within=MAX_WAIT_SECONDS)
    # not a whole lease: a renewal in the first quarter of a lease is not written
    assert monotonic() - silent_since > 0.5 * LEASE_SECONDS


async def test_with_a_skewed_clock_a_runner_goes_offline_only_after_the_silence_limit(system: SkewedSystem) -> None:
    caller = MessageClient(system.bus)
    found = await caller.send(RevealRegistrationToken(scope="service"))
    token = RegistrationInfo.model_validate_json(found).registration_token
    runner = RunnerRegistration.model_validate_json(
        await caller.send(RegisterRunner(registration_token=token, name="miller"))
    )
    await call_repeatedly(lambda: caller.send(AuthenticateRunner(token=runner.token)), 2 * LEASE_SECONDS)
    assert not await system.has_recorded("runners", RunnerOffline)
    await eventually(partial(system.has_recorded, "runners", RunnerOffline), within=MAX_WAIT_SECONDS)


async def test_a_replica_with_a_skewed_clock_is_not_ready_and_reports_the_skew(system: SkewedSystem) -> None:
    for port in system.health_ports[SKEWED].values():
        reasons = await eventually(partial(readiness_reasons, port), lambda found: "clock" in found)
        assert parse_skew(reasons["clock"]) == pytest.approx(system.skew, abs=1)
    assert [readiness_reasons(port) for port in system.health_ports[CORRECT].values()] == [{}, {}]
    assert system.log_file(SKEWED).read_text().count("synchronize it (NTP)") == len(SERVICES)


def readiness_reasons(port: int) -> dict[str, str]:
    return dict(httpx.get(f"http://127.0.0.1:{port}/readyz").json().get("reasons", {}))
