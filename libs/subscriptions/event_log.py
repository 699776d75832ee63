"""The event log of a service, read in pages, for projections that are filled from the first event.

A stream contains recent events only. The log is read up to MAX_CLOCK_SKEW before the present, in the order of the
commits' times: no more commits with an earlier time are expected. Events since that time are read from the stream.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from nats.errors import Error as NatsError
from pydantic_core import from_json, to_json
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from contracts.history import LogEvent, LogPage, ReadEventLog
from libs.documents import Document
from libs.eventstore.change_stream import LOG_ORDER, MAX_CLOCK_SKEW
from libs.eventstore.decider import AnyEvent
from libs.eventstore.mapping import from_document
from libs.messaging import cloudevents
from libs.messaging.request_reply import MessageClient
from libs.retention.removal_hold import hold_removal
from libs.service.connections import get_server_time
from libs.service.leader_election import LeadershipLost

MAX_COMMITS = 500  # per page
MAX_PAGE_BYTES = 256 * 1024  # size of the events in one page; NATS limits messages to 1 MiB by default
QUERY_TIMEOUT_SECONDS = 10.0
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0


@dataclass(frozen=True)
class EventPage:
    events: Sequence[AnyEvent]
    next: str  # where the next page starts
    end: datetime | None  # set in the last page: all events before this time have been read


class OnFailure(Protocol):
    def __call__(self, error: Exception, *, is_first: bool) -> None: ...


class LogReader(Protocol):
    async def read(self, after: str) -> EventPage:
        """Return the events after a position, oldest first. An empty position is the beginning."""
        ...


class DatabaseLog:
    """The log in the service's database."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database
        self._commits = database["commits"]

    async def read(self, after: str) -> EventPage:
        now = await get_server_time(self._database)
        await hold_removal(self._database, now)
        end = now - MAX_CLOCK_SKEW
        cursor = self._commits.find({"at": {"$lt": end}}, limit=MAX_COMMITS + 2).sort(LOG_ORDER).hint(LOG_ORDER)
        last_id = ""
        if after:
            at, version, last_id = after.split(" ", 2)
            start: list[Any] = [datetime.fromisoformat(at), int(version), last_id]
            cursor = cursor.min([(name, value) for (name, _), value in zip(LOG_ORDER, start, strict=True)])
        documents: list[Document] = []
        size, is_last = 0, True
        async for document in cursor:
            if document["_id"] == last_id:
                continue  # the previous page ended with this commit
            size += len(str(document["events"]))
            if documents and (len(documents) == MAX_COMMITS or size > MAX_PAGE_BYTES):
                is_last = False
                break
            documents.append(document)
        removed = await find_removed_streams(self._commits, documents)
        events = [
            recorded
            for document in documents
            if document["stream"] not in removed
            for recorded in await from_document(document, vault=None)
        ]
        return EventPage(events, _to_position(documents[-1]) if documents else after, end if is_last else None)


async def find_removed_streams(commits: AsyncCollection[Document], documents: Sequence[Document]) -> set[str]:
    """Return the removed streams among the streams of the commits. Until they are purged, their commits still exist."""
    streams = list({document["stream"] for document in documents})
    tombstones = commits.find({"stream": {"$in": streams}, "version": 1, "events": []}, {"stream": 1})
    return {tombstone["stream"] async for tombstone in tombstones}


class RemoteLog:
    """The log of another service, which answers a query for each page."""

    def __init__(self, client: MessageClient, service: str) -> None:
        self._client = client
        self._service = service

    async def read(self, after: str) -> EventPage:
        query = ReadEventLog(log_of=self._service, after=after)
        page = LogPage.model_validate_json(await self._client.query(query, timeout=QUERY_TIMEOUT_SECONDS))
        events = [cloudevents.from_message(event.headers, to_json(event.body)) for event in page.events]
        return EventPage(events, page.next, page.end)


async def handle_log(
    log: LogReader, handle: Callable[[Sequence[AnyEvent]], Awaitable[None]], on_failure: OnFailure
) -> datetime:
    """Handle the events of all pages. Return the time before which the log had all events.

    Raises LeadershipLost, and errors of NATS and MongoDB. After any other error, the page is read and handled again,
    without limit.
    """
    position, pause = "", MIN_RETRY_SECONDS
    while True:
        try:
            page = await log.read(position)
            await handle(page.events)
        except (LeadershipLost, NatsError, PyMongoError):
            raise
        except Exception as error:
            on_failure(error, is_first=pause == MIN_RETRY_SECONDS)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_SECONDS)
        else:
            if page.end:
                return page.end
            position, pause = page.next, MIN_RETRY_SECONDS


async def answer_read_log(database: AsyncDatabase[Document], query: ReadEventLog) -> LogPage:
    page = await DatabaseLog(database).read(query.after)
    events = tuple(
        LogEvent(headers=cloudevents.to_headers(query.log_of, recorded), body=from_json(cloudevents.to_body(recorded)))
        for recorded in page.events
    )
    return LogPage(events=events, next=page.next, end=page.end)


def _to_position(document: Document) -> str:
    return f"{document['at'].astimezone(UTC).isoformat()} {document['version']} {document['_id']}"
