"""The service of the runners: registration, authentication of their calls, presence."""

from datetime import UTC, timedelta
from functools import partial
from uuid import UUID, uuid5

from contracts.errors import RequestRejected
from contracts.messages import CommandReply, Page
from contracts.runners import (
    AuthenticateRunner,
    GetRegistrationInfo,
    GetRunner,
    IssueRegistrationToken,
    ListRunners,
    MarkRunnerOnline,
    RecordRunner,
    RecordRunnerHeartbeat,
    RecordRunnerToken,
    RegisterRunner,
    ResetRegistrationToken,
    ResetRunnerToken,
    RunnerDeleted,
    RunnerEdited,
    RunnerInfo,
    RunnerPaused,
    RunnerProfile,
    RunnerRegistration,
    RunnerRow,
    RunnerView,
    UpdateRunnerInfo,
)
from libs.projections.paging import skip_and_limit
from libs.security.tokens import hash_token
from libs.service.declaration import Context, PeriodicTask, Service
from libs.service.outage_grace import compute_grace_deadline
from services.runners.domain.runner import (
    MAX_TEXT_LENGTH,
    extract_settings,
    parse_scope,
    registration_stream,
    runner_stream,
)
from services.runners.heartbeats import HeartbeatWriter, delete_others, load_last_contacts, load_last_seen_times
from services.runners.metrics import METRICS
from services.runners.policies import WORKERS, delete_runner, offline_commands
from services.runners.projections import registration_category, runner_category, to_profile, to_view
from services.runners.registration_tokens import get_registration_info, prepare_registration_token

RUNNER_NAMESPACE = UUID("6b1f1f0e-6a53-4c37-9d0e-0f6f2f5f7a11")
INFO_UPDATE_INTERVAL = timedelta(minutes=5)
SCANS_COLLECTION = "presence_looks"
TOKEN_PREFIX = "hr-"  # noqa: S105  not "glrt-": with that prefix `gitlab-runner register` sends no settings


async def register_runner(heartbeats: HeartbeatWriter, ctx: Context, command: RegisterRunner) -> RunnerRegistration:
    """The runner's UUID and token follow from the command, so that a repeated registration meets the same runner."""
    registration = await ctx.read_model("registration").find_one({"token_hash": hash_token(command.registration_token)})
    if registration is None:
        raise RequestRejected("REGISTRATION_TOKEN")
    owner_type, owner_id = parse_scope(registration.scope)
    uuid, token = str(uuid5(RUNNER_NAMESPACE, ctx.metadata.command_id)), await ctx.derive_token(TOKEN_PREFIX)
    name = (
        command.name.strip()
        or command.description.strip()[:MAX_TEXT_LENGTH]
        or command.info.name
        or f"runner {uuid[:8]}"
    )
    settings = extract_settings(command).replace(name=name)
    recorded = await ctx.send(
        RecordRunner(
            runner_uuid=uuid,
            runner_id=await ctx.next_id("runner"),
            token_hash=hash_token(token),
            owner_type=owner_type,
            owner_id=owner_id,
            info=command.info,
            **dict(settings),
        )
    )
    if await ctx.read_model("registration").get(registration_stream(registration.scope)) is None:
        # withdrawn meanwhile: whoever looked for the runners of the scope may have missed this one
        await delete_runner(ctx, uuid)
        raise RequestRejected("REGISTRATION_TOKEN")
    await heartbeats.record(ctx, uuid, command.ip_address, None, immediately=True)
    return RunnerRegistration(id=recorded.row["id"], uuid=uuid, token=token)


async def reset_runner_token(ctx: Context, command: ResetRunnerToken) -> RunnerRegistration:
    token = await ctx.derive_token(TOKEN_PREFIX)
    recorded = await ctx.send(RecordRunnerToken(runner_uuid=command.runner_uuid, token_hash=hash_token(token)))
    return RunnerRegistration(id=recorded.row["id"], uuid=command.runner_uuid, token=token)


async def authenticate_call(heartbeats: HeartbeatWriter, ctx: Context, command: AuthenticateRunner) -> RunnerProfile:
    """The row is read at each call: an edit or a deletion counts at once, whichever replica it went to."""
    row = await ctx.read_model("runner").find_one({"token_hash": hash_token(command.token)})
    if row is None:
        raise RequestRejected("RUNNER_TOKEN")
    return await _record_contact(heartbeats, ctx, row, command.ip_address, command.info)


async def record_heartbeat(heartbeats: HeartbeatWriter, ctx: Context, command: RecordRunnerHeartbeat) -> CommandReply:
    """For other services, which get a Done for whatever they tell; nothing but the sighting may be written."""
    row = await require_runner(ctx, runner_uuid=command.runner_uuid)
    shown = await _record_contact(heartbeats, ctx, row, command.ip_address, None)
    return CommandReply(stream=runner_stream(row.uuid), version=0, row=shown.model_dump())


async def _record_contact(
    heartbeats: HeartbeatWriter, ctx: Context, row: RunnerRow, ip_address: str, info: RunnerInfo | None
) -> RunnerProfile:
    await heartbeats.record(ctx, row.uuid, ip_address, info, immediately=not row.online)
    if not row.online:  # after the sighting: the watch must not find the runner online and unseen
        await ctx.send(MarkRunnerOnline(runner_uuid=row.uuid))
    # once in a while: machines that share a token say something else with each call
    unknown = row.info == RunnerInfo()
    if info is not None and info != row.info and (unknown or ctx.metadata.at - row.info_at >= INFO_UPDATE_INTERVAL):
        await ctx.send(UpdateRunnerInfo(runner_uuid=row.uuid, info=info))
    return to_profile(row)


async def require_runner(ctx: Context, *, runner_uuid: str = "", runner_id: int = 0) -> RunnerRow:
    rows = ctx.read_model("runner")
    row: RunnerRow | None = await (
        rows.get(runner_stream(runner_uuid)) if runner_uuid else rows.find_one({"id": runner_id})
    )
    if row is None:
        raise RequestRejected("RUNNER_NOT_FOUND")
    return row


async def get_runner(ctx: Context, query: GetRunner) -> RunnerView:
    row = await require_runner(ctx, runner_uuid=query.runner_uuid, runner_id=query.runner_id)
    return to_view(row, (await load_last_contacts(ctx, [row.uuid])).get(row.uuid))


async def list_runners(ctx: Context, query: ListRunners) -> Page:
    """The last contact is in no row: the order is made here, of nothing but times; the page alone is read whole."""
    owned = {} if query.owner_type is None else {"owner_type": query.owner_type, "owner_id": query.owner_id}
    keys = await ctx.read_model("runner").find_values(owned, "registered_at", "id", "uuid")
    seen = await load_last_seen_times(ctx)
    latest_first = sorted(
        ((seen.get(uuid) or at.replace(tzinfo=UTC), id_, uuid) for at, id_, uuid in keys), reverse=True
    )
    skip, limit = skip_and_limit(query)
    uuids = [uuid for _, _, uuid in latest_first[skip : skip + limit]]
    found = await ctx.read_model("runner").find({"_id": {"$in": [runner_stream(uuid) for uuid in uuids]}})
    rows, when = {row.uuid: row for row in found}, await load_last_contacts(ctx, uuids)
    shown = (to_view(rows[uuid], when.get(uuid)) for uuid in uuids if uuid in rows)
    return Page(rows=tuple(one.model_dump(mode="json") for one in shown), total=len(keys))


async def detect_offline(ctx: Context) -> None:
    """Other replicas may know of a call that is not written, but none older than a fraction of the patience."""
    patience = timedelta(seconds=ctx.settings.runner_offline_seconds)
    if ctx.clock.database_time() < await compute_grace_deadline(ctx, SCANS_COLLECTION, patience):
        return
    online = await ctx.read_model("runner").find({"online": True})
    when = await load_last_contacts(ctx, [row.uuid for row in online])
    for command in offline_commands(online, when, ctx.clock.database_time(), patience):
        await ctx.send(command, step=command.runner_uuid)


async def issue_service_token(ctx: Context) -> None:
    await ctx.send(IssueRegistrationToken(scope="service"))


async def purge_heartbeats(ctx: Context) -> None:
    """A deleted runner's address need not be kept. Should this hit a runner that is just coming: it calls again."""
    await delete_others(ctx, [uuid for (uuid,) in await ctx.read_model("runner").find_values({}, "uuid")])


def create_service() -> Service:
    presence = HeartbeatWriter()
    return Service(
        "runners",
        categories=(runner_category, registration_category),
        is_public=True,
        hinted_events=(RunnerEdited, RunnerPaused, RunnerDeleted),  # a held request of the runner looks again at once
        enrichers={
            IssueRegistrationToken: prepare_registration_token,
            ResetRegistrationToken: prepare_registration_token,
        },
        handlers={
            RegisterRunner: partial(register_runner, presence),
            ResetRunnerToken: reset_runner_token,
            AuthenticateRunner: partial(authenticate_call, presence),
            RecordRunnerHeartbeat: partial(record_heartbeat, presence),
            GetRunner: get_runner,
            ListRunners: list_runners,
            GetRegistrationInfo: get_registration_info,
        },
        workers=WORKERS,
        metrics=METRICS,
        periodic_tasks=(PeriodicTask("presence", 3.0, detect_offline), PeriodicTask("sweep", 600.0, purge_heartbeats)),
        on_start=issue_service_token,
    )


service = create_service()
