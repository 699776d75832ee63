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

from contracts.errors import Refused
from libs import cloudevents
from libs.cloudevents import Delivered
from libs.deciding import Recorded
from libs.eventstore import OutcomeUnknown, Unavailable
from libs.eventstore.documents import Document
from libs.handled import handled_before
from libs.leading import Deposed
from libs.observability.logs import in_brief
from libs.observability.tracing import within
from libs.pulling import Pulled

log = logging.getLogger("headrace.following")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between tries
STORED_EVERY = 5.0  # seconds, for a position that moves alone
AWAY = {"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"}
REBUILDING = "rebuilding"  # in place of an incarnation: a rebuild holds the position


class Gap(Exception):
    """The stream no longer holds the event after the position, or holds another one in its place."""


class Overtaken(Deposed):
    """Another follower of the same name has moved the position."""


class Apply(Protocol):
    """What is done with a batch. What it writes within the session is written with the new position."""

    async def __call__(self, batch: Sequence[Delivered], session: AsyncClientSession | None) -> None: ...


@dataclass(frozen=True)
class Position:
    incarnation: str = ""  # when the stream was made: a stream made anew counts from one again
    sequence: int = 0
    event_id: str = ""


class Follower:
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
        apply: Apply,
        *,
        transaction: bool,
        concerns: Callable[[Recorded[Any]], bool] = lambda _recorded: True,
        reset: Callable[[], Awaitable[object]] | None = None,
        on_state: Callable[[str, bool, int], None] = lambda _name, _stopped, _behind: None,
    ) -> None:
        self.name = name
        self.source = source
        self._client = client
        self._js = client.jetstream()
        self._database = database
        self._positions: AsyncCollection[Document] = database["followers"]
        self._apply = apply
        self._transaction = transaction
        self._concerns = concerns
        self._stored = Position()
        self._stored_at = 0.0  # by the monotonic clock
        self._handled_before: datetime | None = None  # of a system that was restored
        self._reset = reset
        self._on_state = on_state

    async def run(self) -> None:
        """Follow until cancelled. Raises Overtaken; every other failure is tried again, for ever."""
        while True:
            try:
                await self._follow(await self._start())
            except Gap as gap:
                log.warning("follower %s: %s; going on from what the stream holds", self.name, gap)
            except (NatsError, PyMongoError, TimeoutError) as error:
                log.warning("follower %s: %s; it tries again", self.name, type(error).__name__)
            await asyncio.sleep(SHORTEST_PAUSE)

    async def _follow(self, position: Position) -> None:
        try:
            async with Pulled.after(self._client, self.source, position.sequence) as pulled:
                self._on_state(self.name, False, await pulled.behind())
                while True:
                    messages = await pulled.batch()
                    if not messages:
                        await pulled.behind()  # NotFoundError: the server forgot the consumer
                        await self._store(position)
                        continue
                    for expected, message in enumerate(messages, position.sequence + 1):
                        if message.metadata.sequence.stream != expected or message.subject.endswith(".stream.Emptied"):
                            raise Gap(f"expected an event at {expected}, got {message.metadata.sequence.stream}")
                    position = await self._apply_until_done(position, messages)
        except NotFoundError as error:
            raise Gap("its consumer is gone") from error

    async def _apply_until_done(self, position: Position, messages: Sequence[Msg]) -> Position:
        """All together; if that fails one by one, so that the event at fault holds up only what comes after it."""
        behind = messages[-1].metadata.num_pending
        at_once, pause = len(messages), SHORTEST_PAUSE
        while messages:
            try:
                batch = [_delivered(message) for message in messages[:at_once]]
                position = await self._apply_once(position, batch)
            except Overtaken:
                raise
            except Exception as error:
                if at_once > 1:
                    at_once = 1
                    continue
                headers = messages[0].headers or {}
                event_id = headers.get("ce-id", "without an id")
                with within(headers.get("traceparent", "")):
                    if _away(error):
                        what, _ = in_brief(error)
                        log.warning("follower %s waits before event %s: %s", self.name, event_id, what)
                    else:
                        where = error if pause == SHORTEST_PAUSE else None
                        log.error("follower %s stopped before event %s", self.name, event_id, exc_info=where)
                self._on_state(self.name, True, behind + len(messages))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                messages, pause = messages[at_once:], SHORTEST_PAUSE
        self._on_state(self.name, False, behind)
        return position

    async def _apply_once(self, position: Position, batch: Sequence[Delivered]) -> Position:
        moved = Position(position.incarnation, batch[-1].sequence, batch[-1].recorded.id)
        wanted = [one for one in batch if self._is_due(one.recorded)]
        if wanted and not self._transaction:
            await self._apply(wanted, None)
        if not (wanted and self._transaction) and time.monotonic() - self._stored_at < STORED_EVERY:
            return moved
        if wanted and self._transaction:

            async def body(session: AsyncClientSession) -> None:
                await self._move(moved, session)
                await self._apply(wanted, session)

            async with self._database.client.start_session() as session:
                await session.with_transaction(body)
            self._stored, self._stored_at = moved, time.monotonic()
        else:
            await self._store(moved)
        return moved

    def _is_due(self, recorded: Recorded[Any]) -> bool:
        handled = self._handled_before is not None and recorded.at < self._handled_before
        return not handled and self._concerns(recorded)

    async def _store(self, position: Position) -> None:
        if position != self._stored:
            await self._move(position, None)
        self._stored, self._stored_at = position, time.monotonic()

    async def _move(self, moved: Position, session: AsyncClientSession | None) -> None:
        result = await self._positions.update_one(
            {"_id": self.name, "incarnation": self._stored.incarnation, "sequence": self._stored.sequence},
            {"$set": {"sequence": moved.sequence, "event_id": moved.event_id}},
            session=session,
        )
        if result.matched_count == 0:
            raise Overtaken(self.name)

    async def _start(self) -> Position:
        self._handled_before = (await handled_before(self._database)).get(self.name)
        self._stored = await self._start_position()
        return self._stored

    async def _start_position(self) -> Position:
        """The stored position if the stream still fits it; otherwise everything is applied anew from the start."""
        stored = await self._positions.find_one({"_id": self.name})
        while stored and stored["incarnation"] == REBUILDING:
            self._on_state(self.name, True, 0)
            log.warning("follower %s waits for `headrace rebuild`; if that was interrupted, run it again", self.name)
            await asyncio.sleep(LONGEST_PAUSE)
            stored = await self._positions.find_one({"_id": self.name})
        info = await self._js.stream_info(self.source)
        incarnation = str(info.created)
        if stored:
            position = Position(stored["incarnation"], stored["sequence"], stored["event_id"])
            if position.incarnation == incarnation and await self._fits(position, info.state.first_seq):
                return position
            log.warning("follower %s starts anew: stream %s does not hold its position", self.name, self.source)
        # a position that fits nothing fences off another follower, which would write between the reset and our start
        mark = uuid4().hex
        await self._positions.replace_one({"_id": self.name}, _stored(Position(mark)), upsert=True)
        if self._reset:
            await self._reset()
        position = Position(incarnation, max(info.state.first_seq - 1, 0))
        started = await self._positions.replace_one({"_id": self.name, "incarnation": mark}, _stored(position))
        if started.matched_count == 0:
            raise Overtaken(self.name)
        return position

    async def _fits(self, position: Position, first: int) -> bool:
        if position.sequence + 1 < first:
            return False
        if not position.event_id:
            return True
        try:
            last = await self._js.get_msg(self.source, seq=position.sequence)
        except NotFoundError:
            return False
        return (last.headers or {}).get("ce-id") == position.event_id


def _away(error: Exception) -> bool:
    """A server or another service does not answer at present; all else is a defect."""
    if isinstance(error, Refused):
        return error.code in AWAY
    return isinstance(error, (NatsError, ConnectionFailure, TimeoutError, Unavailable, OutcomeUnknown))


def _stored(position: Position) -> Document:
    return {"incarnation": position.incarnation, "sequence": position.sequence, "event_id": position.event_id}


def _delivered(message: Msg) -> Delivered:
    return Delivered(message.metadata.sequence.stream, cloudevents.from_message(message.headers or {}, message.data))
