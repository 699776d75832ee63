"""A project is deleted during the launch of one of its builds: the build does not run and all data is purged."""

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
    ClaimJob,
    ClaimResult,
    PlannedJob,
    PlannedStep,
    QueueBuild,
    RunnerDescription,
)
from contracts.errors import RequestRejected
from contracts.projects import GetJobSecrets, GetLaunchSettings, LaunchSettings, ProjectDeleted
from libs.clock import Clock, now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.observability.metrics import Metrics
from libs.security.erased_keys import KeyErased
from libs.service.connections import get_database
from libs.service.declaration import RetryLater, Service
from libs.service.migration import migrate
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.builds.app import service
from services.builds.dispatch.job_dispatch import JobDispatcher
from services.builds.domain.internal_commands import PlanBuild
from services.builds.execution.attempts import AttemptStore
from services.builds.logs.log_masking import log_key_name
from services.builds.planning.planner import Planner
from services.builds.retention.surplus_builds import Retention
from tests.support.in_process.gateway_stage import FakeServices
from tests.support.memory_key_vault import MemoryKeyVault
from tests.support.waiting import WITHIN_SECONDS

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
RUNNER = RunnerDescription(runner_id=1, runner_uuid="r", name="miller")


@dataclass
class DeletedProjectStage:
    """The builds service. A project was deleted at second 0, but the fake projects service still allows a launch.

    Periodic tasks do not run.
    """

    runtime: Runtime
    vault: MemoryKeyVault
    start: datetime = field(default_factory=now)
    second: int = 0
    retention: Retention = field(default_factory=lambda: Retention(AttemptStore()))

    def __post_init__(self) -> None:
        self.runtime.clock = Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)

    def context_at(self, second: int) -> ServiceContext:
        self.second = second
        return ServiceContext(self.runtime, CommandMetadata(uuid4().hex, self.runtime.clock.machine_time()))

    @property
    def deletion_event(self) -> RecordedEvent[ProjectDeleted]:
        return RecordedEvent("project-1", 2, 0, ProjectDeleted(project_id=1), CommandMetadata("deleted", self.start))

    async def purge(self, second: int) -> None:
        await self.retention.purge_project(self.context_at(second), self.deletion_event)

    async def launch(self) -> BuildRow:
        done = await self.context_at(0).send(QueueBuild(project_id=1))
        return BuildRow.model_validate(done.row)

    async def count_builds(self) -> int:
        return await self.context_at(0).read_model(BuildRow).count({"project_id": 1})

    async def get_status(self, build: BuildRow) -> BuildStatus:
        found = await self.context_at(0).read_model(BuildRow).get(f"build-{build.id}")
        assert isinstance(found, BuildRow)
        return found.status


@pytest.fixture
async def stage(
    settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client
) -> AsyncIterator[DeletedProjectStage]:
    database = get_database(mongo_client, settings, "builds")
    vault = MemoryKeyVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    elsewhere = FakeServices(bus)
    await elsewhere.serve(GetLaunchSettings, lambda _: SETTINGS)  # settings from before the deletion

    def is_gone(_: GetJobSecrets) -> None:
        raise RequestRejected("PROJECT_NOT_FOUND")

    await elsewhere.serve(GetJobSecrets, is_gone)
    runtime = Runtime(service, settings, database, bus, vault, Metrics.create(get_meter("test")))
    yield DeletedProjectStage(runtime, vault)
    await runtime.finish(WITHIN_SECONDS)
    for message_type in tuple(elsewhere.responders):
        await elsewhere.stop(message_type)


async def test_a_build_of_a_deleted_project_is_not_planned(stage: DeletedProjectStage) -> None:
    build = await stage.launch()
    assert build.project is not None
    queued = BuildQueued(
        build_id=build.id, executor_id=build.executor_id, project_id=1, project=build.project, queued_at=stage.start
    )
    await Planner().plan_build(
        stage.context_at(1), RecordedEvent(f"build-{build.id}", 1, 0, queued, CommandMetadata("launched", stage.start))
    )
    assert await stage.get_status(build) is BuildStatus.KILLED


async def test_a_planned_build_is_not_planned_again_when_its_event_is_repeated(stage: DeletedProjectStage) -> None:
    build = await stage.launch()
    plan = PlanBuild(build_id=build.id, sha="0" * 40, ref="refs/heads/main", available_steps=("@build",), jobs=(JOB,))
    await stage.context_at(1).send(plan)
    [queued, *_] = await stage.runtime.store.read(f"build-{build.id}")
    [planner] = [worker for worker in stage.runtime.service.workers if worker.name == "planner"]
    await stage.runtime.run_worker(planner, queued)
    # A second planning would see the deletion and kill the build.
    assert await stage.get_status(build) is BuildStatus.PLANNED


async def test_a_job_of_a_deleted_project_is_not_assigned(stage: DeletedProjectStage) -> None:
    build = await stage.launch()
    plan = PlanBuild(build_id=build.id, sha="0" * 40, ref="refs/heads/main", available_steps=("@build",), jobs=(JOB,))
    await stage.context_at(1).send(plan)
    await stage.runtime.finish(WITHIN_SECONDS)
    claimed = await JobDispatcher(AttemptStore()).claim(stage.context_at(2), ClaimJob(runner=RUNNER))
    assert claimed == ClaimResult(assignment=None)
    assert await stage.get_status(build) is BuildStatus.KILLED


async def test_builds_queued_after_the_deletion_of_their_project_are_purged(stage: DeletedProjectStage) -> None:
    with pytest.raises(RetryLater):
        await stage.purge(1)
    await stage.launch()
    assert await stage.count_builds() == 1
    with pytest.raises(RetryLater):
        await stage.purge(11)
    assert await stage.count_builds() == 0


async def test_the_log_key_of_a_deleted_project_is_shredded_last(stage: DeletedProjectStage) -> None:
    sealed = await stage.vault.encrypt(log_key_name(1), "half a line")
    for second in (1, 29):
        with pytest.raises(RetryLater):
            await stage.purge(second)
    assert await stage.vault.decrypt(log_key_name(1), sealed) == "half a line"
    await stage.purge(31)
    with pytest.raises(KeyErased):
        await stage.vault.decrypt(log_key_name(1), sealed)
