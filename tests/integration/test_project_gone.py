"""A project that is deleted while one of its builds is being launched: nothing of it is built, and nothing stays."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import (
    BuildQueued,
    BuildRow,
    BuildStatus,
    Claim,
    ClaimJob,
    PlanBuild,
    PlannedJob,
    PlannedStep,
    QueueBuild,
    RunnerOffer,
)
from contracts.errors import Refused
from contracts.projects import GetJobSecrets, GetLaunchSettings, LaunchSettings, ProjectDeleted
from libs.clock import Clock, now
from libs.connections import Document, database_of
from libs.deciding import Cause, Recorded
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work
from libs.security.erased import Erased
from libs.security.sealing import MemoryVault
from libs.service import Service, TryLater
from libs.settings import Settings
from services.builds.app import service
from services.builds.attempts import Attempts, sealed_for
from services.builds.claiming import Claiming
from services.builds.planner import Planner
from services.builds.retention import Retention
from tests.integration.gateway_stage import Services

SETTINGS = LaunchSettings(
    project_id=1,
    name="mill",
    owner_alias="ada",
    alias="mill",
    repository="https://forge.example/mill.git",
    branch="main",
    spec_file_path="/headrace.yaml",
    keep_number_build=None,
    allow_concurrent_execution=True,
    developers_id=(),
    protected_branches=("main",),
    credential_id=None,
    allowed=True,
)
JOB = PlannedJob(job_id=1, job_uuid=str(uuid4()), name="build", steps=(PlannedStep(name="@build", script="/b.sh"),))
MILLER = RunnerOffer(runner_id=1, runner_uuid="r", name="miller")


@dataclass
class Yard:
    """Nobody works here but the test; the project is deleted at second 0, and is launched once more a moment later."""

    runtime: Runtime
    vault: MemoryVault
    start: datetime = field(default_factory=now)
    second: int = 0
    retention: Retention = field(default_factory=lambda: Retention(Attempts()))

    def __post_init__(self) -> None:
        self.runtime.clock = Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)

    def at(self, second: int) -> Work:
        self.second = second
        return Work(self.runtime, Cause(uuid4().hex, self.runtime.clock.machine_time()))

    @property
    def deleted(self) -> Recorded[ProjectDeleted]:
        return Recorded("project-1", 2, 0, ProjectDeleted(project_id=1), Cause("deleted", self.start))

    async def clear(self, second: int) -> None:
        await self.retention.clear(self.at(second), self.deleted)

    async def launched(self) -> BuildRow:
        done = await self.at(0).tell(QueueBuild(project_id=1))
        return BuildRow.model_validate(done.row)

    async def builds(self) -> int:
        return await self.at(0).rows("build").count({"project_id": 1})

    async def status(self, build: BuildRow) -> BuildStatus:
        found = await self.at(0).rows("build").get(f"build-{build.id}")
        assert isinstance(found, BuildRow)
        return found.status


@pytest.fixture
async def yard(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> AsyncIterator[Yard]:
    database = database_of(mongo_client, settings, "builds")
    vault = MemoryVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    elsewhere = Services(bus)
    await elsewhere.play(GetLaunchSettings, lambda _: SETTINGS)  # asked before the deletion

    def gone(_: GetJobSecrets) -> None:
        raise Refused("PROJECT_NOT_FOUND")

    await elsewhere.play(GetJobSecrets, gone)
    runtime = Runtime(service, settings, database, bus, vault, Metrics.made_from(get_meter("test")))
    yield Yard(runtime, vault)
    await runtime.finish(5)
    for message_type in tuple(elsewhere.responders):
        await elsewhere.stop(message_type)


async def test_a_build_of_a_project_that_is_gone_is_not_planned(yard: Yard) -> None:
    build = await yard.launched()
    assert build.project is not None
    queued = BuildQueued(
        build_id=build.id, executor_id=build.executor_id, project_id=1, project=build.project, queued_at=yard.start
    )
    await Planner().plan(yard.at(1), Recorded(f"build-{build.id}", 1, 0, queued, Cause("launched", yard.start)))
    assert await yard.status(build) is BuildStatus.KILLED


async def test_a_build_that_is_planned_is_not_planned_again_because_a_clock_was_ahead(yard: Yard) -> None:
    build = await yard.launched()
    assert build.project is not None
    plan = PlanBuild(build_id=build.id, sha="0" * 40, ref="refs/heads/main", available_steps=("@build",), jobs=(JOB,))
    await yard.at(1).tell(plan)
    ahead = yard.start + timedelta(seconds=90)
    queued = BuildQueued(
        build_id=build.id, executor_id=build.executor_id, project_id=1, project=build.project, queued_at=ahead
    )
    await Planner().plan(yard.at(5), Recorded(f"build-{build.id}", 1, 0, queued, Cause("launched", ahead)))
    assert await yard.status(build) is BuildStatus.PLANNED  # with the project gone, planning it again would kill it


async def test_a_job_of_a_project_that_is_gone_is_given_to_nobody(yard: Yard) -> None:
    build = await yard.launched()
    plan = PlanBuild(build_id=build.id, sha="0" * 40, ref="refs/heads/main", available_steps=("@build",), jobs=(JOB,))
    await yard.at(1).tell(plan)
    await yard.runtime.finish(5)
    claimed = await Claiming(Attempts()).claim(yard.at(2), ClaimJob(runner=MILLER))
    assert claimed == Claim(assignment=None)
    assert await yard.status(build) is BuildStatus.KILLED


async def test_builds_that_appear_after_the_deletion_are_cleared_too(yard: Yard) -> None:
    with pytest.raises(TryLater):
        await yard.clear(1)
    await yard.launched()
    assert await yard.builds() == 1
    with pytest.raises(TryLater):
        await yard.clear(11)
    assert await yard.builds() == 0


async def test_the_key_of_a_projects_logs_goes_last(yard: Yard) -> None:
    sealed = await yard.vault.seal(sealed_for(1), "half a line")
    for second in (1, 29):
        with pytest.raises(TryLater):
            await yard.clear(second)
    assert await yard.vault.open(sealed_for(1), sealed) == "half a line"
    await yard.clear(31)
    with pytest.raises(Erased):
        await yard.vault.open(sealed_for(1), sealed)
