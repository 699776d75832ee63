"""What happened to one thing, and what it was like at a moment: every service answers it for its own streams."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import import_module

from pydantic import Field

from contracts.errors import Refused
from contracts.messages import Message, Payload, Query

CONTRACTS = ("identity", "projects", "builds", "runners", "notifications")
LARGEST_VERSION = 2**63 - 1


@cache
def kinds() -> Mapping[str, str]:
    """The kinds of streams and their services: a contract names the events of each in a union, such as BuildEvent.

    Found when somebody asks: a service that only answers need not know the contracts of all others.
    """
    return {
        name.removesuffix("Event").lower(): service
        for service in CONTRACTS
        for name, value in vars(import_module(f"contracts.{service}")).items()
        if name.endswith("Event") and getattr(value, "wire_name", "") != name
    }


class AskedEverywhere(Query):
    """A question that every service answers, each at an address of its own."""

    @classmethod
    def subject_at(cls, service: str) -> str:
        return f"qry.{service}.{cls.wire_name}"


class GetAnswer(AskedEverywhere):
    """What a command was answered that was given before. Answers Done, or HISTORY_NOT_FOUND."""

    taken_by: str  # the service
    command_id: str
    fingerprint: str  # IDEMPOTENCY_KEY_REUSED where it is not that of the request

    def address(self) -> str:
        return self.subject_at(self.taken_by)


class AboutOne(AskedEverywhere):
    """A question about one stream, by its kind and its id; a thing that also has a number or a UUID answers to both."""

    kind: str
    id: str = Field(min_length=1, max_length=255)

    def address(self) -> str:
        if self.kind not in kinds():
            raise Refused("HISTORY_KIND_UNKNOWN", f"The kinds are {', '.join(sorted(kinds()))}.")
        return self.subject_at(kinds()[self.kind])


class GetHistory(AboutOne):
    """What happened, decision by decision. Answers History, or HISTORY_NOT_FOUND."""

    newest_first: bool = False
    after: int = Field(default=0, ge=0, le=LARGEST_VERSION)  # go on behind this version, in the order asked for
    limit: int = Field(default=100, ge=1, le=1000)


class GetState(AboutOne):
    """What it was like. Answers State, or HISTORY_NOT_FOUND where it was not made yet."""

    at: datetime | None = None  # with a zone; None: now
    version: int = Field(default=LARGEST_VERSION, ge=1, le=LARGEST_VERSION)  # no later one than this


class Acting(Message):
    id: int  # 0: no user, but a runner or the system itself
    name: str


class Happened(Message):
    name: str  # of the event
    data: Payload  # its fields, without secrets


class Entry(Message):
    """One decision: who wished for what, and the events it led to."""

    version: int
    at: datetime
    actor: Acting
    command: str
    trace_id: str
    events: tuple[Happened, ...]


class History(Message):
    kind: str
    id: str
    version: int  # the newest one
    entries: tuple[Entry, ...]  # fewer than asked for, where they would be too large
    next: int | None  # what `after` is for the entries that follow; None: these are the last


class State(Message):
    kind: str
    id: str
    at: datetime  # as asked
    version: int
    changed_at: datetime  # when this version was recorded
    state: Payload | None  # the row of the main view, without secrets; None: deleted
