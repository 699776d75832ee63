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

from libs.eventstore.decider import RecordedEvent
from libs.eventstore.mapping import Document, from_document
from libs.messaging import cloudevents
from libs.messaging.stream_mirrors import purge_mirror
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, is_sampled, start_span
from libs.service.leader_election import LeadershipLost

log = logging.getLogger("headrace.relay")

POSITION_HEADER = "Headrace-Position"
BATCH_DELAY_SECONDS = 0.05  # seconds
MAX_IN_FLIGHT = 256  # messages on their way at once
ACK_TIMEOUT_SECONDS = 5.0
RESUME_TOKEN_ID = "position"  # noqa: S105 - the id of a document
RESUME_TOKEN_INTERVAL_SECONDS = 60.0  # seconds
FULL_REPUBLISH = "scanning"  # position while the whole log is published anew: a crash then starts over
FENCING_CODES = {10070, 10071}  # another last message id, another last sequence than expected
OPLOG_LOST_CODES = {136, 280, 286}  # the oplog no longer reaches back to the position
PUBLISH_ATTRIBUTES = {**NATS, "messaging.operation.type": "send"}
MAX_CLOCK_SKEW = timedelta(minutes=10)  # how far clocks may differ between writers


EPOCH = Timestamp(0, 0)
StartPosition = dict[str, Any]  # how a change stream is told where to start


class RelayFenced(LeadershipLost):
    """Another relay publishes to this stream."""


@dataclass(frozen=True, slots=True)
class CommitChange:
    """A commit as the change stream shows it, and the token to go on after it."""

    token: str
    at: Timestamp = EPOCH
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
        self._resume_tokens: AsyncCollection[Document] = database["relay"]
        self._token_saved_at = 0.0
        self._database = database
        self._service = service
        self._sequence = 0
        self._previous_message_id = ""  # id of the message that was sent before
        self._last_event_id = ""
        self._republication_id = (
            ""  # told apart from a first publication, which the server may still remember by its id
        )
        self._inbox = ""
        self._acks_by_reply: dict[str, asyncio.Future[Msg]] = {}  # by the subject of the answer
        self._pending_acks: deque[asyncio.Future[Msg]] = deque()
        self._lag = 0.0  # of the newest commit that was taken, at that moment
        self._publishing_since = 0.0  # when it was; 0: nothing is in hand
        self.published = 0

    async def run(self) -> None:
        """Publish until cancelled. Raises Fenced, or whatever ended it: run it anew and it goes on where it was."""
        if self._metrics:
            self._metrics.relay_lag_seconds.set(self._current_lag, {"service": self._service})
        async with self._collect_acks():
            position = await self._find_start()
            while True:
                try:
                    await self._publish_changes(position or await self._republish_all())
                except OperationFailure as error:
                    if error.code not in OPLOG_LOST_CODES:
                        raise
                    log.error("the oplog does not reach back to the last published event: publishing all events anew")
                    await self._drain_acks(everything=True)
                    position = None

    @asynccontextmanager
    async def _collect_acks(self) -> AsyncIterator[None]:
        """Collect the server's answers; nats-py's own `publish_async` loses those that say no."""
        self._pending_acks.clear()
        self._acks_by_reply.clear()
        self._previous_message_id = ""
        self._inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        try:
            yield
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _on_ack(self, message: Msg) -> None:
        answered = self._acks_by_reply.pop(message.subject, None)
        if answered is not None and not answered.done():
            answered.set_result(message)

    async def _find_start(self) -> StartPosition | None:
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
        if headers[POSITION_HEADER] == FULL_REPUBLISH:
            return None
        self._last_event_id = headers["ce-id"]
        token, index, count = headers[POSITION_HEADER].split(" ")
        if int(index) + 1 < int(count):
            await self._publish_rest_of_commit(self._last_event_id, token)
        elif later := await self._resume_tokens.find_one(
            {"_id": RESUME_TOKEN_ID, "sequence": self._sequence, "event": self._last_event_id}
        ):
            token = later["token"]
        return {"resume_after": {"_data": token}}

    async def _save_resume_token(self, token: str) -> None:
        """The oplog forgets the position of a service that is silent for long: note a later one that means the same."""
        if monotonic() - self._token_saved_at > RESUME_TOKEN_INTERVAL_SECONDS:
            mark = {"sequence": self._sequence, "event": self._last_event_id, "token": token}
            await self._resume_tokens.replace_one({"_id": RESUME_TOKEN_ID}, mark, upsert=True)
            self._token_saved_at = monotonic()

    async def _publish_rest_of_commit(self, last_id: str, token: str) -> None:
        """The process died between two events of one commit: publish the others."""
        stream, _, place = last_id.rpartition("@")
        version, _, index = place.partition(".")
        document = await self._commits.find_one({"stream": stream, "version": int(version)})
        if document is None:
            raise LookupError(f"JetStream holds {last_id}, which is not in the log")
        await self._publish(document, token, after=int(index))

    async def _republish_all(self) -> StartPosition:
        """Empty the stream and publish the log from its first event; answers where the change stream goes on.

        The last commit is held back until the change stream has caught up with the scan: it carries the position.
        """
        self._republication_id = f"#{uuid4().hex}"
        if self._sequence:
            await self._truncate_stream()
        start = await self._get_operation_time()
        recent: set[str] = set()
        since = start.as_datetime() - MAX_CLOCK_SKEW
        previous: Document | None = None
        async for document in self._commits.find({}).sort([("at", 1), ("version", 1), ("_id", 1)]):
            if previous is not None:
                await self._publish(previous, FULL_REPUBLISH)
            previous = document
            if document["at"] >= since:
                recent.add(document["_id"])
        end = await self._get_operation_time()
        token = ""
        async with aclosing(self._watch_commits({"start_at_operation_time": start})) as changes:
            async for change in changes:
                token = change.token
                if change.document is not None and change.document["_id"] not in recent:
                    if previous is not None:
                        await self._publish(previous, FULL_REPUBLISH)
                    previous = change.document
                if change.document is None or change.at > end:
                    break
        if previous is not None:
            await self._publish(previous, token)
        self._republication_id = ""
        return {"resume_after": {"_data": token}}

    async def _truncate_stream(self) -> None:
        """Leave out a sequence number, so that followers that run see a gap and start anew; then purge.

        In this order: a relay that is at work is fenced off before what it published is taken away.
        """
        message_id = f"emptied{self._republication_id}"
        headers = {
            Header.MSG_ID: message_id,
            Header.EXPECTED_LAST_SEQUENCE: str(self._sequence),
            POSITION_HEADER: FULL_REPUBLISH,
        }
        try:
            gap = await self._js.publish(f"evt.{self._service}.stream.Emptied", b"{}", headers=headers)
        except APIError as error:
            if error.err_code in FENCING_CODES:
                raise RelayFenced(self._service) from error
            raise
        self._sequence, self._previous_message_id = gap.seq, ""
        await self._js.purge_stream(self._service, seq=gap.seq + 1)
        if self._public:
            await purge_mirror(self._client, self._service, gap.seq + 1)

    async def _get_operation_time(self) -> Timestamp:
        time: Timestamp = (await self._database.command("ping"))["operationTime"]
        return time

    async def _publish_changes(self, position: StartPosition) -> None:
        async with aclosing(self._watch_commits(position)) as changes:
            async for change in changes:
                if change.document is None:
                    await self._drain_acks(everything=True)
                    await self._save_resume_token(change.token)
                    self._lag = 0.0
                else:
                    self._lag = max((datetime.now(UTC) - change.document["at"]).total_seconds(), 0.0)
                    self._publishing_since = monotonic()
                    await self._publish(change.document, change.token)
                    self._publishing_since = 0.0
        raise ConnectionError("the database ended the change stream")

    def _current_lag(self) -> float:
        """While a publication hangs it grows."""
        return self._lag + (monotonic() - self._publishing_since if self._publishing_since else 0.0)

    async def _watch_commits(self, position: StartPosition) -> AsyncGenerator[CommitChange]:
        """Commits in the database's own order; one without a document now and then while nothing happens."""
        pipeline: list[Document] = [
            {"$match": {"operationType": "insert"}},
            {"$project": {"fullDocument": 1, "clusterTime": 1}},
        ]
        changes = await self._commits.watch(pipeline, batch_size=MAX_IN_FLIGHT, max_await_time_ms=500, **position)
        async with changes:
            while changes.alive:
                change = await changes.try_next()
                if change is not None:
                    yield CommitChange(change["_id"]["_data"], change["clusterTime"], change["fullDocument"])
                    if not changes._cursor._has_next():
                        # what comes in this moment comes together: the relay, its followers and their databases have
                        # a fraction of the work, and those who cannot wait are told by hints
                        await asyncio.sleep(BATCH_DELAY_SECONDS)
                elif changes.resume_token is not None:
                    yield CommitChange(changes.resume_token["_data"])

    async def _publish(self, document: Document, token: str, *, after: int = -1) -> None:
        events = await from_document(document, vault=None)
        for recorded in events[after + 1 :]:
            await self._send(recorded, token if token == FULL_REPUBLISH else f"{token} {recorded.index} {len(events)}")
        await self._drain_acks()

    async def _send(self, recorded: RecordedEvent[Any], position: str) -> None:
        headers = cloudevents.to_headers(self._service, recorded)
        message_id = recorded.id + self._republication_id
        headers[Header.MSG_ID] = message_id
        headers[POSITION_HEADER] = position
        headers[Header.EXPECTED_LAST_SEQUENCE] = str(self._sequence)
        if self._previous_message_id:
            # a refused message must not be followed by the next one, which may fit the sequence again by accident
            headers[Header.EXPECTED_LAST_MSG_ID] = self._previous_message_id
        reply = f"{self._inbox}.{self.published}"
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._acks_by_reply[reply] = answered
        subject = cloudevents.event_subject(self._service, recorded)
        self._pending_acks.append(answered)
        if span := self._start_span(recorded):
            answered.add_done_callback(lambda _acknowledged: span.end())
        await self._client.publish(subject, cloudevents.to_body(recorded), reply, headers)
        self._sequence += 1
        self._last_event_id = recorded.id
        self.published += 1
        if not self._previous_message_id:
            await self._drain_acks(everything=True)  # the first one alone: from here on this relay is the only one
        self._previous_message_id = message_id

    def _start_span(self, recorded: RecordedEvent[Any]) -> Span | None:
        """From the sending to the acknowledgement, in the trace of the event."""
        if not is_sampled(recorded.metadata.traceparent):
            return None
        name = recorded.event.wire_name
        return start_span(f"publish {name}", SpanKind.PRODUCER, recorded.metadata.traceparent, PUBLISH_ATTRIBUTES)

    async def _drain_acks(self, *, everything: bool = False) -> None:
        """Look at the acknowledgements that have come; wait for the oldest one while the window is full."""
        while self._pending_acks and (
            self._pending_acks[0].done() or everything or len(self._pending_acks) >= MAX_IN_FLIGHT
        ):
            async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
                message = await self._pending_acks.popleft()
            answer = json.loads(message.data) if message.data else {"error": {"description": "no stream takes it"}}
            error = answer.get("error", {})
            if answer.get("duplicate") or error.get("err_code") in FENCING_CODES:
                raise RelayFenced(self._service)
            if error:
                raise ConnectionError(f"JetStream refused an event of {self._service}: {error['description']}")
