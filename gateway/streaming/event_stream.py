"""`GET /api/events`: a resumable stream of build and runner events as server-sent events."""

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
from libs.tasks import run_until_first_exit

HEARTBEAT_SECONDS = 15.0
STREAMS = ("builds", "runners")
EVENT_ID_PART = re.compile(r"([br])(\d{1,18})")
READ_AHEAD = 64  # events buffered per client; reading from NATS pauses while a slow client has this many
FETCH_TIMEOUT_SECONDS = 2.0  # a request that was lost with its NATS server is repeated after this time
RECONNECT_DELAY_SECONDS = 0.5  # pause before a lost consumer is recreated
MAX_READERS_PER_USER = 100  # streams of a user on each gateway; a stream needs two NATS consumers
CONSUMER_EXPIRY_SECONDS = 60.0  # NATS removes the consumer of a disconnected client after this time


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


async def stream_events(app_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Handle `GET /api/events`. Raises TOO_MANY_REQUESTS, REQUEST_MALFORMED or SERVICE_UNAVAILABLE, among others."""
    headers = dict(scope["headers"])
    user = await app_state.authenticator.authenticate(headers, Role.USER, TokenScope.EVENT_READ)
    if sum(user_id == user.id for user_id in app_state.event_readers.values()) >= MAX_READERS_PER_USER:
        raise RequestRejected(
            "TOO_MANY_REQUESTS",
            f"A user can open {MAX_READERS_PER_USER} event streams at most. Close one.",
            retry_after=60,
        )
    reader = object()
    app_state.event_readers[reader] = user.id
    try:
        await _stream(app_state, headers, scope["query_string"], receive, send)
    finally:
        del app_state.event_readers[reader]


async def _stream(
    app_state: AppState, headers: Mapping[bytes, bytes], query: bytes, receive: Receive, send: Send
) -> None:
    jetstream = app_state.nats.jetstream()
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
                (b"connection", b"close"),  # after a shutdown, clients need a new connection to reach another replica
            ],
        }
    )
    tasks = (
        _wait_for_disconnect(receive),
        app_state.shutting_down.wait(),
        _write_events(app_state, headers, starts, ready, send),
        *(_read_stream(jetstream, stream, starts[stream], ready) for stream in STREAMS),
    )
    await run_until_first_exit([asyncio.create_task(task) for task in tasks])
    await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start_positions(
    jetstream: JetStreamContext, headers: Mapping[bytes, bytes], query: bytes
) -> dict[str, StartPosition]:
    """Return where to start in each stream: after Last-Event-ID, else at `since`, else at the end.

    Raises REQUEST_MALFORMED or SERVICE_UNAVAILABLE.
    """
    last_id = headers.get(b"last-event-id", b"").decode("latin-1")
    last_seen = {letter: int(sequence) for letter, sequence in EVENT_ID_PART.findall(last_id)}
    if last_id and not last_seen:
        raise RequestRejected("REQUEST_MALFORMED", "Last-Event-ID is not an id of this event stream.")
    since = _parse_since(query)
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


def _parse_since(query: bytes) -> datetime | None:
    value = parse_qs(query.decode("latin-1")).get("since", [""])[0]
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
    jetstream: JetStreamContext, stream: str, start: StartPosition, ready: asyncio.Queue[tuple[str, Msg]]
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


async def _write_events(
    app_state: AppState,
    headers: Mapping[bytes, bytes],
    starts: Mapping[str, StartPosition],
    ready: asyncio.Queue[tuple[str, Msg]],
    send: Send,
) -> None:
    """Send events and keep-alives until the token is no longer valid."""
    positions = {stream: start.after for stream, start in starts.items()}
    await send({"type": "http.response.body", "body": b": connected\n\n", "more_body": True})
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                stream, message = await ready.get()
            positions[stream] = message.metadata.sequence.stream
            text = _format_event(positions, message)
        except TimeoutError:
            text = b": keep-alive\n\n"
        try:
            await app_state.authenticator.authenticate(headers, Role.USER, TokenScope.EVENT_READ)
        except RequestRejected:
            return
        await send({"type": "http.response.body", "body": text, "more_body": True})


def _format_event(positions: Mapping[str, int | None], message: Msg) -> bytes:
    """Format a server-sent event, with the position in each stream as its id.

    A stream that is read from a point in time has no position before its first event.
    """
    event_id = "-".join(f"{stream[0]}{sequence}" for stream, sequence in positions.items() if sequence is not None)
    name = message.subject.rpartition(".")[2]
    data = message.data.replace(b"\r", b"").replace(b"\n", b" ")
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode(), name.encode(), data)
