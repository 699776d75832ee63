"""The worker that adds an outgoing request when the state of a build changes."""

from datetime import timedelta
from uuid import UUID, uuid5

from contracts.builds import BuildFinished, BuildPlanned, BuildResumed, BuildRow, BuildStarted, GetBuild
from contracts.errors import RequestRejected
from contracts.projects import Forge, ForgeKind, GetForge
from libs.clock import now
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context
from services.notifications.domain.internal_commands import AddOutgoingRequest
from services.notifications.outgoing.forges import STATES, CommitState

REQUEST_NAMESPACE = UUID("5b0c1d0e-8f0a-4f3e-a3b9-6a3f5b8a7f11")
# older events are ignored: the consumer starts with all events that NATS still stores
MAX_EVENT_AGE = timedelta(days=1)

StateChange = BuildPlanned | BuildStarted | BuildResumed | BuildFinished
STATE_CHANGES = (BuildPlanned, BuildStarted, BuildResumed, BuildFinished)


async def request_status(ctx: Context, recorded: RecordedEvent[StateChange]) -> None:
    """Add a request that sets the status of the build's commit, if the project has a forge and the commit is known."""
    event = recorded.event
    if now() - recorded.at > MAX_EVENT_AGE:
        return
    forge = await fetch_forge(ctx, event.project_id)
    if forge is None or forge.kind is ForgeKind.NONE:
        return
    build = await fetch_build(ctx, event.build_id)
    sha = build and (build.sha or build.pinned_sha)
    if build is None or not sha:
        return  # deleted, or failed before its commit was known
    await ctx.send(
        AddOutgoingRequest(
            request_id=str(uuid5(REQUEST_NAMESPACE, recorded.id)),
            kind="commit_status",
            project_id=event.project_id,
            build_id=event.build_id,
            target=forge.kind,
            sha=sha,
            ref=build.ref or build.pinned_ref,
            state=state_after(event),
        )
    )


def state_after(event: StateChange) -> CommitState:
    match event:
        case BuildPlanned() | BuildResumed():
            return CommitState.PENDING
        case BuildStarted():
            return CommitState.RUNNING
        case BuildFinished(status=status):
            return STATES[status]


async def fetch_forge(ctx: Context, project_id: int, public_key: str = "") -> Forge | None:
    """Return the forge of the project, with its token if `public_key` is given. None: the project was deleted."""
    try:
        return await ctx.query(GetForge(project_id=project_id, public_key=public_key), Forge)
    except RequestRejected as rejected:
        if rejected.code != "PROJECT_NOT_FOUND":
            raise
        return None


async def fetch_build(ctx: Context, build_id: int) -> BuildRow | None:
    """Return the build in its newest state, or None if it was deleted."""
    try:
        return await ctx.query(GetBuild(build_id=build_id), BuildRow)
    except RequestRejected as rejected:
        if rejected.code != "BUILD_NOT_FOUND":
            raise
        return None
