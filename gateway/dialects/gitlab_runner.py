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
from contracts.errors import Refused
from contracts.identity import TokenScope
from contracts.messages import Message
from contracts.runners import (
    DeleteRunner,
    GetRunner,
    RegisterRunner,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
    TouchRunner,
)
from gateway.asked import World
from gateway.auth import Role
from gateway.bodies import json_object, read_body
from gateway.peers import client_address
from libs.deciding import Actor, runner_called

TRACE_LARGEST = 8 * 1024 * 1024
PIECE = 512 * 1024  # a message on the bus holds 1 MiB where nobody raised the limit, and base64 adds a third
RANGE = re.compile(r"(?:bytes )?(\d{1,18})-\d*")
REASON = re.compile(r"[a-z0-9_]{1,64}")
STATES = frozenset(get_args(ReportJob.model_fields["state"].annotation))
UPDATE_SECONDS = "1"
LARGEST_NUMBER = 2**63 - 1

Members = Mapping[str, Any]
M = TypeVar("M", bound=Message)


async def register(world: World, scope: Scope, receive: Receive) -> Response:
    answer = await registered(world, scope, await members(scope, receive))
    return _identity(answer.id, answer.token, answer.token_expires_at, 201)


async def registered(world: World, scope: Scope, sent: Members) -> RunnerRegistration:
    command = valid(
        RegisterRunner,
        registration_token=_word(sent, "token"),
        name=_word(sent, "name")[:255],
        description=_word(sent, "description"),
        tags=_tags(sent),
        run_untagged=_flag(sent, "run_untagged", default=True),
        locked=_flag(sent, "locked", default=False),
        protected=_access(sent) == "ref_protected",
        # `active` before GitLab's runner 15.0, `paused` since
        active=_flag(sent, "active", default=True) and not _flag(sent, "paused", default=False),
        max_timeout_seconds=_number(sent, "maximum_timeout") or None,
        info=info_of(sent) or RunnerInfo(),
        ip_address=client_address(scope, world.settings.trusted_proxies),
    )
    return RunnerRegistration.model_validate_json(await world.caller.tell(command))


async def verify(world: World, scope: Scope, receive: Receive) -> Response:
    sent = await members(scope, receive)
    profile = await touch(world, scope, sent)
    return _identity(profile.runner_id, runner_token(scope, sent), None, 200)


async def unregister(world: World, scope: Scope, receive: Receive) -> Response:
    profile = await touch(world, scope, await members(scope, receive))
    await world.caller.tell(DeleteRunner(runner_uuid=profile.runner_uuid), actor=actor_of(profile))
    return Response(status_code=204)


async def reset_token(world: World, scope: Scope, receive: Receive) -> Response:
    profile = await touch(world, scope, await members(scope, receive))
    told = await world.caller.tell(ResetRunnerToken(runner_uuid=profile.runner_uuid), actor=actor_of(profile))
    answer = RunnerRegistration.model_validate_json(told)
    return _identity(answer.id, answer.token, answer.token_expires_at, 201)


async def reset_token_of(world: World, scope: Scope, _receive: Receive) -> Response:
    """With an administrator's token instead of the runner's own, which may be lost."""
    sent = {b"authorization": b"token " + dict(scope["headers"]).get(b"private-token", b"")}
    try:
        actor = await world.doorkeeper.admit(sent, Role.ADMIN, TokenScope.RUNNER_WRITE)
    except Refused as refused:
        if refused.failure.status == 401:
            raise Refused("FORBIDDEN", refused.detail) from None  # runners know no other refusal
        raise
    found = await world.caller.ask(GetRunner(runner_id=scope["path_params"]["runner_id"]), actor=actor)
    uuid = RunnerView.model_validate_json(found).uuid
    told = await world.caller.tell(ResetRunnerToken(runner_uuid=uuid), actor=actor)
    answer = RunnerRegistration.model_validate_json(told)
    return _identity(answer.id, answer.token, answer.token_expires_at, 201)


async def leave_machine(world: World, scope: Scope, receive: Receive) -> Response:
    """One of the machines that share a token is gone: nothing is kept of it, and the runner stays."""
    await touch(world, scope, await members(scope, receive))
    return Response(status_code=204)


async def append_trace(world: World, scope: Scope, receive: Receive) -> Response:
    """Only the start of the range counts: runners do not agree on what its end means."""
    headers = dict(scope["headers"])
    found = RANGE.match(headers.get(b"content-range", b"").decode("latin-1"))
    if not found:
        raise Refused("REQUEST_MALFORMED", "Content-Range is missing, or is not <start>-<end>.")
    token, start = header(headers, b"job-token"), int(found[1])
    log = await read_body(receive, TRACE_LARGEST)
    for place in range(0, len(log) or 1, PIECE):
        command = valid(
            AppendTrace,
            job_id=scope["path_params"]["job_id"],
            token=token,
            offset=start + place,
            content=base64.b64encode(log[place : place + PIECE]),
        )
        try:
            state = TraceState.model_validate_json(await world.caller.tell(command))
        except Refused as refused:
            if refused.code != "LOG_RANGE":
                raise
            return Response(status_code=416, headers={"Job-Status": "running", "Range": f"0-{refused.detail}"})
        if not state.accepted:
            return _over(state)
    return Response(
        status_code=202,
        headers={
            "Job-Status": state.job_status,
            "Range": f"0-{state.length}",
            "X-GitLab-Trace-Update-Interval": UPDATE_SECONDS,
        },
    )


async def report(world: World, scope: Scope, receive: Receive) -> Response:
    sent = await members(scope, receive)
    state_sent = _word(sent, "state")
    if state_sent not in STATES:
        raise Refused("REQUEST_MALFORMED", f"state is one of {', '.join(sorted(STATES))}.")
    output = sent.get("output")
    output = output if isinstance(output, dict) else {}
    command = valid(
        ReportJob,
        job_id=scope["path_params"]["job_id"],
        token=header(dict(scope["headers"]), b"job-token") or _word(sent, "token"),
        state=state_sent,
        exit_code=_number(sent, "exit_code"),
        failure_reason=_reason(sent),
        checksum=_word(output, "checksum") or _word(sent, "checksum") or None,
        bytesize=_number(output, "bytesize"),
    )
    state = TraceState.model_validate_json(await world.caller.tell(command))
    if not state.accepted:
        return _over(state)
    return PlainTextResponse("200", headers={"Job-Status": state.job_status})


def _over(state: TraceState) -> Response:
    headers = {"Job-Status": state.job_status}
    return JSONResponse({"message": "The job is over for this token."}, 403, headers=headers)


def _identity(id_: int, token: str, expires_at: datetime | None, status: int) -> Response:
    """Runners read RFC 3339 with seconds."""
    expires = expires_at and expires_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return JSONResponse({"id": id_, "token": token, "token_expires_at": expires}, status)


# ---- what every call of a runner has


async def members(scope: Scope, receive: Receive) -> Members:
    """The body, JSON or a form; of a form a field that comes several times is a list."""
    headers = dict(scope["headers"])
    raw = await read_body(receive)
    if b"x-www-form-urlencoded" in headers.get(b"content-type", b"").lower():
        try:
            form = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise Refused("REQUEST_MALFORMED", "The form has too many fields.") from None
        return {name.removesuffix("[]"): values if len(values) > 1 else values[0] for name, values in form.items()}
    return json_object(raw) if raw.strip() else {}


async def touch(world: World, scope: Scope, sent: Members) -> RunnerProfile:
    """A sign of life; also checks the token."""
    address = client_address(scope, world.settings.trusted_proxies)
    command = valid(TouchRunner, token=runner_token(scope, sent), ip_address=address, info=info_of(sent))
    return RunnerProfile.model_validate_json(await world.caller.tell(command))


def actor_of(profile: RunnerProfile) -> Actor:
    return runner_called(profile.name)


def runner_token(scope: Scope, sent: Members) -> str:
    return header(dict(scope["headers"]), b"runner-token") or _word(sent, "token")


def header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def info_of(sent: Members) -> RunnerInfo | None:
    return RunnerInfo.model_validate(sent["info"]) if isinstance(sent.get("info"), dict) else None


def valid(message: type[M], **fields: Any) -> M:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Refused("REQUEST_INVALID", f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def _word(sent: Members, name: str) -> str:
    value = sent.get(name)
    return value if isinstance(value, str) else ""


def _flag(sent: Members, name: str, *, default: bool) -> bool:
    match sent.get(name):
        case bool() as value:
            return value
        case str() as value if value:
            return value.strip().lower() in {"true", "1", "yes"}
        case _:
            return default


def _number(sent: Members, name: str) -> int | None:
    match sent.get(name):
        case None | "" | bool():
            return None
        case str() as value if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 19:
            return int(value)
        case int() as value if abs(value) <= LARGEST_NUMBER:
            return value
        case _:
            raise Refused("REQUEST_INVALID", f"{name} is a whole number.")


def _reason(sent: Members) -> str:
    """A word; whatever else a runner says is not for events and mails."""
    reason = _word(sent, "failure_reason")
    return reason if not reason or REASON.fullmatch(reason) else "unknown_failure"


def _access(sent: Members) -> str:
    level = sent.get("access_level") or "not_protected"
    if level not in ("not_protected", "ref_protected"):
        raise Refused("REQUEST_INVALID", "access_level is not_protected or ref_protected.")
    return str(level)


def _tags(sent: Members) -> tuple[str, ...]:
    """A list, or one text with commas; each tag once."""
    value = sent.get("tag_list")
    parts = value if isinstance(value, list) else [value or ""]
    if not all(isinstance(part, str) for part in parts):
        raise Refused("REQUEST_INVALID", "tag_list is a text with commas, or a list of texts.")
    words = (word.strip() for part in parts for word in part.split(","))
    return tuple(dict.fromkeys(word for word in words if word))
