"""The event store: appends commits to streams at an expected version, and records each command at most once."""

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
