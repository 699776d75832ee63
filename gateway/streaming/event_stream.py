"""`GET /api/events`: what happens to builds and runners, as server-sent events that can be resumed."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from starlette.types import Receive, Scope, Send

from contracts.errors import RequestRejected
from contracts.identity import TokenScope
from gateway.auth import Role
from gateway.context import AppState
from libs.service.tasks import run_until_first_exit

HEARTBEAT_SECONDS = 15.0  # seconds
STREAMS = ("builds", "runners")
EVENT_ID_PART = re.compile(r"([br])(\d{1,18})")
READ_AHEAD = 64  # events read ahead; a client that is slower than that makes the reading wait
FETCH_TIMEOUT_SECONDS = 2.0  # so long a request that was lost with the bus goes unnoticed
RECONNECT_DELAY_SECONDS = 0.5  # seconds until a lost consumer is made anew
MAX_READERS_PER_USER = 100  # of one user at one gateway: each costs the bus two consumers
CONSUMER_EXPIRY_SECONDS = 60.0  # seconds after which the bus drops the consumer of a reader who is gone


@dataclass(frozen=True, slots=True)
class StartPosition:
    """From where a stream is read: after a sequence, or since a time."""

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


async def stream_events(world: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    user = await world.authenticator.authenticate(headers, Role.USER, TokenScope.EVENT_READ)
    if sum(one == user.id for one in world.event_readers.values()) >= MAX_READERS_PER_USER:
        raise RequestRejected(
            "TOO_MANY_REQUESTS", f"One user may read events {MAX_READERS_PER_USER} times at once.", retry_after=60
        )
    reader = object()
    world.event_readers[reader] = user.id
    try:
        await _stream(world, headers, scope["query_string"], receive, send)
    finally:
        del world.event_readers[reader]


async def _stream(world: AppState, headers: Mapping[bytes, bytes], query: bytes, receive: Receive, send: Send) -> None:
    jetstream = world.nats.jetstream()
    starts = await _start_positions(jetstream, headers, query)
    ready: asyncio.Queue[tuple[str, Msg]] = asyncio.Queue(READ_AHEAD)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
                (b"connection", b"close"),  # a gateway that ends the stream is leaving, and nobody else comes this way
            ],
        }
    )
    parts = (
        _wait_for_disconnect(receive),
        world.shutting_down.wait(),
        _write_events(world, headers, starts, ready, send),
        *(_read_stream(jetstream, stream, starts[stream], ready) for stream in STREAMS),
    )
    await run_until_first_exit([asyncio.create_task(part) for part in parts])
    await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start_positions(
    jetstream: JetStreamContext, headers: Mapping[bytes, bytes], query: bytes
) -> dict[str, StartPosition]:
    """After the last event the client saw, else since a time, else from now on."""
    last_id = headers.get(b"last-event-id", b"").decode("latin-1")
    seen = {letter: int(sequence) for letter, sequence in EVENT_ID_PART.findall(last_id)}
    if last_id and not seen:
        raise RequestRejected("REQUEST_MALFORMED", "Last-Event-ID is none of ours.")
    since = _parse_since(query)
    starts = {}
    for stream in STREAMS:
        try:
            newest = (await jetstream.stream_info(stream)).state.last_seq
        except NatsError:
            raise RequestRejected("SERVICE_UNAVAILABLE", "The events cannot be read at present.") from None
        if stream[0] in seen:
            # a position beyond the end would wait for events that may never come
            starts[stream] = StartPosition(after=min(seen[stream[0]], newest))
        else:
            starts[stream] = StartPosition(since=since) if since else StartPosition(after=newest)
    return starts


def _parse_since(query: bytes) -> datetime | None:
    given = parse_qs(query.decode("latin-1")).get("since", [""])[0]
    if not given:
        return None
    try:
        since = datetime.fromisoformat(given.replace(" ", "+"))  # an unescaped plus arrives as a space
    except ValueError:
        raise RequestRejected("REQUEST_MALFORMED", "since is a time in ISO 8601.") from None
    return since if since.tzinfo else since.replace(tzinfo=UTC)


async def _read_stream(
    jetstream: JetStreamContext, stream: str, start: StartPosition, ready: asyncio.Queue[tuple[str, Msg]]
) -> None:
    async with contextlib.aclosing(_iterate_messages(jetstream, stream, start)) as messages:
        async for message in messages:
            await ready.put((stream, message))


async def _iterate_messages(jetstream: JetStreamContext, stream: str, start: StartPosition) -> AsyncGenerator[Msg]:
    """Without gaps and in order: a consumer that was lost with its server is made anew behind the last message."""
    while True:
        try:
            subscription = await jetstream.pull_subscribe(
                f"evt.{stream}.>", stream=stream, config=start.consumer_config()
            )
            try:
                while True:
                    # one by one: a larger batch is only handed over when it is full
                    with contextlib.suppress(TimeoutError):
                        [message] = await subscription.fetch(1, FETCH_TIMEOUT_SECONDS)
                        start = StartPosition(after=message.metadata.sequence.stream)
                        yield message
            finally:
                await subscription.unsubscribe()
        except NatsError:
            await asyncio.sleep(RECONNECT_DELAY_SECONDS)


async def _write_events(
    world: AppState,
    headers: Mapping[bytes, bytes],
    starts: Mapping[str, StartPosition],
    ready: asyncio.Queue[tuple[str, Msg]],
    send: Send,
) -> None:
    """Ends when the token is no longer good."""
    places = {stream: start.after for stream, start in starts.items()}
    await send({"type": "http.response.body", "body": b": connected\n\n", "more_body": True})
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                stream, message = await ready.get()
            places[stream] = message.metadata.sequence.stream
            text = _format_event(places, message)
        except TimeoutError:
            text = b": still here\n\n"
        try:
            await world.authenticator.authenticate(headers, Role.USER, TokenScope.EVENT_READ)
        except RequestRejected:
            return
        await send({"type": "http.response.body", "body": text, "more_body": True})


def _format_event(places: Mapping[str, int | None], message: Msg) -> bytes:
    """A stream that was started by time has no place before its first event; then the id does not speak of it."""
    place = "-".join(f"{stream[0]}{sequence}" for stream, sequence in places.items() if sequence is not None)
    name = message.subject.rpartition(".")[2]
    one_line = message.data.replace(b"\r", b"").replace(b"\n", b" ")
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (place.encode(), name.encode(), one_line)
