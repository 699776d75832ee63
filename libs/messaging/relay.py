"""The outbox relay: publishes the events of a service's event log to JetStream in commit order, exactly once.

The relay's position is a header of each message, so publishing a message also stores the position. If the position is
lost, the relay empties the stream and publishes all events again. A second relay is fenced off: its first message must
have the stream's next sequence number, and each later one must follow the previous.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from time import monotonic
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError
from opentelemetry.trace import Span
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from libs.documents import Document
from libs.eventstore.change_stream import (
    MAX_CLOCK_SKEW,
    OPLOG_LOST_CODES,
    StartPosition,
    get_operation_time,
    read_log,
    resume_after,
    watch_commits,
)
from libs.eventstore.decider import AnyEvent
from libs.eventstore.mapping import from_document
from libs.messaging import cloudevents
from libs.messaging.jetstream import EMPTIED, FULL_REPUBLISH, POSITION_HEADER
from libs.messaging.stream_mirrors import purge_mirror
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, is_sampled, start_span
from libs.service.leader_election import LeadershipLost

log = logging.getLogger("headrace.relay")

MAX_IN_FLIGHT = 256  # messages without an acknowledgement
ACK_TIMEOUT_SECONDS = 5.0
RESUME_TOKEN_ID = "position"  # noqa: S105
RESUME_TOKEN_INTERVAL_SECONDS = 60.0
FENCING_CODES = {10070, 10071}  # JetStream error codes: wrong last message id, wrong last sequence
PUBLISH_ATTRIBUTES = {**NATS, "messaging.operation.type": "send"}


class RelayFenced(LeadershipLost):
    """Another relay publishes to this stream."""


class Relay:
    """Publishes one service's log to its JetStream stream."""

    def __init__(
        self,
        client: Client,
        database: AsyncDatabase[Document],
        service: str,
        metrics: Metrics | None = None,
        *,
        public: bool = False,
    ) -> None:
        """`public`: the stream may have a mirror for external consumers."""
        self._public = public
        self._metrics = metrics
        self._client = client
        self._js = client.jetstream()
        self._commits: AsyncCollection[Document] = database["commits"]
        self._resume_tokens: AsyncCollection[Document] = database["relay"]
        self._token_saved_at = 0.0  # monotonic clock
        self._service = service
        self._sequence = 0
        # id of the last published message; JetStream rejects the next message if it does not follow this one
        self._previous_message_id = ""
        self._last_event_id = ""
        # suffix of message ids during a republication: JetStream drops messages whose ids it knows as duplicates
        self._republication_id = ""
        self._inbox = ""
        self._acks_by_reply: dict[str, asyncio.Future[Msg]] = {}
        self._pending_acks: deque[asyncio.Future[Msg]] = deque()
        self._lag = 0.0  # seconds from the latest published commit to the time at which the relay read it
        self._publishing_since = 0.0  # monotonic clock; 0: no publication in progress
        self.published = 0

    async def run(self) -> None:
        """Publish until canceled. Raises RelayFenced or other errors; a new run resumes at the stored position."""
        if self._metrics:
            self._metrics.relay_lag_seconds.set(self._current_lag, {"service": self._service})
        async with self._collect_acks():
            start = await self._find_start()
            while True:
                try:
                    await self._publish_changes(start or await self._republish_all())
                except OperationFailure as error:
                    if error.code not in OPLOG_LOST_CODES:
                        raise
                    log.error("the oplog does not contain the last published event; republishing all events")
                    await self._drain_acks(everything=True)
                    start = None

    @asynccontextmanager
    async def _collect_acks(self) -> AsyncIterator[None]:
        """Collect the server's acknowledgements. nats-py's `publish_async` loses negative acknowledgements."""
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
        ack = self._acks_by_reply.pop(message.subject, None)
        if ack is not None and not ack.done():
            ack.set_result(message)

    async def _find_start(self) -> StartPosition | None:
        """Return where to resume, read from the stream's last message; None if the whole log must be published."""
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
        else:
            saved = {"_id": RESUME_TOKEN_ID, "sequence": self._sequence, "event": self._last_event_id}
            if later := await self._resume_tokens.find_one(saved):
                token = later["token"]
        return resume_after(token)

    async def _save_resume_token(self, token: str) -> None:
        """Store a newer resume token for the current position.

        While a service is idle, the oplog drops the entry of its last commit, whose token is then useless.
        """
        if monotonic() - self._token_saved_at > RESUME_TOKEN_INTERVAL_SECONDS:
            document = {"sequence": self._sequence, "event": self._last_event_id, "token": token}
            await self._resume_tokens.replace_one({"_id": RESUME_TOKEN_ID}, document, upsert=True)
            self._token_saved_at = monotonic()

    async def _publish_rest_of_commit(self, last_event_id: str, token: str) -> None:
        """Publish the remaining events of a commit after a crash between two of them."""
        stream, _, position = last_event_id.rpartition("@")
        version, _, index = position.partition(".")
        document = await self._commits.find_one({"stream": stream, "version": int(version)})
        if document is None:
            raise LookupError(f"JetStream has the event {last_event_id}, which is not in the log")
        await self._publish(document, token, after=int(index))

    async def _republish_all(self) -> StartPosition:
        """Purge the stream and publish the whole log. Return where the change stream continues.

        The last commit is held back until the change stream has caught up with the scan, because its message stores the
        position.
        """
        self._republication_id = f"#{uuid4().hex}"
        if self._sequence:
            await self._truncate_stream()
        start = await get_operation_time(self._commits)
        recent: set[str] = set()
        since = start.as_datetime() - MAX_CLOCK_SKEW
        previous: Document | None = None
        async for document in read_log(self._commits):
            if previous is not None:
                await self._publish(previous, FULL_REPUBLISH)
            previous = document
            if document["at"] >= since:
                recent.add(document["_id"])
        end = await get_operation_time(self._commits)
        token = ""
        async with aclosing(watch_commits(self._commits, {"start_at_operation_time": start})) as changes:
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
        return resume_after(token)

    async def _truncate_stream(self) -> None:
        """Publish a marker that makes running subscriptions start over, then purge the stream.

        The marker comes first: it fences off another running relay before the purge.
        """
        headers = {
            Header.MSG_ID: f"emptied{self._republication_id}",
            Header.EXPECTED_LAST_SEQUENCE: str(self._sequence),
            POSITION_HEADER: FULL_REPUBLISH,
        }
        try:
            marker = await self._js.publish(f"evt.{self._service}.{EMPTIED}", b"{}", headers=headers)
        except APIError as error:
            if error.err_code in FENCING_CODES:
                raise RelayFenced(self._service) from error
            raise
        self._sequence, self._previous_message_id = marker.seq, ""
        await self._js.purge_stream(self._service, seq=marker.seq + 1)
        if self._public:
            await purge_mirror(self._client, self._service, marker.seq + 1)

    async def _publish_changes(self, start: StartPosition) -> None:
        async with aclosing(watch_commits(self._commits, start)) as changes:
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
        raise ConnectionError("the database closed the change stream")

    def _current_lag(self) -> float:
        """Return the lag in seconds. It grows while a publication hangs."""
        return self._lag + (monotonic() - self._publishing_since if self._publishing_since else 0.0)

    async def _publish(self, document: Document, token: str, *, after: int = -1) -> None:
        """Publish the events of a commit whose index is above `after`."""
        events = await from_document(document, vault=None)
        for recorded in events[after + 1 :]:
            is_republished = token == FULL_REPUBLISH
            await self._send(recorded, token if is_republished else f"{token} {recorded.index} {len(events)}")
        await self._drain_acks()

    async def _send(self, recorded: AnyEvent, position: str) -> None:
        headers = cloudevents.to_headers(self._service, recorded)
        message_id = recorded.id + self._republication_id
        headers[Header.MSG_ID] = message_id
        headers[POSITION_HEADER] = position
        headers[Header.EXPECTED_LAST_SEQUENCE] = str(self._sequence)
        if self._previous_message_id:
            # after a rejected message the next one must fail, too, even if its sequence number happens to fit
            headers[Header.EXPECTED_LAST_MSG_ID] = self._previous_message_id
        reply = f"{self._inbox}.{self.published}"
        ack: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._acks_by_reply[reply] = ack
        subject = cloudevents.event_subject(self._service, recorded)
        self._pending_acks.append(ack)
        if span := self._start_span(recorded):
            ack.add_done_callback(lambda _ack: span.end())
        await self._client.publish(subject, cloudevents.to_body(recorded), reply, headers)
        self._sequence += 1
        self._last_event_id = recorded.id
        self.published += 1
        if not self._previous_message_id:
            await self._drain_acks(everything=True)  # from the first acknowledgement on, other relays are fenced off
        self._previous_message_id = message_id

    def _start_span(self, recorded: AnyEvent) -> Span | None:
        """Start a span in the event's trace and return it, or None if the trace is not sampled.

        The caller ends the span when JetStream acknowledges the event.
        """
        traceparent = recorded.metadata.traceparent
        if not is_sampled(traceparent):
            return None
        return start_span(f"publish {recorded.event.wire_name}", SpanKind.PRODUCER, traceparent, PUBLISH_ATTRIBUTES)

    async def _drain_acks(self, *, everything: bool = False) -> None:
        """Process the acknowledgements that arrived. Wait while too many are pending; with `everything`, for all."""
        while self._pending_acks and (
            self._pending_acks[0].done() or everything or len(self._pending_acks) >= MAX_IN_FLIGHT
        ):
            async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
                message = await self._pending_acks.popleft()
            answer = json.loads(message.data) if message.data else {"error": {"description": "no stream"}}
            error = answer.get("error", {})
            if answer.get("duplicate") or error.get("err_code") in FENCING_CODES:
                raise RelayFenced(self._service)
            if error:
                raise ConnectionError(f"JetStream rejected an event of {self._service}: {error['description']}")
