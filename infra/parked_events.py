"""`headrace admin reactions`: list the parked events, and request their retry by the services."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from infra.local.process import OperatorError
from infra.service_catalog import SERVICES
from libs.documents import Document
from libs.reactions.parking import ParkedEvents
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings

RETRY_TIMEOUT_SECONDS = 30.0
SHOWN_FIELDS = ("reaction", "event", "event_id", "parked_at", "tries", "error")

T = TypeVar("T")
Parked = Mapping[str, ParkedEvents]  # service name -> its parked events


def list_events(*, raw: bool) -> None:
    found = _run(_find_all)
    if raw:
        for id_, event in found.items():
            shown = {name: event[name] for name in SHOWN_FIELDS} | {"parked_at": event["parked_at"].isoformat()}
            sys.stdout.write(f"{json.dumps({'id': id_, **shown})}\n")
        return
    console = Console(highlight=False)
    if not found:
        console.print("No events are parked.")
        return
    table = Table("id", "event", "parked at", "tries", "last error", box=None)
    for id_, event in found.items():
        table.add_row(
            id_, event["event"], f"{event['parked_at']:%Y-%m-%d %H:%M:%S}", str(event["tries"]), event["error"]
        )
    # one line per event also where the output is not a terminal
    Console(highlight=False, width=None if console.is_terminal else 250).print(table)


def retry_events(ids: Sequence[str]) -> bool:
    """Retry the parked events `ids`, or all parked events if `ids` is empty, and print each outcome.

    Return whether all were handled within RETRY_TIMEOUT_SECONDS; True if no events are parked. Raises SettingsError
    without the URLs of the servers, and OperatorError for an unknown id.
    """
    outcomes = _run(lambda parked: _retry(parked, ids))
    for id_, outcome in outcomes.items():
        print(f"{id_}: {outcome or 'handled'}")  # noqa: T201
    if not outcomes:
        print("No events are parked.")  # noqa: T201
    return not any(outcomes.values())


def _run(work: Callable[[Parked], Awaitable[T]]) -> T:
    settings = Settings.from_environment(os.environ)
    settings.require_servers()

    async def connected() -> T:
        async with _open(settings) as parked:
            return await work(parked)

    return asyncio.run(connected())


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Parked]:
    client = create_mongo_client(settings, "reactions")
    try:
        yield {service: ParkedEvents(get_database(client, settings, service)) for service in SERVICES}
    finally:
        await client.close()


async def _find_all(parked: Parked) -> dict[str, Document]:
    return {f"{service}/{event['_id']}": event for service in parked for event in await parked[service].find()}


async def _retry(parked: Parked, ids: Sequence[str]) -> dict[str, str]:
    """Request retries and wait for their ends. Return the error of each event, empty if its reaction succeeded.

    Raises OperatorError for an unknown id.
    """
    found = await _find_all(parked)
    if unknown := set(ids) - set(found):
        raise OperatorError(f"No event is parked as {min(unknown)}. `headrace admin reactions list` shows the ids.")
    pending = {id_: id_.partition("/") for id_ in ids or found}
    for service, _, name in pending.values():
        await parked[service].request_retry(name)
    outcomes: dict[str, str] = {}
    deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
    while len(outcomes) < len(pending) and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        now = await _find_all(parked)
        finished = {id_ for id_ in pending if id_ not in now or now[id_]["retry_at"] is None}
        outcomes |= {id_: f"failed again: {now[id_]['error']}" if id_ in now else "" for id_ in finished}
    return {
        id_: outcomes.get(id_, "not retried yet: its service does not run, or waits for a server") for id_ in pending
    }
