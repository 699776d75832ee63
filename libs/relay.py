"""The relay: follows the log in commit order and publishes every event to JetStream, in order, exactly once.

The position travels in a header of each message, so it is stored by the very act of publishing. A second relay is
fenced off by the expected sequence: its first message is refused and it ends.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Timestamp
from nats.aio.client import Client
from nats.js.api import Header, PubAck
from nats.js.errors import NotFoundError
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from libs import cloudevents
from libs.deciding import Recorded
from libs.eventstore.documents import Document, from_document
from libs.observability.metrics import Metrics

log = logging.getLogger("headrace.relay")

POSITION = "Headrace-Position"
WINDOW = 256  # messages on their way at once
ACK_TIMEOUT = 5.0
SCANNING = "scanning"  # position while the whole log is published anew: a crash then starts over
HISTORY_LOST = {136, 280, 286}  # the oplog no longer reaches back to the position
SKEW = timedelta(minutes=10)  # how far clocks may differ between writers


class Fenced(Exception):
    """Another relay publishes to this stream."""


class Relay:
    def __init__(
        self, client: Client, database: AsyncDatabase[Document], service: str, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics
        self._js = client.jetstream(publish_async_max_pending=WINDOW * 2)
        self._commits: AsyncCollection[Document] = database["commits"]
        self._database = database
        self._service = service
        self._sequence = 0
        self._edition = ""  # told apart from a first publication, which the server may still remember by its id
        self._pending: deque[asyncio.Future[PubAck]] = deque()
        self.published = 0

    async def run(self) -> None:
        """Publish until cancelled. Raises Fenced, or whatever ended it: run it anew and it goes on where it was."""
        self._pending.clear()
        position = await self._position()
        try:
            if position is None:
                await self._follow(await self._publish_all())
            else:
                await self._follow(position)
        except OperationFailure as error:
            if error.code not in HISTORY_LOST:
                raise
            log.error("the oplog no longer reaches back to the last published event: publishing the whole log anew")
            await self._follow(await self._publish_all())

    async def republish(self) -> None:
        """Publish the whole log anew, whatever the stream holds. For operators; stop the services first."""
        await self._position()
        await self._publish_all()
        await self._settle(everything=True)

    async def _position(self) -> dict[str, Any] | None:
        """Where to go on, from the last message of the stream; None if it is empty."""
        info = await self._js.stream_info(self._service)
        self._sequence = info.state.last_seq
        if info.state.messages == 0:
            return None
        try:
            last = await self._js.get_msg(self._service, seq=info.state.last_seq)
        except NotFoundError:
            return None
        headers: Mapping[str, str] = last.headers or {}
        kind, _, value = headers[POSITION].partition(" ")
        if kind == SCANNING:
            return None
        if kind == "time":
            seconds, _, increment = value.partition(".")
            return {"start_at_operation_time": Timestamp(int(seconds), int(increment))}
        token, index, count = value.split(" ")
        if int(index) + 1 < int(count):
            await self._finish(headers["ce-id"], token)
        return {"resume_after": {"_data": token}}

    async def _finish(self, last_id: str, token: str) -> None:
        """The process died between two events of one commit: publish the others."""
        stream, _, place = last_id.rpartition("@")
        version, _, index = place.partition(".")
        document = await self._commits.find_one({"stream": stream, "version": int(version)})
        if document is None:
            raise LookupError(f"JetStream holds {last_id}, which is not in the log")
        await self._publish(document, token, after=int(index))

    async def _publish_all(self) -> dict[str, Any]:
        """Empty the stream and publish the log from its first event; answers where the change stream goes on."""
        await self._js.purge_stream(self._service)
        hello = await self._database.command("ping")
        start: Timestamp = hello["operationTime"]
        self._edition = f"#{start.time}.{start.inc}"
        recent: set[str] = set()
        since = start.as_datetime() - SKEW
        previous: Document | None = None
        async for document in self._commits.find({}).sort([("at", 1), ("version", 1), ("_id", 1)]):
            if previous is not None:
                await self._publish(previous, SCANNING)
            previous = document
            if document["at"] >= since:
                recent.add(document["_id"])
        if previous is not None:
            await self._publish(previous, SCANNING, final=f"time {start.time}.{start.inc}")
        self._edition = ""
        return {"start_at_operation_time": start, "published": recent}

    async def _follow(self, position: dict[str, Any]) -> None:
        published: set[str] = position.pop("published", set())
        async for token, document in self._changes(position):
            if document is None:
                await self._settle()
                self._measure(0.0)
            elif document["_id"] in published:
                published.discard(document["_id"])
            else:
                await self._publish(document, token)
                self._measure((datetime.now(UTC) - document["at"]).total_seconds())

    def _measure(self, lag: float) -> None:
        if self._metrics:
            self._metrics.relay_lag_seconds.set(max(lag, 0.0), {"service": self._service})

    async def _changes(self, position: dict[str, Any]) -> AsyncIterator[tuple[str, Document | None]]:
        """Commits in the database's own order; None now and then while nothing happens."""
        pipeline: list[Document] = [{"$match": {"operationType": "insert"}}, {"$project": {"fullDocument": 1}}]
        changes = await self._commits.watch(pipeline, batch_size=WINDOW, max_await_time_ms=500, **position)
        async with changes:
            while changes.alive:
                change = await changes.try_next()
                yield ("", None) if change is None else (change["_id"]["_data"], change["fullDocument"])

    async def _publish(self, document: Document, token: str, *, after: int = -1, final: str = "") -> None:
        events = await from_document(document, vault=None)
        for recorded in events[after + 1 :]:
            position = SCANNING if token == SCANNING else f"token {token} {recorded.index} {len(events)}"
            if final and recorded.index + 1 == len(events):
                position = final
            await self._send(recorded, position)
        await self._settle()

    async def _send(self, recorded: Recorded[Any], position: str) -> None:
        headers = cloudevents.to_headers(self._service, recorded)
        headers[Header.MSG_ID] = recorded.id + self._edition
        headers[POSITION] = position
        headers[Header.EXPECTED_LAST_SEQUENCE] = str(self._sequence)
        acknowledged = await self._js.publish_async(
            cloudevents.subject(self._service, recorded),
            cloudevents.to_body(recorded),
            wait_stall=ACK_TIMEOUT,
            headers=headers,
        )
        self._sequence += 1
        self.published += 1
        self._pending.append(acknowledged)

    async def _settle(self, *, everything: bool = False) -> None:
        """Look at the acknowledgements that have come; wait for the oldest one while the window is full."""
        while self._pending and (self._pending[0].done() or everything or len(self._pending) >= WINDOW):
            oldest = self._pending.popleft()
            try:
                acknowledged = await asyncio.wait_for(oldest, ACK_TIMEOUT)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if getattr(error, "err_code", None) == 10071:
                    raise Fenced(self._service) from error
                raise
            if acknowledged.duplicate:
                raise Fenced(self._service)
