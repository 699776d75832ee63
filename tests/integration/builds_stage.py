"""Builds and projects on real servers, without a gateway: a hand of our own launches, takes jobs and reports them."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from contracts.builds import (
    AppendTrace,
    Assignment,
    BuildRow,
    Claim,
    ClaimJob,
    GetBuild,
    ListBuildsOfProject,
    QueueBuild,
    ReportJob,
    RunnerOffer,
    TraceState,
)
from contracts.errors import Refused
from contracts.messages import Command, Done, Query
from contracts.projects import CreateProject, Executors, ListExecutors
from libs.connections import Document, database_of, mongo
from libs.deciding import Actor
from libs.messaging import Caller
from libs.service import Service
from services.builds.app import service as builds
from services.projects.app import service as projects
from tests.integration.stage import Stage, empty_stage
from tests.support.repositories import SPEC
from tests.support.servers import Servers

ROOT = Actor(1, "root", ("ROLE_ADMIN",))
MILLER = RunnerOffer(runner_id=1, runner_uuid="7a6ff6d6-0000-4000-8000-000000000001", name="miller")
T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], wanted: T) -> None:
    async with asyncio.timeout(30):
        while await ask() != wanted:  # noqa: ASYNC110  nobody tells, so it asks
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Site:
    stage: Stage
    caller: Caller
    repository: Path
    executor_id: int
    database: Any  # of the builds

    async def tell(self, command: Command) -> Done:
        return Done.model_validate_json(await self.caller.tell(command, actor=ROOT))

    async def project(self, **settings: Any) -> int:
        settings = {"name": "mill", "branch": "main", "allow_concurrent_execution": True, **settings}
        wish = CreateProject(
            repository=str(self.repository), spec_file_path=f"/{SPEC}", executor_id=self.executor_id, **settings
        )
        return int((await self.tell(wish)).row["id"])

    async def launch(self, project_id: int, **more: Any) -> int:
        return int((await self.tell(QueueBuild(project_id=project_id, **more))).row["id"])

    async def claim(self, runner: RunnerOffer = MILLER) -> Assignment:
        """The next job; there will be one."""
        async with asyncio.timeout(30):
            while (found := await self.try_claim(runner)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            return found

    async def try_claim(self, runner: RunnerOffer = MILLER) -> Assignment | None:
        return Claim.model_validate_json(await self.caller.tell(ClaimJob(runner=runner))).assignment

    async def append(self, job: Assignment, offset: int, content: bytes) -> TraceState:
        piece = AppendTrace(job_id=job.job_id, token=job.token, offset=offset, content=b64encode(content))
        return TraceState.model_validate_json(await self.caller.tell(piece))

    async def report(self, job: Assignment, state: Any, **more: Any) -> TraceState:
        report = ReportJob(job_id=job.job_id, token=job.token, state=state, **more)
        return TraceState.model_validate_json(await self.caller.tell(report))

    async def run(self, project_id: int, log: bytes = b"hello\n", runner: RunnerOffer = MILLER) -> int:
        """A build from launch to success; answers its number."""
        build_id = await self.launch(project_id)
        job = await self.claim(runner)
        await self.append(job, 0, log)
        await self.report(job, "success")
        await self.ended(build_id)
        return build_id

    async def build(self, build_id: int) -> BuildRow:
        return BuildRow.model_validate_json(await self.caller.ask(GetBuild(build_id=build_id)))

    async def ended(self, build_id: int) -> None:
        """Or deleted already."""

        async def over() -> bool:
            try:
                return (await self.build(build_id)).finished
            except Refused:
                return True

        await eventually(over, wanted=True)

    async def kept(self, project_id: int) -> list[int]:
        answer = await self.caller.ask(ListBuildsOfProject(project_id=project_id))
        return [int(one["id"]) for one in json.loads(answer)]

    async def count(self, collection: str, condition: Document) -> int:
        return int(await self.database[collection].count_documents(condition))

    async def refusal(self, message: Command | Query) -> str:
        with pytest.raises(Refused) as refused:
            await (self.tell(message) if isinstance(message, Command) else self.caller.ask(message))
        return refused.value.code


@asynccontextmanager
async def building_site(servers: Servers, folder: Path, repository: Path) -> AsyncIterator[Site]:
    async with empty_stage(servers, local_repositories=True, data=folder) as stage:
        await stage.migrate(builds, projects, *(Service(name, categories=()) for name in ("identity", "runners")))
        async with (
            stage.running(lambda: builds),
            stage.running(lambda: projects),
            stage.connected() as bus,
            mongo(stage.settings, "test") as client,
        ):
            caller = Caller(bus)
            (default,) = Executors.model_validate_json(await caller.ask(ListExecutors())).executors
            yield Site(stage, caller, repository, default.id, database_of(client, stage.settings, "builds"))
