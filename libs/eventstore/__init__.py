"""The event store: commits appended with an expected version, read in order, each command at most once."""

from libs.eventstore.store import (
    CommitRef,
    DuplicateCommand,
    EventStore,
    OutcomeUnknown,
    PendingCommit,
    StoreUnavailable,
    WrongExpectedVersion,
)

__all__ = [
    "CommitRef",
    "DuplicateCommand",
    "EventStore",
    "OutcomeUnknown",
    "PendingCommit",
    "StoreUnavailable",
    "WrongExpectedVersion",
]
