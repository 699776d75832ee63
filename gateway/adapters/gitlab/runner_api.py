"""GitLab's runner protocol, except job requests and artifacts: registration, job logs, job states."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from contracts.builds import AppendTrace, ReportJob, TraceState
from contracts.errors import RequestRejected
from contracts.identity import TokenScope
from contracts.messages import Message
from contracts.runners import (
    AuthenticateRunner,
    DeleteRunner,
    GetRunner,
    RegisterRunner,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
)
from gateway.auth import Role
from gateway.context import AppState
from gateway.http.client_ip import client_ip
from gateway.http.json_request import parse_object, read_body
from libs.eventstore.decider import Actor, runner_actor

MAX_TRACE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 512 * 1024  # part of a log in one message: NATS allows 1 MiB by default, and base64 adds a third
CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,18})-\d*")
FAILURE_REASON = re.compile(r"[a-z0-9_]{1,64}")
JOB_STATES = frozenset(get_args(ReportJob.model_fields["state"].annotation))
TRACE_UPDATE_SECONDS = "1"  # pause that runners make between log updates
MAX_INTEGER = 2**63 - 1

RequestFields = Mapping[str, Any]
M = TypeVar("M", bound=Message)


async def register_runner(app_state: AppState, request: Request) -> Response:
    registration = await send_registration(app_state, request, await read_fields(request))
    return _identity_response(registration.id, registration.token, registration.token_expires_at, 201)


async def send_registration(app_state: AppState, request: Request, sent: RequestFields) -> RunnerRegistration:
    """Register a runner with the fields `sent`. Raises REQUEST_INVALID or REGISTRATION_TOKEN."""
    command = validate(
        RegisterRunner,
        registration_token=_read_text(sent, "token"),
        name=_read_text(sent, "name")[:255],
        description=_read_text(sent, "description"),
        tags=_read_tags(sent),
        run_untagged=_read_flag(sent, "run_untagged", default=True),
        locked=_read_flag(sent, "locked", default=False),
        protected=_read_access_level(sent) == "ref_protected",
        # GitLab's runner sends `active` before version 15.0, and `paused` since then
        active=_read_flag(sent, "active", default=True) and not _read_flag(sent, "paused", default=False),
        max_timeout_seconds=_read_integer(sent, "maximum_timeout") or None,
        info=parse_runner_info(sent) or RunnerInfo(),
        ip_address=client_ip(request.scope, app_state.settings.trusted_proxies),
    )
    return RunnerRegistration.model_validate_json(await app_state.bus.send(command))


async def verify_runner(app_state: AppState, request: Request) -> Response:
    """Handle `POST /runners/verify`: check a runner's token."""
    sent = await read_fields(request)
    profile = await authenticate_runner(app_state, request, sent)
    return _identity_response(profile.runner_id, read_runner_token(request, sent), None, 200)


async def unregister_runner(app_state: AppState, request: Request) -> Response:
    """Handle `DELETE /runners`: delete the runner, authenticated by its own token."""
    profile = await authenticate_runner(app_state, request, await read_fields(request))
    await app_state.bus.send(DeleteRunner(runner_uuid=profile.runner_uuid), actor=actor_from_profile(profile))
    return Response(status_code=204)


async def reset_token(app_state: AppState, request: Request) -> Response:
    """Replace a runner's token, authenticated by the current one."""
    profile = await authenticate_runner(app_state, request, await read_fields(request))
    answer = await app_state.bus.send(
        ResetRunnerToken(runner_uuid=profile.runner_uuid), actor=actor_from_profile(profile)
    )
    registration = RunnerRegistration.model_validate_json(answer)
    return _identity_response(registration.id, registration.token, registration.token_expires_at, 201)


async def reset_token_as_admin(app_state: AppState, request: Request) -> Response:
    """Replace a runner's token, authenticated by an administrator's token, in case the runner's token is lost."""
    sent = {b"authorization": b"token " + dict(request.scope["headers"]).get(b"private-token", b"")}
    try:
        actor = await app_state.authenticator.authenticate(sent, Role.ADMIN, TokenScope.RUNNER_WRITE)
    except RequestRejected as rejection:
        if rejection.failure.status == 401:
            raise RequestRejected("FORBIDDEN", rejection.detail) from None  # runners expect 403, not 401
        raise
    view = await app_state.bus.query(GetRunner(runner_id=request.path_params["runner_id"]), actor=actor)
    uuid = RunnerView.model_validate_json(view).uuid
    answer = await app_state.bus.send(ResetRunnerToken(runner_uuid=uuid), actor=actor)
    registration = RunnerRegistration.model_validate_json(answer)
    return _identity_response(registration.id, registration.token, registration.token_expires_at, 201)


async def unregister_machine(app_state: AppState, request: Request) -> Response:
    """Respond 204 if a machine that shares a runner's token unregisters. Machines are not stored; the runner stays."""
    await authenticate_runner(app_state, request, await read_fields(request))
    return Response(status_code=204)


async def append_trace(app_state: AppState, request: Request) -> Response:
    """Append to a job's log at the start of Content-Range.

    The end of the range is ignored, because runners compute it differently.
    """
    headers = dict(request.scope["headers"])
    content_range = CONTENT_RANGE.match(headers.get(b"content-range", b"").decode("latin-1"))
    if not content_range:
        raise RequestRejected("REQUEST_MALFORMED", "Content-Range is missing or does not have the form <start>-<end>.")
    token, start = read_header(headers, b"job-token"), int(content_range[1])
    log = await read_body(request.receive, MAX_TRACE_BYTES)
    for position in range(0, len(log) or 1, CHUNK_BYTES):
        command = validate(
            AppendTrace,
            job_id=request.path_params["job_id"],
            token=token,
            offset=start + position,
            content=base64.b64encode(log[position : position + CHUNK_BYTES]),
        )
        try:
            state = TraceState.model_validate_json(await app_state.bus.send(command))
        except RequestRejected as rejection:
            if rejection.code != "LOG_RANGE":
                raise
            return Response(status_code=416, headers={"Job-Status": "running", "Range": f"0-{rejection.detail}"})
        if not state.accepted:
            return _finished_response(state)
    return Response(
        status_code=202,
        headers={
            "Job-Status": state.job_status,
            "Range": f"0-{state.length}",
            "X-GitLab-Trace-Update-Interval": TRACE_UPDATE_SECONDS,
        },
    )


async def report_job(app_state: AppState, request: Request) -> Response:
    """Handle `PUT /jobs/{id}`: record a job's state, with checksum and size of its log."""
    sent = await read_fields(request)
    job_state = _read_text(sent, "state")
    if job_state not in JOB_STATES:
        raise RequestRejected("REQUEST_MALFORMED", f"state must be one of {', '.join(sorted(JOB_STATES))}.")
    output = sent.get("output")
    output = output if isinstance(output, dict) else {}
    command = validate(
        ReportJob,
        job_id=request.path_params["job_id"],
        token=read_header(dict(request.scope["headers"]), b"job-token") or _read_text(sent, "token"),
        state=job_state,
        exit_code=_read_integer(sent, "exit_code"),
        failure_reason=_read_failure_reason(sent),
        checksum=_read_text(output, "checksum") or _read_text(sent, "checksum") or None,
        bytesize=_read_integer(output, "bytesize"),
    )
    state = TraceState.model_validate_json(await app_state.bus.send(command))
    if not state.accepted:
        return _finished_response(state)
    return PlainTextResponse("200", headers={"Job-Status": state.job_status})


def _finished_response(state: TraceState) -> Response:
    headers = {"Job-Status": state.job_status}
    return JSONResponse({"message": "The job is finished or no longer assigned to this runner."}, 403, headers=headers)


def _identity_response(id_: int, token: str, expires_at: datetime | None, status: int) -> Response:
    """Build the response with the runner's id and token. The expiry is in RFC 3339 with seconds, as runners expect."""
    expires = expires_at and expires_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return JSONResponse({"id": id_, "token": token, "token_expires_at": expires}, status)


async def read_fields(request: Request) -> RequestFields:
    """Read the body, JSON or a form; a form field sent several times becomes a list. Raises REQUEST_MALFORMED."""
    headers = dict(request.scope["headers"])
    raw = await read_body(request.receive)
    if b"x-www-form-urlencoded" in headers.get(b"content-type", b"").lower():
        try:
            form = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise RequestRejected("REQUEST_MALFORMED", "The form has too many fields.") from None
        return {name.removesuffix("[]"): values if len(values) > 1 else values[0] for name, values in form.items()}
    return parse_object(raw)


async def authenticate_runner(app_state: AppState, request: Request, sent: RequestFields) -> RunnerProfile:
    """Return the profile of the request's runner and record the contact. Raises RUNNER_TOKEN for an unknown token."""
    address = client_ip(request.scope, app_state.settings.trusted_proxies)
    command = validate(
        AuthenticateRunner, token=read_runner_token(request, sent), ip_address=address, info=parse_runner_info(sent)
    )
    return RunnerProfile.model_validate_json(await app_state.bus.send(command))


def actor_from_profile(profile: RunnerProfile) -> Actor:
    return runner_actor(profile.name)


def read_runner_token(request: Request, sent: RequestFields) -> str:
    return read_header(dict(request.scope["headers"]), b"runner-token") or _read_text(sent, "token")


def read_header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def parse_runner_info(sent: RequestFields) -> RunnerInfo | None:
    return RunnerInfo.model_validate(sent["info"]) if isinstance(sent.get("info"), dict) else None


def validate(message: type[M], **fields: Any) -> M:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        first_error = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise RequestRejected(
            "REQUEST_INVALID", f"{'.'.join(map(str, first_error['loc']))}: {first_error['msg']}"
        ) from None


def _read_text(sent: RequestFields, name: str) -> str:
    value = sent.get(name)
    return value if isinstance(value, str) else ""


def _read_flag(sent: RequestFields, name: str, *, default: bool) -> bool:
    match sent.get(name):
        case bool() as value:
            return value
        case str() as value if value:
            return value.strip().lower() in {"true", "1", "yes"}
        case _:
            return default


def _read_integer(sent: RequestFields, name: str) -> int | None:
    match sent.get(name):
        case None | "" | bool():
            return None
        case str() as value if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 19:
            return int(value)
        case int() as value if abs(value) <= MAX_INTEGER:
            return value
        case _:
            raise RequestRejected("REQUEST_INVALID", f"{name} must be a whole number.")


def _read_failure_reason(sent: RequestFields) -> str:
    """Return the failure reason, or `unknown_failure` if it is not a plain identifier, because mails show it."""
    reason = _read_text(sent, "failure_reason")
    return reason if not reason or FAILURE_REASON.fullmatch(reason) else "unknown_failure"


def _read_access_level(sent: RequestFields) -> str:
    level = sent.get("access_level") or "not_protected"
    if level not in ("not_protected", "ref_protected"):
        raise RequestRejected("REQUEST_INVALID", "access_level must be not_protected or ref_protected.")
    return str(level)


def _read_tags(sent: RequestFields) -> tuple[str, ...]:
    """Return the tags without duplicates. `tag_list` is a list or a comma-separated string."""
    value = sent.get("tag_list")
    parts = value if isinstance(value, list) else [value or ""]
    if not all(isinstance(part, str) for part in parts):
        raise RequestRejected("REQUEST_INVALID", "tag_list must be a list of strings, or a string separated by commas.")
    tags = (tag.strip() for part in parts for tag in part.split(","))
    return tuple(dict.fromkeys(tag for tag in tags if tag))
