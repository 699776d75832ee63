"""The declaration of the counter service: a handler, a policy, a projection, a worker and a periodic task."""

from dataclasses import replace

from contracts.errors import RequestRejected
from contracts.messages import Command, Event
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Handler, PeriodicTask, Policy, Projection, Service, Worker
from tests.support.counters.counters import (
    CounterOpened,
    CounterRaised,
    CounterView,
    GetCounter,
    LabelTotal,
    MirrorCounter,
    RaiseCounter,
)
from tests.support.counters.domain import counters, mirrors, project_counter


def counter_id_of(recorded: RecordedEvent[Event]) -> str:
    return recorded.stream.removeprefix("counter-")


async def get_counter(context: Context, query: GetCounter) -> CounterView:
    row: CounterView | None = await context.read_model(CounterView).get(f"counter-{query.counter_id}")
    if row is None:
        raise RequestRejected("NOT_FOUND")
    return row


def on_counter_opened(recorded: RecordedEvent[Event]) -> list[Command]:
    match recorded.event:
        case CounterOpened():
            return [MirrorCounter(counter_id=counter_id_of(recorded))]
        case _:
            return []


async def send_greeting(context: Context, recorded: RecordedEvent[CounterOpened]) -> None:
    await context.send(RaiseCounter(counter_id=f"greeted-{counter_id_of(recorded)}"))


async def raise_clock_counter(context: Context) -> None:
    await context.send(RaiseCounter(counter_id="clock"))


def add_to_total(row: LabelTotal, recorded: RecordedEvent[CounterRaised]) -> LabelTotal:
    return row.replace(raises=row.raises + 1, total=row.total + recorded.event.by)


def total_key(recorded: RecordedEvent[Event]) -> str | None:
    return recorded.stream if isinstance(recorded.event, CounterRaised) else None


totals = Projection(
    "totals", "counters", total_key, LabelTotal(), add_to_total, indexes=(("-total",),), is_cumulative=True
)


def create_service() -> Service:
    return Service(
        "counters",
        categories=(counters, mirrors),
        handlers=(Handler(GetCounter, get_counter),),
        policies=(Policy("counters", on_counter_opened, now=True),),
        projections=(totals,),
        workers=(Worker("greet", "counters", (CounterOpened,), send_greeting, ack_wait_seconds=2.0),),
        periodic_tasks=(PeriodicTask("clock", 0.2, raise_clock_counter),),
    )


def project_doubled_counter(row: CounterView, recorded: RecordedEvent[Event]) -> CounterView:
    projected = project_counter(row, recorded)
    return projected.replace(value=row.value + 2 * (projected.value - row.value))


def create_next_release() -> Service:
    """Return the counter service of a later release, with another row version and without a periodic task."""
    doubled = replace(counters, apply=project_doubled_counter, row_version=2)
    return replace(create_service(), categories=(doubled, mirrors), periodic_tasks=())
