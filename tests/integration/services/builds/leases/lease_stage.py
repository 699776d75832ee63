"""The stage of the lease tests: a running job and a simulated clock."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from contracts.builds import JobRow, LaunchedProject, PlannedJob, PlannedStep, ReportJob, TraceState
from contracts.heartbeat import Heartbeat
from libs.clock import Clock, now
from libs.eventstore.decider import CommandMetadata
from libs.security.tokens import hash_token
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from services.builds.domain.internal_commands import AssignJob, CancelJob, QueueJob, StartJob
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.leases import Leases
from services.builds.execution.runner_reports import RunnerReports

LEASE_SECONDS = 60
TOKEN = "the-token-of-the-job"
ATTEMPT = hash_token(TOKEN)
PROJECT = LaunchedProject(
    project_id=1,
    name="mill",
    owner_alias="ada",
    alias="mill",
    repository="/repository",
    branch="main",
    spec_file_path="/headrace.yaml",
)
STEPS = (PlannedStep(name="@build", script="/b.sh"), PlannedStep(name="@cleanup", script="/c.sh", on_kill=True))
JOB = PlannedJob(job_id=1, job_uuid=str(uuid4()), name="build", steps=STEPS)


@dataclass
class LeaseStage:
    """The builds service on a real database. Job 1 is assigned to a runner at second 0 of a simulated clock."""

    runtime: Runtime
    attempts: AttemptStore
    leases: Leases
    start: datetime = field(default_factory=now)  # real time at second 0
    second: int = 0

    def __post_init__(self) -> None:
        self.runtime.clock = Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)

    def context_at(self, second: int) -> ServiceContext:
        self.second = second
        return ServiceContext(self.runtime, CommandMetadata(uuid4().hex, self.runtime.clock.machine_time()))

    async def run_lease_checks(self, first: int, last: int) -> None:
        """Run the periodic lease check once per simulated second from `first` to `last`."""
        for second in range(first, last + 1):
            await self.leases.expire_leases(self.context_at(second))

    async def get_job(self) -> JobRow:
        found = await self.context_at(0).read_model(JobRow).get("job-1")
        assert isinstance(found, JobRow)
        return found

    async def assign_job(self) -> None:
        assign = AssignJob(
            job_id=1,
            attempt=1,
            runner_id=1,
            runner_uuid="r",
            runner_name="miller",
            token_hash=ATTEMPT,
            cancels_gracefully=True,
        )
        context = self.context_at(0)
        await context.send(queue_command(JOB))
        document = await self.attempts.new_document(context, ATTEMPT, await self.get_job(), "nonce", [])
        await context.send(assign.replace(attempt_document=document))

    async def send_heartbeats(self, first: int, last: int, *, leaving: bool = False) -> None:
        """Send a gateway heartbeat and run the lease check, once per simulated second from `first` to `last`."""
        for second in range(first, last + 1):
            self.second = second
            heartbeat = Heartbeat(to="builds", gateway="gateway-0", leaving=leaving)
            await self.runtime.answer_heartbeat(heartbeat.model_dump_json().encode(), {})
            await self.run_lease_checks(second, second)

    async def cancel_job(self, second: int) -> None:
        await self.context_at(second).send(StartJob(job_id=1, attempt=1))
        await self.context_at(second).send(CancelJob(job_id=1, graceful=True))

    async def report_failure(self, second: int, reason: str) -> TraceState:
        command = ReportJob(job_id=1, token=TOKEN, state="failed", failure_reason=reason)
        return await RunnerReports(self.attempts).report_status(self.context_at(second), command)


def queue_command(job: PlannedJob) -> QueueJob:
    return QueueJob(job_id=1, build_id=1, project=PROJECT, job=job, ref="refs/heads/main", sha="0" * 40)


async def status_and_attempt(stage: LeaseStage) -> tuple[Any, int]:
    job = await stage.get_job()
    return str(job.status), job.attempt
