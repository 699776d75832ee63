"""Which replica of a service leads: it alone relays, follows and ticks. Nothing is stored for it.

The leader holds a subscription; the others ask it once a second, and NATS itself says at once when nobody is there.
Two leaders for a moment do no harm: relay and followers are fenced by positions, tickers tell idempotent commands.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError

log = logging.getLogger("headrace.leading")

POLL_SECONDS = 1.0  # seconds for an answer
MAX_MISSED_HEARTBEATS = 3  # unanswered questions in a row


class LeadershipLost(Exception):
    """Another replica has taken a duty over: this is how a fence says so."""


async def run_as_leader(
    client: Client, service: str, instance: str, leader_tasks: Callable[[], Awaitable[None]]
) -> None:
    """Run `duties` whenever this replica leads; runs until cancelled."""
    subject = f"lead.{service}"

    async def here(message: Msg) -> None:
        await message.respond(instance.encode())

    while True:
        try:
            await _wait_for_vacancy(client, subject)
            subscription = await client.subscribe(subject, cb=here)
            try:
                log.info("%s leads %s", instance, service)
                await leader_tasks()
            finally:
                await _unsubscribe(subscription.unsubscribe)
        except LeadershipLost as deposed:
            log.info("%s no longer leads %s: %s", instance, service, deposed)
        except Exception as error:
            log.warning("%s stops leading %s", instance, service, exc_info=error)
        await asyncio.sleep(POLL_SECONDS)


async def _wait_for_vacancy(client: Client, subject: str) -> None:
    """Returns once nobody leads, or whoever does has been silent for long: it hangs, and is fenced when it wakes."""
    unanswered = 0
    while unanswered < MAX_MISSED_HEARTBEATS:
        try:
            await client.request(subject, b"", timeout=POLL_SECONDS)
            unanswered = 0
        except NoRespondersError:
            return
        except (Error, TimeoutError):
            unanswered = unanswered + 1 if client.is_connected else 0  # a bus that is away says nothing of the leader
        await asyncio.sleep(POLL_SECONDS)


async def _unsubscribe(unsubscribe: Callable[[], Awaitable[None]]) -> None:
    try:
        await unsubscribe()
    except Error:
        log.debug("the connection was closed before the subscription")
