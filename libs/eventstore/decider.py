"""Deciding: commands become events. The vocabulary of every service, without any I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from contracts.errors import RequestRejected
from contracts.messages import Command, Event, ReadModelRow

__all__ = [
    "Actor",
    "Category",
    "CommandMetadata",
    "Decider",
    "RecordedEvent",
    "Release",
    "RequestRejected",
    "Reservation",
    "Reserve",
]

C = TypeVar("C", bound=Command)
S = TypeVar("S")
E = TypeVar("E", bound=Event)
R = TypeVar("R", bound=ReadModelRow)


class Actor(NamedTuple):
    """Who wishes it: a user, a runner, or the system itself (id 0)."""

    id: int = 0
    name: str = "system"
    roles: tuple[str, ...] = ()

    @property
    def is_admin(self) -> bool:
        return "ROLE_ADMIN" in self.roles


SYSTEM = Actor()


def runner_actor(name: str) -> Actor:
    """Numbers are users' own: a runner acts under its name alone."""
    return Actor(0, f"runner {name}")


@dataclass(frozen=True, slots=True)
class CommandMetadata:
    """Why something was recorded: the command, who gave it, when, and the trace it belongs to."""

    command_id: str
    at: datetime  # UTC, to the millisecond
    actor: Actor = SYSTEM
    command: str = ""  # its name
    traceparent: str = ""
    may_be_duplicate: bool = False  # the id comes from an idempotency key or an event: it may have been seen before
    fingerprint: str = ""  # of the request that came with an idempotency key: no other one may use the key again

    def replace(self, **changes: Any) -> "CommandMetadata":
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class RecordedEvent(Generic[E]):
    """An event as the log keeps it."""

    stream: str
    version: int  # number of the decision in its stream, from 1
    index: int  # place of the event within its decision, from 0
    event: E
    metadata: CommandMetadata

    @property
    def id(self) -> str:
        return f"{self.stream}@{self.version}.{self.index}"

    @property
    def at(self) -> datetime:
        return self.metadata.at


@dataclass(frozen=True, slots=True)
class Reserve:
    """Claim a name for the stream; whoever comes second is refused with the code."""

    key: str  # kind and name, for example "username:ivan"
    code: str


@dataclass(frozen=True, slots=True)
class Release:
    """Give a name back."""

    key: str


Reservation = Reserve | Release


def no_reservations(_before: S, _event: E) -> Sequence[Reservation]:
    return ()


@dataclass(frozen=True)
class Decider(Generic[C, S, E]):
    """`decide` and `evolve` are pure; `claims` says which names an event takes or releases."""

    commands: tuple[type[C], ...]
    stream: Callable[[C], str]
    initial: S
    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    reservations: Callable[[S, E], Sequence[Reservation]] = field(default=no_reservations)
    initial_commands: tuple[type[C], ...] = ()  # commands whose stream is nearly always new: it is not read first


@dataclass(frozen=True)
class PreviousRow(Generic[R]):
    """The row that the release before reads, written beside the present one, so that replicas of both can work."""

    version: int
    convert: Callable[[R], R]  # from the present row

    def field_name(self, category: str) -> str:
        return f"{category}_v{self.version}"


@dataclass(frozen=True)
class Category(Generic[C, S, E, R]):
    """A kind of stream: how it decides, and the row of its main view, written with the events themselves.

    Streams are called `<name>-<id>`; heads and rows live in the collection `<name>`, one document per stream.
    """

    name: str
    decider: Decider[C, S, E]
    initial_row: R  # the row before the first event
    apply: Callable[[R, RecordedEvent[E]], R]
    row_version: int = 1  # raise it when the fold changes: rows are then built anew
    previous_row: PreviousRow[R] | None = None  # of the release before, where that has a lower version
    indexes: tuple[tuple[str, ...], ...] = ()  # row fields; a leading "-" means descending
    time_index_field: str = (
        ""  # a row field with a time in every row: the indexes that hold it count rows without reading them
    )
    sparse_index_field: str = (
        ""  # a row field with a text in some rows alone: the indexes that hold it hold only these rows
    )
    is_deleted: Callable[[R], bool] = field(default=lambda _row: False)  # deleted: the row is in no list

    @property
    def row_field(self) -> str:
        """Where the row stands in the head of its stream. Rows of another version stand beside it."""
        return f"{self.name}_v{self.row_version}"

    @property
    def row_version_field(self) -> str:
        """Where the head says which version of the row its last writer wrote: an older release leaves a lower one."""
        return f"{self.name}_row_version"
