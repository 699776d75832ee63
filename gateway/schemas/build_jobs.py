"""Response models for the jobs of a build."""

from pydantic import Field

from contracts.builds import JobStatus
from gateway.framework.serializers import Moment, Shape, shaped


class Job(Shape):
    id: int
    local_id: int | None = Field(description="number within the project; null before the job is queued")
    name: str
    stage: str
    status: JobStatus
    when: str
    allow_failure: bool
    attempt: int
    runner: str | None
    exit_code: int | None
    exit_message: str | None
    created_at: Moment | None = Field(validation_alias="queued_at")
    started_at: Moment | None
    completed_at: Moment | None


JOBS_OF_BUILD = shaped(list[Job])
