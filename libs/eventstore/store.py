"""What an event store promises; the MongoDB store and its in-memory twin pass the same suite."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.messages import Event, Row
from libs.deciding import Category, Cause, Claim, Recorded


class Conflict(Exception):
    """Somebody else has appended to the stream since it was read."""


class Unavailable(Exception):
    """The database does not answer; nothing was recorded."""


class OutcomeUnknown(Exception):
    """The database went away during the commit: recorded or not, the command id will tell."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Where a command was recorded, or the version at which it found its wish already true."""

    stream: str
    version: int
    fingerprint: str = field(default="", compare=False)  # of the request, where it came with an idempotency key


class Repeated(Exception):
    """This command was recorded before."""

    def __init__(self, commit: Commit) -> None:
        super().__init__(commit)
        self.commit = commit


@dataclass(frozen=True, slots=True)
class Decision:
    """The events of one command, to be recorded as the version after `expected`, and what is written with them."""

    category: Category[Any, Any, Any, Any]
    stream: str
    expected: int  # version of the stream it was decided on; 0: the stream is new
    events: Sequence[Event]
    cause: Cause
    row: Row | None  # of the main view afterwards; None: gone from every list
    claims: Sequence[Claim] = ()

    @property
    def version(self) -> int:
        return self.expected + 1

    @property
    def recorded(self) -> list[Recorded[Any]]:
        return [Recorded(self.stream, self.version, i, event, self.cause) for i, event in enumerate(self.events)]


class EventStore(Protocol):
    async def append(self, *decisions: Decision) -> None:
        """All or nothing; further decisions follow from the first one and begin streams.

        Raises Conflict, Repeated, Refused (a name is taken), Unavailable or OutcomeUnknown.
        """
        ...

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[Recorded[Any]]:
        """The events of the versions after `after`, in order."""
        ...

    async def find(self, command_id: str) -> Commit | None:
        """Where this command was recorded, if it was."""
        ...

    async def note(self, stream: str, version: int, cause: Cause) -> None:
        """Remember for a while the answer to a command that recorded nothing. Raises Repeated, Unavailable."""
        ...

    async def noted(self, command_id: str) -> Commit | None: ...
