"""Decisions about counters, to be appended to a store without a command."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from contracts.messages import Event
from libs.deciding import Actor, Cause, Claim
from libs.eventstore import Decision
from tests.toy.counters import CounterRaised, CounterView
from tests.toy.domain import counters

AT = datetime(2026, 11, 22, 12, 0, 0, 123000, UTC)
RAISED = CounterRaised(by=1)


def cause(command_id: str | None = None, *, repeatable: bool = False, fingerprint: str = "") -> Cause:
    actor = Actor(7, "ivan")
    return Cause(command_id or uuid4().hex, AT, actor, "RaiseCounter", "00-trace-01", repeatable, fingerprint)


def decision(
    stream: str = "counter-1",
    expected: int = 0,
    events: Sequence[Event] = (RAISED,),
    *,
    command_id: str | None = None,
    claims: Sequence[Claim] = (),
) -> Decision:
    return Decision(counters, stream, expected, events, cause(command_id), CounterView(value=expected + 1), claims)
