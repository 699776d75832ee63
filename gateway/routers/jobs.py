"""Routes of jobs: lists, actions, logs and artifacts."""

from functools import partial
from typing import Annotated

from fastapi import Query, Request, Security
from starlette.responses import Response

from contracts.builds import CancelBuildJob, GetJob, GetTrace, JobRow, ListBuildJobs, PlayJob, RetryBuild, RetryJob
from contracts.errors import RequestRejected
from gateway.dependencies import Bus, State, developer
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.build_jobs import ARTIFACTS, JOBS_OF_BUILD
from gateway.schemas.path_parameters import ArtifactUuid, JobId
from gateway.streaming.downloads import BINARY_CONTENT, TEXT_CONTENT, send_artifact, send_log
from libs.eventstore.decider import Actor

NO_STORE_HEADERS = {"Cache-Control": "private, no-store"}
LAUNCH_NOT_ALLOWED = "LAUNCH_BUILD_NOT_ALLOWED"

Reader = Annotated[Actor, Security(developer, scopes=["BUILD_READ"])]
Launcher = Annotated[Actor, Security(developer, scopes=["BUILD_WRITE"])]

jobs_of_build = json_router("/api/developer/builds", "Builds")
router = json_router("/api/developer/jobs", "Builds")
act = partial(
    forward,
    router,
    "POST",
    user=Launcher,
    status_code=204,
    errors=("JOB_NOT_FOUND", "JOB_STATUS", "BUILD_STATUS", LAUNCH_NOT_ALLOWED),
)

forward(
    jobs_of_build,
    "GET",
    "/{build_id:id}/jobs",
    ListBuildJobs,
    Reader,
    "List all jobs of the build by stage, including waiting and skipped ones.",
    response=JOBS_OF_BUILD,
)
forward(
    jobs_of_build,
    "POST",
    "/{build_id:id}/retry",
    RetryBuild,
    Launcher,
    "Run all failed and canceled jobs again. Skipped jobs then wait for their upstream jobs again.",
    status_code=204,
    errors=("BUILD_STATUS", LAUNCH_NOT_ALLOWED),
)
act("/{job_id:id}/play", PlayJob, summary="Start a manual job.")
act(
    "/{job_id:id}/retry",
    RetryJob,
    summary="Run a finished job again. Skipped jobs then wait for their upstream jobs again.",
)
act(
    "/{job_id:id}/cancel",
    CancelBuildJob,
    summary="Cancel a running, queued or waiting job. For the jobs that wait for it, it counts as failed.",
)


@router.get(
    "/{job_id:id}/log",
    response_class=Response,
    summary="Get the log of a job as text, with secrets masked. For a running job, get the log so far.",
    responses={**TEXT_CONTENT, **errors(*READ_ERRORS, "NOT_FOUND", "JOB_NOT_FOUND", "REQUEST_INVALID")},
)
async def read_job_log(
    job_id: JobId,
    user: Reader,
    state: State,
    attempt: Annotated[str, Query(description="attempt number from 1; default: the latest attempt")] = "0",
) -> Response:
    if not (attempt.isascii() and attempt.isdigit() and len(attempt) < 10):
        raise RequestRejected("REQUEST_INVALID", "attempt must be a whole number from 1.")
    return await send_log(state.bus, GetTrace(job_id=job_id, attempt=int(attempt)), NO_STORE_HEADERS, user)


forward(
    router,
    "GET",
    "/{job_id:id}/artifacts",
    GetJob,
    Reader,
    "List the artifacts of the job.",
    response=ARTIFACTS,
    errors=("JOB_NOT_FOUND",),
)


@router.get(
    "/{job_id:id}/artifacts/{artifact_id}",
    response_class=Response,
    summary="Download an artifact of a job.",
    responses={**BINARY_CONTENT, **errors(*READ_ERRORS, "NOT_FOUND", "JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND")},
)
async def download_artifact(
    job_id: JobId,
    artifact_id: ArtifactUuid,
    user: Reader,
    bus: Bus,
    request: Request,
) -> Response:
    job = JobRow.model_validate_json(await bus.send(GetJob(job_id=job_id), user))
    artifact = next((artifact for artifact in job.artifacts if artifact.id == artifact_id), None)
    if artifact is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    return await send_artifact(bus.state.bus, request.scope, artifact, user)
