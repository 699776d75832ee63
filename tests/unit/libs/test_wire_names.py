"""A message class renamed after its release keeps the released name on the wire."""

from datetime import UTC, datetime

from contracts.messages import Command, Event, Query, parse_event
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.messaging.cloudevents import event_subject, to_headers


class MillOpened(Event, wire_name="MillStarted"):
    miller: str


class OpenMill(Command, wire_name="StartMill"):
    miller: str


class GetMill(Query, wire_name="ReadMill"):
    miller: str


def test_a_renamed_event_is_read_by_its_released_name() -> None:
    assert parse_event("MillStarted", 1, {"miller": "Ada"}) == MillOpened(miller="Ada")


def test_a_renamed_event_is_published_under_its_released_name() -> None:
    recorded: RecordedEvent[Event] = RecordedEvent(
        "mill-1", 1, 0, MillOpened(miller="Ada"), CommandMetadata("c1", datetime(2026, 1, 1, tzinfo=UTC))
    )
    assert event_subject("mills", recorded) == "evt.mills.mill-1.MillStarted"
    assert to_headers("mills", recorded)["ce-type"] == "MillStarted"


def test_commands_and_queries_keep_their_subjects() -> None:
    assert OpenMill.subject().endswith(".StartMill")
    assert GetMill.subject().endswith(".ReadMill")


def test_a_class_without_a_wire_name_uses_its_class_name() -> None:
    class MillClosed(Event):
        pass

    assert MillClosed.wire_name == "MillClosed"
