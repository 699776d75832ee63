"""Read model of webhook deliveries."""

from datetime import UTC, datetime

from contracts.errors import CODES
from contracts.messages import ReadModelRow
from contracts.projects import (
    APPROVAL_REASON,
    APPROVAL_REQUIRED,
    IGNORE_REASONS,
    DeliveryAccepted,
    DeliveryApproved,
    DeliveryDecision,
    DeliveryEvent,
    DeliveryHeld,
    DeliveryIgnored,
    DeliveryRejected,
    DeliveryView,
    Provider,
    PullRequest,
)
from libs.branch_names import BRANCH_REF_PREFIX, TAG_REF_PREFIX
from libs.eventstore.decider import Category, RecordedEvent
from services.projects.domain.delivery import delivery_decider

EPOCH = datetime.fromtimestamp(0, UTC)


class DeliveryRow(ReadModelRow):
    id: str = ""
    project_id: int = 0
    provider: Provider | None = None
    event: str = ""
    forge_id: str | None = None
    sealed_sender: str = ""
    user_id: int | None = None
    ref: str | None = None
    sha: str | None = None
    decision: DeliveryDecision = DeliveryDecision.REFUSED
    code: str | None = None
    size: int = 0  # bytes of the body
    digest: str = ""  # SHA-256 of the body
    unrecorded: int = 0  # rejections that were counted but not stored since the previous stored rejection
    refused_total: int | None = None  # rejections of the project, up to and including this rejection
    pull_request: PullRequest | None = None
    received_at: datetime = EPOCH

    @property
    def reason(self) -> str:
        """The decision as a sentence."""
        if self.decision is DeliveryDecision.WAITING:
            return APPROVAL_REASON
        if self.decision is DeliveryDecision.ACCEPTED:
            return f"A build of {(self.sha or '')[:8]} on {_describe_ref(self.ref or '')} is queued."
        code = self.code or ""
        return IGNORE_REASONS[code] if code in IGNORE_REASONS else CODES[code].summary


def _describe_ref(ref: str) -> str:
    """Return `main` for a branch, `tag v1` for a tag, and the ref of a pull request."""
    if ref.startswith(TAG_REF_PREFIX):
        return f"tag {ref.removeprefix(TAG_REF_PREFIX)}"
    return ref.removeprefix(BRANCH_REF_PREFIX)


def apply_delivery_event(row: DeliveryRow, recorded: RecordedEvent[DeliveryEvent]) -> DeliveryRow:
    match recorded.event:
        case DeliveryAccepted() as event:
            decision = DeliveryDecision.ACCEPTED
        case DeliveryHeld() as event:
            return _new_row(event, DeliveryDecision.WAITING, recorded.at).replace(code=APPROVAL_REQUIRED)
        case DeliveryApproved():
            return row.replace(decision=DeliveryDecision.ACCEPTED, code=None)
        case DeliveryIgnored() as event:
            decision = DeliveryDecision.IGNORED
        case DeliveryRejected() as event:
            decision = DeliveryDecision.REFUSED
    return _new_row(event, decision, recorded.at)


def _new_row(
    event: DeliveryAccepted | DeliveryHeld | DeliveryIgnored | DeliveryRejected,
    decision: DeliveryDecision,
    at: datetime,
) -> DeliveryRow:
    fields = event.model_dump(exclude={"delivery_id"})
    return DeliveryRow(id=event.delivery_id, **fields, decision=decision, received_at=at)


delivery_category = Category(
    "delivery",
    delivery_decider,
    DeliveryRow(),
    apply_delivery_event,
    indexes=(("project_id", "-received_at", "-id"), ("received_at",)),
)


def to_delivery_view(row: DeliveryRow, sender: str | None) -> DeliveryView:
    return DeliveryView(
        **row.model_dump(exclude={"sealed_sender", "size", "digest", "forge_id"}),
        forge_id=row.forge_id or None,
        sender=sender,
        reason=row.reason,
        executor_id=row.id if row.decision is DeliveryDecision.ACCEPTED else None,
        body_size=row.size,
    )
