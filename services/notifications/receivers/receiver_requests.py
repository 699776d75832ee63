"""The request that sends a notification to its receiver, and its repetition by a user."""

from uuid import uuid5

from contracts.errors import RequestRejected
from contracts.messages import Message
from contracts.notifications import NotificationStatus, OutgoingRequested, OutgoingRow, ReceiverKind, RepeatOutgoing
from libs.eventstore.repository import CommandResult
from libs.security.erased_keys import KeyErased
from libs.service.declaration import Context
from services.notifications.attempts import DeliveryFailed, DeliverySkipped
from services.notifications.domain.internal_commands import AddOutgoingRequest
from services.notifications.outgoing.build_statuses import fetch_build
from services.notifications.outgoing.http_client import OutgoingPost, post
from services.notifications.receivers.build_messages import (
    CLOUD_EVENT_TYPE,
    compose_chat_message,
    compose_cloud_event,
    sign,
)
from services.notifications.receivers.build_occasions import EVENT_NAMESPACE
from services.notifications.receivers.receiver_projection import ReceiverRow

SERVER = "the receiver"  # name of the server in reasons of failures


async def send_to_receiver(ctx: Context, request: OutgoingRequested) -> int:
    """Send a webhook or chat message, and return the response code. Raises DeliverySkipped or DeliveryFailed.

    The receiver's settings are read at each attempt, so that a retry or a repetition goes to the current URL.
    """
    receiver = await ctx.read_model(ReceiverRow).get(f"receiver-{request.receiver_id}")
    if receiver is None:
        raise DeliverySkipped("the receiver was deleted")
    if not receiver.active:
        raise DeliverySkipped("the receiver is paused")
    try:
        message = await compose(ctx, request, receiver)
    except KeyErased:
        raise DeliverySkipped("the receiver was deleted") from None
    status = (await post(ctx.settings, message)).status
    if 300 <= status < 400:
        raise DeliveryFailed(
            f"the receiver redirects to another URL ({status})", is_permanent=True, response_code=status
        )
    if not 200 <= status < 300:
        raise DeliveryFailed(f"the receiver refused the request ({status})", is_permanent=True, response_code=status)
    return status


async def compose(ctx: Context, request: OutgoingRequested, receiver: ReceiverRow) -> OutgoingPost:
    """Return the request to the receiver, signed if it is a webhook. Raises DeliverySkipped or KeyErased."""
    build = await fetch_build(ctx, request.build_id)
    if build is None:
        raise DeliverySkipped("the build was deleted")
    stream, server_url = f"receiver-{receiver.id}", ctx.settings.url
    url = await ctx.vault.decrypt(stream, receiver.sealed_url)
    if receiver.kind is ReceiverKind.SLACK:
        return OutgoingPost(url, compose_chat_message(request, build, server_url), {}, SERVER)
    names = await ctx.get_usernames({build.initiator_id} - {0})
    content = compose_cloud_event(request, build, names.get(build.initiator_id, ""), server_url)
    secret = await ctx.vault.decrypt(stream, receiver.sealed_secret)
    headers = sign(secret, request.event_id, int(ctx.clock.machine_time().timestamp()), content)
    return OutgoingPost(url, content, headers, SERVER, CLOUD_EVENT_TYPE)


async def prepare_repetition(ctx: Context, command: RepeatOutgoing) -> AddOutgoingRequest:
    """Return a new request with the fields of an ended one.

    Raises OUTGOING_REQUEST_NOT_FOUND, and OUTGOING_REQUEST_STATUS if the request has not ended.
    """
    row = await ctx.read_model(OutgoingRow).get(f"outgoing-{command.outgoing_request_id}")
    if row is None or row.project_id != command.project_id:
        raise RequestRejected("OUTGOING_REQUEST_NOT_FOUND")
    if row.status in (NotificationStatus.NEW, NotificationStatus.REQUESTED):
        raise RequestRejected("OUTGOING_REQUEST_STATUS")
    return AddOutgoingRequest(
        request_id=str(uuid5(EVENT_NAMESPACE, ctx.metadata.command_id)),
        kind=row.kind,
        project_id=row.project_id,
        build_id=row.build_id,
        target=row.target,
        sha=row.sha,
        ref=row.ref,
        state=row.state,
        receiver_id=row.receiver_id,
        event=row.event,
        event_id=row.event_id,
        occurred_at=row.occurred_at,
        is_fix=row.is_fix,
        repeats=row.id,
    )


async def show_repetition(_ctx: Context, _command: RepeatOutgoing, result: CommandResult[OutgoingRow]) -> Message:
    return result.row
