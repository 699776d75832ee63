"""The tasks that only the leader of a service runs: relay, subscriptions, periodic tasks and gauges."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from contracts.errors import RequestRejected
from libs.eventstore.decider import AnyEvent
from libs.messaging.cloudevents import DeliveredEvent
from libs.messaging.relay import Relay
from libs.messaging.subscription import BatchHandler, CatchUpSubscription
from libs.observability.metrics import Metrics
from libs.observability.polled_gauges import GaugePoller
from libs.projections.projector import projection_collection
from libs.reactions.parking import Park
from libs.service.declaration import AnyProjection, Context, PeriodicTask, Policy
from libs.service.reactions import policy_subscription
from libs.service.replicas import remove_silent
from libs.service.runtime import Runtime
from libs.tasks import run_until_first_exit

log = logging.getLogger("headrace.leader")

PARKED_INTERVAL_SECONDS = 2.0  # between searches for parked events to retry
REPLICA_CLEANUP_SECONDS = 600.0  # between removals of records of dead processes


async def run_leader_tasks(runtime: Runtime, nats: Client, metrics: Metrics, gauges: GaugePoller) -> None:
    """Run the relay, subscriptions and periodic tasks until one of them fails; the election then starts again."""
    service = runtime.service

    def on_state(name: str, is_stopped: bool, pending: int) -> None:
        labels = {"service": service.name, "follower": name}
        metrics.followers_stopped.set(int(is_stopped), labels)
        metrics.follower_lag.set(pending, labels)

    def subscribe(
        name: str,
        source: str,
        handler: BatchHandler,
        is_relevant: Callable[[AnyEvent], bool],
        *,
        projection: AnyProjection | None = None,
        park: Park | None = None,
    ) -> CatchUpSubscription:
        collection = runtime.database[projection_collection(projection)] if projection else None
        return CatchUpSubscription(
            nats,
            runtime.database,
            name,
            source,
            handler,
            transactional=projection is not None,
            is_relevant=is_relevant,
            reset=None if collection is None else partial(collection.delete_many, {}),
            on_state=on_state,
            park=park,
        )

    reactions = [
        subscribe(
            policy_subscription(source),
            source,
            partial(_react_to_batch, runtime, source),
            partial(_triggers, policy),
            park=runtime.parked.park,
        )
        for source, policy in service.policies.items()
    ]
    projections = [
        subscribe(
            projection_collection(projection),
            projection.source,
            partial(runtime.apply_to_projection, projection),
            partial(_is_relevant, projection),
            projection=projection,
        )
        for projection in service.projections
    ]
    cleanup = PeriodicTask("replicas", REPLICA_CLEANUP_SECONDS, partial(_remove_silent_replicas, runtime))
    retries = PeriodicTask("parked_events", PARKED_INTERVAL_SECONDS, partial(_retry_parked_events, runtime))
    coroutines = [
        Relay(nats, runtime.database, service.name, metrics, public=service.is_public).run(),
        *(subscription.run() for subscription in (*reactions, *projections)),
        *(run_periodic(runtime, task) for task in (*service.periodic_tasks, cleanup, retries)),
        gauges.run(partial(runtime.background_context, "readings")),
    ]
    metrics.leading.set(1, {"service": service.name})
    try:
        await run_until_first_exit([asyncio.create_task(coroutine) for coroutine in coroutines])
    finally:
        metrics.leading.set(0, {"service": service.name})
        metrics.clear_leader_gauges()


def _triggers(policy: Policy, recorded: AnyEvent) -> bool:
    return bool(policy(recorded))


def _is_relevant(projection: AnyProjection, recorded: AnyEvent) -> bool:
    return projection.row_key(recorded) is not None


async def _react_to_batch(
    runtime: Runtime, source: str, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None
) -> None:
    await runtime.reactions.react_to_batch(source, batch)


async def _retry_parked_events(runtime: Runtime, _context: Context) -> None:
    service = runtime.service
    reactions = {policy_subscription(source): partial(runtime.reactions.react, source) for source in service.policies}
    workers = {worker.consumer_name(service.name): partial(runtime.run_worker, worker) for worker in service.workers}

    async def run(name: str, recorded: AnyEvent) -> None:
        await (reactions | workers)[name](recorded)

    await runtime.parked.retry_requested(run)
    runtime.metrics.events_parked.set(await runtime.parked.count(), {"service": service.name})


async def _remove_silent_replicas(runtime: Runtime, _context: Context) -> None:
    await remove_silent(runtime.database, runtime.clock.database_time())


async def run_periodic(runtime: Runtime, task: PeriodicTask) -> None:
    """Repeat a periodic task until canceled. Errors are logged, and the task runs again."""
    while True:
        try:
            await task.run(runtime.background_context(task.name))
        except (PyMongoError, NatsError) as error:
            log.warning("periodic task %s: %s; it runs again", task.name, type(error).__name__)
        except RequestRejected as rejected:
            log.warning("periodic task %s: %s; it runs again", task.name, rejected.code)
        except Exception:
            log.exception("periodic task %s failed; it runs again", task.name)
        await asyncio.sleep(task.interval_seconds)
