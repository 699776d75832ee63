"""The event store protocol. The MongoDB store and the in-memory store pass the same contract tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from contracts.messages import Event, ReadModelRow
from libs.eventstore.decider import AnyCategory, AnyEvent, CommandMetadata, NewDocument, RecordedEvent, Reservation


class WrongExpectedVersion(Exception):
    """Another writer has appended to the stream since it was read."""


class StoreUnavailable(Exception):
    """The database does not respond, or a lock was not released in time. Nothing was recorded."""


class OutcomeUnknown(Exception):
    """The connection failed during the commit. Look up the command id to learn whether it was recorded."""


@dataclass(frozen=True, slots=True)
class CommitRef:
    """The stream and version that a command produced, or at which it had nothing to record."""

    stream: str
    version: int
    fingerprint: str = field(default="", compare=False)  # hash of the request, if it had an idempotency key


class DuplicateCommand(Exception):
    """The command was handled before, and `commit` is its result."""

    def __init__(self, commit: CommitRef) -> None:
        super().__init__(commit)
        self.commit = commit


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """The events of one command, to be appended after `expected_version`, with the row, reservations and document."""

    category: AnyCategory
    stream: str
    expected_version: int  # version of the stream when it was loaded; 0: a new stream
    events: Sequence[Event]
    metadata: CommandMetadata
    row: ReadModelRow | None  # the read model row after the events; None: deleted
    reservations: Sequence[Reservation] = ()
    new_document: NewDocument | None = None

    @property
    def version(self) -> int:
        return self.expected_version + 1

    @property
    def recorded_events(self) -> list[AnyEvent]:
        return [
            RecordedEvent(self.stream, self.version, index, event, self.metadata)
            for index, event in enumerate(self.events)
        ]


class Snapshot(NamedTuple):
    """The row of a stream, and the version of the stream that it reflects."""

    version: int
    row: Any  # an instance of the category's row type


class EventStore(Protocol):
    """Appends commits and reads them back. It appends each command at most once.

    Each method raises StoreUnavailable if the database does not respond.
    """

    async def append(self, *commits: PendingCommit) -> None:
        """Append the commit of a command and the commits of its follow-ups on other streams, all or none.

        Raises WrongExpectedVersion, DuplicateCommand, RequestRejected (a name is reserved, a required stream is
        missing, or the new document exists), StoreUnavailable or OutcomeUnknown.
        """
        ...

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[AnyEvent]:
        """Return the events of versions above `after`, up to and including `until`, in order.

        With `after=0`, the result is empty for a stream that was removed from the log.
        """
        ...

    async def read_snapshot(self, category: AnyCategory, stream: str) -> Snapshot | None:
        """Return the row of a stream. None: it has no row, or the last writer was a release with other rows."""
        ...

    async def is_removed(self, stream: str) -> bool:
        """Return whether the stream was removed from the log. A removed stream cannot start again."""
        ...

    async def find(self, metadata: CommandMetadata) -> CommitRef | None:
        """Return the commit of a command, or None."""
        ...

    async def record_noop(self, stream: str, version: int, metadata: CommandMetadata) -> None:
        """Store the result of a command that recorded no events, for a week.

        Raises DuplicateCommand or StoreUnavailable.
        """
        ...

    async def find_noop(self, command_id: str) -> CommitRef | None:
        """Return the result of a command that recorded no events, or None."""
        ...
