"""The job queue of the builds service on real servers. Tests fill the queue and claim jobs."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import (
    ClaimJob,
    ClaimResult,
    JobRequirements,
    JobRow,
    LaunchedProject,
    PlannedJob,
    RunnerDescription,
)
from contracts.projects import GetJobSecrets, JobSecrets
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.observability.metrics import Metrics
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.builds.app import service
from services.builds.dispatch.job_dispatch import JobDispatcher
from services.builds.dispatch.scheduler import FairScheduler
from services.builds.domain.internal_commands import QueueJob
from services.builds.projections import job_category as category
from tests.support.in_process.gateway_stage import FakeServices
from tests.support.memory_key_vault import MemoryKeyVault
from tests.support.waiting import WITHIN_SECONDS

ROW_FIELD = f"job_v{category.row_version}"
NOON = datetime.fromisoformat("2026-01-02T12:00:00Z")
ANY_RUNNER = RunnerDescription(runner_id=1, runner_uuid="r-1", name="any")


def launched_project(number: int, company_id: int | None = None) -> LaunchedProject:
    return LaunchedProject(
        project_id=number,
        name=f"mill {number}",
        owner_alias="ada",
        alias=f"mill-{number}",
        company_id=company_id,
        repository="/repository",
        branch="main",
        spec_file_path="/headrace.yaml",
    )


def queued_job_document(
    number: int, project_id: int = 1, company_id: int | None = None, tags: Sequence[str] = (), **more: Any
) -> Any:
    """Return the document of a queued job in the collection `streams`. Jobs with smaller numbers are older."""
    launched = launched_project(project_id, company_id)
    protected = bool(more.get("protected"))
    row = JobRow(
        id=number,
        uuid=str(uuid4()),
        build_id=number,
        project_id=project_id,
        name="build",
        tags=tuple(tags),
        attempt=1,
        queued_at=NOON + timedelta(seconds=number),
        project=launched,
        demand=JobRequirements.from_job(tuple(tags), launched, protected=protected).key,
        **more,
    )
    return {"_id": f"job-{number}", "version": 1, "commit": f"c-{number}", ROW_FIELD: row.model_dump()}


@dataclass
class DispatchReplica:
    runtime: Runtime

    @property
    def context(self) -> ServiceContext:
        return ServiceContext(self.runtime, CommandMetadata(uuid4().hex, now()))

    async def insert_jobs(self, *heads: Any) -> None:
        await self.runtime.database["streams"].insert_many(heads)

    async def queue_jobs(self, *job_ids: int, project_id: int = 1) -> None:
        for job_id in job_ids:
            planned = PlannedJob(job_id=job_id, job_uuid=str(uuid4()), name="build")
            command = QueueJob(
                job_id=job_id,
                build_id=job_id,
                project=launched_project(project_id),
                job=planned,
                ref="main",
                sha="0" * 40,
            )
            await self.context.send(command, step=str(job_id))

    async def dispatch_all(
        self, runner: RunnerDescription = ANY_RUNNER, scheduler: FairScheduler | None = None
    ) -> list[int]:
        """Dispatch jobs to the runner until it gets none. Return their ids, in order."""
        scheduler, found = scheduler or FairScheduler(), list[int]()
        while job := await scheduler.next_job(self.context, runner, set()):
            await scheduler.record_service_time(self.context, job)
            found.append(job.id)
        return found

    async def claim_job(
        self, dispatcher: JobDispatcher, runner: RunnerDescription = ANY_RUNNER, claim_id: str = ""
    ) -> ClaimResult:
        return await dispatcher.claim(
            self.repeatable_context(claim_id) if claim_id else self.context, ClaimJob(runner=runner)
        )

    def repeatable_context(self, claim_id: str) -> ServiceContext:
        """Return the context of a command that is sent again with the same command id."""
        return ServiceContext(self.runtime, CommandMetadata(claim_id, now(), may_be_duplicate=True))


@asynccontextmanager
async def dispatch_replicas(
    settings: Settings, database: AsyncDatabase[Document], bus: Client, replicas: int = 1
) -> AsyncIterator[list[DispatchReplica]]:
    """Yield replicas of the builds service on a migrated database. A fake projects service serves the job secrets."""
    vault = MemoryKeyVault()
    projects = FakeServices(bus)
    await projects.serve(GetJobSecrets, lambda _: JobSecrets(secrets=(), ssh_key=None))
    metrics = Metrics.create(get_meter("test"))
    yards = [DispatchReplica(Runtime(service, settings, database, bus, vault, metrics)) for _ in range(replicas)]
    yield yards
    for stage in yards:
        await stage.runtime.finish(WITHIN_SECONDS)
    await projects.stop(GetJobSecrets)
