"""A reader of one service's events in their order, with an ephemeral pull consumer.

It keeps one open request for many messages. nats-py's `fetch` sends a request for each message that arrives alone,
which doubles the cost of an event for its reader and for the server (see docs/adr/0032).
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header, StatusCode

from libs.messaging.jetstream import EMPTIED

BATCH_SIZE = 100
REQUEST_EXPIRY_SECONDS = 2.0  # a request is renewed after this time, because the server drops it with a lost connection


class ReaderLost(NatsError):
    """Events may have been lost with a connection. A new reader must continue after the last event received."""


class StreamReader:
    """A reader, created by `open`. The server removes its consumer after a minute without requests."""

    def __init__(self, client: Client, stream: str, batch_size: int = BATCH_SIZE) -> None:
        self._client = client
        self._stream = stream
        self._batch_size = batch_size
        self._name = uuid4().hex
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._received: asyncio.Queue[Msg] = asyncio.Queue()
        self._received_count = 0
        self._reconnects = client.stats["reconnects"]
        self._outstanding = 0  # messages that the current request may still deliver
        self._request_expires_at = 0.0  # event loop clock

    @classmethod
    async def open(
        cls,
        client: Client,
        stream: str,
        *,
        after: int | None = None,
        since: datetime | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> "StreamReader":
        """Open a reader of the events after a sequence number or since a time, else of all events."""
        reader = cls(client, stream, batch_size)
        start: dict[str, Any] = {}
        if after is not None:
            start = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": after + 1}
        elif since is not None:
            start = {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": since}
        config = ConsumerConfig(
            name=reader._name,
            filter_subject=f"evt.{stream}.>",
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
            mem_storage=True,
            num_replicas=1,
            **start,
        )
        await client.jetstream().add_consumer(stream, config)
        reader._subscription = await client.subscribe(reader._inbox, cb=reader._on_message)
        return reader

    async def aclose(self) -> None:
        if self._subscription:
            with suppress(NatsError):
                await self._subscription.unsubscribe()

    async def count_pending(self) -> int:
        """Return the number of undelivered events. Raises NotFoundError if the server has removed the consumer."""
        return (await self._client.jetstream().consumer_info(self._stream, self._name)).num_pending or 0

    async def fetch(self, timeout: float = REQUEST_EXPIRY_SECONDS) -> list[Msg]:
        """Return the events that have arrived, waiting for the first one. Empty after `timeout` seconds.

        Raises NotFoundError if the server has removed the consumer, and ReaderLost if events may have been lost.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    if events := await self._receive():
                        return events
        return []

    async def _receive(self) -> list[Msg]:
        """Return the events that have arrived; empty if the request has ended without one."""
        if self._client.stats["reconnects"] != self._reconnects:
            raise ReaderLost
        if self._outstanding <= 0 or asyncio.get_running_loop().time() >= self._request_expires_at:
            await self._request_batch()
        messages: list[Msg] = []
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._request_expires_at):
                messages.append(await self._received.get())
        while not self._received.empty():
            messages.append(self._received.get_nowait())
        events = [message for message in messages if _get_status(message) is None]
        for message in events:
            self._received_count += 1
            if message.metadata.sequence.consumer != self._received_count:
                raise ReaderLost
        self._outstanding -= len(events)
        if len(events) < len(messages):  # any status message ends the request
            self._outstanding = 0
            await self.count_pending()
        return events

    async def _request_batch(self) -> None:
        self._outstanding = self._batch_size
        self._request_expires_at = asyncio.get_running_loop().time() + REQUEST_EXPIRY_SECONDS
        request = {"batch": self._batch_size, "expires": int(REQUEST_EXPIRY_SECONDS * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._client.publish(subject, json.dumps(request).encode(), self._inbox)

    async def _on_message(self, message: Msg) -> None:
        if _get_status(message) != StatusCode.REQUEST_TIMEOUT:  # `_receive` has its own timeout
            self._received.put_nowait(message)


def are_next_events(messages: Sequence[Msg], after: int) -> bool:
    """Return whether the messages are the events that directly follow a sequence number of their stream.

    They are not if events were trimmed, or if a relay empties the stream: then it has published a marker.
    """
    return all(
        message.metadata.sequence.stream == expected and not message.subject.endswith(f".{EMPTIED}")
        for expected, message in enumerate(messages, after + 1)
    )


def _get_status(message: Msg) -> str | None:
    return (message.headers or {}).get(Header.STATUS)
