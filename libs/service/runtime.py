"""The runtime of a service in one process: command and query handling, reactions, workers and projections."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from time import perf_counter
from typing import Any, TypeVar
from uuid import uuid4

from nats.aio.client import Client
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import RequestRejected
from contracts.heartbeat import DatabaseTime, Heartbeat
from contracts.history import GetActivity, GetCommandReply
from contracts.messages import Command, CommandReply, Message, Query, ReadModelRow, parse_request
from libs.clock import Clock
from libs.documents import Document
from libs.eventstore.decider import SYSTEM, AnyCategory, AnyCommand, AnyEvent, CommandMetadata
from libs.eventstore.history import HistoryQueries
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler, CommandResult
from libs.eventstore.sequences import SequenceGenerator
from libs.eventstore.store import CommitRef
from libs.messaging.cloudevents import DeliveredEvent
from libs.messaging.hints import HintPublisher
from libs.messaging.request_reply import (
    COMMAND_ID_HEADER,
    FINGERPRINT_HEADER,
    MAY_BE_DUPLICATE_HEADER,
    RETURN_MESSAGE_HEADER,
    TRACE_HEADER,
    Headers,
    MessageClient,
    ReturnMessage,
    parse_actor,
)
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, child_span, inject, open_span
from libs.permissions.authorization import authorize_request
from libs.privacy.usernames import UsernameCache
from libs.projections.projector import apply_batch, projection_collection
from libs.projections.read_model import ReadModel, RowBackfill
from libs.projections.rebuild import backfill_row
from libs.reactions.ids import derive_id
from libs.reactions.parking import ParkedEvents
from libs.reactions.policies import CONSUMER_ATTRIBUTES, Reactions
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import AnyProjection, AnyWorker, CommandFlow, Context, Handler, Service
from libs.service.replicas import GATEWAY, record_alive, remove_replica
from libs.service.service_context import ServiceContext, encode_answer, to_reply
from libs.settings import Settings
from libs.subscriptions.activity import ActivityLog

MAX_CACHED_RETURN_MESSAGES = 256  # the header has one value per route of the gateway
MAX_PREPARATIONS = 10  # attempts to prepare a command whose generated name was taken concurrently
UNPREPARED = CommandFlow(Command)

R = TypeVar("R", bound=ReadModelRow)


class Runtime:
    """Handles the commands and queries of one service in one process, and runs its reactions and workers."""

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
        metrics.conflicts.add(0, {"service": service.name})  # exported as 0 from the start
        self._record_metrics = service.event_recorder(metrics.meter)
        self.nats = nats
        self.message_client = MessageClient(nats, service.messages_to_send)
        self.hints = HintPublisher(nats, service.name, service.hinted_events, service.offered_events)
        self.usernames = UsernameCache()
        self.sequences = SequenceGenerator(database["counters"])
        self.parked = ParkedEvents(database, self.clock)
        self.reactions = Reactions(service, self.clock, metrics, self.send, self._prepare)
        self._categories = {category.name: category for category in service.categories}
        self._by_command = {
            command: category for category in service.categories for command in category.decider.commands
        }
        self._flows = {flow.command: flow for flow in service.command_flows}
        history = HistoryQueries(database, vault, service.categories).handlers
        activity = Handler(GetActivity, ActivityLog(database, vault).list_commits)
        handlers = (Handler(GetCommandReply, self._get_command_reply), *history, activity, *service.handlers)
        self.handlers = {handler.message: handler for handler in handlers}
        message_types = {message.wire_name: message for message in service.messages}
        self._parse_return_message = lru_cache(MAX_CACHED_RETURN_MESSAGES)(
            partial(ReturnMessage.parse, messages=message_types)
        )
        self._read_models = dict(self._create_read_models())
        self.get_collection = cache(database.get_collection)  # pymongo takes long to create the object

    async def respond(self, message_type: type[Command] | type[Query], body: bytes, headers: Headers) -> bytes:
        """Handle one request in its own span, record its duration, and return the encoded answer."""
        start, outcome = perf_counter(), "failed"
        with open_span(message_type.wire_name, SpanKind.SERVER, headers.get(TRACE_HEADER), NATS):
            try:
                answer = await self._handle_request(message_type, body, headers)
                outcome = "done"
            except RequestRejected as rejected:
                outcome = rejected.code
                raise
            finally:
                attributes = {"service": self.service.name, "command": message_type.wire_name, "outcome": outcome}
                self.metrics.command_seconds.record(perf_counter() - start, attributes)
        return answer

    async def _handle_request(self, message_type: type[Command] | type[Query], body: bytes, headers: Headers) -> bytes:
        message = parse_request(message_type, body)
        has_fingerprint = FINGERPRINT_HEADER in headers
        metadata = CommandMetadata(
            headers.get(COMMAND_ID_HEADER) or str(uuid4()),
            self.clock.machine_time(),
            parse_actor(headers),
            message_type.wire_name,
            inject() or "",
            may_be_duplicate=MAY_BE_DUPLICATE_HEADER in headers,
            fingerprint=await self._compute_fingerprint(headers[FINGERPRINT_HEADER]) if has_fingerprint else "",
        )
        follow_up = None
        if RETURN_MESSAGE_HEADER in headers:  # parsed before the command is executed, in case it is not valid
            follow_up = self._parse_return_message(headers[RETURN_MESSAGE_HEADER])
        await authorize_request(self.service, context := ServiceContext(self, metadata), message)
        answer = await self._dispatch(message, context)
        if follow_up and isinstance(answer, CommandResult | CommandReply):
            row = answer.row if isinstance(answer, CommandResult) else self._to_row(answer)
            # the message gets a new id, also after a duplicate command
            new_metadata = replace(
                metadata,
                command_id=str(uuid4()),
                command=follow_up.message.wire_name,
                may_be_duplicate=False,
                fingerprint="",
            )
            context = ServiceContext(self, new_metadata, {answer.stream: row})
            answer = await self._dispatch(follow_up.about(answer.stream), context)
        return encode_answer(to_reply(answer) if isinstance(answer, CommandResult) else answer)

    async def _compute_fingerprint(self, text: str) -> str:
        """Return the keyed hash of a request, for the log. A plain hash would allow guessing the request's secrets."""
        return await self.vault.mac("requests", text)

    async def _get_command_reply(self, context: Context, query: GetCommandReply) -> CommandReply:
        fingerprint = await self._compute_fingerprint(query.fingerprint)
        metadata = replace(context.metadata, command_id=query.command_id, fingerprint=fingerprint)
        commit = await self.command_handler.find_commit(metadata)
        if commit is None:
            raise RequestRejected("HISTORY_NOT_FOUND")
        return to_reply(await self.command_handler.replay_result(self._category_of(commit), commit, metadata))

    async def answer_heartbeat(self, body: bytes, _headers: Headers) -> bytes:
        """Answer a gateway's heartbeat. Heartbeats are frequent: they have no trace and do not count as commands."""
        heartbeat = Heartbeat.model_validate_json(body)
        at = self.clock.database_time()
        if heartbeat.leaving:
            await remove_replica(self.database, GATEWAY, heartbeat.gateway)
        else:
            await record_alive(self.database, GATEWAY, heartbeat.gateway, at, heartbeat.clock_offset)
        return DatabaseTime(at=self.clock.database_time()).model_dump_json().encode()

    def _to_row(self, reply: CommandReply) -> ReadModelRow:
        row_type: type[ReadModelRow] = type(self._categories[reply.stream.partition("-")[0]].initial_row)
        return row_type.model_validate(reply.row)

    async def _dispatch(self, message: Message, context: ServiceContext) -> Any:
        if handler := self.handlers.get(type(message)):
            return await handler.run(context, message)
        if not isinstance(message, Command):
            raise TypeError(f"{message.wire_name} has no handler")
        result = await self.execute(message, context.metadata)
        flow = self._flows.get(type(message))
        return await flow.answer(context, message, result) if flow and flow.answer else result

    async def execute(self, command: AnyCommand, metadata: CommandMetadata) -> CommandResult[ReadModelRow]:
        """Execute a command: prepare it, decide, append the events and run the reactions, once per command id."""
        with child_span(f"decide {command.wire_name}") as span:
            result = await self._execute_once(command, metadata)
            span.set_attributes({"headrace.stream": result.stream, "headrace.events": len(result.new_events)})
        await self.reactions.run_now(result.new_events)
        return result

    async def _execute_once(self, command: AnyCommand, metadata: CommandMetadata) -> CommandResult[ReadModelRow]:
        flow = self._flows.get(type(command), UNPREPARED)
        recorded_metadata = metadata
        if flow.recorded_as:
            recorded_id = derive_id(metadata.command_id, flow.recorded_as, "")
            recorded_metadata = replace(metadata, command_id=recorded_id)
        if metadata.may_be_duplicate and (commit := await self.command_handler.find_commit(recorded_metadata)):
            if metadata.reaction_id:  # the reply to the command of a policy is not read
                return CommandResult(commit.stream, commit.version, self._category_of(commit).initial_row, ())
            return await self.command_handler.replay_result(self._category_of(commit), commit, recorded_metadata)
        for attempt in range(MAX_PREPARATIONS):
            prepared = await self._prepare(command, metadata)
            try:
                result = await self._decide(prepared, recorded_metadata)
                break
            except RequestRejected as rejected:
                if attempt + 1 == MAX_PREPARATIONS or not flow.retry(command, rejected.code):
                    raise
        await self.hints.publish(result.new_events)
        return result

    async def _prepare(self, command: AnyCommand, metadata: CommandMetadata) -> AnyCommand:
        flow = self._flows.get(type(command), UNPREPARED)
        prepared: AnyCommand = await flow.prepare(ServiceContext(self, metadata), command) if flow.prepare else command
        return prepared

    def _category_of(self, commit: CommitRef | AnyEvent) -> AnyCategory:
        return self._categories[commit.stream.partition("-")[0]]

    async def _decide(self, command: AnyCommand, metadata: CommandMetadata) -> CommandResult[ReadModelRow]:
        category = self._by_command[type(command)]
        result = await self.command_handler.handle(category, command, metadata, self.reactions.inline_follow_ups)
        for recorded in result.new_events:
            if is_follow_up := recorded.stream != result.stream:
                self.reactions.mark_executed(recorded.metadata)
            self._record_metrics(recorded, self._category_of(recorded).initial_row if is_follow_up else result.row)
        return result

    async def send(self, command: AnyCommand, metadata: CommandMetadata) -> CommandReply:
        """Send a command to the service that handles it, which may be this one."""
        if type(command) in self._by_command or type(command) in self._flows:
            return to_reply(await self.execute(command, metadata))
        if not isinstance(command, Command):
            raise TypeError(f"{command.wire_name} has no decider")
        reply = await self.message_client.send(
            command, actor=metadata.actor, command_id=metadata.command_id, fingerprint=metadata.fingerprint
        )
        return CommandReply.model_validate_json(reply)

    async def apply_to_projection(
        self, projection: AnyProjection, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None
    ) -> None:
        events = [delivered.recorded for delivered in batch]
        first, *others = (recorded.metadata.traceparent for recorded in events)
        with open_span(f"follow {projection.name}", SpanKind.CONSUMER, first, CONSUMER_ATTRIBUTES, *others):
            await apply_batch(self.database[projection_collection(projection)], projection, events, session)

    async def run_worker(self, worker: AnyWorker, recorded: AnyEvent, *, may_be_duplicate: bool = True) -> None:
        """Run a worker for an event, with a command id derived from the worker and the event."""
        event = {"headrace.event": recorded.event.wire_name, "headrace.stream": recorded.stream}
        attributes = {**CONSUMER_ATTRIBUTES, **event}
        with open_span(f"work {worker.name}", SpanKind.CONSUMER, recorded.metadata.traceparent, attributes):
            metadata = CommandMetadata(
                derive_id(self.service.name, worker.name, recorded.id),
                self.clock.machine_time(),
                recorded.metadata.actor,
                worker.name,
                inject() or "",
                may_be_duplicate=may_be_duplicate,
            )
            await worker.run(ServiceContext(self, metadata), recorded)

    def background_context(self, name: str) -> ServiceContext:
        """Return a context for work without a request, such as periodic tasks and startup."""
        return ServiceContext(self, CommandMetadata(str(uuid4()), self.clock.machine_time(), SYSTEM, name))

    def read_model(self, row_type: type[R], preloaded: Mapping[str, ReadModelRow] | None = None) -> ReadModel[R]:
        """Return the read model of the category or projection with this type of rows.

        `preloaded`: rows by stream that need not be read from the database.
        """
        read_model: ReadModel[R] = self._read_models[row_type]
        rows = {stream: row for stream, row in (preloaded or {}).items() if isinstance(row, row_type)}
        return read_model.preload(rows) if rows else read_model

    def _create_read_models(self) -> Iterator[tuple[type[ReadModelRow], ReadModel[Any]]]:
        streams = self.database["streams"]
        for category in self.service.categories:
            rebuild = partial(backfill_row, self.database, category, self.vault)
            backfill = RowBackfill(category.row_version_field, category.row_version, rebuild)
            row_type = type(category.initial_row)
            yield row_type, ReadModel(streams, row_type, category.row_field, f"{category.name}-", backfill)
        for projection in self.service.projections:
            row_type = type(projection.initial_row)
            yield row_type, ReadModel(self.database[projection_collection(projection)], row_type, "row")

    async def finish(self, timeout: float) -> None:
        """Wait for running reactions, then for pending commits: `timeout` seconds each. Raises TimeoutError."""
        if self.reactions.tasks:
            await asyncio.wait(self.reactions.tasks, timeout=timeout)
        await asyncio.wait_for(self.store.drain(), timeout)
