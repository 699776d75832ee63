"""What people read about deliveries."""

from datetime import UTC, datetime

from contracts.errors import CODES
from contracts.messages import Row
from contracts.projects import (
    IGNORED,
    Decision,
    DeliveryAccepted,
    DeliveryEvent,
    DeliveryIgnored,
    DeliveryRefused,
    DeliveryView,
    Provider,
)
from libs.deciding import Category, Recorded
from services.projects.domain.delivery import BRANCHES, delivery_decider

BEGINNING = datetime.fromtimestamp(0, UTC)


class DeliveryRow(Row):
    id: str = ""
    project_id: int = 0
    provider: Provider | None = None
    event: str = ""
    forge_id: str | None = None
    sealed_sender: str = ""
    user_id: int | None = None
    ref: str | None = None
    sha: str | None = None
    decision: Decision = Decision.REFUSED
    code: str | None = None
    size: int = 0
    digest: str = ""
    unrecorded: int = 0
    refused_total: int | None = None
    received_at: datetime = BEGINNING

    @property
    def reason(self) -> str:
        if self.decision is Decision.ACCEPTED:
            return f"A build of {(self.sha or '')[:8]} on {(self.ref or '').removeprefix(BRANCHES)} is queued."
        code = self.code or ""
        return IGNORED[code] if code in IGNORED else CODES[code].meaning


def describe_delivery(_row: DeliveryRow, recorded: Recorded[DeliveryEvent]) -> DeliveryRow:
    match recorded.event:
        case DeliveryAccepted() as event:
            decision = Decision.ACCEPTED
        case DeliveryIgnored() as event:
            decision = Decision.IGNORED
        case DeliveryRefused() as event:
            decision = Decision.REFUSED
    facts = event.model_dump(exclude={"delivery_id"})
    return DeliveryRow(id=event.delivery_id, **facts, decision=decision, received_at=recorded.at)


delivery_category = Category(
    "delivery",
    delivery_decider,
    DeliveryRow(),
    describe_delivery,
    indexes=(("project_id", "-received_at", "-id"),),
)


def delivery_view(row: DeliveryRow, sender: str | None) -> DeliveryView:
    return DeliveryView(
        **row.model_dump(exclude={"sealed_sender", "size", "digest", "forge_id"}),
        forge_id=row.forge_id or None,
        sender=sender,
        reason=row.reason,
        executor_id=row.id if row.decision is Decision.ACCEPTED else None,
        body_size=row.size,
    )
