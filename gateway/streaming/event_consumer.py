"""Stored and new events from JetStream, in order and without gaps."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import StreamState
from pydantic_core import from_json, to_json

from contracts.errors import RequestRejected
from gateway.schemas.loose_types import parse_time
from libs.messaging.stream_reader import StreamReader

STREAMS = ("builds", "runners")
EVENT_ID_PART = re.compile(r"([br])(\d{1,18})")
BATCH_SIZE = 64  # maximum number of events per request to NATS
RECONNECT_DELAY_SECONDS = 0.5  # pause before a lost consumer is recreated


def extract_trace_id(traceparent: str) -> str | None:
    """Return the trace id of a W3C traceparent, or None."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 else None


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
    subject: str  # the stream of the aggregate, like build-17
    name: str
    data: str  # one line of JSON
    headers: Mapping[str, str]

    @classmethod
    def from_message(cls, stream: str, message: Msg) -> "StoredEvent":
        _, _, subject, name = message.subject.split(".", 3)
        data = message.data.replace(b"\r", b"").replace(b"\n", b" ")
        return cls(stream, message.metadata.sequence.stream, subject, name, data.decode(), message.headers or {})

    def with_envelope(self) -> str:
        """Return one line of JSON with the event, its time, actor, version and trace. The name of a user is empty."""
        actor = from_json(self.headers.get("ce-actor", '[0, ""]'))
        version = self.headers.get("ce-id", "").rpartition("@")[2].partition(".")[0]
        envelope = {
            "at": self.headers.get("ce-time"),
            "type": self.name,
            "stream": self.subject,
            "version": int(version) if version.isdigit() else None,
            "actor": {"id": actor[0], "name": actor[1]},
            "trace_id": extract_trace_id(self.headers.get("traceparent", "")),
        }
        return f'{to_json(envelope).decode()[:-1]},"data":{self.data}}}'


async def find_start_positions(client: Client, last_id: str, since_text: str) -> dict[str, StartPosition]:
    """Return where to start in each stream: after Last-Event-ID, else at `since`, else at the end.

    Raises REQUEST_MALFORMED, EVENTS_EXPIRED or SERVICE_UNAVAILABLE.
    """
    last_seen = {letter: int(sequence) for letter, sequence in EVENT_ID_PART.findall(last_id)}
    if last_id and not last_seen:
        raise RequestRejected("REQUEST_MALFORMED", "Last-Event-ID is not an id of this event stream.")
    since = parse_time("since", since_text) if since_text else None
    starts = {}
    for stream in STREAMS:
        try:
            state = (await client.jetstream().stream_info(stream)).state
            newest = state.last_seq
            if stream[0] in last_seen:
                # a position beyond the end would skip events until the stream reaches it
                start = StartPosition(newest, after=min(last_seen[stream[0]], newest))
            else:
                start = StartPosition(newest, since=since) if since else StartPosition(newest, after=newest)
            is_expired = await _is_expired(client, stream, state, start)
        except NatsError:
            raise RequestRejected("SERVICE_UNAVAILABLE", "The event stream is unavailable. Try again later.") from None
        if is_expired:
            raise RequestRejected("EVENTS_EXPIRED")
        starts[stream] = start
    return starts


async def _is_expired(client: Client, stream: str, state: StreamState, start: StartPosition) -> bool:
    """Return whether events after the position were trimmed."""
    if state.first_seq <= 1 or state.messages == 0:
        return False
    if start.after is not None:
        return start.after + 1 < state.first_seq
    async with aclosing(await StreamReader.open(client, stream, since=start.since)) as reader:
        return await reader.count_pending() >= state.messages  # the first stored event is later than `since`


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
