"""The state that mails and requests to other servers share: a delivery is requested and attempted, and ends once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from contracts.messages import Event
from contracts.notifications import NotificationStatus
from libs.eventstore.decider import RequestRejected

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Delivery:
    """State of a delivery: only what its decider needs."""

    status: NotificationStatus = NotificationStatus.NEW
    attempts: int = 0

    def on_request(self, event: E) -> Sequence[E]:
        """Return the event, or nothing if the delivery has been requested before."""
        return [event] if self.status is NotificationStatus.NEW else []

    def on_failure(self, event: E, attempt: int) -> Sequence[E]:
        """Return the event of a failed attempt, or nothing if it is recorded or the delivery has ended.

        Raises RequestRejected with NOT_FOUND if the delivery was not requested.
        """
        return self.on_end(event) if attempt > self.attempts else []

    def on_end(self, event: E) -> Sequence[E]:
        """Return the event, or nothing if the delivery has ended: two replicas may have made the same delivery.

        Raises RequestRejected with NOT_FOUND if the delivery was not requested.
        """
        if self.status is NotificationStatus.NEW:
            raise RequestRejected("NOT_FOUND", "There is no such delivery.")
        return [event] if self.status is NotificationStatus.REQUESTED else []
