"""Reports of runners that end an attempt, and reports during which the job is canceled."""

from base64 import b64encode
from typing import Any

import pytest

from contracts.builds import AppendTrace, JobRow, ReportJob
from libs.service.declaration import Context
from services.builds.domain.internal_commands import CancelJob
from services.builds.execution.runner_reports import RunnerReports
from tests.integration.services.builds.leases.lease_stage import TOKEN, LeaseStage, status_and_attempt


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
    """Cancels the job within each report, after the job was read and before the result is written."""

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
    chunk = AppendTrace(job_id=1, token=TOKEN, offset=0, content=b64encode(b"hello"))
    answer = await ReportsOvertakenByCancel(stage.attempts).append_log(stage.context_at(1), chunk)
    assert (answer.job_status, answer.accepted) == ("canceled", False)
