"""The toy service: everything that a service can declare, once."""

from dataclasses import replace

from contracts.errors import Refused
from contracts.messages import Command, Event
from libs.deciding import Recorded
from libs.service import Context, FollowedView, Service, Ticker, Worker
from tests.toy.counters import (
    CounterOpened,
    CounterRaised,
    CounterView,
    GetCounter,
    LabelTotal,
    MirrorCounter,
    RaiseCounter,
)
from tests.toy.domain import counters, mirrors, show


def counter_id(recorded: Recorded[CounterOpened]) -> str:
    return recorded.stream.removeprefix("counter-")


async def get_counter(context: Context, query: GetCounter) -> CounterView:
    row: CounterView | None = await context.rows("counter").get(f"counter-{query.counter_id}")
    if row is None:
        raise Refused("NOT_FOUND")
    return row


def mirror(recorded: Recorded[CounterOpened]) -> list[Command]:
    match recorded.event:
        case CounterOpened():
            return [MirrorCounter(counter_id=counter_id(recorded))]
        case _:
            return []


async def greet(context: Context, recorded: Recorded[CounterOpened]) -> None:
    await context.tell(RaiseCounter(counter_id=f"greeted-{counter_id(recorded)}"))


async def tick(context: Context) -> None:
    await context.tell(RaiseCounter(counter_id="clock"))


def total(row: LabelTotal, recorded: Recorded[CounterRaised]) -> LabelTotal:
    return row.but(raises=row.raises + 1, total=row.total + recorded.event.by)


def raised_stream(recorded: Recorded[CounterRaised]) -> str | None:
    return recorded.stream if isinstance(recorded.event, CounterRaised) else None


totals = FollowedView("totals", "counters", raised_stream, LabelTotal(), total, indexes=(("-total",),))


def declare() -> Service:
    return Service(
        "counters",
        categories=(counters, mirrors),
        answers={GetCounter: get_counter},
        policies={"counters": mirror},
        views=(totals,),
        workers=(Worker("greet", "counters", (CounterOpened,), greet, patience=2.0),),
        tickers=(Ticker("clock", 0.2, tick),),
    )


def show_doubled(row: CounterView, recorded: Recorded[Event]) -> CounterView:
    shown = show(row, recorded)
    return shown.but(value=row.value + 2 * (shown.value - row.value))


def declare_next() -> Service:
    """The next release: another fold of the rows, hence another version."""
    doubled = replace(counters, fold=show_doubled, row_version=2)
    return replace(declare(), categories=(doubled, mirrors), tickers=())
