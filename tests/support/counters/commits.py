"""Sample commits of the counter service, which tests append to an event store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from contracts.messages import Event
from libs.eventstore import PendingCommit
from libs.eventstore.decider import Actor, CommandMetadata, Reservation
from tests.support.counters.counters import CounterRaised, CounterView
from tests.support.counters.domain import counters

RECORDED_AT = datetime(2026, 11, 22, 12, 0, 0, 123000, UTC)
RAISED = CounterRaised(by=1)


def make_metadata(command_id: str | None = None, *, repeatable: bool = False, fingerprint: str = "") -> CommandMetadata:
    actor = Actor(7, "")  # names of users are not recorded
    return CommandMetadata(
        command_id or uuid4().hex, RECORDED_AT, actor, "RaiseCounter", "00-trace-01", repeatable, fingerprint
    )


def make_commit(
    stream: str = "counter-1",
    expected: int = 0,
    events: Sequence[Event] = (RAISED,),
    *,
    command_id: str | None = None,
    claims: Sequence[Reservation] = (),
) -> PendingCommit:
    return PendingCommit(
        counters, stream, expected, events, make_metadata(command_id), CounterView(value=expected + 1), claims
    )
