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

PATIENCE = 1.0


async def lead(client: Client, service: str, instance: str, duties: Callable[[], Awaitable[None]]) -> None:
    """Run `duties` whenever this replica leads; runs until cancelled."""
    subject = f"lead.{service}"

    async def here(message: Msg) -> None:
        await message.respond(instance.encode())

    while True:
        if await _somebody_leads(client, subject):
            await asyncio.sleep(PATIENCE)
            continue
        subscription = await client.subscribe(subject, cb=here)
        try:
            log.info("%s leads %s", instance, service)
            await duties()
        except Exception as error:
            log.warning("%s stops leading %s", instance, service, exc_info=error)
        finally:
            await _leave(subscription.unsubscribe)
        await asyncio.sleep(PATIENCE)


async def _somebody_leads(client: Client, subject: str) -> bool:
    try:
        await client.request(subject, b"", timeout=PATIENCE)
    except NoRespondersError:
        return False
    except (Error, TimeoutError):
        return True  # the bus is away, or the leader is slow: wait and ask again
    return True


async def _leave(unsubscribe: Callable[[], Awaitable[None]]) -> None:
    try:
        await unsubscribe()
    except Error:
        log.debug("the connection was closed before the subscription")
