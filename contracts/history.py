"""What happened to one thing, and what it was like at a moment: every service answers it for its own streams."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import import_module

from pydantic import Field

from contracts.errors import RequestRejected
from contracts.messages import Message, Payload, Query

EVENT_SERVICES = ("identity", "projects", "builds", "runners", "notifications")
MAX_VERSION = 2**63 - 1


@cache
def aggregate_types() -> Mapping[str, str]:
    """The kinds of streams and their services: a contract names the events of each in a union, such as BuildEvent.

    Found when somebody asks: a service that only answers need not know the contracts of all others.
    """
    return {
        name.removesuffix("Event").lower(): service
        for service in EVENT_SERVICES
        for name, value in vars(import_module(f"contracts.{service}")).items()
        if name.endswith("Event") and getattr(value, "wire_name", "") != name
    }


class PerServiceQuery(Query, wire_name="AskedEverywhere"):
    """A question that every service answers, each at an address of its own."""

    @classmethod
    def subject_at(cls, service: str) -> str:
        return f"qry.{service}.{cls.wire_name}"


class GetCommandReply(PerServiceQuery, wire_name="GetAnswer"):
    """What a command was answered that was given before. Answers Done, or HISTORY_NOT_FOUND."""

    taken_by: str  # the service
    command_id: str
    fingerprint: str  # IDEMPOTENCY_KEY_REUSED where it is not that of the request

    def target_subject(self) -> str:
        return self.subject_at(self.taken_by)


class StreamQuery(PerServiceQuery, wire_name="AboutOne"):
    """A question about one stream, by its kind and its id; a thing that also has a number or a UUID answers to both."""

    kind: str
    id: str = Field(min_length=1, max_length=255)

    def target_subject(self) -> str:
        if self.kind not in aggregate_types():
            raise RequestRejected("HISTORY_KIND_UNKNOWN", f"The kinds are {', '.join(sorted(aggregate_types()))}.")
        return self.subject_at(aggregate_types()[self.kind])


class GetHistory(StreamQuery):
    """What happened, decision by decision. Answers History, or HISTORY_NOT_FOUND."""

    newest_first: bool = False
    after: int = Field(default=0, ge=0, le=MAX_VERSION)  # go on behind this version, in the order asked for
    limit: int = Field(default=100, ge=1, le=1000)


class GetState(StreamQuery):
    """What it was like. Answers State, or HISTORY_NOT_FOUND where it was not made yet."""

    at: datetime | None = None  # with a zone; None: now
    version: int = Field(default=MAX_VERSION, ge=1, le=MAX_VERSION)  # no later one than this


class ActorRef(Message):
    id: int  # 0: no user, but a runner or the system itself
    name: str


class EventEntry(Message):
    name: str  # of the event
    data: Payload  # its fields, without secrets


class HistoryEntry(Message):
    """One decision: who wished for what, and the events it led to."""

    version: int
    at: datetime
    actor: ActorRef
    command: str
    trace_id: str
    events: tuple[EventEntry, ...]


class History(Message):
    kind: str
    id: str
    version: int  # the newest one
    entries: tuple[HistoryEntry, ...]  # fewer than asked for, where they would be too large
    next: int | None  # what `after` is for the entries that follow; None: these are the last


class StreamState(Message):
    kind: str
    id: str
    at: datetime  # as asked
    version: int
    changed_at: datetime  # when this version was recorded
    state: Payload | None  # the row of the main view, without secrets; None: deleted
