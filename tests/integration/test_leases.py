"""When a job counts as lost or is ended by us, on a real database and with a clock of our own."""

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
from libs.connections import Document, database_of
from libs.deciding import Cause
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work
from libs.security.sealing import MemoryVault
from libs.security.tokens import token_hash
from libs.service import Context, Service
from libs.settings import Settings
from services.builds.app import service
from services.builds.attempts import Attempts
from services.builds.leases import GRACE, Leases
from services.builds.reporting import Reporting

LEASE = 60
TOKEN = "the-token-of-the-job"
ATTEMPT = token_hash(TOKEN)
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
class Yard:
    """One job, given to a runner at second 0."""

    runtime: Runtime
    attempts: Attempts
    leases: Leases
    start: datetime = field(default_factory=now)  # second 0
    second: int = 0

    def __post_init__(self) -> None:
        self.runtime.clock = Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)

    def at(self, second: int) -> Work:
        self.second = second
        return Work(self.runtime, Cause(uuid4().hex, self.runtime.clock.machine_time()))

    async def looks(self, first: int, last: int) -> None:
        """The ticker, every second."""
        for second in range(first, last + 1):
            await self.leases.look_after(self.at(second))

    async def job(self) -> JobRow:
        found = await self.at(0).rows("job").get("job-1")
        assert isinstance(found, JobRow)
        return found

    async def give_out(self) -> None:
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
        await self.at(0).tell(queue)
        await self.at(0).tell(assign)
        await self.attempts.open(self.at(0), ATTEMPT, await self.job(), "word", [])

    async def beats(self, first: int, last: int, *, leaving: bool = False) -> None:
        """A gateway and the ticker, every second."""
        for second in range(first, last + 1):
            self.second = second
            beat = Heartbeat(to="builds", gateway="gateway-0", leaving=leaving)
            await self.runtime.hear(beat.model_dump_json().encode(), {})
            await self.looks(second, second)

    async def kill(self, second: int) -> None:
        await self.at(second).tell(StartJob(job_id=1, attempt=1))
        await self.at(second).tell(CancelJob(job_id=1, graceful=True))

    async def report(self, second: int, reason: str) -> TraceState:
        told = ReportJob(job_id=1, token=TOKEN, state="failed", failure_reason=reason)
        return await Reporting(self.attempts).report(self.at(second), told)


@pytest.fixture
async def yard(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> AsyncIterator[Yard]:
    database = database_of(mongo_client, settings, "builds")
    vault = MemoryVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    told = replace(settings, job_lease_seconds=LEASE)
    runtime = Runtime(service, told, database, bus, vault, Metrics.made_from(get_meter("test")))
    attempts = Attempts()
    yard = Yard(runtime, attempts, Leases(attempts, Reporting(attempts)))
    await yard.give_out()
    yield yard
    await runtime.finish(5)


async def attempt_of(yard: Yard) -> tuple[Any, int]:
    job = await yard.job()
    return str(job.status), job.attempt


async def test_a_job_whose_runner_is_silent_is_lost_and_tried_again(yard: Yard) -> None:
    await yard.looks(1, LEASE)
    assert await attempt_of(yard) == ("ASSIGNED", 1)
    await yard.looks(LEASE + 1, LEASE + 1)
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_sign_of_life_keeps_a_job(yard: Yard) -> None:
    await yard.looks(1, 40)
    await yard.attempts.renew(yard.at(40), ATTEMPT)
    await yard.looks(41, 40 + LEASE)
    assert await attempt_of(yard) == ("ASSIGNED", 1)


async def test_silence_while_the_server_was_away_is_not_held_against_a_runner(yard: Yard) -> None:
    await yard.looks(1, 10)
    await yard.looks(200, 210)
    await yard.attempts.renew(yard.at(210), ATTEMPT)
    await yard.looks(211, 210 + LEASE)
    assert await attempt_of(yard) == ("ASSIGNED", 1)


async def test_a_runner_that_is_not_heard_after_an_outage_either_has_lost_its_job(yard: Yard) -> None:
    await yard.looks(1, 10)
    await yard.looks(200, 200 + LEASE)
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_new_leader_goes_on_where_the_old_one_left_off(yard: Yard) -> None:
    await yard.looks(1, LEASE - 5)
    yard.leases = Leases(yard.attempts, Reporting(yard.attempts))
    await yard.looks(LEASE - 1, LEASE + 1)
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_job_is_not_lost_while_a_gateway_is_cut_off(yard: Yard) -> None:
    await yard.beats(1, 20)
    await yard.attempts.renew(yard.at(20), ATTEMPT)
    await yard.looks(21, 20 + LEASE + 5)
    await yard.beats(20 + LEASE + 6, 20 + LEASE + 10)  # it can be reached again, and the runner through it
    await yard.attempts.renew(yard.at(20 + LEASE + 10), ATTEMPT)
    await yard.beats(20 + LEASE + 11, 20 + 2 * LEASE + 10)
    assert await attempt_of(yard) == ("ASSIGNED", 1)
    await yard.beats(20 + 2 * LEASE + 11, 20 + 2 * LEASE + 15)
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_gateway_that_does_not_come_back_delays_the_loss_of_a_job_once(yard: Yard) -> None:
    await yard.beats(1, 20)
    await yard.attempts.renew(yard.at(20), ATTEMPT)
    await yard.looks(21, 20 + 2 * LEASE)
    assert await attempt_of(yard) == ("ASSIGNED", 1)
    await yard.looks(20 + 2 * LEASE + 1, 20 + 2 * LEASE + 10)
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_gateway_that_stops_does_not_delay_the_loss_of_a_job(yard: Yard) -> None:
    await yard.beats(1, 19)
    await yard.beats(20, 20, leaving=True)
    await yard.attempts.renew(yard.at(20), ATTEMPT)
    await yard.looks(21, 20 + LEASE + 1)
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_time_far_in_the_future_that_a_leader_left_behind_does_not_keep_silent_jobs(yard: Yard) -> None:
    """As a leader of 0.2.0 does whose clock is ahead."""
    ahead = yard.start + timedelta(hours=2)
    looks = yard.runtime.database["lease_looks"]
    await looks.replace_one({"_id": "last"}, {"at": ahead, "patient_until": ahead}, upsert=True)
    await yard.looks(1, LEASE + 1)
    assert await attempt_of(yard) == ("QUEUED", 2)


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_a_job_that_a_replica_with_a_wrong_clock_gave_out_has_its_whole_time(yard: Yard, skew: int) -> None:
    """The event of its assignment has a wrong time."""
    row = {"$set": {f"job_v{service.categories[1].row_version}.assigned_at": yard.start + timedelta(seconds=skew)}}
    await yard.runtime.database["streams"].update_one({"_id": "job-1"}, row)
    limit = (await yard.job()).timeout_seconds + GRACE
    await yard.attempts.renew(yard.at(limit - 1), ATTEMPT)
    await yard.leases.look_for_overdue(yard.at(limit - 1))
    assert await attempt_of(yard) == ("ASSIGNED", 1)
    await yard.leases.look_for_overdue(yard.at(limit))
    assert await attempt_of(yard) == ("FAILED", 1)


async def test_a_job_that_never_reached_its_runner_is_lost(yard: Yard) -> None:
    await yard.attempts.discard(yard.at(1), ATTEMPT)
    await yard.leases.look_for_overdue(yard.at(30))
    await yard.leases.look_for_overdue(yard.at(LEASE + 20))
    assert await attempt_of(yard) == ("ASSIGNED", 1)
    await yard.leases.look_for_overdue(yard.at(LEASE + 30))
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_job_whose_log_was_closed_and_whose_result_was_never_recorded_is_lost(yard: Yard) -> None:
    job = await yard.job()
    attempt = await yard.attempts.get(yard.at(1), job)
    await yard.attempts.finish(yard.at(1), job, attempt, job.steps, success=True)
    await yard.leases.look_for_overdue(yard.at(LEASE + 30))
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_job_whose_runner_is_lost_while_it_cleans_up_is_canceled(yard: Yard) -> None:
    await yard.kill(1)
    await yard.looks(1, LEASE)
    assert await attempt_of(yard) == ("CANCELING", 1)
    await yard.looks(LEASE + 1, LEASE + 1)
    assert await attempt_of(yard) == ("CANCELED", 1)


async def test_a_job_that_cleans_up_for_too_long_is_ended(yard: Yard) -> None:
    await yard.kill(1)
    await yard.leases.look_for_overdue(yard.at(1))
    await yard.attempts.renew(yard.at(300), ATTEMPT)
    await yard.leases.look_for_overdue(yard.at(360))
    assert await attempt_of(yard) == ("CANCELING", 1)
    await yard.leases.look_for_overdue(yard.at(361))
    assert await attempt_of(yard) == ("CANCELED", 1)


async def test_a_runner_that_has_cleaned_up_may_say_so_twice(yard: Yard) -> None:
    await yard.kill(1)
    assert (await yard.report(2, "job_canceled")).accepted
    assert await attempt_of(yard) == ("CANCELED", 1)
    assert (await yard.report(3, "job_canceled")).accepted


@pytest.mark.parametrize("reason", ["runner_interrupted", "runner_system_failure"])
async def test_a_job_that_its_runner_gives_back_is_tried_again(yard: Yard, reason: str) -> None:
    assert (await yard.report(1, reason)).accepted
    assert await attempt_of(yard) == ("QUEUED", 2)


async def test_a_job_that_its_runner_gives_back_while_it_cleans_up_is_canceled(yard: Yard) -> None:
    await yard.kill(1)
    assert (await yard.report(2, "runner_interrupted")).accepted
    assert await attempt_of(yard) == ("CANCELED", 1)


async def test_a_commit_that_cannot_be_checked_out_is_not_tried_again(yard: Yard) -> None:
    await yard.report(1, "runner_external_dependency_failure")
    assert ((await yard.job()).status, (await yard.job()).exit_code) == ("FAILED", 128)


class Overtaken(Reporting):
    """Between its look and its word somebody kills the job."""

    async def _job(self, ctx: Context, job_id: int, token: str) -> JobRow:
        job = await super()._job(ctx, job_id, token)
        await ctx.tell(CancelJob(job_id=job_id))
        return job


@pytest.mark.parametrize("state", ["running", "success", "failed"])
async def test_a_report_that_a_kill_overtakes_is_answered_with_the_kill(yard: Yard, state: Any) -> None:
    told = ReportJob(job_id=1, token=TOKEN, state=state)
    answer = await Overtaken(yard.attempts).report(yard.at(1), told)
    assert (answer.job_status, answer.accepted) == ("canceled", False)


async def test_a_log_that_a_kill_overtakes_is_answered_with_the_kill(yard: Yard) -> None:
    piece = AppendTrace(job_id=1, token=TOKEN, offset=0, content=b64encode(b"hello"))
    answer = await Overtaken(yard.attempts).append(yard.at(1), piece)
    assert (answer.job_status, answer.accepted) == ("canceled", False)
