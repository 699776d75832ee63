"""The service of the runners: registration, authentication of their calls, presence."""

from datetime import UTC, timedelta
from functools import partial
from uuid import UUID, uuid5

from contracts.errors import Refused
from contracts.messages import Done, Page
from contracts.runners import (
    GetRegistrationInfo,
    GetRunner,
    IssueRegistrationToken,
    ListRunners,
    MarkRunnerOnline,
    NoteRunnerInfo,
    NoticeRunner,
    RecordRunner,
    RecordRunnerToken,
    RegisterRunner,
    ResetRegistrationToken,
    ResetRunnerToken,
    RunnerDeleted,
    RunnerEdited,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerRow,
    RunnerShutDown,
    RunnerView,
    TouchRunner,
)
from libs.paging import bounds
from libs.patience import patient_until
from libs.security.tokens import token_hash
from libs.service import Context, Service, Ticker
from services.runners.domain import LONGEST_TEXT, owner, registration_stream, runner_stream, settings_of
from services.runners.measures import MEASURES
from services.runners.policies import dismiss, on_silence, workers
from services.runners.presence import Presence, keep_only, last_seen, sightings
from services.runners.registration import registration_info, with_new_token
from services.runners.views import profile, registrations, runners, view

NAMESPACE = UUID("6b1f1f0e-6a53-4c37-9d0e-0f6f2f5f7a11")
INFO_PAUSE = timedelta(minutes=5)
LOOKS = "presence_looks"
TOKEN_PREFIX = "hr-"  # noqa: S105  not "glrt-": with that prefix `gitlab-runner register` sends no settings


async def register(presence: Presence, ctx: Context, command: RegisterRunner) -> RunnerRegistration:
    """The runner's UUID and token follow from the command, so that a repeated registration meets the same runner."""
    registration = await ctx.rows("registration").one({"token_hash": token_hash(command.registration_token)})
    if registration is None:
        raise Refused("REGISTRATION_TOKEN")
    owner_type, owner_id = owner(registration.scope)
    uuid, token = str(uuid5(NAMESPACE, ctx.cause.command_id)), await ctx.new_token(TOKEN_PREFIX)
    name = (
        command.name.strip() or command.description.strip()[:LONGEST_TEXT] or command.info.name or f"runner {uuid[:8]}"
    )
    settings = settings_of(command).but(name=name)
    recorded = await ctx.tell(
        RecordRunner(
            runner_uuid=uuid,
            runner_id=await ctx.next_id("runner"),
            token_hash=token_hash(token),
            owner_type=owner_type,
            owner_id=owner_id,
            info=command.info,
            **dict(settings),
        )
    )
    if await ctx.rows("registration").get(registration_stream(registration.scope)) is None:
        # withdrawn meanwhile: whoever looked for the runners of the scope may have missed this one
        await dismiss(ctx, uuid)
        raise Refused("REGISTRATION_TOKEN")
    await presence.note(ctx, uuid, command.ip_address, None, at_once=True)
    return RunnerRegistration(id=recorded.row["id"], uuid=uuid, token=token)


async def reset_token(ctx: Context, command: ResetRunnerToken) -> RunnerRegistration:
    token = await ctx.new_token(TOKEN_PREFIX)
    recorded = await ctx.tell(RecordRunnerToken(runner_uuid=command.runner_uuid, token_hash=token_hash(token)))
    return RunnerRegistration(id=recorded.row["id"], uuid=command.runner_uuid, token=token)


async def touch(presence: Presence, ctx: Context, command: TouchRunner) -> RunnerProfile:
    """The row is read at each call: an edit or a deletion counts at once, whichever replica it went to."""
    row = await ctx.rows("runner").one({"token_hash": token_hash(command.token)})
    if row is None:
        raise Refused("RUNNER_TOKEN")
    return await seen(presence, ctx, row, command.ip_address, command.info)


async def notice(presence: Presence, ctx: Context, command: NoticeRunner) -> Done:
    """For other services, which get a Done for whatever they tell; nothing but the sighting may be written."""
    row = await found(ctx, runner_uuid=command.runner_uuid)
    shown = await seen(presence, ctx, row, command.ip_address, None)
    return Done(stream=runner_stream(row.uuid), version=0, row=shown.model_dump())


async def seen(
    presence: Presence, ctx: Context, row: RunnerRow, ip_address: str, info: RunnerInfo | None
) -> RunnerProfile:
    await presence.note(ctx, row.uuid, ip_address, info, at_once=not row.online)
    if not row.online:  # after the sighting: the watch must not find the runner online and unseen
        await ctx.tell(MarkRunnerOnline(runner_uuid=row.uuid))
    # once in a while: machines that share a token say something else with each call
    unknown = row.info == RunnerInfo()
    if info is not None and info != row.info and (unknown or ctx.cause.at - row.info_at >= INFO_PAUSE):
        await ctx.tell(NoteRunnerInfo(runner_uuid=row.uuid, info=info))
    return profile(row)


async def found(ctx: Context, *, runner_uuid: str = "", runner_id: int = 0) -> RunnerRow:
    rows = ctx.rows("runner")
    row: RunnerRow | None = await (rows.get(runner_stream(runner_uuid)) if runner_uuid else rows.one({"id": runner_id}))
    if row is None:
        raise Refused("RUNNER_NOT_FOUND")
    return row


async def get_runner(ctx: Context, query: GetRunner) -> RunnerView:
    row = await found(ctx, runner_uuid=query.runner_uuid, runner_id=query.runner_id)
    return view(row, (await sightings(ctx, [row.uuid])).get(row.uuid))


async def list_runners(ctx: Context, query: ListRunners) -> Page:
    """The last contact is in no row: the order is made here, of nothing but times; the page alone is read whole."""
    owned = {} if query.owner_type is None else {"owner_type": query.owner_type, "owner_id": query.owner_id}
    keys = await ctx.rows("runner").values(owned, "registered_at", "id", "uuid")
    seen = await last_seen(ctx)
    latest_first = sorted(
        ((seen.get(uuid) or at.replace(tzinfo=UTC), id_, uuid) for at, id_, uuid in keys), reverse=True
    )
    skip, limit = bounds(query)
    uuids = [uuid for _, _, uuid in latest_first[skip : skip + limit]]
    found = await ctx.rows("runner").find({"_id": {"$in": [runner_stream(uuid) for uuid in uuids]}})
    rows, when = {row.uuid: row for row in found}, await sightings(ctx, uuids)
    shown = (view(rows[uuid], when.get(uuid)) for uuid in uuids if uuid in rows)
    return Page(rows=tuple(one.model_dump(mode="json") for one in shown), total=len(keys))


async def watch(ctx: Context) -> None:
    """Other replicas may know of a call that is not written, but none older than a fraction of the patience."""
    patience = timedelta(seconds=ctx.settings.runner_offline_seconds)
    if ctx.clock.database_time() < await patient_until(ctx, LOOKS, patience):
        return
    online = await ctx.rows("runner").find({"online": True})
    when = await sightings(ctx, [row.uuid for row in online])
    for command in on_silence(online, when, ctx.clock.database_time(), patience):
        await ctx.tell(command, step=command.runner_uuid)


async def issue_service_token(ctx: Context) -> None:
    await ctx.tell(IssueRegistrationToken(scope="service"))


async def sweep(ctx: Context) -> None:
    """A deleted runner's address need not be kept. Should this hit a runner that is just coming: it calls again."""
    await keep_only(ctx, [uuid for (uuid,) in await ctx.rows("runner").values({}, "uuid")])


def declare() -> Service:
    presence = Presence()
    return Service(
        "runners",
        categories=(runners, registrations),
        public=True,
        hints=(RunnerEdited, RunnerShutDown, RunnerDeleted),  # a held request of the runner looks again at once
        prepare={IssueRegistrationToken: with_new_token, ResetRegistrationToken: with_new_token},
        answers={
            RegisterRunner: partial(register, presence),
            ResetRunnerToken: reset_token,
            TouchRunner: partial(touch, presence),
            NoticeRunner: partial(notice, presence),
            GetRunner: get_runner,
            ListRunners: list_runners,
            GetRegistrationInfo: registration_info,
        },
        workers=workers,
        measures=MEASURES,
        tickers=(Ticker("presence", 3.0, watch), Ticker("sweep", 600.0, sweep)),
        started=issue_service_token,
    )


service = declare()
