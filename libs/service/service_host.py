"""One process of a service: connects, answers, leads if nobody else does, and stops without dropping anything."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop
from nats.aio.client import Client
from nats.errors import Error as NatsError
from opentelemetry import trace
from pymongo.errors import ConnectionFailure, PyMongoError

from contracts.errors import RequestRejected
from contracts.heartbeat import Heartbeat
from contracts.history import GetCommandReply, GetHistory, GetState
from contracts.messages import Command, Query
from libs.clock import Clock
from libs.eventstore.decider import RecordedEvent
from libs.messaging.relay import Relay
from libs.messaging.request_reply import MessageServer, check_round_trip, connect, disconnect, flush_to_server
from libs.messaging.subscription import CatchUpSubscription
from libs.observability.event_loop_monitor import monitor_event_loop
from libs.observability.health import Health, serve_health
from libs.observability.logs import configure_logging
from libs.observability.metric_specs import GaugePoller
from libs.observability.metrics import Metrics
from libs.observability.probes import Probe, run_probes
from libs.observability.telemetry import configure_telemetry
from libs.projections.projector import projection_collection
from libs.projections.rebuild import backfill_rows
from libs.security.tls import explain_untrusted
from libs.service.connections import close_client, create_mongo_client, create_vault, get_database
from libs.service.declaration import Context, PeriodicTask, Policy, Projection, Service
from libs.service.leader_election import run_as_leader
from libs.service.migration import find_pending
from libs.service.replicas import Replica, remove_silent
from libs.service.restore_cutoffs import load_cutoffs
from libs.service.runtime import Runtime
from libs.service.tasks import cancel_and_wait, run_until_first_exit
from libs.settings import Settings, SettingsError

if TYPE_CHECKING:
    from libs.messaging.workers import WorkerPool

log = logging.getLogger("headrace.hosting")

SHUTDOWN_TIMEOUT_SECONDS = 5.0  # seconds to finish what is in hand after SIGTERM
REPLICA_CLEANUP_SECONDS = 600.0  # seconds between removals of processes that were not seen for long
PROBE_SUBJECT = "settled.probe"  # every service's login may send to it, also on a server with the logins of 0.2.0
BACKFILL_INTERVAL_SECONDS = (
    2.0  # seconds between looks for rows that an older release, which is being replaced, left behind
)


def run(service: Service, settings: Settings, clock: Clock | None = None) -> None:
    """Run one replica until SIGTERM or SIGINT."""
    configure_logging(service.name, settings.instance)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_until_signal(service, settings, clock))


async def _run_until_signal(service: Service, settings: Settings, clock: Clock | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(service, settings, stop, clock)


async def serve(service: Service, settings: Settings, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run one replica until `stop` is set, also while it is still starting."""
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_start(service, settings, stack, clock or Clock()))
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await told
        finally:
            await cancel_and_wait({starting, told})


async def _start(service: Service, settings: Settings, stack: AsyncExitStack, clock: Clock) -> None:
    """Ready to answer; the stack knows how to stop in good order, at whatever point of the start."""
    telemetry = configure_telemetry(service.name, settings.instance, settings.otlp_endpoint or None)
    stack.callback(telemetry.shutdown)
    trace.set_tracer_provider(telemetry.tracer_provider)
    metrics = Metrics.create(telemetry.meter)
    client = create_mongo_client(settings, service.name)
    stack.push_async_callback(close_client, client)
    nats = await connect(settings, f"{service.name} {settings.instance}")
    stack.push_async_callback(disconnect, nats)
    database = get_database(client, settings, service.name)
    runtime = Runtime(service, settings, database, nats, create_vault(database, settings), metrics, clock)
    health = Health()
    ready = asyncio.Event()
    _register_checks(health, ready, runtime.clock)
    bus = Probe("NATS", partial(check_round_trip, nats, PROBE_SUBJECT))
    mongodb = Probe("MongoDB", partial(runtime.database.command, "ping"))
    health.register("nats", bus.find_problem)
    health.register("mongodb", mongodb.find_problem)
    await stack.enter_async_context(run_probes(bus, mongodb))
    await stack.enter_async_context(serve_health(health, telemetry.registry, settings.host, settings.health_port))
    await _wait_for_migration(service, runtime, nats)
    replica = Replica(database, service.name, settings.instance, clock, metrics.clock_offset_seconds)
    await replica.start()
    crew = await _build_workers(service, runtime) if service.workers else None
    responder = MessageServer(nats, service.name, (PyMongoError,))
    duties: set[asyncio.Task[None]] = set()

    @stack.push_async_callback
    async def leave() -> None:
        ready.clear()
        log.info("%s stops", settings.instance)
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_SECONDS):
                await cancel_and_wait(duties)  # first: another replica takes over while we finish
                async with asyncio.TaskGroup() as finishing:
                    finishing.create_task(responder.stop(SHUTDOWN_TIMEOUT_SECONDS))
                    if crew:
                        finishing.create_task(crew.stop())
                await runtime.finish(SHUTDOWN_TIMEOUT_SECONDS)
                await replica.stop()
        except TimeoutError:
            log.warning("%s leaves although not everything came to its end", settings.instance)

    if service.on_start:
        await service.on_start(runtime.background_context("start"))
    for message_type in _message_types(service):
        await responder.serve(message_type, partial(runtime.respond, message_type))
    await responder.serve(Heartbeat, runtime.answer_heartbeat, Heartbeat.subject_at(service.name))
    for everywhere in (GetHistory, GetState, GetCommandReply):
        await responder.serve(everywhere, partial(runtime.respond, everywhere), everywhere.subject_at(service.name))
    if crew:
        await crew.start(nats)
        health.register("workers", partial(_check_workers, crew, nats))
    # by every replica: the leader may be of an older release, and leave what that wrote as it is
    duties.add(
        asyncio.create_task(
            _run_periodic(runtime, PeriodicTask("rows", BACKFILL_INTERVAL_SECONDS, partial(_backfill_rows, runtime)))
        )
    )
    readings = GaugePoller(telemetry.meter, service.metrics)
    duties.add(asyncio.create_task(monitor_event_loop(telemetry.meter, health, service.name)))
    duties.add(asyncio.create_task(replica.run()))
    duties.add(
        asyncio.create_task(
            run_as_leader(
                nats, service.name, settings.instance, partial(_run_leader_tasks, runtime, nats, metrics, readings)
            )
        )
    )
    await flush_to_server(nats)
    ready.set()
    log.info("%s is ready", settings.instance)


async def _build_workers(service: Service, runtime: Runtime) -> "WorkerPool":
    from libs.messaging.workers import WorkerPool  # imported here: FastStream costs 13 MB that others need not pay

    crew = WorkerPool(runtime.settings, service.name, await load_cutoffs(runtime.database))
    for worker in service.workers:
        crew.register(worker, partial(runtime.run_worker, worker))
    return crew


def _message_types(service: Service) -> list[type[Command] | type[Query]]:
    commands: list[Any] = [one for category in service.categories for one in category.decider.commands]
    return [*commands, *service.handlers]


def _register_checks(health: Health, ready: asyncio.Event, clock: Clock) -> None:
    async def started() -> str | None:
        return None if ready.is_set() else "starting, or stopping"

    async def right_time() -> str | None:
        return clock.find_problem()

    health.register("process", started)
    health.register("clock", right_time)


async def _check_workers(pool: "WorkerPool", nats: Client) -> str | None:
    if not pool.is_connected:
        return "the connection of the workers to NATS is lost"
    gone = await pool.find_missing_consumers(nats)
    return f"consumers are missing, run `headrace migrate`: {', '.join(gone)}" if gone else None


async def _wait_for_migration(service: Service, runtime: Runtime, nats: Client) -> None:
    """Streams, consumers and indexes are made by `headrace migrate`, never as a side effect of a start."""
    told = ""
    while reason := await _find_missing(service, runtime, nats):
        if reason != told:
            log.warning("waiting: %s", reason)
            told = reason
        await asyncio.sleep(0.5)


async def _find_missing(service: Service, runtime: Runtime, nats: Client) -> str | None:
    try:
        reason = await find_pending(service, runtime.database, nats)
    except (ConnectionFailure, NatsError, TimeoutError) as error:
        if reason := explain_untrusted("MongoDB", error):
            raise SettingsError(reason) from None
        return f"a server does not answer ({type(error).__name__})"
    return reason and f"{reason}; run `headrace migrate`"


async def _run_leader_tasks(runtime: Runtime, nats: Client, metrics: Metrics, readings: GaugePoller) -> None:
    """What one replica does for all: relay, followers, tickers. The first failure ends them, and they start anew."""
    service = runtime.service

    def on_state(name: str, stopped: bool, behind: int) -> None:
        where = {"service": service.name, "follower": name}
        metrics.followers_stopped.set(int(stopped), where)
        metrics.follower_lag.set(behind, where)

    def follower(
        name: str, source: str, apply: Any, concerns: Callable[[Any], bool], *, view: Projection | None = None
    ) -> CatchUpSubscription:
        reset = partial(runtime.database[projection_collection(view)].delete_many, {}) if view else None
        return CatchUpSubscription(
            nats,
            runtime.database,
            name,
            source,
            apply,
            transactional=view is not None,
            is_relevant=concerns,
            reset=reset,
            on_state=on_state,
        )

    reactions = [
        follower(
            f"reactions-to-{source}", source, partial(_react_to_batch, runtime, source), partial(_triggers, policy)
        )
        for source, policy in service.policies.items()
    ]
    views = [
        follower(
            projection_collection(view),
            view.source,
            partial(runtime.apply_to_projection, view),
            partial(_is_relevant, view),
            view=view,
        )
        for view in service.projections
    ]
    replicas = PeriodicTask("replicas", REPLICA_CLEANUP_SECONDS, partial(_remove_old_replicas, runtime))
    duties = [
        Relay(nats, runtime.database, service.name, metrics, public=service.is_public).run(),
        *(one.run() for one in (*reactions, *views)),
        *(_run_periodic(runtime, ticker) for ticker in (*service.periodic_tasks, replicas)),
        readings.run(partial(runtime.background_context, "readings")),
    ]
    metrics.leading.set(1, {"service": service.name})
    try:
        await run_until_first_exit([asyncio.create_task(duty) for duty in duties])
    finally:
        metrics.leading.set(0, {"service": service.name})
        metrics.clear_leader_gauges()


def _triggers(policy: Policy, recorded: RecordedEvent[Any]) -> bool:
    return bool(policy(recorded))


def _is_relevant(projection: Projection, recorded: RecordedEvent[Any]) -> bool:
    return projection.row_key(recorded) is not None


async def _react_to_batch(runtime: Runtime, source: str, batch: Any, session: Any) -> None:
    await runtime.react_to_batch(source, batch)


async def _remove_old_replicas(runtime: Runtime, _context: Context) -> None:
    await remove_silent(runtime.database, runtime.clock.database_time())


async def _backfill_rows(runtime: Runtime, _context: Context) -> None:
    for category in runtime.service.categories:
        await backfill_rows(runtime.database, category, runtime.vault)


async def _run_periodic(runtime: Runtime, task: PeriodicTask) -> None:
    while True:
        try:
            await task.run(runtime.background_context(task.name))
        except (PyMongoError, NatsError) as error:
            log.warning("ticker %s: %s; it comes again", task.name, type(error).__name__)
        except RequestRejected as refused:
            log.warning("ticker %s: %s; it comes again", task.name, refused.code)
        except Exception:
            log.exception("ticker %s failed; it comes again", task.name)
        await asyncio.sleep(task.interval_seconds)
