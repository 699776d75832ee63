"""The tasks that only the leader of a service runs: relay, subscriptions, periodic tasks and gauges."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pymongo.errors import PyMongoError

from contracts.errors import RequestRejected
from libs.eventstore.decider import AnyEvent
from libs.messaging.jetstream import is_republishing
from libs.messaging.relay import Relay
from libs.observability.metrics import Metrics
from libs.observability.polled_gauges import GaugePoller
from libs.privacy.redaction import empty_recorded_names
from libs.projections.projector import projection_collection
from libs.reactions.parking import Park
from libs.retention.balances import reset_projection
from libs.retention.removal_hold import RemovalHeld
from libs.retention.storage_sizes import STREAM, measure_collections, measure_disk
from libs.retention.stream_removal import StreamRemoval
from libs.retention.stream_trimming import StreamLimits, trim_stream
from libs.service.declaration import AnyProjection, Context, PeriodicTask
from libs.service.replicas import remove_silent
from libs.service.runtime import Runtime
from libs.subscriptions.event_log import DatabaseLog, LogReader, RemoteLog
from libs.subscriptions.subscription import BatchHandler, CatchUpSubscription
from libs.tasks import run_until_first_exit

log = logging.getLogger("headrace.leader")

PARKED_INTERVAL_SECONDS = 2.0  # pause between searches for parked events to retry
STORAGE_INTERVAL_SECONDS = 60.0  # pause between measurements of what is stored
TRIMMING_INTERVAL_SECONDS = 600.0
REMOVAL_INTERVAL_SECONDS = 60.0  # pause between searches for streams to remove from the log
RECORDED_NAMES_SECONDS = 60.0  # pause between searches for commits of earlier releases that contain names of users
REPLICA_CLEANUP_SECONDS = 600.0  # pause between removals of records of dead processes


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
        is_relevant: Callable[[AnyEvent], object],
        *,
        projection: AnyProjection | None = None,
        park: Park | None = None,
    ) -> CatchUpSubscription:
        return CatchUpSubscription(
            nats,
            runtime.database,
            name,
            source,
            handler,
            transactional=projection is not None,
            is_relevant=is_relevant,
            reset=partial(reset_projection, runtime.database, projection) if projection else None,
            on_state=on_state,
            park=park,
            log=_log_of(runtime, source) if projection else None,
            always_reads_log=projection is not None and projection.is_cumulative,
            batch_seconds=projection.batch_seconds if projection else 0.0,
        )

    reactions = [
        subscribe(
            policy.subscription,
            policy.source,
            partial(runtime.reactions.react_to_batch, policy),
            policy.react,
            park=runtime.parked.park,
        )
        for policy in service.policies
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
    removal = PeriodicTask("removal", REMOVAL_INTERVAL_SECONDS, partial(_remove_streams, runtime))
    retries = PeriodicTask("parked_events", PARKED_INTERVAL_SECONDS, partial(_retry_parked_events, runtime))
    names = PeriodicTask("recorded_names", RECORDED_NAMES_SECONDS, partial(_empty_recorded_names, runtime))
    trimming = PeriodicTask("stream_trimming", TRIMMING_INTERVAL_SECONDS, partial(_trim_stream, runtime))
    storage = PeriodicTask("storage", STORAGE_INTERVAL_SECONDS, partial(_measure_storage, runtime))
    coroutines = [
        Relay(nats, runtime.database, service.name, metrics, public=service.is_public).run(),
        *(subscription.run() for subscription in (*reactions, *projections)),
        *(
            run_periodic(runtime, task)
            for task in (*service.periodic_tasks, cleanup, removal, retries, names, trimming, storage)
        ),
        gauges.run(partial(runtime.background_context, "readings")),
    ]
    metrics.leading.set(1, {"service": service.name})
    try:
        await run_until_first_exit([asyncio.create_task(coroutine) for coroutine in coroutines])
    finally:
        metrics.leading.set(0, {"service": service.name})
        metrics.clear_leader_gauges()


def _log_of(runtime: Runtime, source: str) -> LogReader:
    if source == runtime.service.name:
        return DatabaseLog(runtime.database)
    return RemoteLog(runtime.message_client, source)


def _is_relevant(projection: AnyProjection, recorded: AnyEvent) -> bool:
    return projection.row_key(recorded) is not None


async def _retry_parked_events(runtime: Runtime, _context: Context) -> None:
    service = runtime.service
    reactions = {policy.subscription: partial(runtime.reactions.react, policy) for policy in service.policies}
    workers = {worker.consumer_name(service.name): partial(runtime.run_worker, worker) for worker in service.workers}

    async def run(name: str, recorded: AnyEvent) -> None:
        await (reactions | workers)[name](recorded)

    await runtime.parked.retry_requested(run)
    runtime.metrics.events_parked.set(await runtime.parked.count(), {"service": service.name})


async def _remove_streams(runtime: Runtime, _context: Context) -> None:
    if await is_republishing(runtime.nats, runtime.service.name):
        return
    removal = StreamRemoval(runtime.service, runtime.database, runtime.vault)
    now, grace = runtime.clock.database_time(), timedelta(days=runtime.settings.retention.deleted_days)
    try:
        removed = await removal.run(now, grace)
        for expiry in runtime.service.expiries:
            if days := expiry.days(runtime.settings):
                removed += await removal.expire(expiry, now, days)
            if count := expiry.count(runtime.settings):
                removed += await removal.remove_surplus(expiry, now, count)
    except RemovalHeld:
        log.info("the removal of streams waits until the log of %s has been read", runtime.service.name)
    else:
        if removed:
            log.info("%s streams were removed from the log of %s", removed, runtime.service.name)


async def _trim_stream(runtime: Runtime, _context: Context) -> None:
    service, retention = runtime.service, runtime.settings.retention
    if await is_republishing(runtime.nats, service.name):
        return
    subscriptions = [policy.subscription for policy in service.policies if policy.source == service.name]
    subscriptions += [projection_collection(view) for view in service.projections if view.source == service.name]
    limits = StreamLimits(
        timedelta(days=retention.event_days) if retention.event_days else None,
        retention.event_megabytes * 2**20 if retention.event_megabytes else None,
    )
    now = runtime.clock.database_time()
    if trimmed := await trim_stream(
        runtime.nats, runtime.database, service.name, subscriptions, limits, now, public=service.is_public
    ):
        log.info("%s events were trimmed from the stream %s", trimmed, service.name)


async def _measure_storage(runtime: Runtime, _context: Context) -> None:
    metrics, labels = runtime.metrics, {"service": runtime.service.name}
    sizes = dict(await measure_collections(runtime.database))
    sizes[STREAM] = (await runtime.nats.jetstream().stream_info(runtime.service.name)).state.bytes
    for kind, size in sizes.items():
        metrics.stored_bytes.set(size, labels | {"kind": kind})
    disk = await measure_disk(runtime.database)
    metrics.disk_free_bytes.set(disk.free_bytes, labels)
    metrics.disk_total_bytes.set(disk.total_bytes, labels)


async def _empty_recorded_names(runtime: Runtime, _context: Context) -> None:
    if changed := await empty_recorded_names(runtime.database, runtime.service.name):
        log.info("names of users were removed from %d commits of an earlier release", changed)


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
