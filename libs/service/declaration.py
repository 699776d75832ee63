"""The declaration of a service: its aggregates, handlers, policies, projections, workers and periodic tasks."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from opentelemetry.metrics import Meter
from pymongo.asynchronous.collection import AsyncCollection

from contracts.history import ReadEventLog
from contracts.identity import GetUsernames
from contracts.messages import Command, CommandReply, Event, Message, Payload, Query, ReadModelRow
from libs.clock import Clock
from libs.documents import Document, Filter
from libs.eventstore.decider import Actor, AnyCategory, AnyCommand, AnyEvent, CommandMetadata, RecordedEvent
from libs.eventstore.repository import CommandResult
from libs.observability.polled_gauges import PolledGauge
from libs.projections.read_model import ReadModel
from libs.security.envelope_encryption import Encryption
from libs.settings import Settings

POLICY_PREFIX = "reactions-to-"  # prefix of the names of subscriptions that run policies
BATCH_SECONDS = 0.25  # value of `Projection.batch_seconds` for statistics and similar rows

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
    """The environment of a service's functions: database, clock, settings, and messages to other services.

    Each request, event and background run has a context of its own, with its metadata.

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
        """Derive a token from the command's id. A repeated command gets the same token, which is not stored."""
        ...

    async def get_usernames(self, user_ids: Iterable[int]) -> Mapping[int, str]:
        """Return the current names by user id. Events and rows refer to users by id. Never raises RequestRejected."""
        ...

    def as_system(self) -> "Context":
        """Return the same context with the system as the actor, for queries that need no permissions of the user.

        The actor of an event is recorded without roles, so a query in an administrator's name can find too little.
        """
        ...

    async def query(self, query: Query, answer_type: type[M]) -> M:
        """Send a query to any service.

        Raises RequestRejected with the service's code, or with SERVICE_UNAVAILABLE, SERVICE_TIMEOUT or
        REQUEST_TOO_LARGE.
        """
        ...

    async def send(
        self,
        command: AnyCommand,
        *,
        step: str = "",
        actor: Actor | None = None,
        cause: str = "",
        has_new_id: bool = False,
    ) -> CommandReply:
        """Send a command to any service, or an internal command to a decider of this one.

        `actor`: the default is the current command's actor. The command's id is derived from the current command's id,
        the command's name and `step`, so repeating is safe. `cause` replaces the current command's id, which is random
        in a periodic task. `has_new_id`: `step` is random, so no earlier command with this id is looked up.
        """
        ...


Answer = Message | Sequence[Message] | Sequence[Payload] | Payload | bytes


def never(_command: Any, _code: str) -> bool:
    return False


@dataclass(frozen=True)
class CommandFlow(Generic[C]):
    """The steps before and after the decision of a command.

    `prepare` does the I/O before it: look-ups, numbers, encryption. It returns the internal command that the decider
    gets, or rejects the request. `answer` makes the reply from the result; by default, it is a CommandReply.
    """

    command: type[C]
    prepare: Callable[[Context, C], Awaitable[AnyCommand]] | None = None
    answer: Callable[[Context, C, CommandResult[Any]], Awaitable[Message]] | None = None
    # whether a rejection with this code makes `prepare` run again, for example to generate another name
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
    previous_version: int = 0  # set while the previous release reads a lower version
    indexes: tuple[tuple[str, ...], ...] = ()
    is_deleted: Callable[[R], bool] = field(default=lambda _row: False)
    # The rows keep the contribution of streams that were removed from the log. The source is the service itself. After
    # a reset the rows are filled from the log, because the event stream may still contain events of removed streams.
    is_cumulative: bool = False
    # minimum time between two batches of events, for rows that may be late: fewer batches cost less CPU time
    batch_seconds: float = 0.0


@dataclass(frozen=True)
class Policy:
    """Reactions to the events of `source`, in order: a pure function returns the commands to send after an event.

    It returns at most one command of a type for each stream.
    """

    source: str
    react: Callable[[RecordedEvent[Event]], Sequence[AnyCommand]]
    # the process that recorded an own event also reacts to it, right after the commit
    now: bool = False
    before_reply: tuple[type[Event], ...] = ()  # with `now`: events whose reactions precede their command's reply
    # with `now`: commands to existing streams that are recorded in the commit of the event, if nothing else writes the
    # stream at the time; at most one for an event
    same_commit: tuple[type[AnyCommand], ...] = ()

    @property
    def subscription(self) -> str:
        """The name of the subscription that runs the policy."""
        return f"{POLICY_PREFIX}{self.source}"


@dataclass(frozen=True)
class Worker(Generic[E]):
    """Background work for events, distributed over the replicas: at least once per event, retried after failures.

    An event whose work fails too often is parked.
    """

    name: str
    source: str
    events: tuple[type[E], ...]
    run: Callable[[Context, RecordedEvent[E]], Awaitable[None]]
    concurrency: int = 4
    ack_wait_seconds: float = 10.0  # NATS redelivers an event after this time without a heartbeat
    # the process that recorded an own event also starts the work, right after the commit
    now: bool = False

    def consumer_name(self, service: str) -> str:
        """Return the name of the durable consumer, which the migration step creates."""
        return f"{service}-{self.name}"

    def filter_subjects(self) -> list[str]:
        return [f"evt.{self.source}.*.{event.wire_name}" for event in self.events]


@dataclass(frozen=True)
class Expiry:
    """A rule that removes streams and their rows at a certain age, and surplus ones. No event records the removal."""

    category: AnyCategory
    time_field: str  # row field with the time from which the age counts; the first field of an index
    days: Callable[[Settings], int]  # 0: never
    condition: Filter = field(default_factory=dict)  # which rows may expire
    count: Callable[[Settings], int] = field(default=lambda _settings: 0)  # number of rows to keep; 0: all
    group_field: str = ""  # the count applies to each value of this numeric row field, the first field of an index


@dataclass(frozen=True)
class PeriodicTask:
    """Work that a process repeats, usually the leader. The interval counts from the end of a run."""

    name: str
    interval_seconds: float
    run: Callable[[Context], Awaitable[None]]


AnyHandler = Handler[Any]
AnyCommandFlow = CommandFlow[Any]
AnyProjection = Projection[Any, Any]
AnyWorker = Worker[Any]

# gets an event and the row of its stream; for the event of an inline follow-up, the initial row of its category
EventRecorder = Callable[[AnyEvent, ReadModelRow], None]


@dataclass(frozen=True)
class Service:
    """The declaration of a service. `libs.service.service_host.run` runs it."""

    name: str
    categories: tuple[AnyCategory, ...]
    command_flows: tuple[AnyCommandFlow, ...] = ()
    handlers: tuple[AnyHandler, ...] = ()
    # rejects a request over NATS whose actor may not send it; None: all may
    authorize: Callable[[Context, Message], Awaitable[None]] | None = None
    is_public: bool = False  # external consumers may read the service's events
    # own events that are also published as hints: early copies, at most once, right after the commit
    hinted_events: tuple[type[Event], ...] = ()
    offered_events: tuple[type[Event], ...] = ()  # hinted events on which one receiver is to act
    policies: tuple[Policy, ...] = ()
    outgoing: tuple[type[Message], ...] = ()  # messages that the service may send to other services
    projections: tuple[AnyProjection, ...] = ()
    workers: tuple[AnyWorker, ...] = ()
    periodic_tasks: tuple[PeriodicTask, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    gauges: tuple[PolledGauge, ...] = ()
    # creates counters and histograms, and returns the function that updates them for each newly recorded event
    event_recorder: Callable[[Meter], EventRecorder] = lambda _meter: lambda _recorded, _row: None
    on_start: Callable[[Context], Awaitable[None]] | None = None  # called at every process start; must be idempotent
    # indexes of further collections, which are not event-sourced, by name of the collection
    indexes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    # fields of the unique index, by collection
    unique_indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ttl_collections: Mapping[str, str] = field(default_factory=dict)  # collection -> field with the expiry time

    def __post_init__(self) -> None:
        now = [policy.source for policy in self.policies if policy.now]
        now += [worker.source for worker in self.workers if worker.now]
        if {*now} - {self.name}:
            raise ValueError("only reactions to a service's own events can run now")

    @property
    def followed_sources(self) -> set[str]:
        """The services whose events the subscriptions of this service handle."""
        return {policy.source for policy in self.policies} | {view.source for view in self.projections}

    @property
    def messages_to_send(self) -> tuple[type[Message], ...]:
        """The messages that the service may send to other services: every service looks up the names of users.

        A service with a projection of another service's events reads that service's log.
        """
        reads_log = any(projection.source != self.name for projection in self.projections)
        return (*self.outgoing, GetUsernames, *((ReadEventLog,) if reads_log else ()))

    @property
    def messages(self) -> tuple[type[Command] | type[Query], ...]:
        """The service's own commands and queries. All services also accept history queries and heartbeats."""
        commands = [command for category in self.categories for command in category.decider.commands]
        commands += [flow.command for flow in self.command_flows]
        public = (command for command in commands if issubclass(command, Command))
        return tuple(dict.fromkeys((*public, *(handler.message for handler in self.handlers))))
