"""Notifications of the readers of a log on all gateways that the log has grown.

The gateway that receives a part of a log from a runner publishes a hint, which may be lost. Each gateway has one
subscription for each job whose log has readers there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from libs.messaging.cloudevents import hint_subject

HINT_NAME = "LogGrew"


class Growth:
    """The growth of one log, shared by its readers."""

    def __init__(self) -> None:
        self.readers = 0
        self.subscription: Subscription | None = None
        self._grown = asyncio.Event()

    def notify(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def next_hint(self) -> asyncio.Event:
        """Return the event that the next hint sets. Call this before reading the log, so that no growth is missed."""
        return self._grown


class LogGrowth:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._growths: dict[int, Growth] = {}
        self.is_closed = False

    def __len__(self) -> int:
        return sum(growth.readers for growth in self._growths.values())

    async def announce(self, job_id: int) -> None:
        """Publish that the log of a job has grown or ended. During an outage nothing is published."""
        with suppress(NatsError):
            await self._client.publish(hint_subject("builds", f"job-{job_id}", HINT_NAME))

    @asynccontextmanager
    async def watch(self, job_id: int) -> AsyncIterator[Growth]:
        """Yield the growth of a job's log. The subscription ends with the last reader of the log."""
        growth = self._growths.setdefault(job_id, Growth())
        growth.readers += 1
        try:
            if growth.readers == 1:
                await self._subscribe(job_id, growth)
            yield growth
        finally:
            growth.readers -= 1
            if not growth.readers:
                del self._growths[job_id]
                if growth.subscription:
                    with suppress(NatsError):
                        await growth.subscription.unsubscribe()

    async def _subscribe(self, job_id: int, growth: Growth) -> None:
        async def on_hint(_message: object) -> None:
            growth.notify()

        # without the subscription, for example during an outage, readers poll for new lines every few seconds
        with suppress(NatsError):
            growth.subscription = await self._client.subscribe(
                hint_subject("builds", f"job-{job_id}", HINT_NAME), cb=on_hint
            )

    def close(self) -> None:
        """Wake all readers, at shutdown."""
        self.is_closed = True
        for growth in self._growths.values():
            growth.notify()
