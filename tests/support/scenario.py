"""Given-when-then tests of deciders: given events, when a command, then events or a rejection."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from contracts.errors import RequestRejected
from contracts.messages import Event
from libs.eventstore.decider import AnyCommand, Decider


@dataclass(frozen=True)
class Outcome:
    events: Sequence[Event]
    refusal: str | None

    def then(self, *expected: Event) -> None:
        assert self.refusal is None, f"rejected with {self.refusal}"
        assert list(self.events) == list(expected)

    def then_refused(self, code: str) -> None:
        assert self.refusal == code, f"expected the rejection {code}, got {self.refusal or list(self.events)}"


@dataclass(frozen=True)
class Scenario:
    decider: Decider[Any, Any, Any]
    history: tuple[Event, ...] = ()

    def given(self, *events: Event) -> "Scenario":
        return Scenario(self.decider, self.history + events)

    def when(self, command: AnyCommand) -> Outcome:
        state = reduce(self.decider.evolve, self.history, self.decider.initial)
        try:
            return Outcome(self.decider.decide(state, command), None)
        except RequestRejected as rejected:
            return Outcome((), rejected.code)
