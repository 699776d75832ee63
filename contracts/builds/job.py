from datetime import UTC, datetime
from enum import StrEnum


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
