"""The decider pattern: commands, events, state and stream categories. No I/O.

See https://thinkbeforecoding.com/post/2021/12/17/functional-event-sourcing-decider.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from contracts.errors import RequestRejected
from contracts.messages import Command, Event, ReadModelRow
from libs.documents import Document

__all__ = [
    "Actor",
    "AnyCategory",
    "AnyCommand",
    "AnyEvent",
    "Category",
    "CommandMetadata",
    "Decider",
    "InternalCommand",
    "NewDocument",
    "RecordedEvent",
    "Release",
    "RequestRejected",
    "RequireOther",
    "Reservation",
    "Reserve",
]


@dataclass(frozen=True)
class InternalCommand:
    """Base class of the commands that only a service's own code gives to its deciders: frozen dataclasses.

    They are not part of a contract and cannot be sent over NATS. A class that replaces a message of an earlier release
    keeps the name of that message: `class New(InternalCommand, wire_name="Old")`.
    """

    wire_name: ClassVar[str] = ""
    """The name of the command in the log. Ids of reactions are derived from it."""

    def __init_subclass__(cls, wire_name: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.wire_name = wire_name or cls.__name__

    def replace(self, **changes: Any) -> Self:
        return replace(self, **changes)


AnyCommand = Command | InternalCommand

C = TypeVar("C", bound=AnyCommand)
S = TypeVar("S")
E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)
R = TypeVar("R", bound=ReadModelRow)


class Actor(NamedTuple):
    """The user, runner or system that issued a command. Runners and the system have the id 0."""

    id: int = 0
    name: str = "system"
    roles: tuple[str, ...] = ()

    @property
    def is_admin(self) -> bool:
        return "ROLE_ADMIN" in self.roles

    @property
    def as_recorded(self) -> "Actor":
        """Return the actor for the log: a user has no name there, so that erasing the user erases the name."""
        return self._replace(name="") if self.id else self


SYSTEM = Actor()


def runner_actor(name: str) -> Actor:
    """Return the actor for a runner. Actor ids are user ids, so a runner has only a name."""
    return Actor(0, f"runner {name}")


@dataclass(frozen=True, slots=True)
class CommandMetadata:
    """Metadata of a command, stored with its events: id, time, actor, name and trace context."""

    command_id: str
    at: datetime  # UTC, to the millisecond
    actor: Actor = SYSTEM
    command: str = ""  # command name
    traceparent: str = ""
    # the id is derived from an idempotency key or an event, so the event log may already contain the command
    may_be_duplicate: bool = False
    fingerprint: str = ""  # hash of the request that used an idempotency key
    # second id of a policy's command: unlike `command_id`, it does not depend on the order of the policy's commands
    reaction_id: str = ""

    @property
    def trace_id(self) -> str:
        """The trace id of the request that caused the command. Empty if the command has no trace context."""
        return self.traceparent.split("-")[1] if self.traceparent else ""


@dataclass(frozen=True, slots=True)
class RecordedEvent(Generic[E_co]):
    """An event with its position in its stream and the metadata of its command."""

    stream: str
    version: int  # version of the stream after the event's commit, from 1
    index: int  # position of the event in its commit, from 0
    event: E_co
    metadata: CommandMetadata

    @property
    def id(self) -> str:
        return f"{self.stream}@{self.version}.{self.index}"

    @property
    def at(self) -> datetime:
        return self.metadata.at


AnyEvent = RecordedEvent[Any]
"""An event read from the log or a stream, whose type is known only at run time."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Reserve a unique name for the stream. A command for a name reserved by another stream is rejected with `code`."""

    key: str  # name with a prefix for its kind, such as "username:ivan"
    code: str


@dataclass(frozen=True, slots=True)
class Release:
    key: str


@dataclass(frozen=True, slots=True)
class RequireOther:
    """Require that another stream of the category has a row with these values. Otherwise reject with `code`.

    All commands with the same key write one document, which serializes them: two streams cannot each rely on the other.
    """

    key: str
    row: Mapping[str, str | int | bool]
    code: str


Reservation = Reserve | Release | RequireOther


def no_reservations(_before: S, _event: E) -> Sequence[Reservation]:
    return ()


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document outside the log that is inserted in the transaction of a command's events.

    If the document exists already, the command is rejected with `code`.
    """

    collection: str  # in the database of the service
    document: Document  # with its `_id`
    code: str


def no_document(_command: C) -> NewDocument | None:
    return None


@dataclass(frozen=True)
class Decider(Generic[C, S, E]):
    """The pure functions of an aggregate.

    `reservations` returns the names that an event reserves or releases, and the other streams that it requires.
    `new_document` returns what is inserted together with the events of a command.
    """

    commands: tuple[type[C], ...]
    stream: Callable[[C], str]
    initial: S
    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    reservations: Callable[[S, E], Sequence[Reservation]] = field(default=no_reservations)
    new_document: Callable[[C], NewDocument | None] = field(default=no_document)
    # commands that usually start a stream: they are decided on the initial state before the stream is read
    initial_commands: tuple[type[C], ...] = ()


@dataclass(frozen=True)
class PreviousRow(Generic[R]):
    """The row version that the previous release reads, written beside the current one during a rolling update."""

    version: int
    convert: Callable[[R], R]  # converts the current row

    def field_name(self, category: str) -> str:
        return f"{category}_v{self.version}"


@dataclass(frozen=True)
class Category(Generic[C, S, E, R]):
    """A type of aggregate: its decider and its read model row, which is written in the transaction of the events.

    Streams are named `<name>-<id>`. The collection `streams` has one document per stream with its version and row.
    """

    name: str
    decider: Decider[C, S, E]
    initial_row: R  # row of a stream before its first event
    apply: Callable[[R, RecordedEvent[E]], R]
    row_version: int = 1  # increase it when `apply` changes: rows are then rebuilt
    previous_row: PreviousRow[R] | None = None  # set while the previous release reads a lower version
    indexes: tuple[tuple[str, ...], ...] = ()  # row field names; a leading "-" means descending
    # a row field that always has a time, so that its indexes contain all rows and suffice for counting
    time_index_field: str = ""
    # a row field that is empty in most rows: indexes on it contain only the rows with text
    sparse_index_field: str = ""
    is_deleted: Callable[[R], bool] = field(default=lambda _row: False)  # deleted rows are in no list
    # deleted streams are removed from the log after a grace time
    is_removable: bool = False
    # converts a row to the decider's state: a stream is then loaded from its row instead of from all its events
    restore_state: Callable[[R], S] | None = None

    @property
    def row_field(self) -> str:
        """Name of the field that holds the row in the stream's document. Each row version has its own field."""
        return f"{self.name}_v{self.row_version}"

    @property
    def row_version_field(self) -> str:
        """Name of the field that holds the row version last written to the stream's document.

        The value is lower than `row_version` after a write by an older release.
        """
        return f"{self.name}_row_version"


AnyCategory = Category[Any, Any, Any, Any]
"""A category of any aggregate, for code that handles all of them."""
