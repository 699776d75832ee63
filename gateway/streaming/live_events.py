"""Live events of builds and runners for many clients, read from NATS once per gateway.

A client that has missed events reads them with a consumer of its own, until it has reached the position of the shared
one. Clients that fall too far behind are disconnected, and resume.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager

from fastapi.sse import ServerSentEvent
from nats.aio.client import Client

from contracts.errors import RequestRejected
from gateway.streaming.event_access import Audience, EventAudiences, includes
from gateway.streaming.event_consumer import StartPosition, StoredEvent, find_start_positions, read_batches
from gateway.streaming.event_filter import EventFilter
from libs.eventstore.decider import Actor
from libs.tasks import cancel_and_wait

log = logging.getLogger("headrace.gateway")

HEARTBEAT_SECONDS = 15.0
MAX_READERS_PER_USER = 100  # open event streams per user on each gateway
MAX_WAITING_EVENTS = 1000  # limit per client; clients share the objects, so a pending event needs little memory
NO_FILTER = EventFilter()
TOO_SLOW = ServerSentEvent(comment="closed: this client reads too slowly. Resume after the last event.")


class EventReader:
    """One client of the event stream, with its pending events."""

    def __init__(self, user: Actor, selection: EventFilter, *, envelope: bool) -> None:
        """`envelope`: each event is sent with its time, actor, version and trace."""
        self.user = user
        self._selection = selection
        self._envelope = envelope
        self._positions: dict[str, int | None] = {}  # sequence number of the last event that was queued or excluded
        self._waiting: asyncio.Queue[ServerSentEvent | None] = asyncio.Queue()  # None ends the stream
        self._is_closed = False

    def start(self, starts: Mapping[str, StartPosition]) -> None:
        self._positions = {stream: start.after for stream, start in starts.items()}

    def position(self, stream: str) -> int | None:
        return self._positions[stream]

    def put(self, event: StoredEvent, audience: Audience) -> None:
        """Queue an event, unless it was queued before. Disconnects the client if too many wait for it.

        An event that the user may not see, or that the filter excludes, only advances the position.
        """
        position = self._positions[event.stream]
        if self._is_closed or (position is not None and event.sequence <= position):
            return
        if not includes(audience, self.user) or not self._selection.selects(event):
            self._positions[event.stream] = event.sequence
            return
        if self._waiting.qsize() >= MAX_WAITING_EVENTS:
            log.info("event stream of user %d closed: the client reads too slowly", self.user.id)
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(TOO_SLOW)
            self.close()
            return
        self._positions[event.stream] = event.sequence
        # the id has the position in each stream; a stream that is read since a time has none before its first event
        event_id = "-".join(f"{name[0]}{number}" for name, number in self._positions.items() if number is not None)
        data = event.with_envelope() if self._envelope else event.data
        self._waiting.put_nowait(ServerSentEvent(id=event_id, event=event.name, raw_data=data))

    async def wait_until_sent(self) -> None:
        await self._waiting.join()

    def close(self) -> None:
        """End the stream after the events that are waiting."""
        self._is_closed = True
        self._waiting.put_nowait(None)

    async def iterate(self, is_allowed: Callable[[], Awaitable[bool]]) -> AsyncGenerator[ServerSentEvent]:
        """Yield events, and comments while there are none, until the client loses access or the reader is closed."""
        yield ServerSentEvent(comment="connected")
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    event = await self._waiting.get()
            except TimeoutError:
                if not await is_allowed():
                    return
                yield ServerSentEvent(comment="keep-alive")
                continue
            if event is None or not await is_allowed():
                return
            yield event
            self._waiting.task_done()


async def find_audience(audiences: EventAudiences, event: StoredEvent, readers: Collection[EventReader]) -> Audience:
    """Return who gets the event. It is not looked up if all readers are administrators."""
    if all(reader.user.is_admin for reader in readers):
        return "administrators"
    return await audiences.find(event.stream, event.data)


class StreamTail:
    """Reads the new events of one JetStream stream with one consumer, for all attached readers."""

    def __init__(self, client: Client, audiences: EventAudiences, stream: str, position: int) -> None:
        self._audiences = audiences
        self._position = position  # sequence number of the last event passed to the readers
        self._readers: set[EventReader] = set()
        self.reading = asyncio.create_task(self._read(client, stream))

    def attach(self, reader: EventReader, position: int) -> bool:
        """Give the reader all events after `position` from now on. Returns False if some of them have passed."""
        if position < self._position:
            return False
        self._readers.add(reader)
        return True

    def detach(self, reader: EventReader) -> None:
        self._readers.discard(reader)

    async def _read(self, client: Client, stream: str) -> None:
        try:
            async with contextlib.aclosing(read_batches(client, stream, self._position)) as batches:
                async for batch in batches:
                    for event in batch:
                        audience = await find_audience(self._audiences, event, self._readers)
                        self._position = event.sequence
                        for reader in self._readers:
                            reader.put(event, audience)
        finally:
            for reader in self._readers:
                reader.close()


class LiveEvents:
    """The readers of a gateway, and the tails of the streams while there are readers."""

    def __init__(self, client: Client, audiences: EventAudiences) -> None:
        self._client = client
        self._audiences = audiences
        self._readers: set[EventReader] = set()
        self._tails: dict[str, StreamTail] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._readers)

    @asynccontextmanager
    async def open(
        self, user: Actor, last_id: str, since: str, selection: EventFilter = NO_FILTER, *, envelope: bool = False
    ) -> AsyncIterator[EventReader]:
        """Open the events after Last-Event-ID, else since a time, else from now.

        Raises TOO_MANY_REQUESTS, REQUEST_MALFORMED, EVENTS_EXPIRED or SERVICE_UNAVAILABLE.
        """
        if sum(reader.user.id == user.id for reader in self._readers) >= MAX_READERS_PER_USER:
            raise RequestRejected(
                "TOO_MANY_REQUESTS",
                f"A user can open {MAX_READERS_PER_USER} event streams at most. Close one.",
                retry_after=60,
            )
        reader = EventReader(user, selection, envelope=envelope)
        self._readers.add(reader)
        following: set[asyncio.Task[None]] = set()
        try:
            starts = await find_start_positions(self._client, last_id, since)
            reader.start(starts)
            for stream, start in starts.items():
                if stream not in self._tails or self._tails[stream].reading.done():
                    self._tails[stream] = StreamTail(self._client, self._audiences, stream, start.newest)
                following.add(asyncio.create_task(self._follow(reader, self._tails[stream], stream, start)))
            if self._is_closed:
                reader.close()
            yield reader
        finally:
            await cancel_and_wait(following)
            await self._remove(reader)

    async def _remove(self, reader: EventReader) -> None:
        """Remove the reader. After the last one, the tails stop."""
        self._readers.remove(reader)
        for tail in self._tails.values():
            tail.detach(reader)
        if not self._readers:
            unused, self._tails = self._tails, {}
            await cancel_and_wait(tail.reading for tail in unused.values())

    async def _follow(self, reader: EventReader, tail: StreamTail, stream: str, start: StartPosition) -> None:
        """Give the reader the stored events that it has missed, and attach it to the tail as soon as it has them."""
        if start.after is not None and tail.attach(reader, start.after):
            return
        async with contextlib.aclosing(read_batches(self._client, stream, start.after, start.since)) as batches:
            async for batch in batches:
                for event in batch:
                    reader.put(event, await find_audience(self._audiences, event, {reader}))
                await reader.wait_until_sent()
                position = reader.position(stream)
                if not batch and not start.is_future:  # no event up to `newest` is left to read
                    position = max(position or 0, start.newest)
                if position is not None and tail.attach(reader, position):
                    return

    def close(self) -> None:
        """End all event streams, at shutdown."""
        self._is_closed = True
        for reader in self._readers:
            reader.close()
