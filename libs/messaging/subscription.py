"""Followers: the events of a service, in order, each applied once; a failing one stops its follower, never the order.

A follower's position lies in its own database and moves in the same transaction as what it wrote, so a batch is
applied wholly or not at all, and a second follower of the same name finds the position moved and ends.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, PyMongoError

from contracts.errors import RequestRejected
from libs.eventstore import OutcomeUnknown, StoreUnavailable
from libs.eventstore.decider import RecordedEvent
from libs.eventstore.mapping import Document
from libs.messaging import cloudevents
from libs.messaging.cloudevents import DeliveredEvent
from libs.messaging.pull_consumer import PullConsumer
from libs.observability.logs import summarize_error
from libs.observability.tracing import attach_remote
from libs.service.leader_election import LeadershipLost
from libs.service.restore_cutoffs import load_cutoffs

log = logging.getLogger("headrace.following")

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0  # seconds between tries
CHECKPOINT_INTERVAL_SECONDS = 5.0  # seconds, for a position that moves alone
OUTAGE_CODES = {"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"}
REBUILDING = "rebuilding"  # in place of an incarnation: a rebuild holds the position


class CheckpointLost(Exception):
    """The stream no longer holds the event after the position, or holds another one in its place."""


class CheckpointConflict(LeadershipLost):
    """Another follower of the same name has moved the position."""


class BatchHandler(Protocol):
    """What is done with a batch. What it writes within the session is written with the new position."""

    async def __call__(self, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    incarnation: str = ""  # when the stream was made: a stream made anew counts from one again
    sequence: int = 0
    event_id: str = ""


class CatchUpSubscription:
    """`transaction`: apply and position are one transaction; without it, apply must be harmless when repeated.

    Where nothing is written with it, the position is stored once in a while and when nothing comes: to read these
    events again is no harm, and a write for each of them would be.
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
        is_relevant: Callable[[RecordedEvent[Any]], bool] = lambda _recorded: True,
        reset: Callable[[], Awaitable[object]] | None = None,
        on_state: Callable[[str, bool, int], None] = lambda _name, _stopped, _behind: None,
    ) -> None:
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
        self._saved_at = 0.0  # by the monotonic clock
        self._restore_cutoff: datetime | None = None  # of a system that was restored
        self._reset = reset
        self._on_state = on_state

    async def run(self) -> None:
        """Follow until cancelled. Raises Overtaken; every other failure is tried again, for ever."""
        while True:
            try:
                await self._consume(await self._start())
            except CheckpointLost as gap:
                log.warning("follower %s: %s; going on from what the stream holds", self.name, gap)
            except (NatsError, PyMongoError, TimeoutError) as error:
                log.warning("follower %s: %s; it tries again", self.name, type(error).__name__)
            await asyncio.sleep(MIN_RETRY_SECONDS)

    async def _consume(self, checkpoint: Checkpoint) -> None:
        try:
            async with PullConsumer.starting_after(self._client, self.source, checkpoint.sequence) as pulled:
                self._on_state(self.name, False, await pulled.count_pending())
                while True:
                    messages = await pulled.fetch()
                    if not messages:
                        await pulled.count_pending()  # NotFoundError: the server forgot the consumer
                        await self._save_if_moved(checkpoint)
                        continue
                    for expected, message in enumerate(messages, checkpoint.sequence + 1):
                        if message.metadata.sequence.stream != expected or message.subject.endswith(".stream.Emptied"):
                            raise CheckpointLost(
                                f"expected an event at {expected}, got {message.metadata.sequence.stream}"
                            )
                    checkpoint = await self._handle_until_done(checkpoint, messages)
        except NotFoundError as error:
            raise CheckpointLost("its consumer is gone") from error

    async def _handle_until_done(self, checkpoint: Checkpoint, messages: Sequence[Msg]) -> Checkpoint:
        """All together; if that fails one by one, so that the event at fault holds up only what comes after it."""
        behind = messages[-1].metadata.num_pending
        at_once, pause = len(messages), MIN_RETRY_SECONDS
        while messages:
            try:
                batch = [_to_delivered_event(message) for message in messages[:at_once]]
                checkpoint = await self._handle_once(checkpoint, batch)
            except CheckpointConflict:
                raise
            except Exception as error:
                if at_once > 1:
                    at_once = 1
                    continue
                headers = messages[0].headers or {}
                event_id = headers.get("ce-id", "without an id")
                with attach_remote(headers.get("traceparent", "")):
                    if _is_outage(error):
                        what, _ = summarize_error(error)
                        log.warning("follower %s waits before event %s: %s", self.name, event_id, what)
                    else:
                        where = error if pause == MIN_RETRY_SECONDS else None
                        log.error("follower %s stopped before event %s", self.name, event_id, exc_info=where)
                self._on_state(self.name, True, behind + len(messages))
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_RETRY_SECONDS)
            else:
                messages, pause = messages[at_once:], MIN_RETRY_SECONDS
        self._on_state(self.name, False, behind)
        return checkpoint

    async def _handle_once(self, checkpoint: Checkpoint, batch: Sequence[DeliveredEvent]) -> Checkpoint:
        moved = Checkpoint(checkpoint.incarnation, batch[-1].sequence, batch[-1].recorded.id)
        wanted = [one for one in batch if self._is_due(one.recorded)]
        if wanted and not self._transactional:
            await self._handler(wanted, None)
        if not (wanted and self._transactional) and time.monotonic() - self._saved_at < CHECKPOINT_INTERVAL_SECONDS:
            return moved
        if wanted and self._transactional:

            async def body(session: AsyncClientSession) -> None:
                await self._save_checkpoint(moved, session)
                await self._handler(wanted, session)

            async with self._database.client.start_session() as session:
                await session.with_transaction(body)
            self._saved, self._saved_at = moved, time.monotonic()
        else:
            await self._save_if_moved(moved)
        return moved

    def _is_due(self, recorded: RecordedEvent[Any]) -> bool:
        handled = self._restore_cutoff is not None and recorded.at < self._restore_cutoff
        return not handled and self._is_relevant(recorded)

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
        """The stored position if the stream still fits it; otherwise everything is applied anew from the start."""
        stored = await self._checkpoints.find_one({"_id": self.name})
        while stored and stored["incarnation"] == REBUILDING:
            self._on_state(self.name, True, 0)
            log.warning("follower %s waits for `headrace rebuild`; if that was interrupted, run it again", self.name)
            await asyncio.sleep(MAX_RETRY_SECONDS)
            stored = await self._checkpoints.find_one({"_id": self.name})
        info = await self._js.stream_info(self.source)
        incarnation = str(info.created)
        if stored:
            position = Checkpoint(stored["incarnation"], stored["sequence"], stored["event_id"])
            if position.incarnation == incarnation and await self._is_valid(position, info.state.first_seq):
                return position
            log.warning("follower %s starts anew: stream %s does not hold its position", self.name, self.source)
        # a position that fits nothing fences off another follower, which would write between the reset and our start
        mark = uuid4().hex
        await self._checkpoints.replace_one({"_id": self.name}, _to_document(Checkpoint(mark)), upsert=True)
        if self._reset:
            await self._reset()
        position = Checkpoint(incarnation, max(info.state.first_seq - 1, 0))
        started = await self._checkpoints.replace_one({"_id": self.name, "incarnation": mark}, _to_document(position))
        if started.matched_count == 0:
            raise CheckpointConflict(self.name)
        return position

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


def _is_outage(error: Exception) -> bool:
    """A server or another service does not answer at present; all else is a defect."""
    if isinstance(error, RequestRejected):
        return error.code in OUTAGE_CODES
    return isinstance(error, (NatsError, ConnectionFailure, TimeoutError, StoreUnavailable, OutcomeUnknown))


def _to_document(checkpoint: Checkpoint) -> Document:
    return {"incarnation": checkpoint.incarnation, "sequence": checkpoint.sequence, "event_id": checkpoint.event_id}


def _to_delivered_event(message: Msg) -> DeliveredEvent:
    return DeliveredEvent(
        message.metadata.sequence.stream, cloudevents.from_message(message.headers or {}, message.data)
    )
