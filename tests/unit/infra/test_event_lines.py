"""Events printed to a terminal: control characters in names are escaped."""

import json
from datetime import UTC, datetime

from contracts.history import HistoryEntry
from infra.event_stream import EventRecord, dump_json
from infra.history import format_entry

NAME = "evil\x1b[2J\x9b31m\nname"
AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
happened = EventRecord("runners", "runner-1", "RunnerOnline", AT, f"runner {NAME}", {"name": NAME})


def test_an_event_line_has_no_control_characters() -> None:
    assert happened.to_text().plain.isprintable()
    assert r"name=evil\x1b[2J\x9b31m\x0aname" in happened.summary()


def test_a_history_entry_is_one_line_without_control_characters() -> None:
    event = {"name": "RunnerOnline", "schema_version": 1, "data": {"name": NAME}}
    actor = {"id": 0, "name": NAME}
    entry = HistoryEntry.model_validate(
        {"version": 1, "at": AT, "actor": actor, "command": "x", "trace_id": "", "events": [event]}
    )
    [line] = format_entry("runner-1", entry)
    assert line.isprintable()


def test_json_output_escapes_control_characters() -> None:
    text = dump_json({"name": f"{NAME} \U000e0001 ž"})
    assert text.isprintable()
    assert json.loads(text) == {"name": f"{NAME} \U000e0001 ž"}
