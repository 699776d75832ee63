"""A queue of jobs on a real database, without the rest of a server: filled at will, and asked whose turn it is."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import Claim, ClaimJob, Demand, JobRow, LaunchedProject, PlannedJob, QueueJob, RunnerOffer
from contracts.projects import GetJobSecrets, JobSecrets
from libs.clock import now
from libs.connections import Document, database_of
from libs.deciding import Cause
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work
from libs.security.sealing import MemoryVault
from libs.service import Service
from libs.settings import Settings
from services.builds.app import service
from services.builds.claiming import Claiming
from services.builds.queue import Turns
from services.builds.views import job as category
from tests.integration.gateway_stage import Services

ROW = f"job_v{category.row_version}"
NOON = datetime.fromisoformat("2026-01-02T12:00:00Z")
ANY = RunnerOffer(runner_id=1, runner_uuid="r-1", name="any")


def project(number: int, company_id: int | None = None) -> LaunchedProject:
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


def head(number: int, project_id: int = 1, company_id: int | None = None, tags: Sequence[str] = (), **more: Any) -> Any:
    """A queued job as its head is kept; the number is its age."""
    launched = project(project_id, company_id)
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
        demand=Demand.of(tuple(tags), launched, protected=protected).key,
        **more,
    )
    return {"_id": f"job-{number}", "version": 1, "commit": f"c-{number}", ROW: row.model_dump()}


@dataclass
class Yard:
    runtime: Runtime

    @property
    def work(self) -> Work:
        return Work(self.runtime, Cause(uuid4().hex, now()))

    async def wait(self, *heads: Any) -> None:
        await self.runtime.database["streams"].insert_many(heads)

    async def queue(self, *job_ids: int, project_id: int = 1) -> None:
        for one in job_ids:
            planned = PlannedJob(job_id=one, job_uuid=str(uuid4()), name="build")
            order = QueueJob(
                job_id=one, build_id=one, project=project(project_id), job=planned, ref="main", sha="0" * 40
            )
            await self.work.tell(order, step=str(one))

    async def given(self, runner: RunnerOffer = ANY, turns: Turns | None = None) -> list[int]:
        """All that the runner gets, in this order."""
        turns, found = turns or Turns(), list[int]()
        while job := await turns.next(self.work, runner, set()):
            await turns.note(self.work, job)
            found.append(job.id)
        return found

    async def claim(self, claiming: Claiming, runner: RunnerOffer = ANY, claim_id: str = "") -> Claim:
        return await claiming.claim(self.named(claim_id) if claim_id else self.work, ClaimJob(runner=runner))

    def named(self, claim_id: str) -> Work:
        """Of a command that may come again."""
        return Work(self.runtime, Cause(claim_id, now(), repeatable=True))


@asynccontextmanager
async def dispatching(
    settings: Settings, client: AsyncMongoClient[Document], bus: Client, replicas: int = 1
) -> AsyncIterator[list[Yard]]:
    """Processes of the builds on one database; of the projects' answers there is the one that a claim needs."""
    database = database_of(client, settings, "builds")
    vault = MemoryVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    projects = Services(bus)
    await projects.play(GetJobSecrets, lambda _: JobSecrets(secrets=(), ssh_key=None))
    metrics = Metrics.made_from(get_meter("test"))
    yards = [Yard(Runtime(service, settings, database, bus, vault, metrics)) for _ in range(replicas)]
    yield yards
    for yard in yards:
        await yard.runtime.finish(5)
    await projects.stop(GetJobSecrets)
