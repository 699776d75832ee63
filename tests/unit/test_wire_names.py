"""A message class that was renamed after its release keeps the released name on the wire."""

from datetime import UTC, datetime

from contracts.messages import Command, Event, Query, event_from
from libs.cloudevents import subject, to_headers
from libs.deciding import Cause, Recorded


class MillOpened(Event, wire_name="MillStarted"):
    miller: str


class OpenMill(Command, wire_name="StartMill"):
    miller: str


class GetMill(Query, wire_name="ReadMill"):
    miller: str


def test_a_renamed_event_is_read_by_its_released_name() -> None:
    assert event_from("MillStarted", 1, {"miller": "Ada"}) == MillOpened(miller="Ada")


def test_a_renamed_event_is_published_under_its_released_name() -> None:
    recorded: Recorded[Event] = Recorded(
        "mill-1", 1, 0, MillOpened(miller="Ada"), Cause("c1", datetime(2026, 1, 1, tzinfo=UTC))
    )
    assert subject("mills", recorded) == "evt.mills.mill-1.MillStarted"
    assert to_headers("mills", recorded)["ce-type"] == "MillStarted"


def test_commands_and_queries_keep_their_subjects() -> None:
    assert OpenMill.subject().endswith(".StartMill")
    assert GetMill.subject().endswith(".ReadMill")


def test_a_class_without_a_released_name_goes_by_its_own() -> None:
    class MillClosed(Event):
        pass

    assert MillClosed.wire_name == "MillClosed"
