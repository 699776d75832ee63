"""The worker that sends a request to a forge and retries it after a failure."""

from collections.abc import Sequence

from contracts.notifications import NotificationStatus, OutgoingRequested, OutgoingRow
from libs.eventstore.decider import RecordedEvent
from libs.security.envelopes import Recipient
from libs.service.declaration import Context, RetryLater
from services.notifications.domain.internal_commands import EndOutgoingRequest, RecordAttemptFailure
from services.notifications.outgoing.build_statuses import fetch_build, fetch_forge
from services.notifications.outgoing.forges import STATES, CommitState, CommitStatus, NoForgeAddress, build_request
from services.notifications.outgoing.http_client import DeliveryFailed, post
from services.notifications.outgoing.turns import take_turn


class Skipped(Exception):
    """The request is not sent, for example because the build has a newer state."""


async def deliver_request(
    retry_delays: Sequence[float], ctx: Context, recorded: RecordedEvent[OutgoingRequested]
) -> None:
    """Send the request, unless it was sent, skipped or abandoned before. Raise RetryLater to try again later."""
    request = recorded.event
    async with take_turn(ctx, request.build_id):
        row = await ctx.read_model(OutgoingRow).get(recorded.stream)
        if row is None or row.status is not NotificationStatus.REQUESTED:
            return
        try:
            await send_status(ctx, request)
        except Skipped as skipped:
            await end(ctx, request, NotificationStatus.SKIPPED, str(skipped))
        except DeliveryFailed as failure:
            attempt = row.attempts + 1
            failed = RecordAttemptFailure(request_id=request.request_id, attempt=attempt, reason=failure.reason)
            await ctx.send(failed, step=str(attempt))
            if not failure.is_permanent and attempt <= len(retry_delays):
                raise RetryLater(retry_delays[attempt - 1]) from failure
            await end(ctx, request, NotificationStatus.ABANDONED, failure.reason)
        else:
            # after a crash before this line, the status is sent again, which changes nothing at the forge
            await end(ctx, request, NotificationStatus.SENT)


async def end(ctx: Context, request: OutgoingRequested, status: NotificationStatus, reason: str = "") -> None:
    await ctx.send(EndOutgoingRequest(request_id=request.request_id, status=status, reason=reason))


async def send_status(ctx: Context, request: OutgoingRequested) -> None:
    """Send the state of the build. Raise Skipped or DeliveryFailed.

    The build and the settings of its project are queried now, so that an older state never follows a newer one. The
    token is neither stored nor cached.
    """
    recipient = Recipient.create()
    build = await fetch_build(ctx, request.build_id)
    if build is None:
        raise Skipped("the build was deleted")
    if STATES[build.status] != request.state:
        raise Skipped("the build has a newer state, which is reported instead")
    forge = await fetch_forge(ctx, request.project_id, recipient.public_key)
    if forge is None or forge.kind != request.target:
        raise Skipped("the project was deleted, or no longer reports results to this forge")
    if build.project is None or build.project.repository != forge.repository:
        raise Skipped("the project has another repository by now")
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
    await post(ctx.settings, message)
