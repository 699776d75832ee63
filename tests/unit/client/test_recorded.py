"""Events and histories over HTTP: the stream is resumed after the last event, and lines cannot control the terminal."""

from collections.abc import Mapping

import httpx
import pytest

from client.errors import ApiError
from client.http_client import Client
from client.recorded.event_output import format_event
from client.recorded.event_reader import ReceivedEvent, parse_events, read_events
from client.recorded.history_output import format_entry, iterate_activity, iterate_entries

LINES = ("id: b1-r0", "event: BuildQueued", 'data: {"build_id":', 'data: 1, "name": "x"}', "", ": keep-alive", "")
QUEUED = ReceivedEvent("b1-r0", "BuildQueued", {"build_id": 1, "name": "x"})


def test_events_are_parsed_and_comments_skipped() -> None:
    assert list(parse_events((*LINES, "data: 1"))) == [QUEUED]


def test_a_stream_that_ends_is_resumed_after_its_last_event() -> None:
    requests: list[tuple[Mapping[str, str], str]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append((request.headers, request.url.query.decode()))
        if len(requests) == 2:
            raise httpx.ConnectError("restarting")
        if len(requests) == 4:
            return httpx.Response(403, json={"message": "FORBIDDEN"})
        return httpx.Response(200, text="\n".join(LINES))

    client = Client("http://ci.example", "hrp_x", transport=httpx.MockTransport(handle))
    events = read_events(client, "2026-01-31T12:00:00Z", sleep=lambda _: None)
    assert [next(events), next(events)] == [QUEUED, QUEUED]
    with pytest.raises(ApiError, match="FORBIDDEN"):
        next(events)
    assert [headers.get("Last-Event-ID") for headers, _ in requests] == [None, "b1-r0", "b1-r0", "b1-r0"]
    assert [query for _, query in requests] == ["since=2026-01-31T12%3A00%3A00Z", "", "", ""]


def test_lines_of_events_and_histories_escape_control_characters() -> None:
    event = ReceivedEvent("b1-r0", "BuildQueued", {"build_id": 1, "name": "a\x1b[2J", "token": "x", "empty": ""})
    assert format_event(event).endswith("BuildQueued               build_id=1 name=a\\x1b[2J")
    entry = {
        "at": "2026-11-30T11:00:00Z",
        "actor": {"id": 1, "name": "dana\x07"},
        "events": [{"name": "ProjectRenamed", "data": {"name": "shop"}}],
    }
    [line] = format_entry(entry)
    assert line.endswith("dana\\x07      ProjectRenamed                name=shop")


def test_all_pages_of_a_history_are_read() -> None:
    first, second, third = ({"version": number} for number in (1, 2, 3))
    pages = {"0": {"entries": [first, second], "next": 2}, "2": {"entries": [third], "next": None}}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=pages[request.url.params["after"]]))
    client = Client("http://ci.example", transport=transport)
    assert list(iterate_entries(client, "/admin/history/project/1")) == [first, second, third]


def test_all_pages_of_activity_are_read_also_after_an_empty_one() -> None:
    first, second = ({"id": number} for number in "12")
    pages = {
        "": {"entries": [first], "next": "a"},
        "a": {"entries": [], "next": "b"},
        "b": {"entries": [second], "next": None},
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=pages[request.url.params["after"]]))
    client = Client("http://ci.example", transport=transport)
    assert list(iterate_activity(client, "project")) == [first, second]


def test_a_line_of_activity_names_the_object() -> None:
    entry = {
        "at": "2026-11-30T11:00:00Z",
        "actor": {"id": 0, "name": "system"},
        "events": [{"name": "X", "data": None}],
    }
    [line] = format_entry(entry, "project 17")
    assert line.endswith("system        project 17        X")
