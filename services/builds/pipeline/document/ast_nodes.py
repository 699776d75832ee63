"""What a spec file consists of, each piece with its place, and reading it as text, number, list."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeVar

from services.builds.planning.spec import SpecInvalid

T = TypeVar("T", bound=str)

SCRIPT_LABELS = ("`script`", "`before_script`", "`after_script`")
MAX_LIST_DEPTH = 10  # lists in lists of a script, the outermost one included


class Position(NamedTuple):
    line: int
    column: int
    file: str = ""  # of the repository; empty for the spec file itself

    def __str__(self) -> str:
        return f"{self.file}: " * bool(self.file) + f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    place: Position
    text: str  # as it is written: 1.10 stays 1.10
    kind: str  # str, int, float, bool, null


@dataclass(frozen=True, slots=True)
class ListNode:
    place: Position
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class MappingNode:
    place: Position
    members: Mapping[str, "Node"]
    keys: Mapping[str, Position]

    def get(self, *names: str) -> "Node | None":
        """The first of these members that is there and not null."""
        found = (self.members.get(name) for name in names)
        return next((node for node in found if node is not None and not is_null(node)), None)

    def position_of(self, name: str) -> Position:
        return self.keys.get(name, self.place)


@dataclass(frozen=True, slots=True)
class ReferenceNode:
    """`!reference [job, keyword]`: what stands there."""

    place: Position
    path: tuple[str, ...]


Node = ScalarNode | ListNode | MappingNode | ReferenceNode


def fail(place: Position, message: str) -> NoReturn:
    raise SpecInvalid(f"{place}: {message}")


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.kind == "null"


def as_mapping(node: Node, what: str) -> MappingNode:
    if not isinstance(node, MappingNode):
        fail(node.place, f"{what} must be a mapping")
    return node


def as_text(node: Node, what: str) -> str:
    if isinstance(node, MappingNode) and what.startswith(SCRIPT_LABELS):
        fail(node.place, f"{what} must be text: a command with `: ` in it stands in quotes, or behind `|`")
    if not isinstance(node, ScalarNode) or node.kind == "null":
        fail(node.place, f"{what} must be text")
    if "\0" in node.text:
        fail(node.place, f"{what} must not contain a null character")
    return node.text


def as_string(node: Node, what: str) -> str:
    """Return a value that is text in YAML too: a number, true or false is written in quotes."""
    value = as_text(node, what)
    if isinstance(node, ScalarNode) and node.kind != "str":
        fail(node.place, f"{what} must be text: write {value[:50]} in quotes")
    return value


def as_bool(node: Node, what: str) -> bool:
    if not isinstance(node, ScalarNode) or node.kind != "bool":
        fail(node.place, f"{what} must be true or false")
    return node.text.lower() in ("true", "yes", "on")


def as_int(node: Node, what: str, lowest: int, highest: int) -> int:
    if isinstance(node, ScalarNode) and node.kind == "int" and node.text.isascii() and node.text.isdigit():
        value = int(node.text[:10])
        if lowest <= value <= highest:
            return value
    fail(node.place, f"{what} must be a whole number from {lowest} to {highest}")


def as_choice(node: Node, what: str, allowed: Sequence[T]) -> T:
    value = as_text(node, what)
    for one in allowed:
        if one == value:
            return one
    fail(node.place, f"{what} must be one of {', '.join(allowed)}")


def as_list(node: Node | None) -> tuple[Node, ...]:
    """A list, or one thing that stands for a list with it alone; lists in it (by references) are laid out flat."""
    return tuple(_flatten(node, 0)) if node is not None else ()


def require_list(node: Node | None, what: str) -> tuple[Node, ...]:
    """Return the members of a list; lists in it (by references) are laid out flat."""
    if node is not None and not isinstance(node, ListNode):
        fail(node.place, f"{what} must be a list")
    return as_list(node)


def as_texts(node: Node | None, what: str) -> tuple[str, ...]:
    """Return one value or a list of them as text, whatever its type in YAML."""
    return tuple(as_text(one, what) for one in as_list(node))


def as_strings(node: Node | None, what: str) -> tuple[str, ...]:
    return tuple(as_string(one, f"each of {what}") for one in require_list(node, what))


def as_commands(node: Node | None, what: str) -> tuple[str, ...]:
    """Return the commands of a script, which is a string or a list of strings that may contain such lists."""
    return tuple(as_string(one, what) for one in as_list(node))


def _flatten(node: Node, depth: int) -> Iterator[Node]:
    if not isinstance(node, ListNode):
        yield node
        return
    if depth >= MAX_LIST_DEPTH:
        fail(node.place, f"lists are nested deeper than {MAX_LIST_DEPTH}")
    for one in node.nodes:
        yield from _flatten(one, depth + 1)
