"""Attempts and retries of deliveries: mails, and requests to other servers. Each delivery ends once."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from contracts.notifications import NotificationStatus
from libs.service.declaration import RetryLater

RETRY_DELAYS_SECONDS = (10.0, 60.0, 300.0, 1800.0)
"""Delays between attempts. If the attempt after the last delay fails, the delivery is abandoned."""


class DeliveryFailed(Exception):
    """The other server did not accept the delivery. `reason` has no secrets, and of the response only status codes."""

    def __init__(self, reason: str, *, is_permanent: bool = False, response_code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_permanent = is_permanent  # a retry would fail the same way
        self.response_code = response_code


class DeliverySkipped(Exception):
    """The delivery is not made, for example because its build was deleted. The message is the reason."""


class DeliveryRecord(Protocol):
    """Records what happens to a delivery. Repeated calls change nothing."""

    async def fail(self, attempt: int, failure: DeliveryFailed) -> None: ...

    async def end(self, status: NotificationStatus, reason: str, response_code: int | None, /) -> None: ...


async def deliver(
    send: Callable[[], Awaitable[int | None]], record: DeliveryRecord, attempts: int, retry_delays: Sequence[float]
) -> None:
    """Make one attempt and record its outcome. Raises RetryLater to try again later.

    `send` returns the response code, or raises DeliveryFailed or DeliverySkipped. `attempts`: number of earlier
    attempts. After a crash between sending and recording, the delivery is made again.
    """
    try:
        response_code = await send()
    except DeliverySkipped as skipped:
        await record.end(NotificationStatus.SKIPPED, str(skipped), None)
    except DeliveryFailed as failure:
        attempt = attempts + 1
        await record.fail(attempt, failure)
        if not failure.is_permanent and attempt <= len(retry_delays):
            raise RetryLater(retry_delays[attempt - 1]) from failure
        await record.end(NotificationStatus.ABANDONED, failure.reason, failure.response_code)
    else:
        await record.end(NotificationStatus.SENT, "", response_code)
