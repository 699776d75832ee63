"""The declarations of a service and its contract, as the document generators use them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import UnionType
from typing import Any, get_args, get_type_hints

from contracts.messages import Command, CommandReply, Event, Message, Query
from libs.eventstore.decider import Category
from libs.service.declaration import CommandFlow, Service


@dataclass(frozen=True)
class ServiceDeclaration:
    service: Service

    @property
    def name(self) -> str:
        return self.service.name

    @cached_property
    def messages(self) -> tuple[type[Message], ...]:
        """All messages of the service's contract, in source order."""
        module = import_module(f"contracts.{self.name}")
        own = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Message))
        return tuple(value for value in own if f"{value.__module__}.".startswith(f"{module.__name__}."))

    @property
    def commands(self) -> list[type[Command]]:
        return [message for message in self.messages if issubclass(message, Command)]

    @property
    def queries(self) -> list[type[Query]]:
        return [message for message in self.messages if issubclass(message, Query)]

    @property
    def events(self) -> list[type[Event]]:
        return [message for message in self.messages if issubclass(message, Event)]

    @property
    def other_messages(self) -> list[type[Message]]:
        """The messages that are not commands, queries or events, such as rows, responses and parts of messages."""
        return [message for message in self.messages if not issubclass(message, Command | Query | Event)]

    def category_of(self, event: type[Event]) -> Category[Any, Any, Any, Any] | None:
        return next((category for category in self.service.categories if event in event_types(category)), None)

    def answer_type(self, message: type[Message]) -> Any:
        """Return the type of the answer to a command or query, or None if the service does not handle the message."""
        if self._category_deciding(message):
            flow = self._flow_of(message)
            return _return_type(flow.answer) if flow and flow.answer else CommandReply
        functions = {handler.message: handler.run for handler in self.service.handlers}
        return _return_type(functions[message]) if message in functions else None

    def handled_by(self, message: type[Message]) -> str:
        """Describe how the service handles a command or query. Return "" if it does not handle the message."""
        answer = self.answer_type(message)
        if answer is None:
            return ""
        category = self._category_deciding(message)
        recorded = f"recorded in `{category.name}-<id>`, " if category else ""
        return f"{recorded}returns `{getattr(answer, '__name__', 'JSON')}`"

    def _category_deciding(self, message: type[Message]) -> Category[Any, Any, Any, Any] | None:
        flow = self._flow_of(message)
        prepared = _return_type(flow.prepare) if flow and flow.prepare else message
        # several commands that keep their type share a function, whose result is the union of them
        decided = message if message in get_args(prepared) else prepared
        return next((each for each in self.service.categories if decided in each.decider.commands), None)

    def _flow_of(self, message: type[Message]) -> CommandFlow[Any] | None:
        return next((flow for flow in self.service.command_flows if flow.command is message), None)


def _return_type(function: Any) -> Any:
    """Return the annotated type of a function's result, also of the function of a `partial`."""
    return get_type_hints(getattr(function, "func", function)).get("return")


def event_types(category: Category[Any, Any, Any, Any]) -> tuple[type[Event], ...]:
    """Return the events of a category, read from the signature of its `evolve`."""
    taken = list(get_type_hints(category.decider.evolve).values())[1]
    return get_args(taken) if isinstance(taken, UnionType) else (taken,)


def first_line(obj: object) -> str:
    """Return the first line of the object's own docstring. Inherited docstrings do not count."""
    return (vars(obj).get("__doc__") or "").strip().partition("\n")[0]


def collect_declarations(services: Iterable[Service]) -> list[ServiceDeclaration]:
    return [ServiceDeclaration(service) for service in services]


def find_unhandled(declared: Iterable[ServiceDeclaration]) -> Iterator[type[Message]]:
    for declaration in declared:
        yield from (
            message for message in (*declaration.commands, *declaration.queries) if not declaration.handled_by(message)
        )
