"""The relay: follows the log in commit order and publishes every event to JetStream, in order, exactly once.

The position travels in a header of each message, so it is stored by the very act of publishing. A second relay is
fenced off: its first message must be the next of the stream, and each later one must follow the one before.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

from bson import Timestamp
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError
from opentelemetry.trace import Span
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from libs import cloudevents
from libs.deciding import Recorded
from libs.eventstore.documents import Document, from_document
from libs.leading import Deposed
from libs.mirrors import purge_mirror
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, sampled, start

log = logging.getLogger("headrace.relay")

POSITION = "Headrace-Position"
GATHERING = 0.05  # seconds
WINDOW = 256  # messages on their way at once
ACK_TIMEOUT = 5.0
MARK = "position"
MARK_EVERY = 60.0  # seconds
SCANNING = "scanning"  # position while the whole log is published anew: a crash then starts over
FENCES = {10070, 10071}  # another last message id, another last sequence than expected
HISTORY_LOST = {136, 280, 286}  # the oplog no longer reaches back to the position
PUBLISHING = {**NATS, "messaging.operation.type": "send"}
SKEW = timedelta(minutes=10)  # how far clocks may differ between writers


NEVER = Timestamp(0, 0)
Position = dict[str, Any]  # how a change stream is told where to start


class Fenced(Deposed):
    """Another relay publishes to this stream."""


@dataclass(frozen=True, slots=True)
class Change:
    """A commit as the change stream shows it, and the token to go on after it."""

    token: str
    at: Timestamp = NEVER
    document: Document | None = None


class Relay:
    def __init__(
        self,
        client: Client,
        database: AsyncDatabase[Document],
        service: str,
        metrics: Metrics | None = None,
        *,
        public: bool = False,
    ) -> None:
        """`public`: there may be a copy of the stream for consumers outside."""
        self._public = public
        self._metrics = metrics
        self._client = client
        self._js = client.jetstream()
        self._commits: AsyncCollection[Document] = database["commits"]
        self._marks: AsyncCollection[Document] = database["relay"]
        self._marked = 0.0
        self._database = database
        self._service = service
        self._sequence = 0
        self._previous = ""  # id of the message that was sent before
        self._last_id = ""
        self._edition = ""  # told apart from a first publication, which the server may still remember by its id
        self._inbox = ""
        self._awaited: dict[str, asyncio.Future[Msg]] = {}  # by the subject of the answer
        self._pending: deque[asyncio.Future[Msg]] = deque()
        self._lag = 0.0  # of the newest commit that was taken, at that moment
        self._taken = 0.0  # when it was; 0: nothing is in hand
        self.published = 0

    async def run(self) -> None:
        """Publish until cancelled. Raises Fenced, or whatever ended it: run it anew and it goes on where it was."""
        if self._metrics:
            self._metrics.relay_lag_seconds.set(self._lag_now, {"service": self._service})
        async with self._acknowledged():
            position = await self._position()
            while True:
                try:
                    await self._follow(position or await self._publish_all())
                except OperationFailure as error:
                    if error.code not in HISTORY_LOST:
                        raise
                    log.error("the oplog does not reach back to the last published event: publishing all events anew")
                    await self._settle(everything=True)
                    position = None

    @asynccontextmanager
    async def _acknowledged(self) -> AsyncIterator[None]:
        """Collect the server's answers; nats-py's own `publish_async` loses those that say no."""
        self._pending.clear()
        self._awaited.clear()
        self._previous = ""
        self._inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        try:
            yield
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _on_answer(self, message: Msg) -> None:
        answered = self._awaited.pop(message.subject, None)
        if answered is not None and not answered.done():
            answered.set_result(message)

    async def _position(self) -> Position | None:
        """Where to go on, from the last message of the stream; None if everything is to be published."""
        info = await self._js.stream_info(self._service)
        self._sequence = info.state.last_seq
        if info.state.messages == 0:
            return None
        try:
            last = await self._js.get_msg(self._service, seq=info.state.last_seq)
        except NotFoundError:
            return None
        headers: Mapping[str, str] = last.headers or {}
        if headers[POSITION] == SCANNING:
            return None
        self._last_id = headers["ce-id"]
        token, index, count = headers[POSITION].split(" ")
        if int(index) + 1 < int(count):
            await self._finish(self._last_id, token)
        elif later := await self._marks.find_one({"_id": MARK, "sequence": self._sequence, "event": self._last_id}):
            token = later["token"]
        return {"resume_after": {"_data": token}}

    async def _mark(self, token: str) -> None:
        """The oplog forgets the position of a service that is silent for long: note a later one that means the same."""
        if monotonic() - self._marked > MARK_EVERY:
            mark = {"sequence": self._sequence, "event": self._last_id, "token": token}
            await self._marks.replace_one({"_id": MARK}, mark, upsert=True)
            self._marked = monotonic()

    async def _finish(self, last_id: str, token: str) -> None:
        """The process died between two events of one commit: publish the others."""
        stream, _, place = last_id.rpartition("@")
        version, _, index = place.partition(".")
        document = await self._commits.find_one({"stream": stream, "version": int(version)})
        if document is None:
            raise LookupError(f"JetStream holds {last_id}, which is not in the log")
        await self._publish(document, token, after=int(index))

    async def _publish_all(self) -> Position:
        """Empty the stream and publish the log from its first event; answers where the change stream goes on.

        The last commit is held back until the change stream has caught up with the scan: it carries the position.
        """
        self._edition = f"#{uuid4().hex}"
        if self._sequence:
            await self._empty()
        start = await self._now()
        recent: set[str] = set()
        since = start.as_datetime() - SKEW
        previous: Document | None = None
        async for document in self._commits.find({}).sort([("at", 1), ("version", 1), ("_id", 1)]):
            if previous is not None:
                await self._publish(previous, SCANNING)
            previous = document
            if document["at"] >= since:
                recent.add(document["_id"])
        end = await self._now()
        token = ""
        async with aclosing(self._changes({"start_at_operation_time": start})) as changes:
            async for change in changes:
                token = change.token
                if change.document is not None and change.document["_id"] not in recent:
                    if previous is not None:
                        await self._publish(previous, SCANNING)
                    previous = change.document
                if change.document is None or change.at > end:
                    break
        if previous is not None:
            await self._publish(previous, token)
        self._edition = ""
        return {"resume_after": {"_data": token}}

    async def _empty(self) -> None:
        """Leave out a sequence number, so that followers that run see a gap and start anew; then purge.

        In this order: a relay that is at work is fenced off before what it published is taken away.
        """
        message_id = f"emptied{self._edition}"
        headers = {
            Header.MSG_ID: message_id,
            Header.EXPECTED_LAST_SEQUENCE: str(self._sequence),
            POSITION: SCANNING,
        }
        try:
            gap = await self._js.publish(f"evt.{self._service}.stream.Emptied", b"{}", headers=headers)
        except APIError as error:
            if error.err_code in FENCES:
                raise Fenced(self._service) from error
            raise
        self._sequence, self._previous = gap.seq, ""
        await self._js.purge_stream(self._service, seq=gap.seq + 1)
        if self._public:
            await purge_mirror(self._client, self._service, gap.seq + 1)

    async def _now(self) -> Timestamp:
        time: Timestamp = (await self._database.command("ping"))["operationTime"]
        return time

    async def _follow(self, position: Position) -> None:
        async with aclosing(self._changes(position)) as changes:
            async for change in changes:
                if change.document is None:
                    await self._settle(everything=True)
                    await self._mark(change.token)
                    self._lag = 0.0
                else:
                    self._lag = max((datetime.now(UTC) - change.document["at"]).total_seconds(), 0.0)
                    self._taken = monotonic()
                    await self._publish(change.document, change.token)
                    self._taken = 0.0
        raise ConnectionError("the database ended the change stream")

    def _lag_now(self) -> float:
        """While a publication hangs it grows."""
        return self._lag + (monotonic() - self._taken if self._taken else 0.0)

    async def _changes(self, position: Position) -> AsyncGenerator[Change]:
        """Commits in the database's own order; one without a document now and then while nothing happens."""
        pipeline: list[Document] = [
            {"$match": {"operationType": "insert"}},
            {"$project": {"fullDocument": 1, "clusterTime": 1}},
        ]
        changes = await self._commits.watch(pipeline, batch_size=WINDOW, max_await_time_ms=500, **position)
        async with changes:
            while changes.alive:
                change = await changes.try_next()
                if change is not None:
                    yield Change(change["_id"]["_data"], change["clusterTime"], change["fullDocument"])
                    if not changes._cursor._has_next():
                        # what comes in this moment comes together: the relay, its followers and their databases have
                        # a fraction of the work, and those who cannot wait are told by hints
                        await asyncio.sleep(GATHERING)
                elif changes.resume_token is not None:
                    yield Change(changes.resume_token["_data"])

    async def _publish(self, document: Document, token: str, *, after: int = -1) -> None:
        events = await from_document(document, vault=None)
        for recorded in events[after + 1 :]:
            await self._send(recorded, token if token == SCANNING else f"{token} {recorded.index} {len(events)}")
        await self._settle()

    async def _send(self, recorded: Recorded[Any], position: str) -> None:
        headers = cloudevents.to_headers(self._service, recorded)
        message_id = recorded.id + self._edition
        headers[Header.MSG_ID] = message_id
        headers[POSITION] = position
        headers[Header.EXPECTED_LAST_SEQUENCE] = str(self._sequence)
        if self._previous:
            # a refused message must not be followed by the next one, which may fit the sequence again by accident
            headers[Header.EXPECTED_LAST_MSG_ID] = self._previous
        reply = f"{self._inbox}.{self.published}"
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._awaited[reply] = answered
        subject = cloudevents.subject(self._service, recorded)
        self._pending.append(answered)
        if span := self._span(recorded):
            answered.add_done_callback(lambda _acknowledged: span.end())
        await self._client.publish(subject, cloudevents.to_body(recorded), reply, headers)
        self._sequence += 1
        self._last_id = recorded.id
        self.published += 1
        if not self._previous:
            await self._settle(everything=True)  # the first one alone: from here on this relay is the only one
        self._previous = message_id

    def _span(self, recorded: Recorded[Any]) -> Span | None:
        """From the sending to the acknowledgement, in the trace of the event."""
        if not sampled(recorded.cause.traceparent):
            return None
        name = recorded.event.wire_name
        return start(f"publish {name}", SpanKind.PRODUCER, recorded.cause.traceparent, PUBLISHING)

    async def _settle(self, *, everything: bool = False) -> None:
        """Look at the acknowledgements that have come; wait for the oldest one while the window is full."""
        while self._pending and (self._pending[0].done() or everything or len(self._pending) >= WINDOW):
            async with asyncio.timeout(ACK_TIMEOUT):
                message = await self._pending.popleft()
            answer = json.loads(message.data) if message.data else {"error": {"description": "no stream takes it"}}
            error = answer.get("error", {})
            if answer.get("duplicate") or error.get("err_code") in FENCES:
                raise Fenced(self._service)
            if error:
                raise ConnectionError(f"JetStream refused an event of {self._service}: {error['description']}")
