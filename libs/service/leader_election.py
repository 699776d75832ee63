"""Leader election among the replicas of a service, without stored state.

The leader subscribes to a subject. The other replicas send it a request once a second; NATS reports immediately when
there is no subscriber. Two leaders at a time do no harm: the relay and subscriptions are fenced by their positions, and
periodic tasks send idempotent commands.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError

log = logging.getLogger("headrace.leader_election")

POLL_SECONDS = 1.0  # pause between two requests, and timeout of each request
MAX_MISSED_HEARTBEATS = 3  # consecutive requests without a reply


class LeadershipLost(Exception):
    """A fenced write failed: another replica runs the leader's task, or a rebuild holds its checkpoint."""


async def run_as_leader(
    client: Client, service: str, instance: str, leader_tasks: Callable[[], Awaitable[None]]
) -> None:
    """Run `leader_tasks` whenever this replica is the leader, until canceled."""
    subject = f"lead.{service}"

    async def reply(message: Msg) -> None:
        await message.respond(instance.encode())

    while True:
        try:
            await _wait_for_vacancy(client, subject)
            subscription = await client.subscribe(subject, cb=reply)
            try:
                log.info("%s is the leader of %s", instance, service)
                await leader_tasks()
            finally:
                await _unsubscribe(subscription.unsubscribe)
        except LeadershipLost as lost:
            log.info("%s lost the leadership of %s: %s", instance, service, lost)
        except Exception as error:
            log.warning("%s gave up the leadership of %s after an error", instance, service, exc_info=error)
        await asyncio.sleep(POLL_SECONDS)


async def _wait_for_vacancy(client: Client, subject: str) -> None:
    """Return when there is no leader, or when the leader has missed MAX_MISSED_HEARTBEATS requests.

    A leader that hung is fenced when it resumes.
    """
    unanswered = 0
    while unanswered < MAX_MISSED_HEARTBEATS:
        try:
            await client.request(subject, b"", timeout=POLL_SECONDS)
            unanswered = 0
        except NoRespondersError:
            return
        except (Error, TimeoutError):
            # a disconnected client cannot tell whether the leader is alive
            unanswered = unanswered + 1 if client.is_connected else 0
        await asyncio.sleep(POLL_SECONDS)


async def _unsubscribe(unsubscribe: Callable[[], Awaitable[None]]) -> None:
    try:
        await unsubscribe()
    except Error:
        log.debug("connection closed before the leader's subscription")
