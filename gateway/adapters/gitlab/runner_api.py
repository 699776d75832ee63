"""GitLab's runner protocol, except the wait for a job: registration, the log, the state."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope

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
from gateway.framework.request_body import json_object, read_body
from gateway.http.client_ip import client_ip
from libs.eventstore.decider import Actor, runner_actor

MAX_TRACE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 512 * 1024  # a message on the bus holds 1 MiB where nobody raised the limit, and base64 adds a third
CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,18})-\d*")
FAILURE_REASON = re.compile(r"[a-z0-9_]{1,64}")
JOB_STATES = frozenset(get_args(ReportJob.model_fields["state"].annotation))
TRACE_UPDATE_SECONDS = "1"
MAX_INTEGER = 2**63 - 1

RequestFields = Mapping[str, Any]
M = TypeVar("M", bound=Message)


async def register_runner(world: AppState, scope: Scope, receive: Receive) -> Response:
    answer = await send_registration(world, scope, await read_fields(scope, receive))
    return _identity_response(answer.id, answer.token, answer.token_expires_at, 201)


async def send_registration(world: AppState, scope: Scope, sent: RequestFields) -> RunnerRegistration:
    command = validate(
        RegisterRunner,
        registration_token=_read_text(sent, "token"),
        name=_read_text(sent, "name")[:255],
        description=_read_text(sent, "description"),
        tags=_read_tags(sent),
        run_untagged=_read_flag(sent, "run_untagged", default=True),
        locked=_read_flag(sent, "locked", default=False),
        protected=_read_access_level(sent) == "ref_protected",
        # `active` before GitLab's runner 15.0, `paused` since
        active=_read_flag(sent, "active", default=True) and not _read_flag(sent, "paused", default=False),
        max_timeout_seconds=_read_integer(sent, "maximum_timeout") or None,
        info=parse_runner_info(sent) or RunnerInfo(),
        ip_address=client_ip(scope, world.settings.trusted_proxies),
    )
    return RunnerRegistration.model_validate_json(await world.bus.send(command))


async def verify_runner(world: AppState, scope: Scope, receive: Receive) -> Response:
    sent = await read_fields(scope, receive)
    profile = await authenticate_runner(world, scope, sent)
    return _identity_response(profile.runner_id, read_runner_token(scope, sent), None, 200)


async def unregister_runner(world: AppState, scope: Scope, receive: Receive) -> Response:
    profile = await authenticate_runner(world, scope, await read_fields(scope, receive))
    await world.bus.send(DeleteRunner(runner_uuid=profile.runner_uuid), actor=actor_from_profile(profile))
    return Response(status_code=204)


async def reset_token(world: AppState, scope: Scope, receive: Receive) -> Response:
    profile = await authenticate_runner(world, scope, await read_fields(scope, receive))
    told = await world.bus.send(ResetRunnerToken(runner_uuid=profile.runner_uuid), actor=actor_from_profile(profile))
    answer = RunnerRegistration.model_validate_json(told)
    return _identity_response(answer.id, answer.token, answer.token_expires_at, 201)


async def reset_token_as_admin(world: AppState, scope: Scope, _receive: Receive) -> Response:
    """With an administrator's token instead of the runner's own, which may be lost."""
    sent = {b"authorization": b"token " + dict(scope["headers"]).get(b"private-token", b"")}
    try:
        actor = await world.authenticator.authenticate(sent, Role.ADMIN, TokenScope.RUNNER_WRITE)
    except RequestRejected as refused:
        if refused.failure.status == 401:
            raise RequestRejected("FORBIDDEN", refused.detail) from None  # runners know no other refusal
        raise
    found = await world.bus.query(GetRunner(runner_id=scope["path_params"]["runner_id"]), actor=actor)
    uuid = RunnerView.model_validate_json(found).uuid
    told = await world.bus.send(ResetRunnerToken(runner_uuid=uuid), actor=actor)
    answer = RunnerRegistration.model_validate_json(told)
    return _identity_response(answer.id, answer.token, answer.token_expires_at, 201)


async def unregister_machine(world: AppState, scope: Scope, receive: Receive) -> Response:
    """One of the machines that share a token is gone: nothing is kept of it, and the runner stays."""
    await authenticate_runner(world, scope, await read_fields(scope, receive))
    return Response(status_code=204)


async def append_trace(world: AppState, scope: Scope, receive: Receive) -> Response:
    """Only the start of the range counts: runners do not agree on what its end means."""
    headers = dict(scope["headers"])
    found = CONTENT_RANGE.match(headers.get(b"content-range", b"").decode("latin-1"))
    if not found:
        raise RequestRejected("REQUEST_MALFORMED", "Content-Range is missing, or is not <start>-<end>.")
    token, start = read_header(headers, b"job-token"), int(found[1])
    log = await read_body(receive, MAX_TRACE_BYTES)
    for place in range(0, len(log) or 1, CHUNK_BYTES):
        command = validate(
            AppendTrace,
            job_id=scope["path_params"]["job_id"],
            token=token,
            offset=start + place,
            content=base64.b64encode(log[place : place + CHUNK_BYTES]),
        )
        try:
            state = TraceState.model_validate_json(await world.bus.send(command))
        except RequestRejected as refused:
            if refused.code != "LOG_RANGE":
                raise
            return Response(status_code=416, headers={"Job-Status": "running", "Range": f"0-{refused.detail}"})
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


async def report_job(world: AppState, scope: Scope, receive: Receive) -> Response:
    sent = await read_fields(scope, receive)
    state_sent = _read_text(sent, "state")
    if state_sent not in JOB_STATES:
        raise RequestRejected("REQUEST_MALFORMED", f"state is one of {', '.join(sorted(JOB_STATES))}.")
    output = sent.get("output")
    output = output if isinstance(output, dict) else {}
    command = validate(
        ReportJob,
        job_id=scope["path_params"]["job_id"],
        token=read_header(dict(scope["headers"]), b"job-token") or _read_text(sent, "token"),
        state=state_sent,
        exit_code=_read_integer(sent, "exit_code"),
        failure_reason=_read_failure_reason(sent),
        checksum=_read_text(output, "checksum") or _read_text(sent, "checksum") or None,
        bytesize=_read_integer(output, "bytesize"),
    )
    state = TraceState.model_validate_json(await world.bus.send(command))
    if not state.accepted:
        return _finished_response(state)
    return PlainTextResponse("200", headers={"Job-Status": state.job_status})


def _finished_response(state: TraceState) -> Response:
    headers = {"Job-Status": state.job_status}
    return JSONResponse({"message": "The job is over for this token."}, 403, headers=headers)


def _identity_response(id_: int, token: str, expires_at: datetime | None, status: int) -> Response:
    """Runners read RFC 3339 with seconds."""
    expires = expires_at and expires_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return JSONResponse({"id": id_, "token": token, "token_expires_at": expires}, status)


# ---- what every call of a runner has


async def read_fields(scope: Scope, receive: Receive) -> RequestFields:
    """The body, JSON or a form; of a form a field that comes several times is a list."""
    headers = dict(scope["headers"])
    raw = await read_body(receive)
    if b"x-www-form-urlencoded" in headers.get(b"content-type", b"").lower():
        try:
            form = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise RequestRejected("REQUEST_MALFORMED", "The form has too many fields.") from None
        return {name.removesuffix("[]"): values if len(values) > 1 else values[0] for name, values in form.items()}
    return json_object(raw) if raw.strip() else {}


async def authenticate_runner(world: AppState, scope: Scope, sent: RequestFields) -> RunnerProfile:
    """A sign of life; also checks the token."""
    address = client_ip(scope, world.settings.trusted_proxies)
    command = validate(
        AuthenticateRunner, token=read_runner_token(scope, sent), ip_address=address, info=parse_runner_info(sent)
    )
    return RunnerProfile.model_validate_json(await world.bus.send(command))


def actor_from_profile(profile: RunnerProfile) -> Actor:
    return runner_actor(profile.name)


def read_runner_token(scope: Scope, sent: RequestFields) -> str:
    return read_header(dict(scope["headers"]), b"runner-token") or _read_text(sent, "token")


def read_header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def parse_runner_info(sent: RequestFields) -> RunnerInfo | None:
    return RunnerInfo.model_validate(sent["info"]) if isinstance(sent.get("info"), dict) else None


def validate(message: type[M], **fields: Any) -> M:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise RequestRejected("REQUEST_INVALID", f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


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
            raise RequestRejected("REQUEST_INVALID", f"{name} is a whole number.")


def _read_failure_reason(sent: RequestFields) -> str:
    """A word; whatever else a runner says is not for events and mails."""
    reason = _read_text(sent, "failure_reason")
    return reason if not reason or FAILURE_REASON.fullmatch(reason) else "unknown_failure"


def _read_access_level(sent: RequestFields) -> str:
    level = sent.get("access_level") or "not_protected"
    if level not in ("not_protected", "ref_protected"):
        raise RequestRejected("REQUEST_INVALID", "access_level is not_protected or ref_protected.")
    return str(level)


def _read_tags(sent: RequestFields) -> tuple[str, ...]:
    """A list, or one text with commas; each tag once."""
    value = sent.get("tag_list")
    parts = value if isinstance(value, list) else [value or ""]
    if not all(isinstance(part, str) for part in parts):
        raise RequestRejected("REQUEST_INVALID", "tag_list is a text with commas, or a list of texts.")
    words = (word.strip() for part in parts for word in part.split(","))
    return tuple(dict.fromkeys(word for word in words if word))
