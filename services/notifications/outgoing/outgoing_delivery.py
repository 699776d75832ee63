"""The worker that sends a request to another server and retries it after a failure."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.notifications import NotificationStatus, OutgoingRequested, OutgoingRow, ReceiverKind
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context
from services.notifications.attempts import DeliveryFailed, deliver
from services.notifications.domain.internal_commands import EndOutgoingRequest, RecordAttemptFailure
from services.notifications.outgoing.build_statuses import STATUS_KIND, send_status
from services.notifications.outgoing.turns import take_turn
from services.notifications.receivers.receiver_requests import send_to_receiver

SENDERS: Mapping[str, Callable[[Context, OutgoingRequested], Awaitable[int]]] = {
    STATUS_KIND: send_status,
    **dict.fromkeys(ReceiverKind, send_to_receiver),
}
"""Functions that send a request and return the response code, by kind."""


@dataclass(frozen=True)
class OutgoingRecord:
    """Records the outcome of a request. See DeliveryRecord."""

    ctx: Context
    request_id: str

    async def fail(self, attempt: int, failure: DeliveryFailed) -> None:
        command = RecordAttemptFailure(self.request_id, attempt, failure.reason, failure.response_code)
        await self.ctx.send(command, step=str(attempt))

    async def end(self, status: NotificationStatus, reason: str, response_code: int | None, /) -> None:
        await self.ctx.send(EndOutgoingRequest(self.request_id, status, reason, response_code))


async def deliver_request(
    retry_delays: Sequence[float], ctx: Context, recorded: RecordedEvent[OutgoingRequested]
) -> None:
    """Send the request, unless it was sent, skipped or abandoned before. Raises RetryLater to try again later.

    The commit statuses of a build are sent one at a time, without outdated ones. Receivers may get their requests in
    any order.
    """
    if recorded.event.kind == STATUS_KIND:
        async with take_turn(ctx, recorded.event.build_id):
            await _deliver(retry_delays, ctx, recorded)
    else:
        await _deliver(retry_delays, ctx, recorded)


async def _deliver(retry_delays: Sequence[float], ctx: Context, recorded: RecordedEvent[OutgoingRequested]) -> None:
    request = recorded.event
    row = await ctx.read_model(OutgoingRow).get(recorded.stream)
    if row is None or row.status is not NotificationStatus.REQUESTED:
        return
    send = partial(SENDERS[request.kind], ctx, request)
    await deliver(send, OutgoingRecord(ctx, request.request_id), row.attempts, retry_delays)
