"""Static analysis of functions: which messages they send and which events they match."""

import ast
import inspect
import sys
import textwrap
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pkgutil import walk_packages
from types import FunctionType, MethodType, ModuleType
from typing import Any

from contracts.messages import Command, Event, Message, Query
from libs.eventstore.decider import AnyCommand, InternalCommand

RequestType = type[Command] | type[Query]


def find_sent_messages(*functions: Any) -> list[RequestType]:
    """Return the commands and queries that the functions and the service functions they call construct."""
    messages = _find_message_classes(functions, ast.Call)
    return [message for message in messages if issubclass(message, Command | Query)]


def find_issued_commands(*functions: Any) -> list[type[AnyCommand]]:
    """Return the commands, internal ones included, that the functions and the service functions they call construct."""
    return [found for found in _find_message_classes(functions, ast.Call) if issubclass(found, AnyCommand)]


def find_matched_events(*functions: Any) -> list[type[Event]]:
    """Return the events in the `case` patterns of the functions and of the service functions they call."""
    return [event for event in _find_message_classes(functions, ast.MatchClass) if issubclass(event, Event)]


def find_imported_messages(package: ModuleType) -> list[RequestType]:
    modules = [import_module(module.name) for module in walk_packages(package.__path__, f"{package.__name__}.")]
    values = (value for module in modules for value in vars(module).values())
    messages = {
        message: None for message in values if isinstance(message, type) and issubclass(message, Command | Query)
    }
    return [message for message in messages if message not in (Command, Query)]


def _find_message_classes(functions: Iterable[Any], kind: type[ast.Call] | type[ast.MatchClass]) -> list[type[Any]]:
    classes: dict[type[Any], None] = {}
    for tree, scope in reachable_sources(list(functions)):
        for node in ast.walk(tree):
            if isinstance(node, kind):
                target = _resolve(node.func if isinstance(node, ast.Call) else node.cls, scope)
                if isinstance(target, type) and issubclass(target, Message | InternalCommand):
                    classes[target] = None
    return list(classes)


def reachable_sources(pending: list[Any]) -> Iterator[tuple[ast.AST, Mapping[str, Any]]]:
    """Yield syntax tree and scope of these functions and classes and, recursively, of the code of services they name."""
    seen: set[object] = set()
    while pending:
        target = pending.pop(0)
        if isinstance(target, partial):
            pending += [target.func, *(type(argument) for argument in target.args)]
        elif isinstance(target, FunctionType | MethodType | type) and _is_service_code(target) and target not in seen:
            seen.add(target)
            own = {"self": target.__self__} if isinstance(target, MethodType) else {}
            scope = ChainMap(own, vars(sys.modules[target.__module__]))
            tree = _parse_source(target)
            yield tree, scope
            pending += [_resolve(node, scope) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]


@cache
def _parse_source(target: Any) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(target)))


def _is_service_code(obj: Any) -> bool:
    return str(obj.__module__).startswith(("services.", "libs.permissions."))


def _resolve(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return scope.get(name)
        case ast.Attribute(value=value, attr=name):
            owner = _resolve(value, scope)
            return (
                getattr(owner, name, None) if isinstance(owner, ModuleType) or _is_service_code(type(owner)) else None
            )
        case _:
            return None
