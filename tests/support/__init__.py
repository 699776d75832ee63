"""Shared code of the tests. The function in this module reads JetStream streams."""

from collections.abc import Sequence
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import ServiceUnavailableError

from tests.support.waiting import eventually


async def read_stream_messages(bus: Client, stream: str) -> Sequence[Msg]:
    """Return all messages of a JetStream stream, oldest first."""
    js = bus.jetstream()
    count = (await js.stream_info(stream)).state.messages
    if count == 0:
        return []
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=10)
    subscription = await js.pull_subscribe(f"evt.{stream}.>", stream=stream, config=config)
    messages: list[Msg] = []

    async def fetch() -> list[Msg]:
        with suppress(ServiceUnavailableError):  # the cluster has just lost a server
            return list(await subscription.fetch(count - len(messages), timeout=5))
        return []

    while len(messages) < count:
        messages += await eventually(fetch)
    await subscription.unsubscribe()
    return messages


async def read_event_ids(bus: Client, stream: str) -> list[str]:
    return [(message.headers or {})["ce-id"] for message in await read_stream_messages(bus, stream)]
