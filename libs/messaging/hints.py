"""Hints: early copies of events, published right after the commit, ahead of the relay. They may be lost.

All receivers act on a hint, unless it is an *offer*, on which only one of them is to act. An offer has a reply subject.
A receiver accepts it with a request to that subject, and the first one gets it.
"""

import asyncio
from collections.abc import Sequence
from itertools import count

from cachetools import LRUCache
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts.messages import Event
from libs.eventstore.decider import AnyEvent
from libs.messaging.cloudevents import hint_subject, to_headers, to_hint_body

MAX_OPEN_OFFERS = 10_000  # per process; beyond this number, the oldest offers cannot be accepted anymore
GRANTED, TAKEN = b"granted", b"taken"
ANSWER_TIMEOUT_SECONDS = 1.0


class HintPublisher:
    """Publishes hints of a service's events, and grants each offer to the first receiver that accepts it."""

    def __init__(
        self,
        client: Client,
        service: str,
        hinted_events: tuple[type[Event], ...],
        offered_events: tuple[type[Event], ...],
    ) -> None:
        """Publish hints of `hinted_events`. The hint of an event that is in `offered_events`, too, is an offer."""
        self._client = client
        self._service = service
        self._hinted_events = hinted_events
        self._offered_events = offered_events
        self._open_offers: LRUCache[str, None] = LRUCache(MAX_OPEN_OFFERS)  # by reply subject
        self._numbers = count(1)
        self._inbox = ""
        self._lock = asyncio.Lock()

    async def publish(self, events: Sequence[AnyEvent]) -> None:
        """Publish hints of new events. A lost hint is harmless: the relay publishes every event."""
        for recorded in events:
            if isinstance(recorded.event, self._hinted_events) and self._client.is_connected:
                subject = hint_subject(self._service, recorded.stream, recorded.event.wire_name)
                reply = await self._open_offer() if isinstance(recorded.event, self._offered_events) else ""
                headers = to_headers(self._service, recorded)
                await self._client.publish(subject, to_hint_body(recorded), reply, headers)

    async def _open_offer(self) -> str:
        """Return the reply subject of a new offer."""
        async with self._lock:
            if not self._inbox:
                inbox = self._client.new_inbox()
                await self._client.subscribe(f"{inbox}.*", cb=self._on_acceptance)
                self._inbox = inbox
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._open_offers[reply] = None
        return reply

    async def _on_acceptance(self, message: Msg) -> None:
        is_first = message.subject in self._open_offers
        self._open_offers.pop(message.subject, None)
        await message.respond(GRANTED if is_first else TAKEN)


async def accept_offer(client: Client, offer: Msg) -> bool:
    """Accept an offer and return whether it was granted.

    Without a reply it counts as granted, because acting without need is cheaper than ignoring a job.
    """
    try:
        answer = await client.request(offer.reply, timeout=ANSWER_TIMEOUT_SECONDS)
    except NatsError:
        return True
    return answer.data != TAKEN
