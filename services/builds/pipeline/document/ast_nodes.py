"""Syntax tree of a pipeline file: nodes with their position, and conversions to text, numbers and lists."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeVar

from services.builds.planning.spec import SpecInvalid

T = TypeVar("T", bound=str)

SCRIPT_LABELS = ("`script`", "`before_script`", "`after_script`")
MAX_LIST_DEPTH = 10  # levels of nested lists, including the outermost list


class Position(NamedTuple):
    """Line and column in a file, counted from 1."""

    line: int
    column: int
    file: str = ""  # path in the repository; empty for the spec file itself

    def __str__(self) -> str:
        return f"{self.file}: " * bool(self.file) + f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    position: Position
    text: str  # as written in the file: 1.10 stays 1.10
    kind: str  # str, int, float, bool, null


@dataclass(frozen=True, slots=True)
class ListNode:
    position: Position
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class MappingNode:
    position: Position
    members: Mapping[str, "Node"]
    keys: Mapping[str, Position]

    def get(self, *names: str) -> "Node | None":
        """Return the first of these members that is present and not null, or None."""
        found = (self.members.get(name) for name in names)
        return next((node for node in found if node is not None and not is_null(node)), None)

    def position_of(self, name: str) -> Position:
        return self.keys.get(name, self.position)


@dataclass(frozen=True, slots=True)
class ReferenceNode:
    """`!reference [job, keyword]`: stands for the value of another node."""

    position: Position
    path: tuple[str, ...]


Node = ScalarNode | ListNode | MappingNode | ReferenceNode


def fail(position: Position, message: str) -> NoReturn:
    raise SpecInvalid(f"{position}: {message}")


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.kind == "null"


def as_mapping(node: Node, label: str) -> MappingNode:
    if not isinstance(node, MappingNode):
        fail(node.position, f"{label} must be a mapping")
    return node


def as_text(node: Node, label: str) -> str:
    if isinstance(node, MappingNode) and label.startswith(SCRIPT_LABELS):
        fail(node.position, f"{label} must be text: put a command that contains `: ` in quotes, or use `|`")
    if not isinstance(node, ScalarNode) or node.kind == "null":
        fail(node.position, f"{label} must be text")
    if "\0" in node.text:
        fail(node.position, f"{label} must not contain a null character")
    return node.text


def as_string(node: Node, label: str) -> str:
    """Return a value that is a string in YAML. Numbers and booleans must be quoted."""
    value = as_text(node, label)
    if isinstance(node, ScalarNode) and node.kind != "str":
        fail(node.position, f"{label} must be text: write {value[:50]} in quotes")
    return value


def as_bool(node: Node, label: str) -> bool:
    if not isinstance(node, ScalarNode) or node.kind != "bool":
        fail(node.position, f"{label} must be true or false")
    return node.text.lower() in ("true", "yes", "on")


def as_int(node: Node, label: str, lowest: int, highest: int) -> int:
    if isinstance(node, ScalarNode) and node.kind == "int" and node.text.isascii() and node.text.isdigit():
        value = int(node.text[:10])
        if lowest <= value <= highest:
            return value
    fail(node.position, f"{label} must be a whole number from {lowest} to {highest}")


def as_choice(node: Node, label: str, allowed: Sequence[T]) -> T:
    value = as_text(node, label)
    for option in allowed:
        if option == value:
            return option
    fail(node.position, f"{label} must be one of {', '.join(allowed)}")


def as_list(node: Node | None) -> tuple[Node, ...]:
    """Return the members of a list, or a single value as a list of one.

    Nested lists (from references) are flattened.
    """
    return tuple(_flatten(node, 0)) if node is not None else ()


def require_list(node: Node | None, label: str) -> tuple[Node, ...]:
    """Return the members of a list.

    Nested lists (from references) are flattened. Raises SpecInvalid for other types.
    """
    if node is not None and not isinstance(node, ListNode):
        fail(node.position, f"{label} must be a list")
    return as_list(node)


def as_texts(node: Node | None, label: str) -> tuple[str, ...]:
    """Return one value, or a list of values, as text. Numbers and booleans are accepted."""
    return tuple(as_text(item, label) for item in as_list(node))


def as_strings(node: Node | None, label: str) -> tuple[str, ...]:
    return tuple(as_string(item, f"each of {label}") for item in require_list(node, label))


def as_commands(node: Node | None, label: str) -> tuple[str, ...]:
    """Return the commands of a script: a string, or a possibly nested list of strings."""
    return tuple(as_string(item, label) for item in as_list(node))


def _flatten(node: Node, depth: int) -> Iterator[Node]:
    if not isinstance(node, ListNode):
        yield node
        return
    if depth >= MAX_LIST_DEPTH:
        fail(node.position, f"lists are nested deeper than {MAX_LIST_DEPTH}")
    for item in node.nodes:
        yield from _flatten(item, depth + 1)
