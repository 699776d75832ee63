"""The response model of a build with its jobs, attempts, steps and artifacts."""

from pydantic import Field

from contracts.builds import JobStatus
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.build_jobs import Artifact
from gateway.schemas.build_launch import BuildVariable
from gateway.schemas.console.reported_tests import BuildTestCounts
from gateway.schemas.samples import MOMENT, UUID

SHA = "4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f"


class NamedUser(ResponseModel):
    id: int = Field(description="number of the user; 0: the system or a runner", examples=[17])
    name: str = Field(description="current username; `deleted user` after a deletion", examples=["ivan"])


class BuildProject(ResponseModel):
    id: int = Field(description="number of the project", examples=[17])
    name: str = Field(description="name of the project when the build was launched", examples=["website"])
    owner_alias: str = Field(description="its owner at that time; empty if that user was deleted", examples=["ivan"])
    alias: str = Field(description="its alias at that time", examples=["website"])


class BuildSchedule(ResponseModel):
    id: int = Field(description="number of the schedule, which may have been deleted since", examples=[17])
    description: str = Field(description="description of the schedule at that time", examples=["Nightly tests"])


class LogStep(ResponseModel):
    index: int = Field(description="number of the section in the log routes, from 0")
    name: str = Field(validation_alias="step", description="name without `@`; the first is `init`", examples=["build"])
    lines: int = Field(description="number of complete lines", examples=[120])
    start_at: Moment | None = Field(description="when it started", examples=[MOMENT])
    closed_at: Moment | None = Field(description="when it finished; null while it runs", examples=[MOMENT])
    success: bool | None = Field(description="null until known")
    skipped: bool | None = Field(description="true: the step was ignored; null: it was not")
    timed_out: bool = Field(description="true: the step exceeded its own time limit")


class JobAttempt(ResponseModel):
    number: int = Field(description="attempt number, from 1")
    status: str = Field(description="a status of jobs, or `LOST` if its runner was lost", examples=["SUCCESS"])
    runner: str | None = Field(description="name of the runner; null until assigned", examples=["machine-1"])
    runner_uuid: str | None = Field(description="UUID of the runner; null until assigned", examples=[UUID])
    queued_at: Moment | None = Field(examples=[MOMENT])
    assigned_at: Moment | None = Field(description="when a runner got it; null before", examples=[MOMENT])
    started_at: Moment | None = Field(description="when a runner started it; null before", examples=[MOMENT])
    completed_at: Moment | None = Field(description="null until finished", examples=[MOMENT])
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    reason: str = Field(description="stable code of the failure, or empty", examples=["script_failure"])
    message: str | None = Field(description="failure message; null for success")
    log_bytes: int = Field(description="size of the log; 0 after its deletion", examples=[4096])
    steps: tuple[LogStep, ...] = Field(description="sections of the log")


class JobDetails(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    local_id: int | None = Field(description="number within the project; null before the job is queued", examples=[17])
    name: str = Field(examples=["website"])
    stage: str = Field(description="name of the stage", examples=["build"])
    stage_index: int = Field(description="position of the stage in the order of stages", examples=[1])
    status: JobStatus = Field(description="current status")
    when: str = Field(description="`on_success`, `on_failure`, `always` or `manual`", examples=["on_success"])
    allow_failure: bool = Field(description="whether the build continues if the job fails")
    needs: tuple[str, ...] | None = Field(
        description="names of the jobs that it waits for; null: all jobs of earlier stages", examples=[["compile"]]
    )
    tags: tuple[str, ...] = Field(description="tags that a runner must have", examples=[["linux"]])
    image: str | None = Field(description="container image; null: the runner's default", examples=["debian:12"])
    timeout_seconds: int = Field(description="maximum duration; 0 before the job is queued", examples=[3600])
    attempt: int = Field(description="attempt number, from 1; 0 before the job is queued")
    runner: str | None = Field(description="name of the runner; null until assigned", examples=["machine-1"])
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    exit_message: str | None = Field(description="failure message; null for success")
    reason: str = Field(description="stable code of the failure, or empty", examples=["script_failure"])
    coverage: float | None = Field(
        None, description="coverage in percent, from the log; null: unknown", examples=[87.5]
    )
    created_at: Moment | None = Field(validation_alias="queued_at", description="when it was queued", examples=[MOMENT])
    assigned_at: Moment | None = Field(description="when a runner got it; null before", examples=[MOMENT])
    started_at: Moment | None = Field(description="when a runner started it; null before", examples=[MOMENT])
    completed_at: Moment | None = Field(description="null until finished", examples=[MOMENT])
    waiting_for: str | None = Field(
        description="why the job waits, in English; null if it does not", examples=["Waits for compile."]
    )
    attempts: tuple[JobAttempt, ...] = Field(description="all attempts, oldest first; of many, the latest ones")
    artifacts: tuple[Artifact, ...] = Field(description="artifacts that have not expired")


class BuildDetails(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    local_id: int = Field(description="number within the project", examples=[17])
    executor_id: str = Field(description="UUID of this build while it waited and ran", examples=[UUID])
    project: BuildProject
    status: str = Field(
        description="`QUEUED`, `PLANNED`, `RUNNING`, `CANCELING`, `SUCCESS`, `FAILED` or `KILLED`", examples=["SUCCESS"]
    )
    finished: bool = Field(description="whether the build has ended")
    priority: int = Field(description="-100 to 100, default 0; higher priority runs first")
    branch: str = Field(description="branch of the project at the launch", examples=["main"])
    ref: str | None = Field(description="`refs/heads/...` or `refs/tags/...`", examples=["refs/heads/main"])
    sha: str | None = Field(description="commit; null until it is resolved", examples=[SHA])
    message: str = Field(description="commit message; empty until it is read", examples=["Sort the results"])
    source: str = Field(description="`push`, `web`, `api` for a personal token, or `schedule`", examples=["push"])
    delivery_id: str | None = Field(description="UUID of the webhook delivery that launched it", examples=[UUID])
    initiator: NamedUser = Field(description="who launched the build")
    killed_by: NamedUser | None = Field(description="who canceled the build; null if it was not canceled")
    warnings: tuple[str, ...] = Field(description="parts of the spec file that have no effect")
    available_steps: tuple[str, ...] = Field(description="steps that a launch can ignore", examples=[["@build"]])
    ignored_steps: tuple[str, ...] = Field(description="steps that this launch ignores")
    variables: tuple[BuildVariable, ...] = Field(description="variables that the launch sets for all jobs")
    schedule: BuildSchedule | None = Field(description="schedule that launched it; null: none did")
    runner: str | None = Field(description="name of the first runner; null until assigned", examples=["machine-1"])
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    exit_message: str | None = Field(description="failure message; null for success")
    output: str | None = Field(description="closing message, not the log; null for most successful builds")
    created_at: Moment | None = Field(validation_alias="queued_at", description="when it was queued", examples=[MOMENT])
    started_at: Moment | None = Field(description="when a runner started it; null before", examples=[MOMENT])
    completed_at: Moment | None = Field(description="null until finished", examples=[MOMENT])
    waiting_for: str | None = Field(
        description="why the build has not started, in English; null if it has", examples=["Waits for a runner."]
    )
    jobs: tuple[JobDetails, ...] = Field(description="all jobs by stage, then as in the spec file")
    coverage: float | None = Field(None, description="mean coverage of its jobs in percent", examples=[87.5])
    tests: BuildTestCounts | None = Field(
        None, description="tests in the reports of its jobs; null if no job has uploaded one"
    )


BUILD_DETAILS = serialize(BuildDetails)
