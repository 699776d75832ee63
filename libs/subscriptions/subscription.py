"""Catch-up subscriptions: handle the events of a service in order.

An event that fails blocks the events after it. A subscription with `park` parks it after MAX_TRIES failures.

With a transaction, the checkpoint is stored together with the handler's writes, so a batch is applied completely or not
at all. A subscription with a `log` that starts with the first event reads the log first, and then the stream.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from libs.documents import Document
from libs.eventstore.decider import AnyEvent
from libs.messaging import cloudevents
from libs.messaging.cloudevents import DeliveredEvent
from libs.messaging.stream_reader import StreamReader, are_next_events
from libs.observability.logs import summarize_error
from libs.observability.tracing import attach_remote
from libs.reactions.parking import MAX_TRIES, FailedEvent, Park, is_outage, is_temporary
from libs.service.restore_cutoffs import load_cutoffs
from libs.subscriptions.checkpoints import COMPLETE, REBUILDING, Checkpoint, CheckpointConflict, CheckpointStore
from libs.subscriptions.event_log import LogReader, handle_log

log = logging.getLogger("headrace.subscription")

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0
CHECKPOINT_INTERVAL_SECONDS = 5.0  # how often a busy subscription saves its checkpoint without a transaction


class CheckpointLost(Exception):
    """The next event is missing or is not the expected one, or the server has removed the consumer."""


class BatchHandler(Protocol):
    """Handles a batch of events. Writes in `session` commit together with the checkpoint; None: no transaction."""

    async def __call__(self, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None) -> None: ...


class CatchUpSubscription:
    """Delivers a service's events to a handler.

    With `transactional`, the handler's writes and the checkpoint are one transaction. Without it, the handler must be
    idempotent, and the checkpoint is saved only every few seconds, because reading some events again is cheaper than a
    write per batch.
    """

    def __init__(
        self,
        client: Client,
        database: AsyncDatabase[Document],
        name: str,
        source: str,
        handler: BatchHandler,
        *,
        transactional: bool,
        is_relevant: Callable[[AnyEvent], object] = lambda _recorded: True,
        reset: Callable[[], Awaitable[object]] | None = None,
        on_state: Callable[[str, bool, int], None] = lambda _name, _is_stopped, _pending: None,
        park: Park | None = None,
        log: LogReader | None = None,
        always_reads_log: bool = False,
        batch_seconds: float = 0.0,
    ) -> None:
        """`reset` deletes what the handler has written, before the events are handled again from the first one.

        `on_state` is called with the subscription's name, whether it is stopped by an error, and the number of events
        not yet handled. The `log` is read if events of the stream were trimmed; with `always_reads_log`, in any case.
        `batch_seconds` is the minimum time between two batches.
        """
        self.name = name
        self.source = source
        self._client = client
        self._js = client.jetstream()
        self._database = database
        self._checkpoints = CheckpointStore(database, name)
        self._handler = handler
        self._transactional = transactional
        self._is_relevant = is_relevant
        self._saved = Checkpoint()
        self._saved_at = 0.0  # monotonic clock
        self._is_complete = False  # all events up to the end of the stream were handled at least once
        # earlier events were handled before the backup; set after a restore
        self._restore_cutoff: datetime | None = None
        self._reset = reset
        self._on_state = on_state
        self._park = park
        self._log = log
        self._always_reads_log = always_reads_log
        self._batch_seconds = batch_seconds

    async def run(self) -> None:
        """Run until canceled. Raises CheckpointConflict.

        Retries after errors of NATS, MongoDB and the handler. An event is retried without limit unless `park` is given.
        """
        while True:
            try:
                await self._consume(await self._start())
            except CheckpointLost as lost:
                log.warning("subscription %s: %s; resuming from the oldest available event", self.name, lost)
            except (NatsError, PyMongoError, TimeoutError) as error:
                log.warning("subscription %s: %s; retrying", self.name, type(error).__name__)
            await asyncio.sleep(MIN_RETRY_SECONDS)

    async def _consume(self, checkpoint: Checkpoint) -> None:
        try:
            async with aclosing(
                await StreamReader.open(self._client, self.source, after=checkpoint.sequence)
            ) as reader:
                pending = await reader.count_pending()
                self._on_state(self.name, False, pending)
                await self._mark_complete(pending)
                while True:
                    messages = await reader.fetch()
                    if not messages:
                        await self._save_if_moved(checkpoint)
                        continue
                    if not are_next_events(messages, checkpoint.sequence):
                        raise CheckpointLost(f"events after {checkpoint.sequence} are missing")
                    checkpoint = await self._handle_until_done(checkpoint, messages)
                    await asyncio.sleep(self._batch_seconds)
        except NotFoundError as error:
            raise CheckpointLost("its consumer was removed") from error

    async def _handle_until_done(self, checkpoint: Checkpoint, messages: Sequence[Msg]) -> Checkpoint:
        """Handle a batch. If that fails, handle its events one by one, retrying each until it succeeds or is parked."""
        pending = messages[-1].metadata.num_pending
        batch_size, pause, tries = len(messages), MIN_RETRY_SECONDS, 0
        while messages:
            try:
                batch = [_to_delivered_event(message) for message in messages[:batch_size]]
                checkpoint = await self._handle_once(checkpoint, batch)
            except CheckpointConflict:
                raise
            except Exception as error:
                if batch_size > 1:
                    batch_size = 1
                    continue
                self._log_failure(messages[0], error, with_traceback=pause == MIN_RETRY_SECONDS)
                self._on_state(self.name, True, pending + len(messages))
                tries += not is_temporary(error)
                if self._park and tries == MAX_TRIES:
                    await self._park(_to_failed_event(self, messages[0], error))
                    checkpoint = _move_to(checkpoint, messages[0])
                else:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, MAX_RETRY_SECONDS)
                    continue
            messages, pause, tries = messages[batch_size:], MIN_RETRY_SECONDS, 0
        self._on_state(self.name, False, pending)
        await self._mark_complete(pending)
        return checkpoint

    def _log_failure(self, message: Msg, error: Exception, *, with_traceback: bool) -> None:
        headers = message.headers or {}
        event_id = headers.get("ce-id", "without an id")
        with attach_remote(headers.get("traceparent", "")):
            if is_outage(error):
                reason, _ = summarize_error(error)
                log.warning("subscription %s waits before event %s: %s", self.name, event_id, reason)
            else:
                traceback = error if with_traceback else None
                log.error("subscription %s stopped before event %s", self.name, event_id, exc_info=traceback)

    async def _handle_once(self, checkpoint: Checkpoint, batch: Sequence[DeliveredEvent]) -> Checkpoint:
        moved = replace(checkpoint, sequence=batch[-1].sequence, event_id=batch[-1].recorded.id)
        relevant = [delivered for delivered in batch if self._is_due(delivered.recorded)]
        if relevant and self._transactional:

            async def body(session: AsyncClientSession) -> None:
                await self._checkpoints.move(self._saved, moved, session)
                await self._handler(relevant, session)

            async with self._database.client.start_session() as session:
                await session.with_transaction(body)
            self._saved, self._saved_at = moved, time.monotonic()
            return moved
        if relevant:
            await self._handler(relevant, None)
        if time.monotonic() - self._saved_at >= CHECKPOINT_INTERVAL_SECONDS:
            await self._save_if_moved(moved)
        return moved

    def _is_due(self, recorded: AnyEvent) -> bool:
        was_handled = self._restore_cutoff is not None and recorded.at < self._restore_cutoff
        was_in_log = self._saved.log_end is not None and recorded.at < self._saved.log_end
        return not was_handled and not was_in_log and bool(self._is_relevant(recorded))

    async def _save_if_moved(self, checkpoint: Checkpoint) -> None:
        if checkpoint != self._saved:
            await self._checkpoints.move(self._saved, checkpoint)
        self._saved, self._saved_at = checkpoint, time.monotonic()

    async def _mark_complete(self, pending: int) -> None:
        """Record that the subscription has reached the end of the stream: its projection is complete from now on."""
        if not pending and not self._is_complete:
            await self._checkpoints.mark_complete()
            self._is_complete = True

    async def _start(self) -> Checkpoint:
        self._restore_cutoff = (await load_cutoffs(self._database)).get(self.name)
        self._saved = await self._resume_or_reset()
        return self._saved

    async def _resume_or_reset(self) -> Checkpoint:
        """Return the saved checkpoint if the stream still contains it; otherwise reset and start over."""
        saved = await self._checkpoints.find()
        while saved and saved["incarnation"] == REBUILDING:
            self._on_state(self.name, True, 0)
            log.warning("%s waits for `headrace admin rebuild`; if it was interrupted, run it again", self.name)
            await asyncio.sleep(MAX_RETRY_SECONDS)
            saved = await self._checkpoints.find()
        info = await self._js.stream_info(self.source)
        incarnation = str(info.created)
        self._is_complete = bool(saved and saved.get(COMPLETE))
        if saved:
            checkpoint = Checkpoint.from_document(saved)
            if checkpoint.incarnation == incarnation and await self._is_valid(checkpoint, info.state.first_seq):
                return checkpoint
            log.warning("subscription %s starts over: its checkpoint is not in stream %s", self.name, self.source)
        self._is_complete = False
        self._saved = fence = await self._checkpoints.fence()
        if self._reset:
            await self._reset()
        log_end = None
        if self._log and (self._always_reads_log or info.state.first_seq > 1):
            log_end = await handle_log(self._log, partial(self._handle_page, fence), self._on_log_failure)
            info = await self._js.stream_info(self.source)  # events may have been trimmed in the meantime
        checkpoint = Checkpoint(str(info.created), max(info.state.first_seq - 1, 0), log_end=log_end)
        await self._checkpoints.replace(fence, checkpoint)
        return checkpoint

    def _on_log_failure(self, error: Exception, *, is_first: bool) -> None:
        self._on_state(self.name, True, 0)
        reason, with_traceback = summarize_error(error)
        if is_outage(error):
            log.warning("subscription %s waits for the log of %s: %s", self.name, self.source, reason)
        else:
            traceback = with_traceback if is_first else None
            log.error(
                "subscription %s stopped in the log of %s: %s", self.name, self.source, reason, exc_info=traceback
            )

    async def _handle_page(self, fence: Checkpoint, events: Sequence[AnyEvent]) -> None:
        relevant = [DeliveredEvent(0, recorded) for recorded in events if self._is_due(recorded)]
        if not relevant:
            return

        async def body(session: AsyncClientSession) -> None:
            await self._checkpoints.move(fence, replace(fence, event_id=relevant[-1].recorded.id), session)
            await self._handler(relevant, session)

        async with self._database.client.start_session() as session:
            await session.with_transaction(body)

    async def _is_valid(self, checkpoint: Checkpoint, first: int) -> bool:
        if checkpoint.sequence + 1 < first:
            return False
        if not checkpoint.event_id:
            return True
        try:
            last = await self._js.get_msg(self.source, seq=checkpoint.sequence)
        except NotFoundError:
            return False
        return (last.headers or {}).get("ce-id") == checkpoint.event_id


def _to_delivered_event(message: Msg) -> DeliveredEvent:
    event = cloudevents.from_message(message.headers or {}, message.data)
    return DeliveredEvent(message.metadata.sequence.stream, event)


def _to_failed_event(subscription: CatchUpSubscription, message: Msg, error: Exception) -> FailedEvent:
    sequence = message.metadata.sequence.stream
    headers = message.headers or {}
    return FailedEvent(subscription.name, subscription.source, sequence, headers, message.data, error, MAX_TRIES)


def _move_to(checkpoint: Checkpoint, message: Msg) -> Checkpoint:
    sequence, event_id = message.metadata.sequence.stream, (message.headers or {}).get("ce-id", "")
    return replace(checkpoint, sequence=sequence, event_id=event_id)
