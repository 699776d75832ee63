"""The log: decisions appended with an expected version, read back in order, each command at most once."""

from libs.eventstore.store import Commit, Conflict, Decision, EventStore, OutcomeUnknown, Repeated, Unavailable

__all__ = ["Commit", "Conflict", "Decision", "EventStore", "OutcomeUnknown", "Repeated", "Unavailable"]
