"""Routes by which runners request jobs, report their logs and states, and transfer their artifacts."""

import base64
import re

from fastapi import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from contracts.builds import AppendTrace, Artifact, GetArtifact, ReportJob, TraceState
from contracts.errors import RequestRejected
from gateway.adapters.gitlab import artifacts, job_request
from gateway.adapters.gitlab.protocol_models import (
    JobOutput,
    JobPayload,
    JobRequest,
    JobUpdateRequest,
    UploadedArtifact,
)
from gateway.dependencies import ClientIp, State
from gateway.forwarding.forward import build_message
from gateway.http.json_request import read_body
from gateway.routers.gitlab.protocol import JobToken, RunnerToken, also_form, runner_errors, runner_router
from gateway.schemas.path_parameters import JobId
from gateway.streaming.downloads import BINARY_CONTENT, send_artifact
from libs.eventstore.decider import SYSTEM

MAX_TRACE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 512 * 1024  # maximum part of a log in one message; in base64, it fits into NATS's default limit, 1 MiB
CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,18})-\d*")
TRACE_UPDATE_SECONDS = "1"  # pause that runners make between log updates

router = runner_router("/api/v4/jobs")


@router.post(
    "/request",
    status_code=201,
    response_model=JobPayload,
    summary="Request a job. The request is held until a job is available or a timeout passes.",
    responses={
        204: {"description": "There is no job. Send `X-GitLab-Last-Update`, if present, with the next request."},
        **runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    },
    openapi_extra=also_form(JobRequest),
)
async def request_job(
    body: JobRequest, token: RunnerToken, ip_address: ClientIp, request: Request, state: State
) -> Response:
    return await job_request.request_job(state, request, body, token, ip_address)


@router.patch(
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
)
async def append_trace(job_id: JobId, token: JobToken, request: Request, state: State) -> Response:
    """Append to a job's log. The end of the range is ignored, because runners compute it differently."""
    found = CONTENT_RANGE.match(request.headers.get("content-range", ""))
    if not found:
        raise RequestRejected("REQUEST_MALFORMED", "Content-Range is missing or does not have the form <start>-<end>.")
    start = int(found[1])
    log = await read_body(request, MAX_TRACE_BYTES)
    for position in range(0, len(log) or 1, CHUNK_BYTES):
        content = base64.b64encode(log[position : position + CHUNK_BYTES])
        values = {"job_id": job_id, "token": (token or "").strip(), "offset": start + position, "content": content}
        try:
            answer = await state.bus.send(build_message(AppendTrace, values))
        except RequestRejected as rejection:
            if rejection.code != "LOG_RANGE":
                raise
            return Response(status_code=416, headers={"Job-Status": "running", "Range": f"0-{rejection.detail}"})
        trace = TraceState.model_validate_json(answer)
        if not trace.accepted:
            return _finished_response(trace)
    if log:
        await state.log_readers.growth.announce(job_id)
    return Response(
        status_code=202,
        headers={
            "Job-Status": trace.job_status,
            "Range": f"0-{trace.length}",
            "X-GitLab-Trace-Update-Interval": TRACE_UPDATE_SECONDS,
        },
    )


@router.put(
    "/{job_id:id}",
    response_class=Response,
    summary="Report the state of a job.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID", "LOG_RANGE"),
    openapi_extra=also_form(JobUpdateRequest),
)
async def report_job(job_id: JobId, body: JobUpdateRequest, token: JobToken, state: State) -> Response:
    """Record a job's state, with checksum and size of its log. The end of the log can be sent with a final state."""
    output = body.output or JobOutput()
    command = build_message(
        ReportJob,
        {
            "job_id": job_id,
            "token": (token or "").strip() or body.token,
            "state": body.state,
            "exit_code": body.exit_code,
            "failure_reason": body.failure_reason,
            "checksum": output.checksum or body.checksum or None,
            "bytesize": output.bytesize,
            "log_end": body.log_end.model_dump() if body.log_end else None,
        },
    )
    trace = TraceState.model_validate_json(await state.bus.send(command))
    if not trace.accepted:
        return _finished_response(trace)
    await state.log_readers.growth.announce(job_id)
    return PlainTextResponse("200", headers={"Job-Status": trace.job_status})


def _finished_response(trace: TraceState) -> Response:
    headers = {"Job-Status": trace.job_status}
    return JSONResponse({"message": "The job is finished or no longer assigned to this runner."}, 403, headers=headers)


@router.post(
    "/{job_id:id}/artifacts",
    status_code=201,
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
)
async def upload_artifact(job_id: JobId, token: JobToken, request: Request, state: State) -> UploadedArtifact:
    artifact = await artifacts.store_artifact(state, request, job_id, (token or "").strip())
    return UploadedArtifact(id=artifact.id, file_name=artifact.file_name, size=artifact.size)


@router.get(
    "/{job_id:id}/artifacts",
    response_class=Response,
    summary="Download the artifact archive of a job.",
    responses={**BINARY_CONTENT, **runner_errors("FORBIDDEN", "ARTIFACT_NOT_FOUND")},
)
async def download_artifact(job_id: JobId, token: JobToken, request: Request, state: State) -> Response:
    """Send the archive. `direct_download` is ignored: there is no object storage URL to redirect to."""
    answer = await state.bus.query(GetArtifact(job_id=job_id, token=(token or "").strip()))
    return await send_artifact(state.bus, request.scope, Artifact.model_validate_json(answer), SYSTEM)
