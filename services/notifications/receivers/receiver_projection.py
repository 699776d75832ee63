"""The read model of receivers, and their category."""

from datetime import UTC, datetime

from contracts.messages import ReadModelRow
from contracts.notifications import (
    Occasion,
    ReceiverChanged,
    ReceiverCreated,
    ReceiverDeleted,
    ReceiverEvent,
    ReceiverKind,
)
from libs.eventstore.decider import Category, RecordedEvent
from services.notifications.domain.receiver import changed_fields, receiver_decider

EPOCH = datetime.fromtimestamp(0, UTC)


class ReceiverRow(ReadModelRow):
    id: int = 0
    project_id: int = 0
    kind: ReceiverKind = ReceiverKind.WEBHOOK
    server: str = ""
    sealed_url: str = ""
    sealed_secret: str = ""
    events: tuple[Occasion, ...] = ()
    active: bool = True
    created_at: datetime = EPOCH


def apply_receiver_event(row: ReceiverRow, recorded: RecordedEvent[ReceiverEvent]) -> ReceiverRow:
    match recorded.event:
        case ReceiverCreated() as event:
            fields = {name: value for name, value in event if name != "receiver_id"}
            return ReceiverRow(id=event.receiver_id, created_at=recorded.at, **fields)
        case ReceiverChanged() as event:
            changed = changed_fields(event)
            del changed["receiver_id"]
            return row.replace(**changed)
        case ReceiverDeleted():
            return ReceiverRow()


receiver_category = Category(
    "receiver",
    receiver_decider,
    ReceiverRow(),
    apply_receiver_event,
    indexes=(("id",), ("project_id", "id")),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)
