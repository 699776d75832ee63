"""What a service and its contract declare, gathered for the documents."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import UnionType
from typing import Any, get_args, get_type_hints

from contracts.messages import Command, Event, Message, Query
from libs.deciding import Category
from libs.service import Service


@dataclass(frozen=True)
class Declared:
    service: Service

    @property
    def name(self) -> str:
        return self.service.name

    @cached_property
    def messages(self) -> tuple[type[Message], ...]:
        """All that the contract of the service holds, in its order."""
        module = import_module(f"contracts.{self.name}")
        own = (one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Message))
        return tuple(one for one in own if f"{one.__module__}.".startswith(f"{module.__name__}."))

    @property
    def commands(self) -> list[type[Command]]:
        return [one for one in self.messages if issubclass(one, Command)]

    @property
    def queries(self) -> list[type[Query]]:
        return [one for one in self.messages if issubclass(one, Query)]

    @property
    def events(self) -> list[type[Event]]:
        return [one for one in self.messages if issubclass(one, Event)]

    @property
    def parts(self) -> list[type[Message]]:
        """Rows, answers and what other messages are made of."""
        return [one for one in self.messages if not issubclass(one, Command | Query | Event)]

    def category_of(self, event: type[Event]) -> Category[Any, Any, Any, Any] | None:
        return next((one for one in self.service.categories if event in events_of(one)), None)

    def taken_by(self, message: type[Message]) -> str:
        """Who answers it and with what; empty when nobody does."""
        for category in self.service.categories:
            if message in category.decider.commands:
                return f"recorded in `{category.name}-<id>`, answers `Done`"
        if message in self.service.answers:
            function = self.service.answers[message]
            hints = get_type_hints(getattr(function, "func", function))
            return f"answers `{getattr(hints.get('return'), '__name__', 'JSON')}`"
        return ""


def events_of(category: Category[Any, Any, Any, Any]) -> tuple[type[Event], ...]:
    """The events of a kind of stream: what its `evolve` takes."""
    taken = list(get_type_hints(category.decider.evolve).values())[1]
    return get_args(taken) if isinstance(taken, UnionType) else (taken,)


def first_line(described: object) -> str:
    """Of its own docstring, not of its parent's."""
    return (vars(described).get("__doc__") or "").strip().partition("\n")[0]


def gather(services: Iterable[Service]) -> list[Declared]:
    return [Declared(service) for service in services]


def unanswered(declared: Iterable[Declared]) -> Iterator[type[Message]]:
    """Commands and queries of the contracts that no service takes."""
    for one in declared:
        yield from (message for message in (*one.commands, *one.queries) if not one.taken_by(message))
