"""What a service is: a declaration of its streams, answers, reactions and duties, and what its functions may use."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.messages import Command, Done, Event, Message, Payload, Query, Row
from libs.clock import Clock
from libs.deciding import Actor, Category, Cause, Recorded
from libs.measuring import Measure
from libs.rows import Rows
from libs.security.sealing import Sealing
from libs.settings import Settings


class TryLater(Exception):
    """Raised by a worker: nothing is lost, come back with this event after some time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Context(Protocol):
    """What the functions of a service may use of the world. One per message: `cause` says who asks and when.

    What other replicas compare, such as a lease, goes by `clock.database_time()`, not by the time of the cause.
    """

    settings: Settings
    clock: Clock
    vault: Sealing
    cause: Cause

    def rows(self, category: str) -> Rows[Any]:
        """The rows of a category of this service, or of one of its followed views."""
        ...

    def collection(self, name: str) -> Any:
        """A collection of this service for what is no event: log chunks, presence. Majority writes."""
        ...

    async def next_id(self, kind: str) -> int:
        """The next number of its kind, from 1; numbers may be skipped, but a later one is never smaller."""
        ...

    async def new_token(self, prefix: str) -> str:
        """A token that follows from the present command: the answer to a repeated one is the same, and kept nowhere."""
        ...

    async def ask(self, query: Query) -> Payload:
        """Ask any service. Raises Refused with the code it answered, or SERVICE_UNAVAILABLE / SERVICE_TIMEOUT."""
        ...

    async def tell(self, command: Command, *, step: str = "", actor: Actor | None = None) -> Done:
        """Give a command to any service, in the name of the present cause.

        The command's id follows from the present cause, the command's name and `step`: telling twice is harmless.
        """
        ...


Prepare = Callable[[Context, Any], Awaitable[Command]]
Answer = Callable[[Context, Any], Awaitable[Message | Sequence[Message] | Payload | bytes]]
React = Callable[[Recorded[Any]], Sequence[Command]]


@dataclass(frozen=True)
class FollowedView:
    """A view over the events of one service, kept by a follower; one row per key."""

    name: str
    source: str  # the service whose events it follows
    key: Callable[[Recorded[Any]], str | None]  # which row an event belongs to; None: not of interest
    row: Row
    fold: Callable[[Any, Recorded[Any]], Any]
    version: int = 1
    indexes: tuple[tuple[str, ...], ...] = ()
    gone: Callable[[Any], bool] = field(default=lambda _row: False)  # the row is in no list


@dataclass(frozen=True)
class Worker:
    """Slow work that an event starts: at least once, on every replica, several at a time, until it returns."""

    name: str
    source: str
    events: tuple[type[Event], ...]
    work: Callable[[Context, Recorded[Any]], Awaitable[None]]
    concurrency: int = 4
    patience: float = 10.0  # seconds without a sign of life until another replica takes over
    prompt: bool = False  # start by the hint that follows the commit; the durable consumer only makes sure


@dataclass(frozen=True)
class Ticker:
    """Something looked after again and again, by one replica at a time."""

    name: str
    every: float  # seconds
    run: Callable[[Context], Awaitable[None]]


@dataclass(frozen=True)
class Service:
    """The whole of a service; `libs.runtime.run` brings it to life."""

    name: str
    categories: tuple[Category[Any, Any, Any, Any], ...]
    prepare: Mapping[type[Command], Prepare] = field(default_factory=dict)  # what a command needs before it is decided
    answers: Mapping[type[Message], Answer] = field(default_factory=dict)  # queries, and commands that record no event
    public: bool = False  # programs outside may read its events
    hints: tuple[type[Event], ...] = ()  # own events that are announced at once, ahead of the relay and at most once
    policies: Mapping[str, React] = field(default_factory=dict)  # source service -> reaction to its events
    eager: tuple[type[Event], ...] = ()  # own events whose reactions are over before the command is answered
    calls: tuple[type[Message], ...] = ()  # all that it asks and tells other services; nothing else goes out
    views: tuple[FollowedView, ...] = ()
    workers: tuple[Worker, ...] = ()
    tickers: tuple[Ticker, ...] = ()
    measures: tuple[Measure, ...] = ()
    started: Callable[[Context], Awaitable[None]] | None = None  # once per start of a process; must be idempotent
    indexes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # of its other collections
    unique_indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # documents of the same key are copies
    passing: Mapping[str, str] = field(default_factory=dict)  # collection -> field with the time when a document may go
