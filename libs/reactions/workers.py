"""The worker pool: background work for events, at least once per event, distributed over the replicas.

FastStream subscribers read a durable pull consumer that the migration step creates. Each subscriber handles one message
at a time, and there are as many subscribers as the worker's concurrency, because FastStream's `max_workers` would fetch
far more messages than it handles.

A worker with `now` is also started by the process that recorded the event. The consumer postpones the first delivery,
so that it usually finds the work done.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from cachetools import LRUCache
from faststream import AckPolicy
from faststream.exceptions import NackMessage
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts.messages import UnknownEvent
from libs.eventstore.decider import AnyEvent
from libs.messaging import cloudevents
from libs.messaging.nats_connection import connect, disconnect, parse_nats_address
from libs.observability.logs import adopt_library_logger, summarize_error
from libs.observability.tracing import attach_remote
from libs.reactions.parking import MAX_TRIES, FailedEvent, Park, is_temporary
from libs.service.declaration import AnyWorker, RetryLater
from libs.settings import Settings
from libs.tasks import cancel_and_wait

log = logging.getLogger("headrace.workers")
adopt_library_logger("faststream")  # its import has added a handler, often after the process configured its logging
FASTSTREAM_LOGGER: Any = logging.LoggerAdapter(logging.getLogger("faststream"))

MAX_RETRY_DELAY_SECONDS = 10.0
# delay of the first delivery to a worker with `now`, and of a delivery whose work runs in this process
POSTPONEMENT_SECONDS = 2.0
SHUTDOWN_TIMEOUT_SECONDS = 5.0
MAX_STARTED_NOW = 500  # per process; the consumer delivers further events
MAX_COUNTED_EVENTS = 10_000  # events per process whose failures are counted


class EventHandler(Protocol):
    """Runs a worker for an event. `may_be_duplicate`: the worker may have handled the event already."""

    async def __call__(self, recorded: AnyEvent, *, may_be_duplicate: bool = True) -> None: ...


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


class WorkerPool:
    """Runs the workers of a service in one process."""

    def __init__(
        self,
        settings: Settings,
        service: str,
        park: Park,
        restore_cutoffs: Mapping[str, datetime] | None = None,
        *,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT_SECONDS,
    ) -> None:
        """`restore_cutoffs`: time before which all events were handled, by consumer name; set after a restore."""
        self._inbox = parse_nats_address(settings).inbox_prefix
        self._settings = settings
        self._broker = NatsBroker(graceful_timeout=shutdown_timeout)
        self._connection: Client | None = None
        self._shutdown_timeout = shutdown_timeout
        self._service = service
        self._park = park
        self._restore_cutoffs = restore_cutoffs or {}
        self._tries: LRUCache[tuple[str, int], int] = LRUCache(MAX_COUNTED_EVENTS)  # by consumer and message sequence
        self._consumers: list[tuple[str, str]] = []  # pairs of stream and consumer name
        self._now: list[tuple[AnyWorker, EventHandler, asyncio.Semaphore]] = []
        self._now_tasks: set[asyncio.Task[None]] = set()
        self._consumer_tasks: set[asyncio.Task[object]] = set()  # tasks that handle messages of the durable consumers
        self._in_progress: set[tuple[str, str]] = set()  # consumer names and ids of the events that `start_now` handles

    def register(self, worker: AnyWorker, handler: EventHandler) -> None:
        name = worker.consumer_name(self._service)
        self._consumers.append((worker.source, name))
        if worker.now:
            self._now.append((worker, handler, asyncio.Semaphore(worker.concurrency)))
        cutoff = self._restore_cutoffs.get(name)

        async def on_message(body: bytes, message: NatsMessage) -> None:
            try:
                recorded = cloudevents.from_message(message.headers, message.body)
            except Exception as error:
                await self._retry_or_park(worker, message, error)
                return
            if cutoff is not None and recorded.at < cutoff:
                return
            is_first = message.raw_message.metadata.num_delivered == 1
            if worker.now and (is_first or (name, recorded.id) in self._in_progress):
                raise NackMessage(delay=POSTPONEMENT_SECONDS)
            await self._handle(worker, handler, recorded, message)

        for _ in range(worker.concurrency):
            self._broker.subscriber(
                worker.filter_subjects()[0],
                stream=JStream(worker.source, declare=False),
                durable=name,
                pull_sub=PullSub(batch_size=1, timeout=2),
                ack_policy=AckPolicy.NACK_ON_ERROR,  # the default would drop an event whose work failed
                decoder=_decode_raw,
                inbox_prefix=f"{self._inbox}.".encode(),
            )(on_message)

    async def _handle(self, worker: AnyWorker, handler: EventHandler, recorded: AnyEvent, message: NatsMessage) -> None:
        heartbeat = asyncio.create_task(_heartbeat(message, worker.ack_wait_seconds / 3))
        task = _current_task()
        self._consumer_tasks.add(task)
        try:
            await handler(recorded)
        except RetryLater as later:
            raise NackMessage(delay=later.delay_seconds) from later
        except asyncio.CancelledError:
            # the process shuts down: return the event to NATS, so that another replica gets it before the end of
            # ack_wait
            with suppress(NatsError):
                await message.raw_message.nak()
            raise
        except Exception as error:
            with attach_remote(recorded.metadata.traceparent):
                await self._retry_or_park(worker, message, error)
        finally:
            self._consumer_tasks.discard(task)
            heartbeat.cancel()

    async def _retry_or_park(self, worker: AnyWorker, message: NatsMessage, error: Exception) -> None:
        """Return the event to NATS with a delay, or park it if it has failed too often in this process."""
        name, delivery = worker.consumer_name(self._service), message.raw_message.metadata
        key = (name, delivery.sequence.stream)
        tries = self._tries[key] = self._tries.get(key, 0) + (not is_temporary(error))
        if tries >= MAX_TRIES:
            await self._park(FailedEvent(name, worker.source, key[1], message.headers, message.body, error, tries))
            self._tries.pop(key, None)
            return
        delay = min(0.25 * 2 ** min(delivery.num_delivered, 10), MAX_RETRY_DELAY_SECONDS)
        if isinstance(error, UnknownEvent):
            delay = MAX_RETRY_DELAY_SECONDS  # a replica of a later release has to handle it
        reason, traceback = summarize_error(error)
        event_id = message.headers.get("ce-id", "a message without an id")
        log.warning("%s on %s: %s; retrying in %.1f s", name, event_id, reason, delay, exc_info=traceback)
        raise NackMessage(delay=delay) from error

    async def start(self) -> None:
        """Start the consumers of all registered workers."""
        self._connection = await connect(self._settings, f"{self._service} workers")
        # FastStream's own connection would stop reconnecting after a rejected login, which may be temporary
        self._broker.config.connect(self._connection)
        self._broker.config.logger.logger = FASTSTREAM_LOGGER
        for subscriber in self._broker.subscribers:
            await subscriber.start()

    def start_now(self, events: Sequence[AnyEvent]) -> None:
        """Start the workers with `now` for new events of this process. The consumer repeats work that fails."""
        for worker, handler, slots in self._now:
            for recorded in events:
                if isinstance(recorded.event, worker.events) and len(self._now_tasks) < MAX_STARTED_NOW:
                    task = asyncio.create_task(self._handle_now(worker, handler, slots, recorded))
                    self._now_tasks.add(task)
                    task.add_done_callback(self._now_tasks.discard)

    async def _handle_now(
        self, worker: AnyWorker, handler: EventHandler, slots: asyncio.Semaphore, recorded: AnyEvent
    ) -> None:
        key = (worker.consumer_name(self._service), recorded.id)
        self._in_progress.add(key)
        # while it waits for a slot, another replica may get the event from the consumer
        may_be_duplicate = slots.locked()
        try:
            async with slots:
                await handler(recorded, may_be_duplicate=may_be_duplicate)
        except Exception as error:
            with attach_remote(recorded.metadata.traceparent):
                reason, traceback = summarize_error(error)
                log.warning(
                    "%s on %s: %s; the consumer will retry it", worker.name, recorded.id, reason, exc_info=traceback
                )
        finally:
            self._in_progress.discard(key)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    async def find_missing_consumers(self, client: Client) -> list[str]:
        """Return the names of missing durable consumers. FastStream reports no error for them: it retries in a loop."""
        js = client.jetstream()
        missing = []
        for stream, name in self._consumers:
            try:
                await js.consumer_info(stream, name)
            except NotFoundError:
                missing.append(name)
        return missing

    async def stop(self) -> None:
        """Finish the work in progress within the timeout, and return unfinished events to NATS.

        Works after an incomplete start, too.
        """
        self._now.clear()
        # concurrently: the broker itself would wait the whole timeout for each subscriber
        stopping = [asyncio.create_task(_stop_subscriber(subscriber)) for subscriber in self._broker.subscribers]
        try:
            await asyncio.wait({*stopping, *self._now_tasks}, timeout=self._shutdown_timeout)
        finally:
            await cancel_and_wait({*stopping, *self._now_tasks, *self._consumer_tasks})
            if self._connection:
                await disconnect(self._connection)


async def _stop_subscriber(subscriber: _Stoppable) -> None:
    with suppress(NatsError):  # NATS is unreachable
        await subscriber.stop()


def _current_task() -> "asyncio.Task[object]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  called from a coroutine
    return task


async def _decode_raw(message: NatsMessage) -> bytes:
    return message.body


async def _heartbeat(message: NatsMessage, interval: float) -> None:
    """Extend the ack wait while the work runs, so that no other replica gets the event."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(interval)
            with suppress(NatsError):  # NATS is unreachable; the next heartbeat may be in time
                await message.raw_message.in_progress()
