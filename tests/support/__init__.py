"""Shared code of the tests. The functions in this module read JetStream streams and wait for consumers."""

from collections.abc import Sequence
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import ServiceUnavailableError

from tests.support.waiting import WITHIN_SECONDS, eventually


async def read_stream_messages(bus: Client, stream: str) -> Sequence[Msg]:
    """Return all messages of a JetStream stream, oldest first."""
    js = bus.jetstream(timeout=WITHIN_SECONDS)
    count = (await js.stream_info(stream)).state.messages
    if count == 0:
        return []
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=WITHIN_SECONDS)
    subscription = await js.pull_subscribe(f"evt.{stream}.>", stream=stream, config=config)
    messages: list[Msg] = []

    async def fetch() -> list[Msg]:
        with suppress(ServiceUnavailableError, NatsTimeoutError):  # a lost server of the cluster, or a busy one
            return list(await subscription.fetch(count - len(messages), timeout=5))
        return []

    while len(messages) < count:
        messages += await eventually(fetch)
    await subscription.unsubscribe()
    return messages


async def read_event_ids(bus: Client, stream: str) -> list[str]:
    return [(message.headers or {})["ce-id"] for message in await read_stream_messages(bus, stream)]


async def wait_until_handled(bus: Client, stream: str, consumer: str, sequence: int) -> None:
    """Wait until a worker has handled an event, and all earlier ones. `sequence`: the event's number in the stream.

    The worker must handle events of this type. The number of pending messages would not suffice: for a moment after an
    event was published, it is not counted.
    """

    def has_handled(found: ConsumerInfo) -> bool:
        return found.ack_floor is not None and found.ack_floor.stream_seq >= sequence

    await eventually(lambda: bus.jetstream(timeout=WITHIN_SECONDS).consumer_info(stream, consumer), has_handled)
