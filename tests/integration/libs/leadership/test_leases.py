"""When a lease expires and when a job times out, on a real database with a manual clock."""

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import (
    AppendTrace,
    AssignJob,
    CancelJob,
    JobRow,
    LaunchedProject,
    PlannedJob,
    PlannedStep,
    QueueJob,
    ReportJob,
    StartJob,
    TraceState,
)
from contracts.heartbeat import Heartbeat
from libs.clock import Clock, now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.observability.metrics import Metrics
from libs.security.envelope_encryption import MemoryKeyVault
from libs.security.tokens import hash_token
from libs.service.connections import get_database
from libs.service.declaration import Context, Service
from libs.service.migration import migrate
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.builds.app import service
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.leases import REPORT_GRACE_SECONDS, Leases
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
    """One job that is assigned to a runner at second 0."""

    runtime: Runtime
    attempts: AttemptStore
    leases: Leases
    start: datetime = field(default_factory=now)  # second 0
    second: int = 0

    def __post_init__(self) -> None:
        self.runtime.clock = Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)

    def context_at(self, second: int) -> ServiceContext:
        self.second = second
        return ServiceContext(self.runtime, CommandMetadata(uuid4().hex, self.runtime.clock.machine_time()))

    async def run_lease_checks(self, first: int, last: int) -> None:
        """Run the lease check of the periodic task for each second."""
        for second in range(first, last + 1):
            await self.leases.expire_leases(self.context_at(second))

    async def get_job(self) -> JobRow:
        found = await self.context_at(0).read_model(JobRow).get("job-1")
        assert isinstance(found, JobRow)
        return found

    async def assign_job(self) -> None:
        queue = QueueJob(job_id=1, build_id=1, project=PROJECT, job=JOB, ref="refs/heads/main", sha="0" * 40)
        assign = AssignJob(
            job_id=1,
            attempt=1,
            runner_id=1,
            runner_uuid="r",
            runner_name="miller",
            token_hash=ATTEMPT,
            cancels_gracefully=True,
        )
        await self.context_at(0).send(queue)
        await self.context_at(0).send(assign)
        await self.attempts.create(self.context_at(0), ATTEMPT, await self.get_job(), "word", [])

    async def send_heartbeats(self, first: int, last: int, *, leaving: bool = False) -> None:
        """Send a gateway heartbeat and run the lease check for each second."""
        for second in range(first, last + 1):
            self.second = second
            beat = Heartbeat(to="builds", gateway="gateway-0", leaving=leaving)
            await self.runtime.answer_heartbeat(beat.model_dump_json().encode(), {})
            await self.run_lease_checks(second, second)

    async def cancel_job(self, second: int) -> None:
        await self.context_at(second).send(StartJob(job_id=1, attempt=1))
        await self.context_at(second).send(CancelJob(job_id=1, graceful=True))

    async def report_failure(self, second: int, reason: str) -> TraceState:
        command = ReportJob(job_id=1, token=TOKEN, state="failed", failure_reason=reason)
        return await RunnerReports(self.attempts).report_status(self.context_at(second), command)


@pytest.fixture
async def stage(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> AsyncIterator[LeaseStage]:
    database = get_database(mongo_client, settings, "builds")
    vault = MemoryKeyVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    own_settings = replace(settings, job_lease_seconds=LEASE_SECONDS)
    runtime = Runtime(service, own_settings, database, bus, vault, Metrics.create(get_meter("test")))
    attempts = AttemptStore()
    yard = LeaseStage(runtime, attempts, Leases(attempts, RunnerReports(attempts)))
    await yard.assign_job()
    yield yard
    await runtime.finish(5)


async def status_and_attempt(yard: LeaseStage) -> tuple[Any, int]:
    job = await yard.get_job()
    return str(job.status), job.attempt


async def test_a_job_whose_lease_expired_is_lost_and_retried(stage: LeaseStage) -> None:
    await stage.run_lease_checks(1, LEASE_SECONDS)
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.run_lease_checks(LEASE_SECONDS + 1, LEASE_SECONDS + 1)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_renewed_lease_keeps_a_job(stage: LeaseStage) -> None:
    await stage.run_lease_checks(1, 40)
    await stage.attempts.extend_lease(stage.context_at(40), ATTEMPT)
    await stage.run_lease_checks(41, 40 + LEASE_SECONDS)
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)


async def test_an_outage_of_the_service_extends_all_leases(stage: LeaseStage) -> None:
    await stage.run_lease_checks(1, 10)
    await stage.run_lease_checks(200, 210)
    await stage.attempts.extend_lease(stage.context_at(210), ATTEMPT)
    await stage.run_lease_checks(211, 210 + LEASE_SECONDS)
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)


async def test_a_job_whose_lease_is_not_renewed_after_an_outage_is_lost(stage: LeaseStage) -> None:
    await stage.run_lease_checks(1, 10)
    await stage.run_lease_checks(200, 200 + LEASE_SECONDS)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_new_leader_continues_the_lease_checks_of_the_old_one(stage: LeaseStage) -> None:
    await stage.run_lease_checks(1, LEASE_SECONDS - 5)
    stage.leases = Leases(stage.attempts, RunnerReports(stage.attempts))
    await stage.run_lease_checks(LEASE_SECONDS - 1, LEASE_SECONDS + 1)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_lease_does_not_expire_while_a_gateway_is_unreachable(stage: LeaseStage) -> None:
    await stage.send_heartbeats(1, 20)
    await stage.attempts.extend_lease(stage.context_at(20), ATTEMPT)
    await stage.run_lease_checks(21, 20 + LEASE_SECONDS + 5)
    await stage.send_heartbeats(
        20 + LEASE_SECONDS + 6, 20 + LEASE_SECONDS + 10
    )  # the gateway is reachable again, and through it the runner
    await stage.attempts.extend_lease(stage.context_at(20 + LEASE_SECONDS + 10), ATTEMPT)
    await stage.send_heartbeats(20 + LEASE_SECONDS + 11, 20 + 2 * LEASE_SECONDS + 10)
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.send_heartbeats(20 + 2 * LEASE_SECONDS + 11, 20 + 2 * LEASE_SECONDS + 15)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_gateway_that_does_not_return_delays_lease_expiry_once(stage: LeaseStage) -> None:
    await stage.send_heartbeats(1, 20)
    await stage.attempts.extend_lease(stage.context_at(20), ATTEMPT)
    await stage.run_lease_checks(21, 20 + 2 * LEASE_SECONDS)
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.run_lease_checks(20 + 2 * LEASE_SECONDS + 1, 20 + 2 * LEASE_SECONDS + 10)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_gateway_that_stopped_regularly_does_not_delay_lease_expiry(stage: LeaseStage) -> None:
    await stage.send_heartbeats(1, 19)
    await stage.send_heartbeats(20, 20, leaving=True)
    await stage.attempts.extend_lease(stage.context_at(20), ATTEMPT)
    await stage.run_lease_checks(21, 20 + LEASE_SECONDS + 1)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_scan_time_far_in_the_future_does_not_prevent_lease_expiry(stage: LeaseStage) -> None:
    """A leader of release 0.2.0 whose clock is ahead writes such a time."""
    ahead = stage.start + timedelta(hours=2)
    scans = stage.runtime.database["lease_looks"]
    await scans.replace_one({"_id": "last"}, {"at": ahead, "patient_until": ahead}, upsert=True)
    await stage.run_lease_checks(1, LEASE_SECONDS + 1)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_a_job_assigned_with_a_skewed_clock_has_its_full_timeout(stage: LeaseStage, skew: int) -> None:
    """The recorded time of the assignment is wrong."""
    row = {"$set": {f"job_v{service.categories[1].row_version}.assigned_at": stage.start + timedelta(seconds=skew)}}
    await stage.runtime.database["streams"].update_one({"_id": "job-1"}, row)
    limit = (await stage.get_job()).timeout_seconds + REPORT_GRACE_SECONDS
    await stage.attempts.extend_lease(stage.context_at(limit - 1), ATTEMPT)
    await stage.leases.enforce_timeouts(stage.context_at(limit - 1))
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.leases.enforce_timeouts(stage.context_at(limit))
    assert await status_and_attempt(stage) == ("FAILED", 1)


async def test_a_job_without_a_stored_attempt_is_lost(stage: LeaseStage) -> None:
    await stage.attempts.discard(stage.context_at(1), ATTEMPT)
    await stage.leases.enforce_timeouts(stage.context_at(30))
    await stage.leases.enforce_timeouts(stage.context_at(LEASE_SECONDS + 20))
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.leases.enforce_timeouts(stage.context_at(LEASE_SECONDS + 30))
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_job_with_a_closed_attempt_and_no_recorded_result_is_lost(stage: LeaseStage) -> None:
    job = await stage.get_job()
    attempt = await stage.attempts.get(stage.context_at(1), job)
    await stage.attempts.finish(stage.context_at(1), job, attempt, job.steps, success=True)
    await stage.leases.enforce_timeouts(stage.context_at(LEASE_SECONDS + 30))
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_canceling_job_whose_lease_expired_is_canceled(stage: LeaseStage) -> None:
    await stage.cancel_job(1)
    await stage.run_lease_checks(1, LEASE_SECONDS)
    assert await status_and_attempt(stage) == ("CANCELING", 1)
    await stage.run_lease_checks(LEASE_SECONDS + 1, LEASE_SECONDS + 1)
    assert await status_and_attempt(stage) == ("CANCELED", 1)


async def test_a_canceling_job_is_canceled_after_the_clean_up_timeout(stage: LeaseStage) -> None:
    await stage.cancel_job(1)
    await stage.leases.enforce_timeouts(stage.context_at(1))
    await stage.attempts.extend_lease(stage.context_at(300), ATTEMPT)
    await stage.leases.enforce_timeouts(stage.context_at(360))
    assert await status_and_attempt(stage) == ("CANCELING", 1)
    await stage.leases.enforce_timeouts(stage.context_at(361))
    assert await status_and_attempt(stage) == ("CANCELED", 1)


async def test_a_runner_may_report_a_finished_clean_up_twice(stage: LeaseStage) -> None:
    await stage.cancel_job(1)
    assert (await stage.report_failure(2, "job_canceled")).accepted
    assert await status_and_attempt(stage) == ("CANCELED", 1)
    assert (await stage.report_failure(3, "job_canceled")).accepted


@pytest.mark.parametrize("reason", ["runner_interrupted", "runner_system_failure"])
async def test_a_job_returned_by_its_runner_is_retried(stage: LeaseStage, reason: str) -> None:
    assert (await stage.report_failure(1, reason)).accepted
    assert await status_and_attempt(stage) == ("QUEUED", 2)


async def test_a_canceling_job_returned_by_its_runner_is_canceled(stage: LeaseStage) -> None:
    await stage.cancel_job(1)
    assert (await stage.report_failure(2, "runner_interrupted")).accepted
    assert await status_and_attempt(stage) == ("CANCELED", 1)


async def test_a_job_whose_commit_cannot_be_checked_out_is_not_retried(stage: LeaseStage) -> None:
    await stage.report_failure(1, "runner_external_dependency_failure")
    assert ((await stage.get_job()).status, (await stage.get_job()).exit_code) == ("FAILED", 128)


class ReportsOvertakenByCancel(RunnerReports):
    """A report during which the job is canceled, after the job was read and before the result is written."""

    async def _authenticate_job(self, ctx: Context, job_id: int, token: str) -> JobRow:
        job = await super()._authenticate_job(ctx, job_id, token)
        await ctx.send(CancelJob(job_id=job_id))
        return job


@pytest.mark.parametrize("state", ["running", "success", "failed"])
async def test_a_report_that_races_with_a_cancel_is_answered_as_canceled(stage: LeaseStage, state: Any) -> None:
    command = ReportJob(job_id=1, token=TOKEN, state=state)
    answer = await ReportsOvertakenByCancel(stage.attempts).report_status(stage.context_at(1), command)
    assert (answer.job_status, answer.accepted) == ("canceled", False)


async def test_a_log_chunk_that_races_with_a_cancel_is_answered_as_canceled(stage: LeaseStage) -> None:
    piece = AppendTrace(job_id=1, token=TOKEN, offset=0, content=b64encode(b"hello"))
    answer = await ReportsOvertakenByCancel(stage.attempts).append_log(stage.context_at(1), piece)
    assert (answer.job_status, answer.accepted) == ("canceled", False)
