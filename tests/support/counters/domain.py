"""The deciders and row projections of the counter service: counters and mirrors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contracts.messages import Command, Event
from libs.eventstore.decider import Category, Decider, RecordedEvent, Release, RequestRejected, Reservation, Reserve
from tests.support.counters.counters import (
    CloseCounter,
    CounterClosed,
    CounterMirrored,
    CounterOpened,
    CounterRaised,
    CounterRelabelled,
    CounterView,
    MirrorCounter,
    MirrorView,
    OpenCounter,
    RaiseCounter,
    RelabelCounter,
)


@dataclass(frozen=True, slots=True)
class Counter:
    opened: bool = False
    closed: bool = False
    label: str = ""
    value: int = 0


def decide(counter: Counter, command: Command) -> list[Event]:
    match command:
        case OpenCounter(label=label, owner=owner) if not counter.opened:
            return [CounterOpened(label=label, owner=owner)]
        case RaiseCounter(by=by) if not counter.closed:
            return [CounterRaised(by=1) for _ in range(by)] if by <= 3 else [CounterRaised(by=by)]
        case RelabelCounter(label=label) if not counter.closed:
            return [] if label == counter.label else [CounterRelabelled(before=counter.label, label=label)]
        case CloseCounter():
            return [] if counter.closed else [CounterClosed(label=counter.label)]
        case _:
            raise RequestRejected("BUILD_STATUS", f"{type(command).__name__} on {counter}")


def evolve(counter: Counter, event: Event) -> Counter:
    match event:
        case CounterOpened(label=label):
            return replace(counter, opened=True, label=label)
        case CounterRaised(by=by):
            return replace(counter, value=counter.value + by)
        case CounterRelabelled(label=label):
            return replace(counter, label=label)
        case CounterClosed():
            return replace(counter, closed=True)
        case _:
            return counter


def reservations(_counter: Counter, event: Event) -> Sequence[Reservation]:
    match event:
        case CounterOpened(label=label) if label:
            return [Reserve(f"label:{label}", "PROJECT_ALIAS_TAKEN")]
        case CounterRelabelled(before=before, label=label):
            return [Release(f"label:{before}"), Reserve(f"label:{label}", "PROJECT_ALIAS_TAKEN")]
        case CounterClosed(label=label):
            return [Release(f"label:{label}")]
        case _:
            return ()


def project_counter(row: CounterView, recorded: RecordedEvent[Event]) -> CounterView:
    match recorded.event:
        case CounterOpened(label=label, owner=owner):
            return row.replace(label=label, owner=owner)
        case CounterRaised(by=by):
            return row.replace(value=row.value + by)
        case CounterRelabelled(label=label):
            return row.replace(label=label)
        case CounterClosed():
            return row.replace(closed=True)
        case _:
            return row


def stream_of(command: Command) -> str:
    return f"counter-{command.counter_id}"  # type: ignore[attr-defined]


counter_decider = Decider[Command, Counter, Event](
    (OpenCounter, RaiseCounter, RelabelCounter, CloseCounter), stream_of, Counter(), decide, evolve, reservations
)
counters: Category[Command, Counter, Event, CounterView] = Category(
    "counter",
    counter_decider,
    CounterView(),
    project_counter,
    indexes=(("label",), ("-value",)),
    is_deleted=lambda row: row.closed,
    is_removable=True,
)


def decide_mirror(mirrored: bool, _command: Command) -> list[Event]:
    return [] if mirrored else [CounterMirrored()]


mirrors: Category[Command, bool, Event, MirrorView] = Category(
    "mirror",
    Decider[Command, bool, Event](
        (MirrorCounter,),
        lambda command: f"mirror-{command.counter_id}",  # type: ignore[attr-defined]
        False,
        decide_mirror,
        lambda _mirrored, _event: True,
    ),
    MirrorView(),
    lambda row, _recorded: row.replace(mirrored=True),
)
