"""Rows as a table in a terminal, as tab-separated lines elsewhere, and as JSON on request."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from client.output.terminal_text import escape_controls, print_json, print_text

GOOD, BAD, BUSY = "green", "bold red", "yellow"
STATUS_STYLES = {
    "SUCCESS": GOOD,
    "WARNING": BUSY,
    "FAILED": BAD,
    "KILLED": BAD,
    "CANCELED": BAD,
    "LOST": BAD,
    "RUNNING": "cyan",
    "CANCELING": BUSY,
    "QUEUED": "dim",
    "PLANNED": "dim",
    "CREATED": "dim",
    "SKIPPED": "dim",
}
MINUTE, HOUR, DAY = 60, 3600, 86400

Row = Mapping[str, Any]


def show_rows(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print the fields `columns` of rows as a table or as tab-separated lines, or all fields as JSON."""
    rows = list(rows)
    if as_json:
        print_json(rows)
    elif sys.stdout.isatty():
        _print_table(rows, columns)
    else:
        print_text("\t".join(columns))
        for row in rows:
            print_text("\t".join(format_cell(row.get(column)) for column in columns))


def show_fields(row: Row, columns: Sequence[str], *, as_json: bool) -> None:
    """Print the fields `columns` of an object, one per line, or all fields as JSON."""
    if as_json:
        print_json(row)
        return
    width = max(map(len, columns))
    for column in columns:
        print_text(f"{column:<{width}}  {format_cell(row.get(column))}".rstrip())


def format_cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(format_cell, value))
        case _:
            return escape_controls(str(value))


def format_age(at: str | None, now: datetime | None = None) -> str:
    """Return how long ago a time (ISO 8601) was, like `5 min ago`. Without a time, return an empty text."""
    if not at:
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(at)).total_seconds()
    if seconds < MINUTE:
        return "just now"
    return f"{format_duration(seconds)} ago"


def format_duration(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    if seconds < DAY:
        return f"{seconds // HOUR:.0f} h"
    return f"{seconds // DAY:.0f} d"


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = ((column, format_cell(row.get(column))) for column in columns)
        table.add_row(*(Text(text, STATUS_STYLES.get(text, "") if name == "status" else "") for name, text in cells))
    Console(highlight=False).print(table)
