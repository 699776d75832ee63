"""Catch-up subscriptions: handle the events of a service in order.

An event that fails blocks the events after it. A subscription with `park` gives it up after some tries.

The checkpoint is stored in the subscriber's database, in the same transaction as the handler's writes. A batch is
therefore applied completely or not at all, and a second subscription of the same name detects that the checkpoint has
moved and stops.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from libs.documents import Document
from libs.eventstore.decider import AnyEvent
from libs.messaging import cloudevents
from libs.messaging.cloudevents import DeliveredEvent
from libs.messaging.stream_reader import StreamReader
from libs.observability.logs import summarize_error
from libs.observability.tracing import attach_remote
from libs.reactions.parking import MAX_TRIES, FailedEvent, Park, is_outage, is_temporary
from libs.service.leader_election import LeadershipLost
from libs.service.restore_cutoffs import load_cutoffs

log = logging.getLogger("headrace.subscription")

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0
CHECKPOINT_INTERVAL_SECONDS = 5.0  # for subscriptions without a transaction
REBUILDING = "rebuilding"  # value of `incarnation` while a rebuild holds the checkpoint


class CheckpointLost(Exception):
    """The next event is missing or is not the expected one, or the server has removed the consumer."""


class CheckpointConflict(LeadershipLost):
    """Another subscription of the same name has moved the checkpoint."""


class BatchHandler(Protocol):
    """Handles a batch of events. Writes within the session commit together with the checkpoint."""

    async def __call__(self, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    incarnation: str = ""  # creation time of the stream, because a recreated stream starts its sequence numbers again
    sequence: int = 0
    event_id: str = ""


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
        is_relevant: Callable[[AnyEvent], bool] = lambda _recorded: True,
        reset: Callable[[], Awaitable[object]] | None = None,
        on_state: Callable[[str, bool, int], None] = lambda _name, _is_stopped, _pending: None,
        park: Park | None = None,
    ) -> None:
        """`reset` deletes what the handler has written, before the events are handled again from the first one.

        `on_state` is called with the subscription's name, whether it is stopped by an error, and the number of events
        not yet handled.
        """
        self.name = name
        self.source = source
        self._client = client
        self._js = client.jetstream()
        self._database = database
        self._checkpoints: AsyncCollection[Document] = database["followers"]
        self._handler = handler
        self._transactional = transactional
        self._is_relevant = is_relevant
        self._saved = Checkpoint()
        self._saved_at = 0.0  # monotonic clock
        # earlier events were handled before the backup; set after a restore
        self._restore_cutoff: datetime | None = None
        self._reset = reset
        self._on_state = on_state
        self._park = park

    async def run(self) -> None:
        """Run until canceled. Raises CheckpointConflict.

        Errors of the handler, of NATS and of MongoDB are retried without limit.
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
                self._on_state(self.name, False, await reader.count_pending())
                while True:
                    messages = await reader.fetch()
                    if not messages:
                        await self._save_if_moved(checkpoint)
                        continue
                    for expected, message in enumerate(messages, checkpoint.sequence + 1):
                        sequence = message.metadata.sequence.stream
                        if sequence != expected or message.subject.endswith(".stream.Emptied"):
                            raise CheckpointLost(f"expected an event at {expected}, got {sequence}")
                    checkpoint = await self._handle_until_done(checkpoint, messages)
        except NotFoundError as error:
            raise CheckpointLost("its consumer was removed") from error

    async def _handle_until_done(self, checkpoint: Checkpoint, messages: Sequence[Msg]) -> Checkpoint:
        """Handle a batch. If that fails, handle its events one by one, and retry each until it succeeds."""
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
        moved = Checkpoint(checkpoint.incarnation, batch[-1].sequence, batch[-1].recorded.id)
        relevant = [delivered for delivered in batch if self._is_due(delivered.recorded)]
        if relevant and self._transactional:

            async def body(session: AsyncClientSession) -> None:
                await self._save_checkpoint(moved, session)
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
        return not was_handled and self._is_relevant(recorded)

    async def _save_if_moved(self, checkpoint: Checkpoint) -> None:
        if checkpoint != self._saved:
            await self._save_checkpoint(checkpoint, None)
        self._saved, self._saved_at = checkpoint, time.monotonic()

    async def _save_checkpoint(self, moved: Checkpoint, session: AsyncClientSession | None) -> None:
        result = await self._checkpoints.update_one(
            {"_id": self.name, "incarnation": self._saved.incarnation, "sequence": self._saved.sequence},
            {"$set": {"sequence": moved.sequence, "event_id": moved.event_id}},
            session=session,
        )
        if result.matched_count == 0:
            raise CheckpointConflict(self.name)

    async def _start(self) -> Checkpoint:
        self._restore_cutoff = (await load_cutoffs(self._database)).get(self.name)
        self._saved = await self._resume_or_reset()
        return self._saved

    async def _resume_or_reset(self) -> Checkpoint:
        """Return the saved checkpoint if the stream still contains it; otherwise reset to the stream's first event."""
        saved = await self._checkpoints.find_one({"_id": self.name})
        while saved and saved["incarnation"] == REBUILDING:
            self._on_state(self.name, True, 0)
            log.warning("subscription %s waits for `headrace rebuild`; if it was interrupted, run it again", self.name)
            await asyncio.sleep(MAX_RETRY_SECONDS)
            saved = await self._checkpoints.find_one({"_id": self.name})
        info = await self._js.stream_info(self.source)
        incarnation = str(info.created)
        if saved:
            checkpoint = Checkpoint(saved["incarnation"], saved["sequence"], saved["event_id"])
            if checkpoint.incarnation == incarnation and await self._is_valid(checkpoint, info.state.first_seq):
                return checkpoint
            log.warning("subscription %s starts over: its checkpoint is not in stream %s", self.name, self.source)
        # a unique checkpoint fences off another subscription, which could write between the reset and the start
        fence = uuid4().hex
        await self._checkpoints.replace_one({"_id": self.name}, _to_document(Checkpoint(fence)), upsert=True)
        if self._reset:
            await self._reset()
        checkpoint = Checkpoint(incarnation, max(info.state.first_seq - 1, 0))
        fenced = {"_id": self.name, "incarnation": fence}
        started = await self._checkpoints.replace_one(fenced, _to_document(checkpoint))
        if started.matched_count == 0:
            raise CheckpointConflict(self.name)
        return checkpoint

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


def _to_document(checkpoint: Checkpoint) -> Document:
    return {
        "incarnation": checkpoint.incarnation,
        "sequence": checkpoint.sequence,
        "event_id": checkpoint.event_id,
    }


def _to_delivered_event(message: Msg) -> DeliveredEvent:
    event = cloudevents.from_message(message.headers or {}, message.data)
    return DeliveredEvent(message.metadata.sequence.stream, event)


def _to_failed_event(subscription: CatchUpSubscription, message: Msg, error: Exception) -> FailedEvent:
    sequence = message.metadata.sequence.stream
    headers = message.headers or {}
    return FailedEvent(subscription.name, subscription.source, sequence, headers, message.data, error, MAX_TRIES)


def _move_to(checkpoint: Checkpoint, message: Msg) -> Checkpoint:
    sequence, event_id = message.metadata.sequence.stream, (message.headers or {}).get("ce-id", "")
    return Checkpoint(checkpoint.incarnation, sequence, event_id)
