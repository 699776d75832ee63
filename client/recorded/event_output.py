"""Output of `events` over HTTP: one line per event."""

from datetime import UTC, datetime
from typing import Any

from client.errors import UsageError
from client.output.terminal_text import escape_controls, print_json_line
from client.recorded.event_reader import ReceivedEvent, read_events
from client.session.connection import connect

FIRST_TIME = "1970-01-01T00:00:00Z"
MAX_FIELDS, MAX_VALUE_LENGTH = 5, 40
HIDDEN_FIELD_PARTS = ("hash", "sealed", "token", "uuid", "executor", "at")


def follow_events(start: str, *, as_json: bool) -> None:
    """Print events until Ctrl-C, or until the server stays unavailable (ServerUnreachable).

    `start`: a time (ISO 8601), "start" or "now". Raises UsageError for any other text.
    """
    from client.output.build_view import print_lines

    since = _parse_start(start)
    with connect() as client:
        for event in read_events(client, since):
            if as_json:
                print_json_line({"id": event.id, "name": event.name, "data": event.data})
            else:
                print_lines([format_event(event)])


def format_event(event: ReceivedEvent, now: datetime | None = None) -> str:
    """Return one line: the time at which the event arrived, its name, and its first fields."""
    at = now or datetime.now().astimezone()
    return f"{at:%H:%M:%S}  {escape_controls(event.name):<24}  {summarize(event.data)}".rstrip()


def summarize(data: dict[str, Any]) -> str:
    fields = [
        f"{name}={_shorten(value)}"
        for name, value in data.items()
        if isinstance(value, str | int) and value != "" and not set(HIDDEN_FIELD_PARTS) & set(name.split("_"))
    ]
    return " ".join(fields[:MAX_FIELDS])


def _shorten(value: object) -> str:
    text = escape_controls(str(value))
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"


def _parse_start(start: str) -> str:
    if start == "now":
        return ""
    if start == "start":
        return FIRST_TIME
    try:
        return datetime.fromisoformat(start).astimezone(UTC).isoformat()
    except ValueError:
        raise UsageError(
            f"--from must be a time such as 2026-01-31T12:00:00Z, `start` or `now`, not {start!r}."
        ) from None
