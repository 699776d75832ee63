"""What a service is: a declaration of its streams, answers, reactions and duties, and what its functions may use."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.messages import Command, CommandReply, Event, Message, Payload, Query, ReadModelRow
from libs.clock import Clock
from libs.eventstore.decider import Actor, Category, CommandMetadata, RecordedEvent
from libs.observability.metric_specs import MetricSpec
from libs.projections.read_model import ReadModel
from libs.security.envelope_encryption import Encryption
from libs.settings import Settings


class RetryLater(Exception):
    """Raised by a worker: nothing is lost, come back with this event after some time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.delay_seconds = seconds


class Context(Protocol):
    """What the functions of a service may use of the world. One per message: `cause` says who asks and when.

    What other replicas compare, such as a lease, goes by `clock.database_time()`, not by the time of the cause.
    """

    settings: Settings
    clock: Clock
    vault: Encryption
    metadata: CommandMetadata

    def read_model(self, category: str) -> ReadModel[Any]:
        """The rows of a category of this service, or of one of its followed views."""
        ...

    def collection(self, name: str) -> Any:
        """A collection of this service for what is no event: log chunks, presence. Majority writes."""
        ...

    async def next_id(self, kind: str) -> int:
        """The next number of its kind, from 1; numbers may be skipped, but a later one is never smaller."""
        ...

    async def derive_token(self, prefix: str) -> str:
        """A token that follows from the present command: the answer to a repeated one is the same, and kept nowhere."""
        ...

    async def query(self, query: Query) -> Payload:
        """Ask any service. Raises Refused with the code it answered, or SERVICE_UNAVAILABLE / SERVICE_TIMEOUT."""
        ...

    async def send(self, command: Command, *, step: str = "", actor: Actor | None = None) -> CommandReply:
        """Give a command to any service, in the name of the present cause.

        The command's id follows from the present cause, the command's name and `step`: telling twice is harmless.
        """
        ...


Enricher = Callable[[Context, Any], Awaitable[Command]]
Handler = Callable[[Context, Any], Awaitable[Message | Sequence[Message] | Payload | bytes]]
Policy = Callable[[RecordedEvent[Any]], Sequence[Command]]


@dataclass(frozen=True)
class Projection:
    """A view over the events of one service, kept by a follower; one row per key."""

    name: str
    source: str  # the service whose events it follows
    row_key: Callable[[RecordedEvent[Any]], str | None]  # which row an event belongs to; None: not of interest
    initial_row: ReadModelRow
    apply: Callable[[Any, RecordedEvent[Any]], Any]
    version: int = 1
    indexes: tuple[tuple[str, ...], ...] = ()
    is_deleted: Callable[[Any], bool] = field(default=lambda _row: False)  # the row is in no list


@dataclass(frozen=True)
class Worker:
    """Slow work that an event starts: at least once, on every replica, several at a time, until it returns."""

    name: str
    source: str
    events: tuple[type[Event], ...]
    run: Callable[[Context, RecordedEvent[Any]], Awaitable[None]]
    concurrency: int = 4
    ack_wait_seconds: float = 10.0  # seconds without a sign of life until another replica takes over
    start_on_hint: bool = False  # start by the hint that follows the commit; the durable consumer only makes sure


@dataclass(frozen=True)
class PeriodicTask:
    """Something looked after again and again, by one replica at a time."""

    name: str
    interval_seconds: float  # seconds
    run: Callable[[Context], Awaitable[None]]


@dataclass(frozen=True)
class Service:
    """The whole of a service; `libs.service.runtime.run` brings it to life."""

    name: str
    categories: tuple[Category[Any, Any, Any, Any], ...]
    enrichers: Mapping[type[Command], Enricher] = field(
        default_factory=dict
    )  # what a command needs before it is decided
    handlers: Mapping[type[Message], Handler] = field(
        default_factory=dict
    )  # queries, and commands that record no event
    is_public: bool = False  # programs outside may read its events
    hinted_events: tuple[
        type[Event], ...
    ] = ()  # own events that are announced at once, ahead of the relay and at most once
    policies: Mapping[str, Policy] = field(default_factory=dict)  # source service -> reaction to its events
    synchronous_reactions: tuple[
        type[Event], ...
    ] = ()  # own events whose reactions are over before the command is answered
    outgoing: tuple[type[Message], ...] = ()  # all that it asks and tells other services; nothing else goes out
    projections: tuple[Projection, ...] = ()
    workers: tuple[Worker, ...] = ()
    periodic_tasks: tuple[PeriodicTask, ...] = ()
    metrics: tuple[MetricSpec, ...] = ()
    on_start: Callable[[Context], Awaitable[None]] | None = None  # once per start of a process; must be idempotent
    indexes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # of its other collections
    unique_indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # documents of the same key are copies
    ttl_collections: Mapping[str, str] = field(
        default_factory=dict
    )  # collection -> field with the time when a document may go
