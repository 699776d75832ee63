"""The declaration of a service: its aggregates, handlers, policies, projections, workers and periodic tasks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from opentelemetry.metrics import Meter
from pymongo.asynchronous.collection import AsyncCollection

from contracts.messages import Command, CommandReply, Event, Message, Payload, Query, ReadModelRow
from libs.clock import Clock
from libs.documents import Document
from libs.eventstore.decider import Actor, AnyCategory, AnyCommand, AnyEvent, CommandMetadata, RecordedEvent
from libs.eventstore.repository import CommandResult
from libs.messaging.cloudevents import hint_subject
from libs.observability.polled_gauges import PolledGauge
from libs.projections.read_model import ReadModel
from libs.security.envelope_encryption import Encryption
from libs.settings import Settings

C = TypeVar("C", bound=AnyCommand)
E = TypeVar("E", bound=Event)
M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=ReadModelRow)


class RetryLater(Exception):
    """Raised by a worker to get the event again after a delay."""

    def __init__(self, delay_seconds: float) -> None:
        super().__init__(delay_seconds)
        self.delay_seconds = delay_seconds


class Context(Protocol):
    """What the functions of a service may use. There is one per request, event or background run, with its metadata.

    Times that other replicas compare, such as leases, use `clock.database_time()`, not the time of the metadata.
    """

    settings: Settings
    clock: Clock
    vault: Encryption
    metadata: CommandMetadata

    def read_model(self, row_type: type[R]) -> ReadModel[R]:
        """Return the read model of the category or projection of this service with this type of rows."""
        ...

    def collection(self, name: str) -> AsyncCollection[Document]:
        """Return a collection of this service for data that is not event-sourced. Writes wait for a majority."""
        ...

    async def next_id(self, kind: str) -> int:
        """Return the next id of a sequence, increasing from 1, possibly with gaps."""
        ...

    async def derive_token(self, prefix: str) -> str:
        """Derive a token from the command's id. A repeated command returns the same, although it is not stored."""
        ...

    async def query(self, query: Query, answer_type: type[M]) -> M:
        """Send a query to any service.

        Raises RequestRejected with the service's code, or with SERVICE_UNAVAILABLE, SERVICE_TIMEOUT or
        REQUEST_TOO_LARGE.
        """
        ...

    async def send(self, command: AnyCommand, *, step: str = "", actor: Actor | None = None) -> CommandReply:
        """Send a command to any service, or an internal command to a decider of this one.

        The actor is that of the current command, or `actor`. The command's id is derived from the current command's id,
        the
        command's name and `step`, so repeating is safe.
        """
        ...


Answer = Message | Sequence[Message] | Sequence[Payload] | Payload | bytes
Policy = Callable[[RecordedEvent[Event]], Sequence[AnyCommand]]


def never(_command: Any, _code: str) -> bool:
    return False


@dataclass(frozen=True)
class CommandFlow(Generic[C]):
    """What happens to a command before and after its decision.

    `prepare` does the I/O before it: look-ups, numbers, encryption. It returns the internal command that the decider
    gets, or rejects the request. `answer` makes the reply from the result; by default, it is a CommandReply.
    """

    command: type[C]
    prepare: Callable[[Context, C], Awaitable[AnyCommand]] | None = None
    answer: Callable[[Context, C, CommandResult[Any]], Awaitable[Message]] | None = None
    # whether a rejection with this code makes `prepare` run again, for example to draw another name
    retry: Callable[[C, str], bool] = never
    # The command that releases up to 0.2.0 recorded instead. The id in the log is derived from it, so that a request
    # is recognized if an older replica handled it first, or handles its repetition.
    recorded_as: str = ""


@dataclass(frozen=True)
class Handler(Generic[M]):
    """A function that answers a query, or a command without a decider."""

    message: type[M]
    run: Callable[[Context, M], Awaitable[Answer]]


@dataclass(frozen=True)
class Projection(Generic[E, R]):
    """A projection of one service's events, updated by a subscription, with one row per key.

    `row_key` returns the key of the row that an event changes, or None for events that are not applied.
    """

    name: str
    source: str  # the service whose events the projection reads
    row_key: Callable[[RecordedEvent[Event]], str | None]
    initial_row: R
    apply: Callable[[R, RecordedEvent[E]], R]
    version: int = 1
    indexes: tuple[tuple[str, ...], ...] = ()
    is_deleted: Callable[[R], bool] = field(default=lambda _row: False)


@dataclass(frozen=True)
class Worker(Generic[E]):
    """Background work for events, distributed over the replicas: at least once per event, retried until it succeeds."""

    name: str
    source: str
    events: tuple[type[E], ...]
    run: Callable[[Context, RecordedEvent[E]], Awaitable[None]]
    concurrency: int = 4
    ack_wait_seconds: float = 10.0  # NATS redelivers an event after this time without a heartbeat
    # start when the hint arrives (see Service.hinted_events); the durable consumer is the fallback
    start_on_hint: bool = False

    def consumer_name(self, service: str) -> str:
        """Return the name of the durable consumer, which the migration step creates."""
        return f"{service}-{self.name}"

    def filter_subjects(self) -> list[str]:
        return [f"evt.{self.source}.*.{event.wire_name}" for event in self.events]

    def hint_subjects(self) -> list[str]:
        return [hint_subject(self.source, "*", event.wire_name) for event in self.events]


@dataclass(frozen=True)
class PeriodicTask:
    """Work that the leader repeats. The interval counts from the end of a run."""

    name: str
    interval_seconds: float
    run: Callable[[Context], Awaitable[None]]


AnyHandler = Handler[Any]
AnyCommandFlow = CommandFlow[Any]
AnyProjection = Projection[Any, Any]
AnyWorker = Worker[Any]

EventRecorder = Callable[[AnyEvent, ReadModelRow], None]  # an event, and the row of its stream after the event


@dataclass(frozen=True)
class Service:
    """The declaration of a service. `libs.service.service_host.run` runs it."""

    name: str
    categories: tuple[AnyCategory, ...]
    command_flows: tuple[AnyCommandFlow, ...] = ()
    handlers: tuple[AnyHandler, ...] = ()
    is_public: bool = False  # external consumers may read the service's events
    # own events that are also published as hints: early copies, at most once, right after the commit
    hinted_events: tuple[type[Event], ...] = ()
    policies: Mapping[str, Policy] = field(default_factory=dict)  # by the service whose events they react to
    synchronous_reactions: tuple[type[Event], ...] = ()  # own events whose reactions precede the command's reply
    outgoing: tuple[type[Message], ...] = ()  # messages that the service may send to other services
    projections: tuple[AnyProjection, ...] = ()
    workers: tuple[AnyWorker, ...] = ()
    periodic_tasks: tuple[PeriodicTask, ...] = ()
    gauges: tuple[PolledGauge, ...] = ()
    # creates counters and histograms, and returns the function that updates them for each newly recorded event
    event_recorder: Callable[[Meter], EventRecorder] = lambda _meter: lambda _recorded, _row: None
    on_start: Callable[[Context], Awaitable[None]] | None = None  # at each start of a process; must be idempotent
    # indexes of further collections, which are not event-sourced, by name of the collection
    indexes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    # fields of the unique index, by collection
    unique_indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ttl_collections: Mapping[str, str] = field(default_factory=dict)  # collection -> field with the expiry time

    @property
    def messages(self) -> tuple[type[Command] | type[Query], ...]:
        """The commands and queries that the service accepts over NATS."""
        commands = [command for category in self.categories for command in category.decider.commands]
        commands += [flow.command for flow in self.command_flows]
        public = (command for command in commands if issubclass(command, Command))
        return tuple(dict.fromkeys((*public, *(handler.message for handler in self.handlers))))
