"""Bringing a service to life: its answers, its reactions and its duties, on NATS and MongoDB."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5
from weakref import WeakValueDictionary

from nats.aio.client import Client
from pydantic_core import to_json
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import RequestRejected
from contracts.heartbeat import DatabaseTime, Heartbeat
from contracts.history import GetCommandReply
from contracts.messages import Command, CommandReply, Message, Payload, Query, ReadModelRow
from libs.clock import Clock
from libs.eventstore.decider import SYSTEM, Actor, Category, CommandMetadata, RecordedEvent
from libs.eventstore.history import HistoryQueries
from libs.eventstore.mapping import Document
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler, CommandResult, FollowUp
from libs.messaging.cloudevents import DeliveredEvent, hint_subject, to_body, to_headers
from libs.messaging.request_reply import (
    COMMAND_ID_HEADER,
    FINGERPRINT_HEADER,
    MAY_BE_DUPLICATE_HEADER,
    RETURN_QUERY_HEADER,
    TRACE_HEADER,
    Headers,
    MessageClient,
    ReturnQuery,
    parse_actor,
)
from libs.observability.logs import summarize_error
from libs.observability.metric_specs import EventMetrics
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, child_span, inject, open_span
from libs.projections.projector import apply_batch, projection_collection
from libs.projections.read_model import ReadModel, RowBackfill
from libs.projections.rebuild import backfill_row
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import Context, Handler, Projection, Service, Worker
from libs.service.replicas import GATEWAY, record_alive, remove_replica
from libs.service.sequences import SequenceGenerator
from libs.settings import Settings

log = logging.getLogger("headrace.runtime")

REACTION_CACHE_SIZE = 4096  # reactions this process has just run, so that its followers need not ask the database
CONSUMER_ATTRIBUTES = {**NATS, "messaging.operation.type": "process"}
FRESH_EVENT_AGE = timedelta(
    seconds=1
)  # what follows was hardly recorded before; if it was, the log says so at the append
RETRYABLE_CODES = {"CONFLICT", "REQUEST_INVALID"}  # busy, or a defect of ours: the follower comes again, with an alarm


def derive_id(*parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


class Runtime:
    """One service in one process."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        database: AsyncDatabase[Document],
        nats: Client,
        vault: Encryption,
        metrics: Metrics,
        clock: Clock | None = None,
    ) -> None:
        self.service = service
        self.settings = settings
        self.clock = clock or Clock()
        self.vault = vault
        self.metrics = metrics
        self.database = database
        self.store = MongoEventStore(database, vault)
        self.command_handler = CommandHandler(self.store, partial(metrics.conflicts.add, 1, {"service": service.name}))
        for counter in (metrics.conflicts, metrics.reactions_refused):
            counter.add(0, {"service": service.name})  # shown from the start
        self._event_metrics = EventMetrics(metrics.meter, service.metrics)
        self.nats = nats
        self.message_client = MessageClient(nats, service.outgoing)
        self.sequences = SequenceGenerator(database["counters"])
        self.reaction_tasks: set[asyncio.Task[None]] = set()
        self._categories = {category.name: category for category in service.categories}
        self._by_command = {
            command: category for category in service.categories for command in category.decider.commands
        }
        everywhere: dict[type[Message], Handler] = {GetCommandReply: self._get_command_result}
        self.handlers = (
            everywhere | HistoryQueries(database, vault, service.categories).handlers | dict(service.handlers)
        )
        self._message_types = {message.wire_name: message for message in service.handlers}
        self._projections = {view.name: view for view in service.projections}
        self._executed_reactions: OrderedDict[str, None] = OrderedDict()
        self._reaction_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # ---- what arrives

    async def respond(self, message_type: type[Command] | type[Query], body: bytes, headers: Headers) -> bytes:
        """Answer one request."""
        began = perf_counter()
        outcome = "failed"
        with open_span(message_type.wire_name, SpanKind.SERVER, headers.get(TRACE_HEADER), NATS):
            try:
                answer = await self._handle_request(message_type, body, headers)
                outcome = "done"
            except RequestRejected as refused:
                outcome = refused.code
                raise
            finally:
                attributes = {"service": self.service.name, "command": message_type.wire_name, "outcome": outcome}
                self.metrics.command_seconds.record(perf_counter() - began, attributes)
        return answer

    async def _handle_request(self, message_type: type[Command] | type[Query], body: bytes, headers: Headers) -> bytes:
        message = message_type.model_validate_json(body)
        cause = CommandMetadata(
            headers.get(COMMAND_ID_HEADER) or str(uuid4()),
            self.clock.machine_time(),
            parse_actor(headers),
            message_type.wire_name,
            inject() or "",
            may_be_duplicate=MAY_BE_DUPLICATE_HEADER in headers,
            fingerprint=await self._compute_fingerprint(headers[FINGERPRINT_HEADER])
            if FINGERPRINT_HEADER in headers
            else "",
        )
        work = ServiceContext(self, cause)
        answer = await self._dispatch(message, work)
        if RETURN_QUERY_HEADER in headers and isinstance(answer, CommandResult | CommandReply):
            shown = ReturnQuery.parse(headers[RETURN_QUERY_HEADER], self._message_types, answer.stream)
            at_hand = {answer.stream: answer.row if isinstance(answer, CommandResult) else self._to_row(answer)}
            # also of a repeated command each look is one of its own
            asked = cause.replace(command_id=str(uuid4()), may_be_duplicate=False, fingerprint="")
            answer = await self._dispatch(shown, ServiceContext(self, asked, at_hand))
        return _encode_answer(_to_reply(answer) if isinstance(answer, CommandResult) else answer)

    async def _compute_fingerprint(self, text: str) -> str:
        """As it stands in the log, where a bare hash would let people try out what a secret was."""
        return await self.vault.mac("requests", text)

    async def _get_command_result(self, context: Context, query: GetCommandReply) -> CommandReply:
        commit = await self.store.find(query.command_id) or await self.store.find_noop(query.command_id)
        if commit is None:
            raise RequestRejected("HISTORY_NOT_FOUND")
        category = self._categories[commit.stream.partition("-")[0]]
        fingerprint = await self._compute_fingerprint(query.fingerprint)
        handled = await self.command_handler.find_result(
            category, context.metadata.replace(command_id=query.command_id, fingerprint=fingerprint)
        )
        assert handled is not None  # noqa: S101  what was recorded stays
        return _to_reply(handled)

    async def answer_heartbeat(self, body: bytes, _headers: Headers) -> bytes:
        """Answer a gateway's heartbeat. It has no trace and counts as no command: it comes every few seconds."""
        beat = Heartbeat.model_validate_json(body)
        at = self.clock.database_time()
        if beat.leaving:
            await remove_replica(self.database, GATEWAY, beat.gateway)
        else:
            await record_alive(self.database, GATEWAY, beat.gateway, at, beat.clock_offset)
        return DatabaseTime(at=self.clock.database_time()).model_dump_json().encode()

    def _to_row(self, done: CommandReply) -> ReadModelRow:
        row: type[ReadModelRow] = type(self._categories[done.stream.partition("-")[0]].initial_row)
        return row.model_validate(done.row)

    async def _dispatch(self, message: Message, context: "ServiceContext") -> Any:
        answer = self.handlers.get(type(message))
        if answer is not None:
            return await answer(context, message)
        if not isinstance(message, Command):
            raise TypeError(f"{message.wire_name} has no answer")
        return await self.execute(message, context.metadata)

    async def execute(self, command: Command, metadata: CommandMetadata) -> CommandResult:
        """Prepare, decide, append and react."""
        with child_span(f"decide {command.wire_name}") as span:
            handled = await self._execute_once(command, metadata)
            span.set_attributes({"headrace.stream": handled.stream, "headrace.events": len(handled.new_events)})
        await self._react_in_process(handled, metadata)
        return handled

    async def _execute_once(self, command: Command, metadata: CommandMetadata) -> CommandResult:
        category = self._by_command[type(command)]
        handled = await self.command_handler.find_result(category, metadata) if metadata.may_be_duplicate else None
        if handled is None:
            prepare = self.service.enrichers.get(type(command))
            prepared = await prepare(ServiceContext(self, metadata), command) if prepare else command
            handled = await self.command_handler.handle(category, prepared, metadata, self._inline_follow_ups)
            for recorded in handled.new_events:
                if recorded.stream != handled.stream:
                    self._mark_executed(recorded.metadata)
                self._event_metrics.record(
                    recorded, handled.row if recorded.stream == handled.stream else category.initial_row
                )
            await self._publish_hints(handled)
        return handled

    # ---- what follows from it

    def _inline_follow_ups(self, events: Sequence[RecordedEvent[Any]]) -> Sequence[FollowUp]:
        """Reactions of the service to its own events that begin a stream are recorded together with these."""
        if self.service.name not in self.service.policies:
            return ()
        wishes = [wish for recorded in events for wish in self._policy_commands(self.service.name, recorded)]
        return [
            (self._by_command[type(command)], command, cause)
            for command, cause in wishes
            if self._starts_stream(command)
        ]

    def _starts_stream(self, command: Command) -> bool:
        category = self._by_command.get(type(command))
        plain = type(command) not in self.service.enrichers
        return category is not None and plain and isinstance(command, category.decider.initial_commands)

    def _policy_commands(self, source: str, recorded: RecordedEvent[Any]) -> Iterator[tuple[Command, CommandMetadata]]:
        """What the policy wishes after an event. The ids of the commands follow from the event's."""
        for place, command in enumerate(self.service.policies[source](recorded)):
            name = command.wire_name
            command_id = derive_id(self.service.name, recorded.id, name, place)
            yield (
                command,
                CommandMetadata(
                    command_id, self.clock.machine_time(), recorded.metadata.actor, name, recorded.metadata.traceparent
                ),
            )

    async def _publish_hints(self, result: CommandResult) -> None:
        """Announce at once what others wait for; if it does not arrive, the relay brings the same a little later."""
        for recorded in result.new_events:
            if isinstance(recorded.event, self.service.hinted_events) and self.nats.is_connected:
                subject = hint_subject(self.service.name, recorded.stream, recorded.event.wire_name)
                headers = to_headers(self.service.name, recorded)
                await self.nats.publish(subject, to_body(recorded), headers=headers)

    async def _react_in_process(self, result: CommandResult, metadata: CommandMetadata) -> None:
        """Run the service's reactions to its own events now; a follower repeats them should this process die."""
        react = self.service.policies.get(self.service.name)
        if react is None:
            return
        eager = [one for one in result.new_events if isinstance(one.event, self.service.synchronous_reactions)]
        later = [one for one in result.new_events if not isinstance(one.event, self.service.synchronous_reactions)]
        if later:
            task = asyncio.create_task(self._react_logged(later))
            self.reaction_tasks.add(task)
            task.add_done_callback(self.reaction_tasks.discard)
        if eager:
            await self._react_logged(eager)

    async def _react_logged(self, events: Sequence[RecordedEvent[Any]]) -> None:
        try:
            for recorded in events:
                await self.react(self.service.name, recorded, may_be_duplicate=False)
        except Exception as error:
            # nothing is lost: the follower comes to the same event
            what, where = summarize_error(error)
            log.warning("a reaction to %s is left to the follower: %s", events[0].id, what, exc_info=where)

    async def react(self, source: str, recorded: RecordedEvent[Any], *, may_be_duplicate: bool = True) -> None:
        """Tell what the policy wishes after an event. Harmless to repeat."""
        async with self._reaction_locks.setdefault(recorded.id, asyncio.Lock()):
            await self._run_reaction(source, recorded, may_be_duplicate=may_be_duplicate)

    async def _run_reaction(self, source: str, recorded: RecordedEvent[Any], *, may_be_duplicate: bool) -> None:
        for command, cause in self._policy_commands(source, recorded):
            if cause.command_id in self._executed_reactions:
                continue
            try:
                await self.send(
                    command, cause.replace(may_be_duplicate=may_be_duplicate, traceparent=inject() or cause.traceparent)
                )
            except RequestRejected as refused:
                if refused.code in RETRYABLE_CODES or refused.failure.status >= 500:
                    raise  # not an answer of the rules
                if (
                    may_be_duplicate
                ):  # the follower, which comes in order and last; before, something may not be there yet
                    self.metrics.reactions_refused.add(1, {"service": self.service.name})
                log.warning("%s after %s was refused: %s", command.wire_name, recorded.id, refused.code)
                continue  # not remembered, so that the follower tries it
            self._mark_executed(cause)

    def _mark_executed(self, metadata: CommandMetadata) -> None:
        self._executed_reactions[metadata.command_id] = None
        if len(self._executed_reactions) > REACTION_CACHE_SIZE:
            self._executed_reactions.popitem(last=False)

    async def send(self, command: Command, metadata: CommandMetadata) -> CommandReply:
        """Give a command to whichever service it belongs to."""
        if type(command) in self._by_command:
            return _to_reply(await self.execute(command, metadata))
        answer = await self.message_client.send(
            command, actor=metadata.actor, command_id=metadata.command_id, fingerprint=metadata.fingerprint
        )
        return CommandReply.model_validate_json(answer)

    # ---- what duties need

    async def react_to_batch(self, source: str, batch: Sequence[DeliveredEvent]) -> None:
        for delivered in batch:
            with open_span(
                f"react {delivered.recorded.event.wire_name}",
                SpanKind.CONSUMER,
                delivered.recorded.metadata.traceparent,
                CONSUMER_ATTRIBUTES,
            ):
                await self.react(source, delivered.recorded)

    async def apply_to_projection(
        self, projection: Projection, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None
    ) -> None:
        """Fold a batch into the rows of a followed view."""
        first, *others = (one.recorded.metadata.traceparent for one in batch)
        with open_span(f"follow {projection.name}", SpanKind.CONSUMER, first, CONSUMER_ATTRIBUTES, *others):
            await apply_batch(
                self.database[projection_collection(projection)], projection, [one.recorded for one in batch], session
            )

    async def run_worker(self, worker: Worker, recorded: RecordedEvent[Any]) -> None:
        event = {"headrace.event": recorded.event.wire_name, "headrace.stream": recorded.stream}
        with open_span(
            f"work {worker.name}", SpanKind.CONSUMER, recorded.metadata.traceparent, {**CONSUMER_ATTRIBUTES, **event}
        ):
            now = self.clock.machine_time()
            cause = CommandMetadata(
                derive_id(self.service.name, worker.name, recorded.id),
                now,
                recorded.metadata.actor,
                worker.name,
                inject() or "",
                may_be_duplicate=now - recorded.at > FRESH_EVENT_AGE,
            )
            await worker.run(ServiceContext(self, cause), recorded)

    def background_context(self, name: str) -> "ServiceContext":
        """A context for what nobody asked for: tickers and what is done at start."""
        return ServiceContext(self, CommandMetadata(str(uuid4()), self.clock.machine_time(), SYSTEM, name))

    def read_model(self, name: str, preloaded: Mapping[str, Any] | None = None) -> ReadModel[Any]:
        if view := self._projections.get(name):
            return ReadModel(self.database[projection_collection(view)], type(view.initial_row), "row")
        category: Category[Any, Any, Any, Any] = self._categories[name]
        complete = partial(backfill_row, self.database, category, self.vault)
        completion = RowBackfill(category.row_version_field, category.row_version, complete)
        return ReadModel(
            self.database["streams"], type(category.initial_row), category.row_field, f"{name}-", preloaded, completion
        )

    async def finish(self, timeout: float) -> None:
        """Let what is under way come to its end: reactions, then the commits."""
        if self.reaction_tasks:
            await asyncio.wait(self.reaction_tasks, timeout=timeout)
        await asyncio.wait_for(self.store.drain(), timeout)


@dataclass
class ServiceContext:
    """The Context that a service's functions get."""

    runtime: Runtime
    metadata: CommandMetadata
    preloaded: Mapping[str, Any] = field(default_factory=dict)  # rows by stream, as the present command left them
    settings: Settings = field(init=False)
    clock: Clock = field(init=False)
    vault: Encryption = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.runtime.settings
        self.clock = self.runtime.clock
        self.vault = self.runtime.vault

    def read_model(self, category: str) -> ReadModel[Any]:
        return self.runtime.read_model(category, self.preloaded)

    def collection(self, name: str) -> AsyncCollection[Document]:
        return self.runtime.database[name]

    async def next_id(self, kind: str) -> int:
        return await self.runtime.sequences.next(kind)

    async def derive_token(self, prefix: str) -> str:
        return prefix + await self.vault.mac("tokens", self.metadata.command_id)

    async def query(self, query: Query) -> Payload:
        if answer := self.runtime.handlers.get(type(query)):
            encoded = _encode_answer(await answer(self, query))
        else:
            encoded = await self.runtime.message_client.query(query, actor=self.metadata.actor)
        payload: Payload = json.loads(encoded)
        return payload

    async def send(self, command: Command, *, step: str = "", actor: Actor | None = None) -> CommandReply:
        name = command.wire_name
        command_id, at = derive_id(self.metadata.command_id, name, step), self.clock.machine_time()
        cause = self.metadata.replace(command_id=command_id, command=name, at=at)
        cause = cause if actor is None else cause.replace(actor=actor)
        if cause.traceparent:
            return await self.runtime.send(command, cause)
        with open_span(f"duty {self.metadata.command}", SpanKind.INTERNAL):  # nobody asked for it: a trace begins here
            return await self.runtime.send(command, cause.replace(traceparent=inject() or ""))


def _to_reply(result: CommandResult) -> CommandReply:
    return CommandReply(stream=result.stream, version=result.version, row=result.row.model_dump(mode="json"))


def _encode_answer(answer: Any) -> bytes:
    match answer:
        case bytes():
            return answer
        case Message():
            return answer.model_dump_json().encode()
        case _:
            return to_json(answer)
