"""A pull consumer that keeps one open request for many messages.

nats-py's `fetch` sends a new request for each message that arrives alone, and gets a status message at the end of each
request: three messages instead of one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header, StatusCode

BATCH_SIZE = 100
# requests are renewed after this time, because the server drops them with a lost connection
REQUEST_EXPIRY_SECONDS = 2.0


class PullConsumer:
    """An ephemeral consumer. The server removes it after a minute without requests."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._name = uuid4().hex
        self._inbox = client.new_inbox()
        self._received: asyncio.Queue[Msg] = asyncio.Queue()
        self._outstanding = 0  # messages that the current request may still deliver
        self._request_expires_at = 0.0  # event loop clock

    @classmethod
    @asynccontextmanager
    async def starting_after(cls, client: Client, stream: str, sequence: int) -> AsyncIterator["PullConsumer"]:
        """Create a consumer of the events after a sequence number, and unsubscribe at the end of the block."""
        consumer = cls(client, stream)
        config = ConsumerConfig(
            name=consumer._name,
            filter_subject=f"evt.{stream}.>",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=sequence + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
            mem_storage=True,
        )
        await client.jetstream().add_consumer(stream, config)
        subscription = await client.subscribe(consumer._inbox, cb=consumer._on_message)
        try:
            yield consumer
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def count_pending(self) -> int:
        """Return the number of undelivered events. Raises NotFoundError if the server has removed the consumer."""
        return (await self._client.jetstream().consumer_info(self._stream, self._name)).num_pending or 0

    async def fetch(self) -> list[Msg]:
        """Return the events that have arrived, waiting for the first one. Empty after a timeout or a failed request."""
        if self._outstanding <= 0 or asyncio.get_running_loop().time() >= self._request_expires_at:
            await self._request_batch()
        messages: list[Msg] = []
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._request_expires_at):
                messages.append(await self._received.get())
        while not self._received.empty():
            messages.append(self._received.get_nowait())
        events = [message for message in messages if _get_status(message) is None]
        # any status message of the server ends the request
        self._outstanding = self._outstanding - len(events) if len(events) == len(messages) else 0
        return events

    async def _request_batch(self) -> None:
        self._outstanding = BATCH_SIZE
        self._request_expires_at = asyncio.get_running_loop().time() + REQUEST_EXPIRY_SECONDS
        request = {"batch": BATCH_SIZE, "expires": int(REQUEST_EXPIRY_SECONDS * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._client.publish(subject, json.dumps(request).encode(), self._inbox)

    async def _on_message(self, message: Msg) -> None:
        if _get_status(message) != StatusCode.REQUEST_TIMEOUT:  # `fetch` has its own timeout
            self._received.put_nowait(message)


def _get_status(message: Msg) -> str | None:
    return (message.headers or {}).get(Header.STATUS)
