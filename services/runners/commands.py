"""Commands of runners: registration, token reset, authentication and heartbeat."""

from datetime import timedelta
from uuid import UUID, uuid5

from contracts.errors import RequestRejected
from contracts.messages import CommandReply
from contracts.runners import (
    AuthenticateRunner,
    RecordRunnerHeartbeat,
    RegisterRunner,
    RegistrationRow,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerRow,
)
from libs.eventstore.repository import CommandResult
from libs.security.tokens import hash_token
from libs.service.declaration import Context
from services.runners.domain.internal_commands import AddRunner, MarkRunnerOnline, SetRunnerToken, UpdateRunnerInfo
from services.runners.domain.registration import parse_scope, registration_stream
from services.runners.domain.runner import MAX_TEXT_LENGTH, extract_settings, runner_stream
from services.runners.heartbeats import HeartbeatWriter
from services.runners.queries import require_runner
from services.runners.views import to_profile
from services.runners.workers import delete_runner

RUNNER_NAMESPACE = UUID("6b1f1f0e-6a53-4c37-9d0e-0f6f2f5f7a11")


INFO_UPDATE_INTERVAL = timedelta(minutes=5)
TOKEN_PREFIX = "hr-"  # noqa: S105  not "glrt-": with that prefix `gitlab-runner register` sends no settings


async def prepare_registration(ctx: Context, command: RegisterRunner) -> AddRunner:
    """Authenticate a registration and find the owner of the runner.

    The UUID and the token of the runner are derived from the command id, so that a repeated registration returns the
    same runner. Raises RequestRejected with REGISTRATION_TOKEN for an unknown token.
    """
    registration = await ctx.read_model(RegistrationRow).find_one(
        {"token_hash": hash_token(command.registration_token)}
    )
    if registration is None:
        raise RequestRejected("REGISTRATION_TOKEN")
    owner_type, owner_id = parse_scope(registration.scope)
    uuid = str(uuid5(RUNNER_NAMESPACE, ctx.metadata.command_id))
    name = (
        command.name.strip()
        or command.description.strip()[:MAX_TEXT_LENGTH]
        or command.info.name
        or f"runner {uuid[:8]}"
    )
    return AddRunner(
        runner_uuid=uuid,
        runner_id=await ctx.next_id("runner"),
        token_hash=hash_token(await ctx.derive_token(TOKEN_PREFIX)),
        owner_type=owner_type,
        owner_id=owner_id,
        settings=extract_settings(command).replace(name=name),
        info=command.info,
    )


async def finish_registration(
    heartbeats: HeartbeatWriter, ctx: Context, command: RegisterRunner, result: CommandResult[RunnerRow]
) -> RunnerRegistration:
    """Record the first heartbeat of the runner, and return its token.

    If the registration token was withdrawn concurrently, the deletion of its scope may have missed the runner: delete
    the runner and raise RequestRejected with REGISTRATION_TOKEN.
    """
    runner = result.row
    scope = "service" if runner.owner_id is None else f"{runner.owner_type.lower()}-{runner.owner_id}"
    if await ctx.read_model(RegistrationRow).get(registration_stream(scope)) is None:
        await delete_runner(ctx, runner.uuid)
        raise RequestRejected("REGISTRATION_TOKEN")
    await heartbeats.record(ctx, runner.uuid, command.ip_address, None, immediately=True)
    return await show_runner_token(ctx, command, result)


async def prepare_token_reset(ctx: Context, command: ResetRunnerToken) -> SetRunnerToken:
    """Derive the new token of a runner from the command id."""
    return SetRunnerToken(command.runner_uuid, hash_token(await ctx.derive_token(TOKEN_PREFIX)))


async def show_runner_token(
    ctx: Context, _command: RegisterRunner | ResetRunnerToken, result: CommandResult[RunnerRow]
) -> RunnerRegistration:
    """Return the runner with the token that the command gave it."""
    return RunnerRegistration(id=result.row.id, uuid=result.row.uuid, token=await ctx.derive_token(TOKEN_PREFIX))


async def authenticate_runner(heartbeats: HeartbeatWriter, ctx: Context, command: AuthenticateRunner) -> RunnerProfile:
    """Authenticate a call of a runner and record its heartbeat.

    The row is read at each call, so that an edit or a deletion on another replica takes effect at once. Raises
    RequestRejected with RUNNER_TOKEN for an unknown token.
    """
    row = await ctx.read_model(RunnerRow).find_one({"token_hash": hash_token(command.token)})
    if row is None:
        raise RequestRejected("RUNNER_TOKEN")
    return await _record_contact(heartbeats, ctx, row, command.ip_address, command.info)


async def record_runner_heartbeat(
    heartbeats: HeartbeatWriter, ctx: Context, command: RecordRunnerHeartbeat
) -> CommandReply:
    """Record a heartbeat reported by another service. The row of the reply is the profile of the runner.

    Raises RequestRejected with RUNNER_NOT_FOUND.
    """
    row = await require_runner(ctx, runner_uuid=command.runner_uuid)
    profile = await _record_contact(heartbeats, ctx, row, command.ip_address, None)
    return CommandReply(stream=runner_stream(row.uuid), version=0, row=profile.model_dump())


async def _record_contact(
    heartbeats: HeartbeatWriter, ctx: Context, row: RunnerRow, ip_address: str, info: RunnerInfo | None
) -> RunnerProfile:
    """Record the heartbeat, set the runner online and update its info, then return its profile."""
    await heartbeats.record(ctx, row.uuid, ip_address, info, immediately=not row.online)
    if not row.online:  # only after the heartbeat: otherwise `detect_offline` could set the runner offline again
        await ctx.send(MarkRunnerOnline(runner_uuid=row.uuid))
    # rate limited: machines that share a token report different values at each call
    is_due = row.info == RunnerInfo() or ctx.metadata.at - row.info_at >= INFO_UPDATE_INTERVAL
    if info is not None and info != row.info and is_due:
        await ctx.send(UpdateRunnerInfo(runner_uuid=row.uuid, info=info))
    return to_profile(row)
