"""Live events of builds and runners as server-sent events. A client can resume after any event."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi.sse import ServerSentEvent
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from contracts.errors import RequestRejected
from gateway.context import AppState
from libs.eventstore.decider import Actor
from libs.tasks import cancel_and_wait, run_until_first_exit

HEARTBEAT_SECONDS = 15.0
STREAMS = ("builds", "runners")
EVENT_ID_PART = re.compile(r"([br])(\d{1,18})")
READ_AHEAD = 64  # events buffered for a client; then reading from NATS pauses
FETCH_TIMEOUT_SECONDS = 2.0  # a request is repeated after this time, in case it was lost with its NATS server
RECONNECT_DELAY_SECONDS = 0.5  # pause before a lost consumer is recreated
MAX_READERS_PER_USER = 100  # streams of a user on each gateway; a stream needs two NATS consumers
CONSUMER_EXPIRY_SECONDS = 60.0  # NATS removes a consumer this long after its client has disconnected


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where to start reading a stream: after a sequence number, or at a time."""

    after: int | None = None
    since: datetime | None = None

    def consumer_config(self) -> ConsumerConfig:
        by_time = self.after is None
        return ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_TIME if by_time else DeliverPolicy.BY_START_SEQUENCE,
            opt_start_time=self.since if by_time else None,
            opt_start_seq=None if self.after is None else self.after + 1,
            inactive_threshold=CONSUMER_EXPIRY_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )


class EventFeed:
    """The events of one client, read ahead by a background task."""

    def __init__(self, state: AppState, starts: Mapping[str, StartPosition]) -> None:
        self._state = state
        self._starts = starts
        self._positions = {stream: start.after for stream, start in starts.items()}
        self._ready: asyncio.Queue[tuple[str, Msg] | None] = asyncio.Queue(READ_AHEAD)  # None marks the end

    async def fill(self) -> None:
        jetstream = self._state.nats.jetstream()
        reading = (_read_stream(jetstream, stream, start, self._ready) for stream, start in self._starts.items())
        await run_until_first_exit(map(asyncio.create_task, (self._state.shutting_down.wait(), *reading)))
        await self._ready.put(None)

    async def iterate(self, is_allowed: Callable[[], Awaitable[bool]]) -> AsyncGenerator[ServerSentEvent]:
        """Yield events, and comments while there are none, until the client is no longer allowed to read them."""
        yield ServerSentEvent(comment="connected")
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    item = await self._ready.get()
                if item is None:
                    return
                event = self._to_event(*item)
            except TimeoutError:
                event = ServerSentEvent(comment="keep-alive")
            if not await is_allowed():
                return
            yield event

    def _to_event(self, stream: str, message: Msg) -> ServerSentEvent:
        """Return the event, with the position in each stream as its id.

        A stream that is read from a point in time has no position before its first event.
        """
        self._positions[stream] = message.metadata.sequence.stream
        event_id = "-".join(
            f"{name[0]}{sequence}" for name, sequence in self._positions.items() if sequence is not None
        )
        name = message.subject.rpartition(".")[2]
        data = message.data.replace(b"\r", b"").replace(b"\n", b" ")
        return ServerSentEvent(id=event_id, event=name, raw_data=data.decode())


@asynccontextmanager
async def open_event_feed(state: AppState, user: Actor, last_id: str, since: str) -> AsyncIterator[EventFeed]:
    """Open the events after Last-Event-ID, else since a time, else from now.

    Raises TOO_MANY_REQUESTS, REQUEST_MALFORMED or SERVICE_UNAVAILABLE.
    """
    if sum(user_id == user.id for user_id in state.event_readers.values()) >= MAX_READERS_PER_USER:
        raise RequestRejected(
            "TOO_MANY_REQUESTS",
            f"A user can open {MAX_READERS_PER_USER} event streams at most. Close one.",
            retry_after=60,
        )
    reader = object()
    state.event_readers[reader] = user.id
    try:
        feed = EventFeed(state, await _start_positions(state.nats.jetstream(), last_id, since))
        filling = asyncio.create_task(feed.fill())
        try:
            yield feed
        finally:
            await cancel_and_wait({filling})
    finally:
        del state.event_readers[reader]


async def _start_positions(jetstream: JetStreamContext, last_id: str, since_text: str) -> dict[str, StartPosition]:
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
            newest = (await jetstream.stream_info(stream)).state.last_seq
        except NatsError:
            raise RequestRejected("SERVICE_UNAVAILABLE", "The event stream is unavailable. Try again later.") from None
        if stream[0] in last_seen:
            # a position beyond the end would skip events until the stream reaches it
            starts[stream] = StartPosition(after=min(last_seen[stream[0]], newest))
        else:
            starts[stream] = StartPosition(since=since) if since else StartPosition(after=newest)
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


async def _read_stream(
    jetstream: JetStreamContext, stream: str, start: StartPosition, ready: asyncio.Queue[tuple[str, Msg] | None]
) -> None:
    async with contextlib.aclosing(_iterate_messages(jetstream, stream, start)) as messages:
        async for message in messages:
            await ready.put((stream, message))


async def _iterate_messages(jetstream: JetStreamContext, stream: str, start: StartPosition) -> AsyncGenerator[Msg]:
    """Yield messages in order and without gaps. A lost consumer is recreated where the last message ended."""
    while True:
        try:
            subscription = await jetstream.pull_subscribe(
                f"evt.{stream}.>", stream=stream, config=start.consumer_config()
            )
            try:
                while True:
                    # one message at a time: fetch would wait until a larger batch is complete
                    with contextlib.suppress(TimeoutError):
                        [message] = await subscription.fetch(1, FETCH_TIMEOUT_SECONDS)
                        start = StartPosition(after=message.metadata.sequence.stream)
                        yield message
            finally:
                await subscription.unsubscribe()
        except NatsError:
            await asyncio.sleep(RECONNECT_DELAY_SECONDS)
