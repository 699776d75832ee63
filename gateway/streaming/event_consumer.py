"""Reads stored and new events from JetStream, in order and without gaps."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from contracts.errors import RequestRejected

STREAMS = ("builds", "runners")
EVENT_ID_PART = re.compile(r"([br])(\d{1,18})")
BATCH_SIZE = 64  # events per request to NATS, if so many are stored
FETCH_TIMEOUT_SECONDS = 2.0  # a request that was lost with its NATS server is repeated after this time
RECONNECT_DELAY_SECONDS = 0.5  # pause before a lost consumer is recreated
CONSUMER_EXPIRY_SECONDS = 60.0  # NATS removes a consumer that is no longer read after this time


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where to start reading a stream: after a sequence number, or at a time."""

    newest: int  # sequence number of the stream's last event when the position was determined
    after: int | None = None
    since: datetime | None = None

    @property
    def is_future(self) -> bool:
        return self.since is not None and self.since > datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    stream: str
    sequence: int
    name: str
    data: str  # one line of JSON

    @classmethod
    def from_message(cls, stream: str, message: Msg) -> "StoredEvent":
        data = message.data.replace(b"\r", b"").replace(b"\n", b" ")
        return cls(stream, message.metadata.sequence.stream, message.subject.rpartition(".")[2], data.decode())


async def find_start_positions(client: Client, last_id: str, since_text: str) -> dict[str, StartPosition]:
    """Return where to start in each stream: after Last-Event-ID, else at `since`, else at the end.

    Raises REQUEST_MALFORMED or SERVICE_UNAVAILABLE.
    """
    last_seen = {letter: int(sequence) for letter, sequence in EVENT_ID_PART.findall(last_id)}
    if last_id and not last_seen:
        raise RequestRejected("REQUEST_MALFORMED", "Last-Event-ID is not an id of this event stream.")
    since = _parse_since(since_text)
    starts = {}
    for stream in STREAMS:
        try:
            newest = (await client.jetstream().stream_info(stream)).state.last_seq
        except NatsError:
            raise RequestRejected("SERVICE_UNAVAILABLE", "The event stream is unavailable. Try again later.") from None
        if stream[0] in last_seen:
            # a position beyond the end would skip events until the stream reaches it
            starts[stream] = StartPosition(newest, after=min(last_seen[stream[0]], newest))
        else:
            starts[stream] = StartPosition(newest, since=since) if since else StartPosition(newest, after=newest)
    return starts


def _parse_since(value: str) -> datetime | None:
    if not value:
        return None
    try:
        since = datetime.fromisoformat(value.replace(" ", "+"))  # an unescaped plus sign arrives as a space
    except ValueError:
        raise RequestRejected(
            "REQUEST_MALFORMED", "since must be a time in ISO 8601, like 2026-01-31T12:00:00Z."
        ) from None
    return since if since.tzinfo else since.replace(tzinfo=UTC)


async def read_batches(
    client: Client, stream: str, after: int | None, since: datetime | None = None
) -> AsyncGenerator[Sequence[StoredEvent]]:
    """Yield the events after a sequence number, else since a time; an empty batch when there are none for a while.

    A lost consumer is recreated where the last batch ended.
    """
    while True:
        try:
            config = _consumer_config(after, since)
            subscription = await client.jetstream().pull_subscribe(f"evt.{stream}.>", stream=stream, config=config)
            try:
                async for messages in _fetch_messages(client, subscription):
                    batch = [StoredEvent.from_message(stream, message) for message in messages]
                    after = batch[-1].sequence if batch else after
                    yield batch
            finally:
                await subscription.unsubscribe()
        except NatsError:
            await asyncio.sleep(RECONNECT_DELAY_SECONDS)


async def _fetch_messages(
    client: Client, subscription: JetStreamContext.PullSubscription
) -> AsyncGenerator[Sequence[Msg]]:
    """Yield batches of messages, until a message was lost: with the connection that should have delivered it."""
    received, size, connections = 0, 1, client.stats["reconnects"]
    while True:
        try:
            messages = await subscription.fetch(size, FETCH_TIMEOUT_SECONDS)
        except TimeoutError:
            messages = []
        expected = range(received + 1, received + len(messages) + 1)
        if [message.metadata.sequence.consumer for message in messages] != [*expected]:
            return
        received += len(messages)
        yield messages
        if client.stats["reconnects"] != connections:
            return
        # not more than are stored: fetch would wait until a larger batch is complete
        size = min(max(messages[-1].metadata.num_pending, 1), BATCH_SIZE) if messages else 1


def _consumer_config(after: int | None, since: datetime | None) -> ConsumerConfig:
    by_time = after is None
    return ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_TIME if by_time else DeliverPolicy.BY_START_SEQUENCE,
        opt_start_time=since if by_time else None,
        opt_start_seq=None if after is None else after + 1,
        inactive_threshold=CONSUMER_EXPIRY_SECONDS,
        mem_storage=True,
        num_replicas=1,
    )
