"""Trimming of a service's stream to recent events. The event log keeps the trimmed events.

An event is trimmed when it is older than the limit, or the stream is larger than its limit, and everything that reads
the stream has handled it: the durable consumers of workers, the service's own subscriptions, and the mirror for
external consumers. Subscriptions of other services that are further behind start over: projections from the log,
policies from the oldest event in the stream.

The leader trims, not NATS: with a `max_age` of the stream, an idle service would lose the last message, which has the
position of the relay.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from nats.aio.client import Client
from nats.js.api import ConsumerInfo, StreamInfo
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.messaging.stream_mirrors import find_mirror_end, purge_mirror
from libs.messaging.stream_reader import StreamReader
from libs.subscriptions.checkpoints import CHECKPOINTS

# Younger events are always kept, because the newest events are not read from the log (libs/subscriptions/event_log.py).
MIN_AGE = timedelta(hours=1)


@dataclass(frozen=True)
class StreamLimits:
    """Limits of a stream's events. None: no limit."""

    age: timedelta | None
    size_bytes: int | None


async def trim_stream(
    client: Client,
    database: AsyncDatabase[Document],
    service: str,
    subscriptions: Sequence[str],
    limits: StreamLimits,
    now: datetime,
    *,
    public: bool,
) -> int:
    """Trim the stream of a service. Return the number of trimmed events.

    `subscriptions`: names of the service's own subscriptions to the stream. `public`: the stream may have a mirror.
    """
    js = client.jetstream()
    info = await js.stream_info(service)
    first = await _find_first_to_keep(client, info, limits, now)
    if first <= info.state.first_seq:
        return 0
    first = min(first, *[end async for end in _list_handled(client, info)], info.state.last_seq)
    if subscriptions:
        first = min(first, await _find_checkpoint(database, info, subscriptions))
    if public and (mirrored := await find_mirror_end(client, service)) is not None:
        first = min(first, mirrored)
    if first <= info.state.first_seq:
        return 0
    await js.purge_stream(service, seq=first)
    if public:
        await purge_mirror(client, service, first)
    return first - info.state.first_seq


async def _find_first_to_keep(client: Client, info: StreamInfo, limits: StreamLimits, now: datetime) -> int:
    """Return the sequence number of the first event to keep. Events younger than MIN_AGE, and the one before, stay.

    Return 0 for a stream with gaps, which is not trimmed, because the position of a time in it is unknown.
    """
    state = info.state
    if state.messages != state.last_seq - state.first_seq + 1:
        return 0
    first = state.first_seq
    if limits.size_bytes is not None and state.bytes > limits.size_bytes:
        excess = (state.bytes - limits.size_bytes) / state.bytes
        first += int(state.messages * excess) + 1
    if limits.age is not None:
        first = max(first, await _find_last_before(client, info, now - max(limits.age, MIN_AGE)))
    if first == state.first_seq:
        return first
    return min(first, await _find_last_before(client, info, now - MIN_AGE))


async def _find_last_before(client: Client, info: StreamInfo, at: datetime) -> int:
    """Return the sequence number of the last event that was published before a time, or 0."""
    stream = str(info.config.name)
    oldest = await client.jetstream().get_msg(stream, seq=info.state.first_seq)
    if oldest.time is None or oldest.time >= at:
        return 0
    async with aclosing(await StreamReader.open(client, stream, since=at)) as reader:
        return max(info.state.last_seq - await reader.count_pending(), 0)


async def _list_handled(client: Client, info: StreamInfo) -> AsyncIterator[int]:
    """Yield, for each durable consumer, the sequence number up to which it has handled all events that it receives."""
    js, stream = client.jetstream(), str(info.config.name)
    offset = 0
    while page := await js.consumers_info(stream, offset):
        for consumer in page:
            if consumer.config.durable_name:
                yield info.state.last_seq if _is_idle(consumer) else _ack_floor(consumer)
        offset += len(page)


def _is_idle(consumer: ConsumerInfo) -> bool:
    return not consumer.num_pending and not consumer.num_ack_pending


def _ack_floor(consumer: ConsumerInfo) -> int:
    return consumer.ack_floor.stream_seq if consumer.ack_floor else 0


async def _find_checkpoint(database: AsyncDatabase[Document], info: StreamInfo, subscriptions: Sequence[str]) -> int:
    """Return the sequence number up to which all subscriptions have handled the stream; 0 if one has not started."""
    query: Document = {"_id": {"$in": list(subscriptions)}, "incarnation": str(info.created)}
    handled = [document["sequence"] async for document in database[CHECKPOINTS].find(query)]
    return min(handled) if len(handled) == len(subscriptions) else 0
