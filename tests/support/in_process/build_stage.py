"""The builds and projects services on real servers, without a gateway. Tests launch builds and act as the runner."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from contracts.builds import (
    AppendTrace,
    Assignment,
    BuildFinished,
    BuildRow,
    ClaimJob,
    ClaimResult,
    GetBuild,
    ListProjectBuilds,
    QueueBuild,
    ReportJob,
    RunnerDescription,
    TraceState,
)
from contracts.errors import RequestRejected
from contracts.messages import Command, CommandReply, Page, Query
from contracts.projects import CreateProject, ListExecutors
from libs.documents import Document
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from services.builds.app import service as builds
from services.projects.app import service as projects
from tests.support import wait_until_handled
from tests.support.external.repositories import SPEC_FILE
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS, eventually, eventually_equal

ROOT = Actor(1, "root", ("ROLE_ADMIN",))
RUNNER = RunnerDescription(runner_id=1, runner_uuid="7a6ff6d6-0000-4000-8000-000000000001", name="miller")
T = TypeVar("T")


@dataclass(frozen=True)
class BuildStage:
    stage: ServiceStage
    caller: MessageClient
    repository: Path
    executor_id: int
    database: Any  # database of the builds service

    async def send(self, command: Command) -> CommandReply:
        return CommandReply.model_validate_json(await self.caller.send(command, actor=ROOT))

    async def create_project(self, **settings: Any) -> int:
        settings = {"name": "mill", "branch": "main", "allow_concurrent_execution": True, **settings}
        command = CreateProject(
            repository=str(self.repository), spec_file_path=f"/{SPEC_FILE}", executor_id=self.executor_id, **settings
        )
        return int((await self.send(command)).row["id"])

    async def launch(self, project_id: int, **more: Any) -> int:
        return int((await self.send(QueueBuild(project_id=project_id, **more))).row["id"])

    async def claim(self, runner: RunnerDescription = RUNNER) -> Assignment:
        async with asyncio.timeout(WITHIN_SECONDS):
            while (found := await self.try_claim(runner)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            return found

    async def try_claim(self, runner: RunnerDescription = RUNNER) -> Assignment | None:
        return ClaimResult.model_validate_json(await self.caller.send(ClaimJob(runner=runner))).assignment

    async def append_log(self, job: Assignment, offset: int, content: bytes) -> TraceState:
        chunk = AppendTrace(job_id=job.job_id, token=job.token, offset=offset, content=b64encode(content))
        return TraceState.model_validate_json(await self.caller.send(chunk))

    async def report(self, job: Assignment, state: Any, **more: Any) -> TraceState:
        report = ReportJob(job_id=job.job_id, token=job.token, state=state, **more)
        return TraceState.model_validate_json(await self.caller.send(report))

    async def run_build(self, project_id: int, log: bytes = b"hello\n", runner: RunnerDescription = RUNNER) -> int:
        """Launch a build, act as its runner until the build succeeds, and return its id."""
        build_id = await self.launch(project_id)
        job = await self.claim(runner)
        await self.append_log(job, 0, log)
        await self.report(job, "success")
        await self.wait_until_ended(build_id)
        return build_id

    async def get_build(self, build_id: int) -> BuildRow:
        return BuildRow.model_validate_json(await self.caller.query(GetBuild(build_id=build_id)))

    async def wait_until_ended(self, build_id: int) -> None:
        """Wait until the build has finished or is deleted."""

        async def is_over() -> bool:
            try:
                return (await self.get_build(build_id)).finished
            except RequestRejected as rejected:
                return rejected.code == "BUILD_NOT_FOUND"

        await eventually_equal(is_over, expected=True)

    async def wait_until_retention_applied(self, build_id: int) -> None:
        """Wait until the worker that deletes surplus builds has handled the end of this build."""
        subject = f"evt.builds.build-{build_id}.{BuildFinished.wire_name}"
        async with self.stage.connected() as bus:

            async def find_event() -> RawStreamMsg | None:
                with suppress(NotFoundError):
                    return await bus.jetstream(timeout=WITHIN_SECONDS).get_last_msg("builds", subject)
                return None  # not published yet

            event = await eventually(find_event)
            assert event
            assert event.seq
            await wait_until_handled(bus, "builds", "builds-retention", event.seq)

    async def list_build_ids(self, project_id: int) -> list[int]:
        answer = await self.caller.query(ListProjectBuilds(project_id=project_id))
        return [int(build["id"]) for build in json.loads(answer)]

    async def count_documents(self, collection: str, condition: Document) -> int:
        return int(await self.database[collection].count_documents(condition))

    async def get_error_code(self, message: Command | Query) -> str:
        with pytest.raises(RequestRejected) as refused:
            await (self.send(message) if isinstance(message, Command) else self.caller.query(message))
        return refused.value.code


@asynccontextmanager
async def build_stage(servers: Servers, folder: Path, repository: Path, **settings: Any) -> AsyncIterator[BuildStage]:
    # a longer lease than the tests of a stage take: none gets a job that an earlier one left
    settings = {"job_lease_seconds": 600.0, **settings}
    async with empty_stage(servers, local_repositories=True, data=folder, **settings) as stage:
        await stage.migrate(builds, projects, *(Service(name, categories=()) for name in ("identity", "runners")))
        async with (
            stage.running(lambda: builds),
            stage.running(lambda: projects),
            stage.connected() as bus,
            create_mongo_client(stage.settings, "test") as client,
        ):
            caller = MessageClient(bus)
            (default,) = Page.model_validate_json(await caller.query(ListExecutors())).rows
            yield BuildStage(stage, caller, repository, default["id"], get_database(client, stage.settings, "builds"))
