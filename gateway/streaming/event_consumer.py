"""Reads stored and new events from JetStream, in order and without gaps."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts.errors import RequestRejected
from gateway.schemas.loose_types import parse_time
from libs.messaging.stream_reader import StreamReader

STREAMS = ("builds", "runners")
EVENT_ID_PART = re.compile(r"([br])(\d{1,18})")
BATCH_SIZE = 64  # events per request to NATS
RECONNECT_DELAY_SECONDS = 0.5  # pause before a lost consumer is recreated


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
    since = parse_time("since", since_text) if since_text else None
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


async def read_batches(
    client: Client, stream: str, after: int | None, since: datetime | None = None
) -> AsyncGenerator[Sequence[StoredEvent]]:
    """Yield the events after a sequence number, else since a time; an empty batch when there are none for a while.

    A lost consumer is recreated where the last batch ended.
    """
    while True:
        try:
            reader = await StreamReader.open(client, stream, after=after, since=since, batch_size=BATCH_SIZE)
            async with aclosing(reader):
                while True:
                    batch = [StoredEvent.from_message(stream, message) for message in await reader.fetch()]
                    after = batch[-1].sequence if batch else after
                    yield batch
        except (NatsError, TimeoutError):
            await asyncio.sleep(RECONNECT_DELAY_SECONDS)
