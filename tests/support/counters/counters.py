"""The contract of the counter service."""

from typing import ClassVar

from contracts.messages import Command, Event, Query, ReadModelRow


class OpenCounter(Command):
    counter_id: str
    label: str = ""
    owner: str = ""


class RaiseCounter(Command):
    counter_id: str
    by: int = 1


class RelabelCounter(Command):
    counter_id: str
    label: str


class CloseCounter(Command):
    counter_id: str


class MirrorCounter(Command):
    counter_id: str


class GetCounter(Query):
    counter_id: str


class CounterOpened(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"owner"})

    label: str
    owner: str


class CounterRaised(Event):
    by: int


class CounterRelabelled(Event):
    before: str
    label: str


class CounterClosed(Event):
    label: str


class CounterMirrored(Event):
    pass


class CounterView(ReadModelRow):
    label: str = ""
    owner: str = ""
    value: int = 0
    closed: bool = False


class MirrorView(ReadModelRow):
    mirrored: bool = False


class LabelTotal(ReadModelRow):
    """A row of the projection `totals`: how often a counter was raised, and by how much in total."""

    raises: int = 0
    total: int = 0
