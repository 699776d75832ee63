"""Statuses of jobs."""

from datetime import UTC, datetime
from enum import StrEnum

from contracts.messages import Message


class JobStatus(StrEnum):
    CREATED = "CREATED"  # waits for other jobs of its build
    MANUAL = "MANUAL"  # waits until a user starts it
    SKIPPED = "SKIPPED"  # not run because of the results of other jobs
    WARNING = "WARNING"  # failed, and allowed to fail
    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"  # the runner stops the script and cleans up
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


UNFINISHED_TIME = datetime(9999, 1, 1, tzinfo=UTC)


FINISHED_JOB_STATUSES = frozenset({JobStatus.SUCCESS, JobStatus.WARNING, JobStatus.FAILED, JobStatus.CANCELED})


class JobAttempt(Message):
    """One attempt to run a job. Times and results that are not known yet are None."""

    number: int  # number of the attempt, from 1
    status: str  # a JobStatus, or LOST if its runner was lost
    runner: str | None = None  # name of the runner; None: not assigned yet
    runner_uuid: str | None = None
    queued_at: datetime | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""  # stable code of the failure; empty: none
    message: str | None = None
