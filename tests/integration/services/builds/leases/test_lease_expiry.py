"""Lease expiry and job timeouts, on a real database and with a simulated clock."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from libs.service.declaration import Context
from services.builds.app import service
from services.builds.domain.internal_commands import CancelJob
from services.builds.execution.leases import REPORT_GRACE_SECONDS, Leases
from services.builds.execution.runner_reports import RunnerReports
from tests.integration.services.builds.leases.lease_stage import (
    ATTEMPT,
    JOB,
    LEASE_SECONDS,
    LeaseStage,
    queue_command,
    status_and_attempt,
)


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
    # the runner reaches the gateway again
    await stage.send_heartbeats(20 + LEASE_SECONDS + 6, 20 + LEASE_SECONDS + 10)
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
    """A leader of release 0.2.0 whose clock is ahead stores such a scan time."""
    ahead = stage.start + timedelta(hours=2)
    scans = stage.runtime.database["lease_looks"]
    await scans.replace_one({"_id": "last"}, {"at": ahead, "patient_until": ahead}, upsert=True)
    await stage.run_lease_checks(1, LEASE_SECONDS + 1)
    assert await status_and_attempt(stage) == ("QUEUED", 2)


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_a_job_assigned_with_a_skewed_clock_has_its_full_timeout(stage: LeaseStage, skew: int) -> None:
    """A skewed clock is simulated by changing the recorded time of the assignment."""
    row = {"$set": {f"job_v{service.categories[1].row_version}.assigned_at": stage.start + timedelta(seconds=skew)}}
    await stage.runtime.database["streams"].update_one({"_id": "job-1"}, row)
    limit = (await stage.get_job()).timeout_seconds + REPORT_GRACE_SECONDS
    await stage.attempts.extend_lease(stage.context_at(limit - 1), ATTEMPT)
    await stage.leases.enforce_timeouts(stage.context_at(limit - 1))
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.leases.enforce_timeouts(stage.context_at(limit))
    assert await status_and_attempt(stage) == ("FAILED", 1)


async def test_a_job_without_a_stored_attempt_is_lost(stage: LeaseStage) -> None:
    """A process of release 0.2.0 that is killed can leave such a job."""
    await stage.attempts.discard(stage.context_at(1), ATTEMPT)
    await stage.leases.enforce_timeouts(stage.context_at(LEASE_SECONDS - 1))
    assert await status_and_attempt(stage) == ("ASSIGNED", 1)
    await stage.leases.enforce_timeouts(stage.context_at(LEASE_SECONDS + 1))
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


class LeasesOvertakenByRetry(Leases):
    """Ends each job that is being canceled and queues its next round, after the job was read and before it is ended."""

    async def _get_canceling_since(self, ctx: Context, attempt: Mapping[str, object]) -> datetime:
        since = await super()._get_canceling_since(ctx, attempt)
        await ctx.send(CancelJob(job_id=1))
        await ctx.send(queue_command(JOB.replace(round=1)))
        return since


async def test_the_clean_up_timeout_does_not_cancel_the_next_round_of_the_job(stage: LeaseStage) -> None:
    await stage.cancel_job(1)
    await stage.leases.enforce_timeouts(stage.context_at(1))
    leases = LeasesOvertakenByRetry(stage.attempts, RunnerReports(stage.attempts))
    await leases.enforce_timeouts(stage.context_at(361))
    assert await status_and_attempt(stage) == ("QUEUED", 2)
