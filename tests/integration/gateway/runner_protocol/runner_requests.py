"""Sample runners, jobs and requests of the runner protocol."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx

from contracts.builds import (
    Assignment,
    ClaimJob,
    JobQueued,
    JobVariable,
    LaunchedProject,
    PlannedJob,
)
from contracts.runners import (
    RunnerProfile,
)
from gateway.app import JOB_QUEUED_SUBJECT
from libs.messaging.nats_connection import flush_to_server
from tests.support.in_process.gateway_stage import (
    GatewayStage,
)
from tests.support.waiting import eventually

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUNNER = RunnerProfile(
    runner_id=7, runner_uuid="r-7", name="seven", tags=("linux",), owner_type="GLOBAL", owner_id=None
)
PROJECT = LaunchedProject(
    project_id=84,
    name="Mill",
    owner_alias="ivan",
    alias="mill",
    repository="https://forge.example/mill.git",
    branch="main",
    spec_file_path="/ci.yaml",
)
SHA = "f9a06e6e677efa280834f7bb7d17f5355f1e31df"
ASSIGNMENT = Assignment(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    attempt=1,
    token="job-token",
    name="build",
    stage="build",
    ref="main",
    sha=SHA,
    project=PROJECT,
    script=("echo hello",),
    variables=(JobVariable(key="KEY", value="hush", masked=True), JobVariable(key="CI_COMMIT_SHA", value=SHA)),
    image=None,
    timeout_seconds=3600,
    queued_at=NOON,
)
QUEUED_JOB = JobQueued(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    project_id=84,
    owner_alias="ivan",
    attempt=1,
    ref="main",
    sha=SHA,
    project=PROJECT,
    job=PlannedJob(job_id=11, job_uuid="j-11", name="build"),
)
HOLD_SECONDS = 0.4
TOKEN = {"RUNNER-TOKEN": "runner-token"}


def start_job_request(stage: GatewayStage, **more: Any) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(stage.http.post("/api/v4/jobs/request", json={"token": "runner-token"}, **more))


async def wait_for_held_requests(stage: GatewayStage, count: int = 1) -> None:
    """Wait until the gateway holds `count` job requests, and `count` claims or more have reached the fake services."""

    async def all_held() -> bool:
        return len(stage.gateway.state.long_polls) == count and len(stage.services.received_of(ClaimJob)) >= count

    await eventually(all_held)


async def publish_queued_job(stage: GatewayStage, job: JobQueued = QUEUED_JOB, reply: str = "") -> None:
    """Publish the hint of a queued job, and wait until the gateway has it. With `reply`, the hint is an offer."""
    polls = stage.gateway.state.long_polls
    before = polls.cursor
    subject = JOB_QUEUED_SUBJECT.replace("*", f"job-{job.job_id}")
    await stage.client.publish(subject, job.model_dump_json().encode(), reply)
    await flush_to_server(stage.client)
    await eventually(lambda: polls.cursor != before)
