"""Response models of builds, the queue and logs in Free Commit's API."""

from pydantic import Field

from gateway.forwarding.serializers import Moment, ResponseModel, passthrough, serialize, serialize_row
from gateway.schemas.samples import MOMENT, UUID


class Build(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    project_id: int = Field(description="number of the project", examples=[17])
    executor_id: str = Field(description="UUID of this build while it waited and ran", examples=[UUID])
    status: str = Field(
        description="`QUEUED`, `PLANNED`, `RUNNING`, `CANCELING`, `SUCCESS`, `FAILED` or `KILLED`", examples=["SUCCESS"]
    )
    priority: int = Field(description="-100 to 100, default 0; higher priority runs first")
    sha: str | None = Field(
        description="commit; null until it is resolved", examples=["4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f"]
    )
    ref: str | None = Field(description="`refs/heads/...` or `refs/tags/...`", examples=["refs/heads/main"])
    output: str | None = Field(description="closing message, not the log; null for most successful builds")
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    exit_message: str | None = Field(description="failure message; null for success")
    created_at: Moment | None = Field(validation_alias="queued_at", description="when it was queued", examples=[MOMENT])
    completed_at: Moment | None = Field(description="null until finished", examples=[MOMENT])


class Launched(ResponseModel):
    project_name: str = Field(description="name of the project when the build was launched", examples=["website"])
    executor_id: str = Field(
        description="UUID of this build, unchanged while it waits and runs",
        examples=[UUID],
    )
    build_id: int = Field(validation_alias="id", description="number of the build", examples=[17])


class Queued(ResponseModel):
    project_name: str = Field(description="name of the project when the build was launched", examples=["website"])
    executor_id: str = Field(
        description="UUID of this build, unchanged while it waits and runs",
        examples=[UUID],
    )
    build_id: int = Field(description="number of the build", examples=[17])
    project_id: int = Field(description="number of the project", examples=[17])
    queued_at: Moment = Field(examples=[MOMENT])
    priority: int = Field(description="-100 to 100, default 0; higher priority runs first")
    reason: str = Field(
        description="explanation in English", examples=["Waits for a free runner: all that fit are busy (miller)."]
    )


class Executed(ResponseModel):
    project_name: str = Field(description="name of the project when the build was launched", examples=["website"])
    executor_id: str = Field(
        description="UUID of this build, unchanged while it waits and runs",
        examples=[UUID],
    )
    build_id: int = Field(validation_alias="id", description="number of the build", examples=[17])
    project_id: int = Field(description="number of the project", examples=[17])
    runner: str | None = Field(description="name of the runner; null until assigned", examples=["machine-1"])
    at: Moment | None = Field(validation_alias="started_at", description="when a runner started it", examples=[MOMENT])


class LiveLog(ResponseModel):
    step: str = Field(description="name of the section without `@`; the first is `init`", examples=["build"])
    log: str = Field(description="lines separated by `\\n`, secrets masked", examples=["compiling\ndone"])
    line_number: int = Field(description="number of lines of the section read so far, including these")
    start_at: Moment | None = Field(description="when a runner started it; null before", examples=[MOMENT])
    closed_at: Moment | None = Field(description="when the step finished; null while it runs", examples=[MOMENT])
    success: bool | None = Field(description="null until known")
    skipped: bool | None = Field(description="true: the step was ignored; null: it was not")
    timed_out: bool = Field(description="true: the step exceeded its own time limit")


class Log(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    build_id: int = Field(description="number of the build", examples=[17])
    step: str = Field(description="name of the section without `@`; the first is `init`", examples=["build"])
    log: str = Field(description="lines separated by `\\n`, secrets masked", examples=["compiling\ndone"])
    start_at: Moment = Field(description="when a runner started it; null before", examples=[MOMENT])
    closed_at: Moment | None = Field(description="when the step finished; null while it runs", examples=[MOMENT])
    success: bool | None = Field(description="null until the build is finished")
    skipped: bool | None = Field(description="true: the step was ignored; null: it was not")
    timed_out: bool = Field(description="true: the step exceeded its own time limit")


ONE_BUILD, BUILDS = serialize(Build), serialize(list[Build])
LAUNCHED = serialize_row(Launched)
QUEUEDS, EXECUTEDS = serialize(list[Queued], "rows"), serialize(list[Executed], "rows")
LIVE_LOG, LOG = passthrough(LiveLog), serialize(Log)
OUTPUT = passthrough(str, "text/plain")
