"""What an event store promises; the MongoDB store and its in-memory twin pass the same suite."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.messages import Event, ReadModelRow
from libs.eventstore.decider import Category, CommandMetadata, RecordedEvent, Reservation


class WrongExpectedVersion(Exception):
    """Somebody else has appended to the stream since it was read."""


class StoreUnavailable(Exception):
    """The database does not answer; nothing was recorded."""


class OutcomeUnknown(Exception):
    """The database went away during the commit: recorded or not, the command id will tell."""


@dataclass(frozen=True, slots=True)
class CommitRef:
    """Where a command was recorded, or the version at which it found its wish already true."""

    stream: str
    version: int
    fingerprint: str = field(default="", compare=False)  # of the request, where it came with an idempotency key


class DuplicateCommand(Exception):
    """This command was recorded before."""

    def __init__(self, commit: CommitRef) -> None:
        super().__init__(commit)
        self.commit = commit


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """The events of one command, to be recorded as the version after `expected`, and what is written with them."""

    category: Category[Any, Any, Any, Any]
    stream: str
    expected_version: int  # version of the stream it was decided on; 0: the stream is new
    events: Sequence[Event]
    metadata: CommandMetadata
    row: ReadModelRow | None  # of the main view afterwards; None: gone from every list
    reservations: Sequence[Reservation] = ()

    @property
    def version(self) -> int:
        return self.expected_version + 1

    @property
    def recorded_events(self) -> list[RecordedEvent[Any]]:
        return [
            RecordedEvent(self.stream, self.version, i, event, self.metadata) for i, event in enumerate(self.events)
        ]


class EventStore(Protocol):
    async def append(self, *decisions: PendingCommit) -> None:
        """All or nothing; further decisions follow from the first one and begin streams.

        Raises Conflict, Repeated, Refused (a name is taken), Unavailable or OutcomeUnknown.
        """
        ...

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[RecordedEvent[Any]]:
        """The events of the versions after `after`, in order."""
        ...

    async def find(self, command_id: str) -> CommitRef | None:
        """Where this command was recorded, if it was."""
        ...

    async def record_noop(self, stream: str, version: int, metadata: CommandMetadata) -> None:
        """Remember for a while the answer to a command that recorded nothing. Raises Repeated, Unavailable."""
        ...

    async def find_noop(self, command_id: str) -> CommitRef | None: ...
