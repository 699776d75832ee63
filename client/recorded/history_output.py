"""Output of `history` over HTTP: one line per event of one object or of all, or the state of an object at a time."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

from client.http_client import Client
from client.output.terminal_text import escape_controls, print_json, print_json_line, print_text
from client.recorded.event_output import summarize
from client.session.connection import connect

PAGE_SIZE = 500
ACTIVITY_PAGE_SIZE = 100

Json = dict[str, Any]


def show_history(kind: str, id_: str, at: str | None, *, as_json: bool) -> None:
    with connect() as client:
        path = f"/admin/history/{quote(kind, safe='')}/{quote(id_, safe='')}"
        if at is not None:
            print_json(client.get(path, at=at))
            return
        for entry in iterate_entries(client, path):
            if as_json:
                print_json_line(entry)
            else:
                for line in format_entry(entry):
                    print_text(line)


def show_activity(kind: str, limit: int, *, as_json: bool) -> None:
    """Print the latest `limit` entries about objects of all types or of one type, newest first."""
    with connect() as client:
        for entry in islice(iterate_activity(client, kind), limit):
            if as_json:
                print_json_line(entry)
            else:
                for line in format_entry(entry, f"{entry['kind']} {entry['id']}"):
                    print_text(line)


def iterate_activity(client: Client, kind: str) -> Iterator[Json]:
    after: str | None = ""
    while after is not None:
        page = client.get("/admin/activity", kind=kind, after=after, limit=ACTIVITY_PAGE_SIZE)
        yield from page["entries"]
        after = page["next"]


def iterate_entries(client: Client, path: str) -> Iterator[Json]:
    after: int | None = 0
    while after is not None:
        page = client.get(path, after=after, per_page=PAGE_SIZE)
        yield from page["entries"]
        after = page["next"]


def format_entry(entry: Json, subject: str = "") -> Iterator[str]:
    """Yield a line for each event of an entry. `subject` is added to each line, for lists of several objects."""
    about = f"{escape_controls(subject):<16}  " if subject else ""
    at = datetime.fromisoformat(entry["at"]).astimezone()
    actor = escape_controls(entry["actor"]["name"])
    for event in entry["events"]:
        name = escape_controls(event["name"])
        yield f"{at:%Y-%m-%d %H:%M:%S}  {actor:<12}  {about}{name:<28}  {summarize(event['data'] or {})}".rstrip()
