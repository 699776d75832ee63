"""`headrace history`: what happened to one thing, a line per event, or what it was like at a time, as JSON."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from contracts.errors import Refused
from contracts.history import AboutOne, Entry, GetHistory, GetState, History, kinds
from infra.events import Happened, as_json, connected, harmless, moment, nats_of
from infra.local.process import StackError
from libs.messaging import Caller
from libs.settings import Settings

PATIENCE = 10.0  # seconds


def tell(kind: str, id_: str, at: str | None, *, raw: bool = False) -> None:
    """`raw` writes an entry per line, as JSON."""
    then = moment(at, "--at") if at else None
    settings = nats_of(Settings.from_environment(os.environ))
    try:
        asyncio.run(_tell(settings, kind, id_, then, raw=raw))
    except Refused as refused:
        raise StackError(refused.failure.detail) from None


async def _tell(settings: Settings, kind: str, id_: str, at: datetime | None, *, raw: bool) -> None:
    client = await connected(settings, "history")
    try:
        caller = Caller(client)
        if at is not None:
            state = await _ask(caller, GetState(kind=kind, id=id_, at=at))
            sys.stdout.write(f"{as_json(state, indent=2)}\n")
            return
        async for entry in entries(caller, kind, id_):
            for line in [as_json(entry.model_dump(mode="json"))] if raw else lines(f"{kind}-{id_}", entry):
                sys.stdout.write(f"{line}\n")
    finally:
        await client.close()


async def entries(caller: Caller, kind: str, id_: str) -> AsyncIterator[Entry]:
    after: int | None = 0
    while after is not None:
        part = History.model_validate(await _ask(caller, GetHistory(kind=kind, id=id_, after=after)))
        for entry in part.entries:
            yield entry
        after = part.next


def lines(stream: str, entry: Entry) -> Iterator[str]:
    service = kinds()[stream.partition("-")[0]]
    for event in entry.events:
        one = Happened(service, stream, event.name, entry.at, harmless(entry.actor.name), event.data)
        yield f"{one.at.astimezone():%Y-%m-%d %H:%M:%S}  {one.actor:<12}  {one.name:<28}  {one.facts()}".rstrip()


async def _ask(caller: Caller, query: AboutOne) -> Any:
    return json.loads(await caller.ask(query, timeout=PATIENCE))
