"""Commit statuses: `request_status` adds a request when the state of a build changes, `send_status` sends it."""

from datetime import timedelta
from uuid import UUID, uuid5

from contracts.builds import BuildFinished, BuildPlanned, BuildResumed, BuildRow, BuildStarted, GetBuild
from contracts.errors import RequestRejected
from contracts.notifications import OutgoingRequested
from contracts.projects import Forge, ForgeKind, GetForge
from libs.clock import now
from libs.eventstore.decider import RecordedEvent
from libs.security.envelopes import Recipient
from libs.service.declaration import Context
from services.notifications.attempts import DeliveryFailed, DeliverySkipped
from services.notifications.domain.internal_commands import AddOutgoingRequest
from services.notifications.outgoing.forges import (
    STATES,
    CommitState,
    CommitStatus,
    NoForgeAddress,
    build_request,
    raise_for_status,
)
from services.notifications.outgoing.http_client import post

STATUS_KIND = "commit_status"
REQUEST_NAMESPACE = UUID("5b0c1d0e-8f0a-4f3e-a3b9-6a3f5b8a7f11")
# older events are ignored: the consumer starts with all events that NATS still stores
MAX_EVENT_AGE = timedelta(days=1)

StateChange = BuildPlanned | BuildStarted | BuildResumed | BuildFinished
STATE_CHANGES = (BuildPlanned, BuildStarted, BuildResumed, BuildFinished)


async def request_status(ctx: Context, recorded: RecordedEvent[StateChange]) -> None:
    """Add a request that sets the status of the build's commit, if the project has a forge and the commit is known.

    Ignore events that are older than MAX_EVENT_AGE.
    """
    event = recorded.event
    if now() - recorded.at > MAX_EVENT_AGE:
        return
    forge = await fetch_forge(ctx, event.project_id)
    if forge is None or forge.kind is ForgeKind.NONE:
        return
    build = await fetch_build(ctx, event.build_id)
    sha = build and (build.sha or build.pinned_sha)
    if build is None or not sha:
        return  # the build was deleted, or has failed before its commit was known
    await ctx.send(
        AddOutgoingRequest(
            request_id=str(uuid5(REQUEST_NAMESPACE, recorded.id)),
            kind=STATUS_KIND,
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


async def send_status(ctx: Context, request: OutgoingRequested) -> int:
    """Send the state of the build, and return the response code. Raises DeliverySkipped or DeliveryFailed.

    The build and the settings of its project are queried at each attempt, so that an older state never follows a newer
    one. The token is neither stored nor cached.
    """
    recipient = Recipient.create()
    build = await fetch_build(ctx, request.build_id)
    if build is None:
        raise DeliverySkipped("the build was deleted")
    if STATES[build.status] != request.state:
        raise DeliverySkipped("the build has a newer state, which is reported instead")
    forge = await fetch_forge(ctx, request.project_id, recipient.public_key)
    if forge is None or forge.kind != request.target:
        raise DeliverySkipped("the project was deleted, or no longer reports results to this forge")
    if build.project is None or build.project.repository != forge.repository:
        raise DeliverySkipped("the project has another repository by now")
    if not forge.encrypted:
        raise DeliveryFailed("the project has no secret with the name in its settings", is_permanent=True)
    token = recipient.decrypt(forge.encrypted, f"forge-{request.project_id}").strip()
    status = CommitStatus(
        build_id=request.build_id,
        sha=request.sha,
        ref=request.ref,
        state=CommitState(request.state),
        link=f"{ctx.settings.url}/ui/builds/{request.build_id}",
    )
    try:
        message = build_request(forge, token, status)
    except NoForgeAddress as error:
        raise DeliveryFailed(str(error), is_permanent=True) from None
    response = await post(ctx.settings, message.to_post())
    raise_for_status(response)
    return response.status


async def fetch_forge(ctx: Context, project_id: int, public_key: str = "") -> Forge | None:
    """Return the project's forge, with its token encrypted for `public_key`. None: the project was deleted."""
    try:
        return await ctx.as_system().query(GetForge(project_id=project_id, public_key=public_key), Forge)
    except RequestRejected as rejected:
        if rejected.code != "PROJECT_NOT_FOUND":
            raise
        return None


async def fetch_build(ctx: Context, build_id: int) -> BuildRow | None:
    """Return the build in its newest state, or None if it was deleted."""
    try:
        return await ctx.as_system().query(GetBuild(build_id=build_id), BuildRow)
    except RequestRejected as rejected:
        if rejected.code != "BUILD_NOT_FOUND":
            raise
        return None
