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

from contracts.errors import Refused
from contracts.heartbeat import DatabaseTime, Heartbeat
from contracts.history import GetAnswer
from contracts.messages import Command, Done, Message, Payload, Query, Row
from libs.clock import Clock
from libs.cloudevents import Delivered, hint_subject, to_body, to_headers
from libs.deciding import SYSTEM, Actor, Category, Cause, Recorded
from libs.eventstore.documents import Document
from libs.eventstore.mongo import MongoStore
from libs.eventstore.streams import Beginning, Handled, Streams
from libs.history import Histories
from libs.measuring import Tally
from libs.messaging import COMMAND_ID, FINGERPRINT, REPEATABLE, SHOWING, TRACE, Caller, Headers, Showing, actor_from
from libs.numbering import Numbering
from libs.observability.logs import in_brief
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, begun, child, inject
from libs.rebuilding import complete_row
from libs.replicas import GATEWAY, record, remove
from libs.rows import Completion, Rows
from libs.security.sealing import Sealing
from libs.service import Answer, Context, FollowedView, Service, Worker
from libs.settings import Settings
from libs.views import fold_into, view_collection

log = logging.getLogger("headrace.runtime")

REMEMBERED = 4096  # reactions this process has just run, so that its followers need not ask the database
FOLLOWED = {**NATS, "messaging.operation.type": "process"}
JUST_NOW = timedelta(seconds=1)  # what follows was hardly recorded before; if it was, the log says so at the append
TRY_AGAIN = {"CONFLICT", "REQUEST_INVALID"}  # busy, or a defect of ours: the follower comes again, with an alarm


def derived_id(*parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


class Runtime:
    """One service in one process."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        database: AsyncDatabase[Document],
        nats: Client,
        vault: Sealing,
        metrics: Metrics,
        clock: Clock | None = None,
    ) -> None:
        self.service = service
        self.settings = settings
        self.clock = clock or Clock()
        self.vault = vault
        self.metrics = metrics
        self.database = database
        self.store = MongoStore(database, vault)
        self.streams = Streams(self.store, partial(metrics.conflicts.add, 1, {"service": service.name}))
        for counter in (metrics.conflicts, metrics.reactions_refused):
            counter.add(0, {"service": service.name})  # shown from the start
        self._tally = Tally(metrics.meter, service.measures)
        self.nats = nats
        self.caller = Caller(nats, service.calls)
        self.numbering = Numbering(database["counters"])
        self.reacting: set[asyncio.Task[None]] = set()
        self._categories = {category.name: category for category in service.categories}
        self._by_command = {
            command: category for category in service.categories for command in category.decider.commands
        }
        everywhere: dict[type[Message], Answer] = {GetAnswer: self._answer_before}
        self.answers = everywhere | Histories(database, vault, service.categories).answers | dict(service.answers)
        self._answers = {message.wire_name: message for message in service.answers}
        self._views = {view.name: view for view in service.views}
        self._reacted: OrderedDict[str, None] = OrderedDict()
        self._reaction_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # ---- what arrives

    async def respond(self, message_type: type[Command] | type[Query], body: bytes, headers: Headers) -> bytes:
        """Answer one request."""
        began = perf_counter()
        outcome = "failed"
        with begun(message_type.wire_name, SpanKind.SERVER, headers.get(TRACE), NATS):
            try:
                answer = await self._answer(message_type, body, headers)
                outcome = "done"
            except Refused as refused:
                outcome = refused.code
                raise
            finally:
                attributes = {"service": self.service.name, "command": message_type.wire_name, "outcome": outcome}
                self.metrics.command_seconds.record(perf_counter() - began, attributes)
        return answer

    async def _answer(self, message_type: type[Command] | type[Query], body: bytes, headers: Headers) -> bytes:
        message = message_type.model_validate_json(body)
        cause = Cause(
            headers.get(COMMAND_ID) or str(uuid4()),
            self.clock.machine_time(),
            actor_from(headers),
            message_type.wire_name,
            inject() or "",
            repeatable=REPEATABLE in headers,
            fingerprint=await self._fingerprint(headers[FINGERPRINT]) if FINGERPRINT in headers else "",
        )
        work = Work(self, cause)
        answer = await self._execute(message, work)
        if SHOWING in headers and isinstance(answer, Handled | Done):
            shown = Showing.read(headers[SHOWING], self._answers, answer.stream)
            at_hand = {answer.stream: answer.row if isinstance(answer, Handled) else self._row(answer)}
            # also of a repeated command each look is one of its own
            asked = cause.but(command_id=str(uuid4()), repeatable=False, fingerprint="")
            answer = await self._execute(shown, Work(self, asked, at_hand))
        return _encoded(_done(answer) if isinstance(answer, Handled) else answer)

    async def _fingerprint(self, text: str) -> str:
        """As it stands in the log, where a bare hash would let people try out what a secret was."""
        return await self.vault.mac("requests", text)

    async def _answer_before(self, context: Context, query: GetAnswer) -> Done:
        commit = await self.store.find(query.command_id) or await self.store.noted(query.command_id)
        if commit is None:
            raise Refused("HISTORY_NOT_FOUND")
        category = self._categories[commit.stream.partition("-")[0]]
        fingerprint = await self._fingerprint(query.fingerprint)
        handled = await self.streams.seen(
            category, context.cause.but(command_id=query.command_id, fingerprint=fingerprint)
        )
        assert handled is not None  # noqa: S101  what was recorded stays
        return _done(handled)

    async def hear(self, body: bytes, _headers: Headers) -> bytes:
        """Answer a gateway's heartbeat. It has no trace and counts as no command: it comes every few seconds."""
        beat = Heartbeat.model_validate_json(body)
        at = self.clock.database_time()
        if beat.leaving:
            await remove(self.database, GATEWAY, beat.gateway)
        else:
            await record(self.database, GATEWAY, beat.gateway, at, beat.clock_offset)
        return DatabaseTime(at=self.clock.database_time()).model_dump_json().encode()

    def _row(self, done: Done) -> Row:
        row: type[Row] = type(self._categories[done.stream.partition("-")[0]].row)
        return row.model_validate(done.row)

    async def _execute(self, message: Message, work: "Work") -> Any:
        answer = self.answers.get(type(message))
        if answer is not None:
            return await answer(work, message)
        if not isinstance(message, Command):
            raise TypeError(f"{message.wire_name} has no answer")
        return await self.decide(message, work.cause)

    async def decide(self, command: Command, cause: Cause) -> Handled:
        """Prepare, decide, append and react."""
        with child(f"decide {command.wire_name}") as span:
            handled = await self._decided(command, cause)
            span.set_attributes({"headrace.stream": handled.stream, "headrace.events": len(handled.news)})
        await self._react_at_once(handled, cause)
        return handled

    async def _decided(self, command: Command, cause: Cause) -> Handled:
        category = self._by_command[type(command)]
        handled = await self.streams.seen(category, cause) if cause.repeatable else None
        if handled is None:
            prepare = self.service.prepare.get(type(command))
            prepared = await prepare(Work(self, cause), command) if prepare else command
            handled = await self.streams.handle(category, prepared, cause, self._bring)
            for recorded in handled.news:
                if recorded.stream != handled.stream:
                    self._remember(recorded.cause)
                self._tally.take(recorded, handled.row if recorded.stream == handled.stream else category.row)
            await self._hint(handled)
        return handled

    # ---- what follows from it

    def _bring(self, news: Sequence[Recorded[Any]]) -> Sequence[Beginning]:
        """Reactions of the service to its own events that begin a stream are recorded together with these."""
        if self.service.name not in self.service.policies:
            return ()
        wishes = [wish for recorded in news for wish in self._wishes(self.service.name, recorded)]
        return [(self._by_command[type(command)], command, cause) for command, cause in wishes if self._begins(command)]

    def _begins(self, command: Command) -> bool:
        category = self._by_command.get(type(command))
        plain = type(command) not in self.service.prepare
        return category is not None and plain and isinstance(command, category.decider.creates)

    def _wishes(self, source: str, recorded: Recorded[Any]) -> Iterator[tuple[Command, Cause]]:
        """What the policy wishes after an event. The ids of the commands follow from the event's."""
        for place, command in enumerate(self.service.policies[source](recorded)):
            name = command.wire_name
            command_id = derived_id(self.service.name, recorded.id, name, place)
            yield (
                command,
                Cause(command_id, self.clock.machine_time(), recorded.cause.actor, name, recorded.cause.traceparent),
            )

    async def _hint(self, handled: Handled) -> None:
        """Announce at once what others wait for; if it does not arrive, the relay brings the same a little later."""
        for recorded in handled.news:
            if isinstance(recorded.event, self.service.hints) and self.nats.is_connected:
                subject = hint_subject(self.service.name, recorded.stream, recorded.event.wire_name)
                headers = to_headers(self.service.name, recorded)
                await self.nats.publish(subject, to_body(recorded), headers=headers)

    async def _react_at_once(self, handled: Handled, cause: Cause) -> None:
        """Run the service's reactions to its own events now; a follower repeats them should this process die."""
        react = self.service.policies.get(self.service.name)
        if react is None:
            return
        eager = [one for one in handled.news if isinstance(one.event, self.service.eager)]
        later = [one for one in handled.news if not isinstance(one.event, self.service.eager)]
        if later:
            task = asyncio.create_task(self._react_quietly(later))
            self.reacting.add(task)
            task.add_done_callback(self.reacting.discard)
        if eager:
            await self._react_quietly(eager)

    async def _react_quietly(self, news: Sequence[Recorded[Any]]) -> None:
        try:
            for recorded in news:
                await self.react(self.service.name, recorded, repeatable=False)
        except Exception as error:
            # nothing is lost: the follower comes to the same event
            what, where = in_brief(error)
            log.warning("a reaction to %s is left to the follower: %s", news[0].id, what, exc_info=where)

    async def react(self, source: str, recorded: Recorded[Any], *, repeatable: bool = True) -> None:
        """Tell what the policy wishes after an event. Harmless to repeat."""
        async with self._reaction_locks.setdefault(recorded.id, asyncio.Lock()):
            await self._react(source, recorded, repeatable=repeatable)

    async def _react(self, source: str, recorded: Recorded[Any], *, repeatable: bool) -> None:
        for command, cause in self._wishes(source, recorded):
            if cause.command_id in self._reacted:
                continue
            try:
                await self.tell(command, cause.but(repeatable=repeatable, traceparent=inject() or cause.traceparent))
            except Refused as refused:
                if refused.code in TRY_AGAIN or refused.failure.status >= 500:
                    raise  # not an answer of the rules
                if repeatable:  # the follower, which comes in order and last; before, something may not be there yet
                    self.metrics.reactions_refused.add(1, {"service": self.service.name})
                log.warning("%s after %s was refused: %s", command.wire_name, recorded.id, refused.code)
                continue  # not remembered, so that the follower tries it
            self._remember(cause)

    def _remember(self, cause: Cause) -> None:
        self._reacted[cause.command_id] = None
        if len(self._reacted) > REMEMBERED:
            self._reacted.popitem(last=False)

    async def tell(self, command: Command, cause: Cause) -> Done:
        """Give a command to whichever service it belongs to."""
        if type(command) in self._by_command:
            return _done(await self.decide(command, cause))
        answer = await self.caller.tell(
            command, actor=cause.actor, command_id=cause.command_id, fingerprint=cause.fingerprint
        )
        return Done.model_validate_json(answer)

    # ---- what duties need

    async def react_to_batch(self, source: str, batch: Sequence[Delivered]) -> None:
        for delivered in batch:
            with begun(
                f"react {delivered.recorded.event.wire_name}",
                SpanKind.CONSUMER,
                delivered.recorded.cause.traceparent,
                FOLLOWED,
            ):
                await self.react(source, delivered.recorded)

    async def apply_to_view(
        self, view: FollowedView, batch: Sequence[Delivered], session: AsyncClientSession | None
    ) -> None:
        """Fold a batch into the rows of a followed view."""
        first, *others = (one.recorded.cause.traceparent for one in batch)
        with begun(f"follow {view.name}", SpanKind.CONSUMER, first, FOLLOWED, *others):
            await fold_into(self.database[view_collection(view)], view, [one.recorded for one in batch], session)

    async def work(self, worker: Worker, recorded: Recorded[Any]) -> None:
        event = {"headrace.event": recorded.event.wire_name, "headrace.stream": recorded.stream}
        with begun(f"work {worker.name}", SpanKind.CONSUMER, recorded.cause.traceparent, {**FOLLOWED, **event}):
            now = self.clock.machine_time()
            cause = Cause(
                derived_id(self.service.name, worker.name, recorded.id),
                now,
                recorded.cause.actor,
                worker.name,
                inject() or "",
                repeatable=now - recorded.at > JUST_NOW,
            )
            await worker.work(Work(self, cause), recorded)

    def duty(self, name: str) -> "Work":
        """A context for what nobody asked for: tickers and what is done at start."""
        return Work(self, Cause(str(uuid4()), self.clock.machine_time(), SYSTEM, name))

    def rows(self, name: str, at_hand: Mapping[str, Any] | None = None) -> Rows[Any]:
        if view := self._views.get(name):
            return Rows(self.database[view_collection(view)], type(view.row), "row")
        category: Category[Any, Any, Any, Any] = self._categories[name]
        complete = partial(complete_row, self.database, category, self.vault)
        completion = Completion(category.written_field, category.row_version, complete)
        return Rows(self.database["streams"], type(category.row), category.row_field, f"{name}-", at_hand, completion)

    async def finish(self, within: float) -> None:
        """Let what is under way come to its end: reactions, then the commits."""
        if self.reacting:
            await asyncio.wait(self.reacting, timeout=within)
        await asyncio.wait_for(self.store.drain(), within)


@dataclass
class Work:
    """The Context that a service's functions get."""

    runtime: Runtime
    cause: Cause
    at_hand: Mapping[str, Any] = field(default_factory=dict)  # rows by stream, as the present command left them
    settings: Settings = field(init=False)
    clock: Clock = field(init=False)
    vault: Sealing = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.runtime.settings
        self.clock = self.runtime.clock
        self.vault = self.runtime.vault

    def rows(self, category: str) -> Rows[Any]:
        return self.runtime.rows(category, self.at_hand)

    def collection(self, name: str) -> AsyncCollection[Document]:
        return self.runtime.database[name]

    async def next_id(self, kind: str) -> int:
        return await self.runtime.numbering.next(kind)

    async def new_token(self, prefix: str) -> str:
        return prefix + await self.vault.mac("tokens", self.cause.command_id)

    async def ask(self, query: Query) -> Payload:
        if answer := self.runtime.answers.get(type(query)):
            encoded = _encoded(await answer(self, query))
        else:
            encoded = await self.runtime.caller.ask(query, actor=self.cause.actor)
        payload: Payload = json.loads(encoded)
        return payload

    async def tell(self, command: Command, *, step: str = "", actor: Actor | None = None) -> Done:
        name = command.wire_name
        command_id, at = derived_id(self.cause.command_id, name, step), self.clock.machine_time()
        cause = self.cause.but(command_id=command_id, command=name, at=at)
        cause = cause if actor is None else cause.but(actor=actor)
        if cause.traceparent:
            return await self.runtime.tell(command, cause)
        with begun(f"duty {self.cause.command}", SpanKind.INTERNAL):  # nobody asked for it: a trace begins here
            return await self.runtime.tell(command, cause.but(traceparent=inject() or ""))


def _done(handled: Handled) -> Done:
    return Done(stream=handled.stream, version=handled.version, row=handled.row.model_dump(mode="json"))


def _encoded(answer: Any) -> bytes:
    match answer:
        case bytes():
            return answer
        case Message():
            return answer.model_dump_json().encode()
        case _:
            return to_json(answer)
