"""The host of one service replica: connect, serve requests, run the leader's tasks if elected, shut down gracefully."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import uvloop
from nats.aio.client import Client
from nats.errors import Error as NatsError
from opentelemetry import trace
from pymongo.errors import ConnectionFailure, PyMongoError

from contracts.heartbeat import Heartbeat
from contracts.history import GetActivity, GetCommandReply, GetHistory, GetState, ReadEventLog
from contracts.messages import Command
from libs.clock import Clock
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import check_round_trip, connect, disconnect, flush_to_server
from libs.observability.event_loop_monitor import EventLoopMonitor
from libs.observability.health import Health, serve_health
from libs.observability.logs import configure_logging
from libs.observability.metrics import Metrics
from libs.observability.polled_gauges import GaugePoller
from libs.observability.probes import Probe, run_probes
from libs.observability.process_reporter import ProcessReporter, answer_status_requests
from libs.observability.telemetry import configure_telemetry
from libs.projections.rebuild import backfill_rows
from libs.security.tls import explain_untrusted
from libs.service.connections import close_client, create_mongo_client, create_vault, get_database
from libs.service.declaration import Context, PeriodicTask, Service
from libs.service.leader_election import run_as_leader
from libs.service.leader_tasks import run_leader_tasks, run_periodic
from libs.service.migration import find_pending
from libs.service.replicas import Replica
from libs.service.restore_cutoffs import load_cutoffs
from libs.service.runtime import Runtime
from libs.service.service_reports import report_replica
from libs.settings import Settings, SettingsError
from libs.tasks import cancel_and_wait

if TYPE_CHECKING:
    from libs.reactions.workers import WorkerPool

log = logging.getLogger("headrace.service")

SHUTDOWN_TIMEOUT_SECONDS = 5.0  # limit for finishing requests and events in progress after SIGTERM
# subject of probe messages; every login may publish to it, also with the NATS permissions of release 0.2.0
PROBE_SUBJECT = "settled.probe"
BACKFILL_INTERVAL_SECONDS = 2.0  # pause between searches for rows that replicas of an older release did not write


def run(service: Service, settings: Settings, clock: Clock | None = None) -> None:
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
    """Run one replica until `stop` is set, which also interrupts its start."""
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_start(service, settings, stack, clock or Clock()))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        finally:
            await cancel_and_wait({starting, stopping})


async def _start(service: Service, settings: Settings, stack: AsyncExitStack, clock: Clock) -> None:
    """Start the replica and return when it is ready.

    `stack` gets each shutdown step as soon as it is needed, so the start can be interrupted at any point.
    """
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
    nats_probe = Probe("NATS", partial(check_round_trip, nats, PROBE_SUBJECT))
    mongodb_probe = Probe("MongoDB", partial(runtime.database.command, "ping"))
    health.register("nats", nats_probe.find_problem)
    health.register("mongodb", mongodb_probe.find_problem)
    await stack.enter_async_context(run_probes(nats_probe, mongodb_probe))
    await stack.enter_async_context(serve_health(health, telemetry.registry, settings.host, settings.health_port))
    monitor = EventLoopMonitor(telemetry.meter, health, service.name)
    gauges = GaugePoller(telemetry.meter, service.gauges)
    reporter = ProcessReporter(service.name, settings.instance, health, monitor)
    await answer_status_requests(nats, service.name, partial(report_replica, reporter, runtime, gauges))
    await _wait_for_migration(service, runtime, nats)
    replica = Replica(database, service.name, settings.instance, clock, metrics.clock_offset_seconds)
    await replica.start()
    pool = runtime.reactions.workers = await _build_workers(service, runtime) if service.workers else None
    server = MessageServer(nats, service.name, (PyMongoError,))
    background_tasks: set[asyncio.Task[None]] = set()

    @stack.push_async_callback
    async def shut_down() -> None:
        ready.clear()
        log.info("%s is shutting down", settings.instance)
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_SECONDS):
                await cancel_and_wait(background_tasks)  # first, so that another replica can become the leader
                async with asyncio.TaskGroup() as finishing:
                    finishing.create_task(server.stop(SHUTDOWN_TIMEOUT_SECONDS))
                    if pool:
                        finishing.create_task(pool.stop())
                await runtime.finish(SHUTDOWN_TIMEOUT_SECONDS)
                await replica.stop()
        except TimeoutError:
            log.warning("%s shut down before all work was finished", settings.instance)

    if service.on_start:
        await service.on_start(runtime.background_context("start"))
    for message_type in service.messages:
        await server.serve(message_type, partial(runtime.respond, message_type))
        if issubclass(message_type, Command) and message_type.former_subject:
            await server.serve(message_type, partial(runtime.respond, message_type), message_type.former_subject)
    await server.serve(Heartbeat, runtime.answer_heartbeat, Heartbeat.subject_at(service.name))
    for query_type in (GetHistory, GetState, GetActivity, GetCommandReply, ReadEventLog):
        await server.serve(query_type, partial(runtime.respond, query_type), query_type.subject_at(service.name))
    if pool:
        await pool.start()
        health.register("workers", partial(_check_workers, pool, nats))
    # every replica runs the backfill, because a leader of an older release would not
    backfill = PeriodicTask("rows", BACKFILL_INTERVAL_SECONDS, partial(_backfill_rows, runtime))
    leader_tasks = partial(run_leader_tasks, runtime, nats, metrics, gauges)
    for background in (
        run_periodic(runtime, backfill),
        monitor.run(),
        replica.run(),
        run_as_leader(nats, service.name, settings.instance, leader_tasks),
    ):
        background_tasks.add(asyncio.create_task(background))
    await flush_to_server(nats)
    ready.set()
    log.info("%s is ready", settings.instance)


async def _build_workers(service: Service, runtime: Runtime) -> "WorkerPool":
    from libs.reactions.workers import WorkerPool  # imported here: services without workers save 13 MB of FastStream

    pool = WorkerPool(runtime.settings, service.name, runtime.parked.park, await load_cutoffs(runtime.database))
    for worker in service.workers:
        pool.register(worker, partial(runtime.run_worker, worker))
    return pool


def _register_checks(health: Health, ready: asyncio.Event, clock: Clock) -> None:
    async def check_process() -> str | None:
        return None if ready.is_set() else "starting or shutting down"

    async def check_clock() -> str | None:
        return clock.find_problem()

    health.register("process", check_process)
    health.register("clock", check_clock)


async def _check_workers(pool: "WorkerPool", nats: Client) -> str | None:
    if not pool.is_connected:
        return "the workers' connection to NATS is lost"
    missing = await pool.find_missing_consumers(nats)
    return f"consumers are missing, run `headrace server migrate`: {', '.join(missing)}" if missing else None


async def _wait_for_migration(service: Service, runtime: Runtime, nats: Client) -> None:
    """Wait until `headrace server migrate` has created streams and consumers and rebuilt rows."""
    logged = ""
    while reason := await _find_missing(service, runtime, nats):
        if reason != logged:
            log.warning("waiting: %s", reason)
            logged = reason
        await asyncio.sleep(0.5)


async def _find_missing(service: Service, runtime: Runtime, nats: Client) -> str | None:
    try:
        reason = await find_pending(service, runtime.database, nats)
    except (ConnectionFailure, NatsError, TimeoutError) as error:
        if reason := explain_untrusted("MongoDB", error):
            raise SettingsError(reason) from None
        return f"a server does not respond ({type(error).__name__})"
    return reason and f"{reason}; run `headrace server migrate`"


async def _backfill_rows(runtime: Runtime, _context: Context) -> None:
    for category in runtime.service.categories:
        await backfill_rows(runtime.database, category, runtime.vault)
