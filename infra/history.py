"""`headrace admin history`: the history of an object, one line per event, or its state at a point in time as JSON."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from contracts.errors import RequestRejected
from contracts.history import GetHistory, GetState, History, HistoryEntry, StreamQuery, aggregate_types
from infra.event_stream import EventRecord, connect_to_nats, dump_json, escape_controls, parse_time, require_nats
from infra.local.process import OperatorError
from libs.messaging.request_reply import MessageClient
from libs.settings import Settings

QUERY_TIMEOUT_SECONDS = 10.0


def print_history(kind: str, id_: str, at: str | None, *, raw: bool = False) -> None:
    """Print the history of an object or, with `at`, its state at that time. `raw`: print one JSON object per entry.

    Raises SettingsError for an invalid time or without a NATS URL, and OperatorError if NATS does not respond or the
    service rejects the query.
    """
    then = parse_time(at, "--at") if at else None
    settings = require_nats(Settings.from_environment(os.environ))
    try:
        asyncio.run(_print_history(settings, kind, id_, then, raw=raw))
    except RequestRejected as refused:
        raise OperatorError(refused.failure.detail) from None


async def _print_history(settings: Settings, kind: str, id_: str, at: datetime | None, *, raw: bool) -> None:
    client = await connect_to_nats(settings, "history")
    try:
        caller = MessageClient(client)
        if at is not None:
            state = await _query(caller, GetState(kind=kind, id=id_, at=at))
            sys.stdout.write(f"{dump_json(state, indent=2)}\n")
            return
        async for entry in iterate_entries(caller, kind, id_):
            for line in [dump_json(entry.model_dump(mode="json"))] if raw else format_entry(f"{kind}-{id_}", entry):
                sys.stdout.write(f"{line}\n")
    finally:
        await client.close()


async def iterate_entries(caller: MessageClient, kind: str, id_: str) -> AsyncIterator[HistoryEntry]:
    after: int | None = 0
    while after is not None:
        part = History.model_validate(await _query(caller, GetHistory(kind=kind, id=id_, after=after)))
        for entry in part.entries:
            yield entry
        after = part.next


def format_entry(stream: str, entry: HistoryEntry) -> Iterator[str]:
    service = aggregate_types()[stream.partition("-")[0]]
    for event in entry.events:
        record = EventRecord(service, stream, event.name, entry.at, escape_controls(entry.actor.name), event.data)
        time = f"{record.at.astimezone():%Y-%m-%d %H:%M:%S}"
        yield f"{time}  {record.actor:<12}  {record.name:<28}  {record.summary()}".rstrip()


async def _query(caller: MessageClient, query: StreamQuery) -> Any:
    return json.loads(await caller.query(query, timeout=QUERY_TIMEOUT_SECONDS))
