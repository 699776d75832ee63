"""What a spec file consists of, each piece with its place, and reading it as text, number, list."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeVar

from services.builds.spec import SpecInvalid

T = TypeVar("T", bound=str)

SCRIPTS = ("`script`", "`before_script`", "`after_script`")
DEEPEST_LIST = 10  # lists in lists of a script, the outermost one included


class Place(NamedTuple):
    line: int
    column: int
    file: str = ""  # of the repository; empty for the spec file itself

    def __str__(self) -> str:
        return f"{self.file}: " * bool(self.file) + f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class Scalar:
    place: Place
    text: str  # as it is written: 1.10 stays 1.10
    kind: str  # str, int, float, bool, null


@dataclass(frozen=True, slots=True)
class Items:
    place: Place
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Block:
    place: Place
    members: Mapping[str, "Node"]
    keys: Mapping[str, Place]

    def get(self, *names: str) -> "Node | None":
        """The first of these members that is there and not null."""
        found = (self.members.get(name) for name in names)
        return next((node for node in found if node is not None and not nothing(node)), None)

    def at(self, name: str) -> Place:
        return self.keys.get(name, self.place)


@dataclass(frozen=True, slots=True)
class Reference:
    """`!reference [job, keyword]`: what stands there."""

    place: Place
    path: tuple[str, ...]


Node = Scalar | Items | Block | Reference


def wrong(place: Place, words: str) -> NoReturn:
    raise SpecInvalid(f"{place}: {words}")


def nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def block(node: Node, what: str) -> Block:
    if not isinstance(node, Block):
        wrong(node.place, f"{what} must be a mapping")
    return node


def text(node: Node, what: str) -> str:
    if isinstance(node, Block) and what.startswith(SCRIPTS):
        wrong(node.place, f"{what} must be text: a command with `: ` in it stands in quotes, or behind `|`")
    if not isinstance(node, Scalar) or node.kind == "null":
        wrong(node.place, f"{what} must be text")
    if "\0" in node.text:
        wrong(node.place, f"{what} must not contain a null character")
    return node.text


def string(node: Node, what: str) -> str:
    """Return a value that is text in YAML too: a number, true or false is written in quotes."""
    value = text(node, what)
    if isinstance(node, Scalar) and node.kind != "str":
        wrong(node.place, f"{what} must be text: write {value[:50]} in quotes")
    return value


def flag(node: Node, what: str) -> bool:
    if not isinstance(node, Scalar) or node.kind != "bool":
        wrong(node.place, f"{what} must be true or false")
    return node.text.lower() in ("true", "yes", "on")


def number(node: Node, what: str, lowest: int, highest: int) -> int:
    if isinstance(node, Scalar) and node.kind == "int" and node.text.isascii() and node.text.isdigit():
        value = int(node.text[:10])
        if lowest <= value <= highest:
            return value
    wrong(node.place, f"{what} must be a whole number from {lowest} to {highest}")


def choice(node: Node, what: str, allowed: Sequence[T]) -> T:
    value = text(node, what)
    for one in allowed:
        if one == value:
            return one
    wrong(node.place, f"{what} must be one of {', '.join(allowed)}")


def listed(node: Node | None) -> tuple[Node, ...]:
    """A list, or one thing that stands for a list with it alone; lists in it (by references) are laid out flat."""
    return tuple(_flat(node, 0)) if node is not None else ()


def items(node: Node | None, what: str) -> tuple[Node, ...]:
    """Return the members of a list; lists in it (by references) are laid out flat."""
    if node is not None and not isinstance(node, Items):
        wrong(node.place, f"{what} must be a list")
    return listed(node)


def texts(node: Node | None, what: str) -> tuple[str, ...]:
    """Return one value or a list of them as text, whatever its type in YAML."""
    return tuple(text(one, what) for one in listed(node))


def strings(node: Node | None, what: str) -> tuple[str, ...]:
    return tuple(string(one, f"each of {what}") for one in items(node, what))


def commands(node: Node | None, what: str) -> tuple[str, ...]:
    """Return the commands of a script, which is a string or a list of strings that may contain such lists."""
    return tuple(string(one, what) for one in listed(node))


def _flat(node: Node, depth: int) -> Iterator[Node]:
    if not isinstance(node, Items):
        yield node
        return
    if depth >= DEEPEST_LIST:
        wrong(node.place, f"lists are nested deeper than {DEEPEST_LIST}")
    for one in node.nodes:
        yield from _flat(one, depth + 1)
