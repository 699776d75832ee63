"""GitLab's runner protocol. Runners authenticate with their own tokens, and the services check these."""

from typing import Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.responses import Response

from contracts.errors import CODES
from gateway.adapters.gitflic import runner_registration
from gateway.adapters.gitlab import artifacts, job_request, runner_api
from gateway.adapters.gitlab.protocol_models import (
    JobPayload,
    JobRequest,
    JobUpdateRequest,
    RegisterRunnerRequest,
    RunnerCredentials,
    RunnerErrorBody,
    RunnerTokenRequest,
    UploadedArtifact,
)
from gateway.dependencies import State, anyone
from gateway.errors import describe_body
from gateway.http.path_prefixes import CompatibleApi
from gateway.routers.prefix_router import PrefixRouter
from gateway.schemas.path_parameters import JobId, RunnerId
from gateway.streaming.downloads import BINARY_CONTENT

TAG = "Runner protocol"
FORM = "application/x-www-form-urlencoded"
job_token = APIKeyHeader(name="JOB-TOKEN", scheme_name="job", description="the token of a job", auto_error=False)
runner_token = APIKeyHeader(
    name="RUNNER-TOKEN", scheme_name="runner", description="the token of a runner, also in the body", auto_error=False
)
private_token = APIKeyHeader(
    name="PRIVATE-TOKEN", scheme_name="private", description="the token of an administrator", auto_error=False
)

jobs = PrefixRouter(CompatibleApi.RUNNERS, prefix="/api/v4/jobs", tags=[TAG])
runners = PrefixRouter(CompatibleApi.RUNNERS, prefix="/api/v4/runners", tags=[TAG])
registration = PrefixRouter(CompatibleApi.RUNNERS, prefix=runner_registration.REGISTRATION_PATH, tags=[TAG])


def runner_errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error responses, which have a text instead of a code."""
    found = sorted({CODES[code].status for code in (*codes, "SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT")})
    return {status: {"content": describe_body(RunnerErrorBody)} for status in found}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the documentation of a body, JSON or a form, that the adapter reads itself."""
    content = describe_body(model)
    return {"requestBody": {"required": True, "content": {**content, FORM: content["application/json"]}}}


@jobs.post(
    "/request",
    status_code=201,
    response_model=JobPayload,
    summary="Request a job; the request is held until there is one, or a time-out.",
    responses={
        204: {"description": "There is no job. `X-GitLab-Last-Update` is to be sent with the next request."},
        **runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    },
    openapi_extra=body_of(JobRequest),
    dependencies=[Security(runner_token)],
)
async def request_job(request: Request, state: State) -> Response:
    return await job_request.request_job(state, request)


@jobs.patch(
    "/{job_id:id}/trace",
    status_code=202,
    response_class=Response,
    summary="Append to the log of a job, at the start of `Content-Range`.",
    responses={
        416: {"description": "The log has another length, see the header `Range`."},
        **runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_TOO_LARGE"),
    },
    openapi_extra={
        "parameters": [
            {
                "name": "Content-Range",
                "in": "header",
                "required": True,
                "description": "`<start>-<end>` in bytes",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}},
    },
    dependencies=[Security(job_token)],
)
async def append_trace(job_id: JobId, request: Request, state: State) -> Response:
    return await runner_api.append_trace(state, request)


@jobs.put(
    "/{job_id:id}",
    response_class=Response,
    summary="Report the state of a job.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID"),
    openapi_extra=body_of(JobUpdateRequest),
    dependencies=[Security(job_token)],
)
async def report_job(job_id: JobId, request: Request, state: State) -> Response:
    return await runner_api.report_job(state, request)


@jobs.post(
    "/{job_id:id}/artifacts",
    status_code=201,
    response_model=UploadedArtifact,
    summary="Upload an artifact of a job.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID", "ARTIFACT_TOO_LARGE"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {"type": "string", "format": "binary"},
                            **{name: {"type": "string"} for name in artifacts.PARAMETERS},
                        },
                    }
                }
            },
        }
    },
    dependencies=[Security(job_token)],
)
async def upload_artifact(job_id: JobId, request: Request, state: State) -> Response:
    return await artifacts.upload_artifact(state, request)


@jobs.get(
    "/{job_id:id}/artifacts",
    response_class=Response,
    summary="Download the artifact archive of a job.",
    responses={**BINARY_CONTENT, **runner_errors("FORBIDDEN", "ARTIFACT_NOT_FOUND")},
    dependencies=[Security(job_token)],
)
async def download_artifact(job_id: JobId, request: Request, state: State) -> Response:
    return await artifacts.download_artifact(state, request)


@runners.post(
    "",
    status_code=201,
    response_model=RunnerCredentials,
    summary="Register a runner with a registration token.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID"),
    openapi_extra=body_of(RegisterRunnerRequest),
    dependencies=[Depends(anyone)],
)
async def register_runner(request: Request, state: State) -> Response:
    return await runner_api.register_runner(state, request)


@runners.delete(
    "",
    status_code=204,
    summary="Delete a runner.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=body_of(RunnerTokenRequest),
    dependencies=[Security(runner_token)],
)
async def unregister_runner(request: Request, state: State) -> Response:
    return await runner_api.unregister_runner(state, request)


@runners.post(
    "/verify",
    response_model=RunnerCredentials,
    summary="Check the token of a runner.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=body_of(RunnerTokenRequest),
    dependencies=[Security(runner_token)],
)
async def verify_runner(request: Request, state: State) -> Response:
    return await runner_api.verify_runner(state, request)


@runners.post(
    "/reset_authentication_token",
    status_code=201,
    response_model=RunnerCredentials,
    summary="Replace the token of a runner, with the current one.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=body_of(RunnerTokenRequest),
    dependencies=[Security(runner_token)],
)
async def reset_token(request: Request, state: State) -> Response:
    return await runner_api.reset_token(state, request)


@runners.post(
    "/{runner_id:id}/reset_authentication_token",
    status_code=201,
    response_model=RunnerCredentials,
    summary="Replace the token of a runner, with the token of an administrator.",
    responses=runner_errors("FORBIDDEN", "RUNNER_NOT_FOUND"),
    dependencies=[Security(private_token)],
)
async def reset_token_as_admin(runner_id: RunnerId, request: Request, state: State) -> Response:
    return await runner_api.reset_token_as_admin(state, request)


@runners.delete(
    "/managers",
    status_code=204,
    summary="Unregister a machine that shares the token of a runner. The runner stays.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=body_of(RunnerTokenRequest),
    dependencies=[Security(runner_token)],
)
async def unregister_machine(request: Request, state: State) -> Response:
    return await runner_api.unregister_machine(state, request)


@registration.post(
    "",
    status_code=201,
    response_model=RunnerCredentials,
    summary="Register a runner as GitLab's route does, with GitFlic's names of fields too.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID"),
    openapi_extra=body_of(RegisterRunnerRequest),
    dependencies=[Depends(anyone)],
)
async def register_gitflic_runner(request: Request, state: State) -> Response:
    return await runner_registration.register_runner(state, request)
