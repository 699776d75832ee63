"""Queries over the event log: histories, states and activity. Every service answers them for its own streams."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import import_module

from pydantic import Field

from contracts.errors import RequestRejected
from contracts.messages import Message, Payload, Query

EVENT_SERVICES = ("identity", "projects", "builds", "runners", "notifications")
MAX_VERSION = 2**63 - 1
MAX_ACTIVITY = 200  # maximum number of entries in an answer to GetActivity
# name of an aggregate type in the contracts -> its released name, which paths and streams have
RELEASED_KINDS = {"concurrencygroup": "lane"}


@cache
def aggregate_types() -> Mapping[str, str]:
    """Return the service of each aggregate type, from the unions of events in the contracts, such as BuildEvent.

    The contracts are imported on first use, so that a service need not load the contracts of all other services.
    """
    types: dict[str, str] = {}
    for service in EVENT_SERVICES:
        for name, value in vars(import_module(f"contracts.{service}")).items():
            # a union of events, not an event class
            if name.endswith("Event") and getattr(value, "wire_name", "") != name:
                kind = name.removesuffix("Event").lower()
                types[RELEASED_KINDS.get(kind, kind)] = service
    return types


class PerServiceQuery(Query, wire_name="AskedEverywhere"):
    """A query that every service answers on a subject of its own."""

    @classmethod
    def subject_at(cls, service: str) -> str:
        return f"qry.{service}.{cls.wire_name}"


class GetCommandReply(PerServiceQuery, wire_name="GetAnswer"):
    """Get the reply to an earlier command. Answer: CommandReply. Errors: HISTORY_NOT_FOUND, IDEMPOTENCY_KEY_REUSED."""

    taken_by: str  # the service that handled the command
    command_id: str
    fingerprint: str  # hash of the request; another hash than at the earlier request is rejected

    def target_subject(self) -> str:
        return self.subject_at(self.taken_by)


class StreamQuery(PerServiceQuery, wire_name="AboutOne"):
    """A query about one stream, by aggregate type and id. Errors: HISTORY_KIND_UNKNOWN, HISTORY_NOT_FOUND.

    A user or runner is found by its number and by its UUID. After its deletion, only the id in the name of the stream
    finds it.
    """

    kind: str
    id: str = Field(min_length=1, max_length=255)

    def target_subject(self) -> str:
        if self.kind not in aggregate_types():
            raise RequestRejected("HISTORY_KIND_UNKNOWN", f"The kinds are {', '.join(sorted(aggregate_types()))}.")
        return self.subject_at(aggregate_types()[self.kind])


class GetHistory(StreamQuery):
    """Get the commits of a stream, by default oldest first. Answer: History. Errors: those of StreamQuery."""

    newest_first: bool = False
    after: int = Field(default=0, ge=0, le=MAX_VERSION)  # continue after this version, in the requested order
    limit: int = Field(default=100, ge=1, le=1000)


class ReadEventLog(PerServiceQuery):
    """Read a service's event log, except the latest events, in the order of time, page by page. Answer: LogPage."""

    log_of: str  # the service
    after: str = ""  # `next` of the previous page

    def target_subject(self) -> str:
        return self.subject_at(self.log_of)


class CommitPosition(Message):
    """The position of a commit in the log of its service, which is ordered by time, then version, then id."""

    at: datetime
    version: int = 0
    commit_id: str = ""


class GetActivity(PerServiceQuery):
    """List the commits of a service that match all filters that are set, newest first. Answer: Activity.

    One query examines a bounded part of the log. An answer without entries can therefore have a next page.
    """

    log_of: str  # the service
    kind: str | None = None
    actor_id: int | None = None  # number of a user; 0: runners and the system
    project_id: int | None = None  # commits of the project itself, and those with an event that contains its id
    trace_id: str | None = None
    before: CommitPosition | None = None  # list only commits before this position; None: from the end of the log
    limit: int = Field(default=100, ge=1, le=MAX_ACTIVITY)

    def target_subject(self) -> str:
        return self.subject_at(self.log_of)


class GetState(StreamQuery):
    """Get the row of a stream at a time or version. Answer: StreamState. Errors: those of StreamQuery."""

    at: datetime | None = None  # with a time zone; None: now
    version: int = Field(default=MAX_VERSION, ge=1, le=MAX_VERSION)  # the latest version to include


class ActorRef(Message):
    """The user, runner or system that issued a command."""

    id: int  # user id; 0: a runner or the system
    name: str


class EventEntry(Message):
    name: str  # event name
    data: Payload  # event fields without secrets


class HistoryEntry(Message):
    """A commit: the actor, the command and its events."""

    version: int
    at: datetime
    actor: ActorRef
    command: str
    trace_id: str
    events: tuple[EventEntry, ...]


class History(Message):
    kind: str
    id: str
    version: int  # current version of the stream
    entries: tuple[HistoryEntry, ...]  # may be fewer than requested, to limit the size
    next: int | None  # `after` of the next page; None: no more entries


class ActivityEvent(Message):
    name: str
    data: Payload | None  # event fields without secrets; None: too large for a list, see the object's history


class ActivityEntry(Message):
    """A commit in a list of the commits of a service."""

    position: CommitPosition
    stream: str
    kind: str
    id: str  # id of the object, as in the name of its stream
    actor: ActorRef
    command: str
    trace_id: str
    events: tuple[ActivityEvent, ...]


class Activity(Message):
    entries: tuple[ActivityEntry, ...]  # may be fewer than requested, although there are more
    reached: CommitPosition | None  # `before` of the next page; None: there are no older commits


class StreamState(Message):
    """The state of a stream at a point in time."""

    kind: str
    id: str
    at: datetime  # the requested time; without one, the time of the answer
    version: int
    changed_at: datetime  # when this version was recorded
    state: Payload | None  # the read model row without secrets; None: deleted


class LogEvent(Message):
    """An event as it was published: a CloudEvent in binary mode."""

    headers: Mapping[str, str]
    body: Payload


class LogPage(Message):
    events: tuple[LogEvent, ...]
    next: str  # `after` of the next page
    # None except on the last page: the pages have all events before this time; later events are in the stream
    end: datetime | None
