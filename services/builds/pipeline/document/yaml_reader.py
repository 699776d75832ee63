"""Safe YAML reader with limits on size, depth, aliases, and the number of values that aliases and merges expand to."""

from collections.abc import Callable, Sequence
from typing import Protocol

import yaml

from services.builds.pipeline.document.ast_nodes import (
    ListNode,
    MappingNode,
    Node,
    Position,
    ReferenceNode,
    ScalarNode,
    fail,
)
from services.builds.planning.spec import SpecInvalid, SpecUnreadable

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_ALIASES = 1000
MAX_NODES = 100_000  # number of values after expansion of aliases and references
MAX_REFERENCE_CHAIN = 10  # longest chain of references to references
PLAIN_TYPES = {f"tag:yaml.org,2002:{kind}": kind for kind in ("str", "int", "float", "bool", "null")}
TEXT_TYPES = {"tag:yaml.org,2002:timestamp": "str", "tag:yaml.org,2002:value": "str", "tag:yaml.org,2002:merge": "str"}
SCALAR_TYPES = PLAIN_TYPES | TEXT_TYPES
MERGE_TAG = "tag:yaml.org,2002:merge"


def read_yaml(content: bytes, warn: Callable[[str], None], name: str = "") -> MappingNode:
    """Parse the content of a file and return its top-level mapping.

    `name` is the path of an included file. Raises SpecUnreadable, or SpecInvalid with line and column if they are
    known.
    """
    called = f"the file {name}" if name else "the spec file"
    if len(content) > MAX_FILE_BYTES:
        raise SpecUnreadable(f"{called} is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecUnreadable(f"{called} is not UTF-8 text") from error
    try:
        _check_limits(source, name)
        top = yaml.compose(source, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{_position(mark, name)}: " if mark else ""
        raise SpecInvalid(f"{where}{called} is not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SpecInvalid(f"{called} is not YAML: {' '.join(str(error).split())[:200]}") from error
    if top is None:
        raise SpecInvalid(f"{called} is empty")
    node = _Converter(warn, name).convert(top)
    if not isinstance(node, MappingNode):
        fail(node.position, f"{called} must be a mapping of keywords and jobs")
    check_size(node)
    return node


def check_size(node: Node) -> None:
    """Raise SpecInvalid if aliases or references expand to too many values or nest too deep."""
    sizes: dict[int, tuple[int, int]] = {}

    def measure(item: Node) -> tuple[int, int]:
        if id(item) not in sizes:
            inner = [measure(child) for child in _children(item)]
            sizes[id(item)] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        return sizes[id(item)]

    size, depth = measure(node)
    if size > MAX_NODES:
        fail(node.position, f"aliases and references expand to more than {MAX_NODES} values")
    if depth > MAX_DEPTH:
        fail(node.position, f"aliases and references nest deeper than {MAX_DEPTH}")


def _children(node: Node) -> Sequence[Node]:
    match node:
        case ListNode(nodes=nodes):
            return nodes
        case MappingNode(members=members):
            return list(members.values())
        case _:
            return ()


def _check_limits(source: str, name: str) -> None:
    depth = aliases = documents = 0
    for event in yaml.parse(source, Loader=yaml.CSafeLoader):
        position = _position(event.start_mark, name)
        match event:
            case yaml.CollectionStartEvent():
                depth += 1
                if depth > MAX_DEPTH:
                    fail(position, f"nested deeper than {MAX_DEPTH}")
            case yaml.CollectionEndEvent():
                depth -= 1
            case yaml.AliasEvent():
                aliases += 1
                if aliases > MAX_ALIASES:
                    fail(position, f"more than {MAX_ALIASES} aliases")
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    fail(
                        position,
                        "a second YAML document; one is expected, and a header of `spec: inputs` is not supported",
                    )
            case _:
                pass


class _Mark(Protocol):
    line: int
    column: int


def _position(mark: _Mark | None, name: str) -> Position:
    return Position(mark.line + 1, mark.column + 1, name) if mark else Position(1, 1, name)


class _Converter:
    """Converts PyYAML nodes. An anchored node is converted once, however many aliases it has."""

    def __init__(self, warn: Callable[[str], None], name: str) -> None:
        self._warn = warn
        self._name = name
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()
        self._merges = 0

    def convert(self, source: yaml.Node) -> Node:
        if id(source) in self._open:
            fail(_position(source.start_mark, self._name), "an anchor contains itself")
        if id(source) not in self._done:
            self._open.add(id(source))
            self._done[id(source)] = self._convert(source)
            self._open.discard(id(source))
        return self._done[id(source)]

    def _convert(self, source: yaml.Node) -> Node:
        position = _position(source.start_mark, self._name)
        match source:
            case yaml.SequenceNode(tag="!reference"):
                return ReferenceNode(
                    position, tuple(item.value for item in source.value if isinstance(item, yaml.ScalarNode))
                )
            case yaml.ScalarNode() if source.tag in SCALAR_TYPES:
                return ScalarNode(position, source.value, SCALAR_TYPES[source.tag])
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return ListNode(position, tuple(self.convert(item) for item in source.value))
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._convert_mapping(source, position)
            case _:
                fail(position, f"the tag {source.tag} is not supported")

    def _convert_mapping(self, source: yaml.MappingNode, position: Position) -> MappingNode:
        members: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        merged: list[MappingNode] = []
        for key, value in source.value:
            at = _position(key.start_mark, self._name)
            if key.tag == MERGE_TAG:
                merged += self._merge_sources(value)
                continue
            if not isinstance(key, yaml.ScalarNode):
                fail(at, "a key must be text")
            if key.value in members:
                self._warn(f"{at}: `{key.value}` is a duplicate key; its first value has no effect")
            members[key.value], keys[key.value] = self.convert(value), at
        for other in merged:
            self._merges += len(other.members)
            if self._merges > MAX_NODES:
                fail(position, f"`<<` merges more than {MAX_NODES} values")
            members = {**other.members, **members}
            keys = {**other.keys, **keys}
        return MappingNode(position, members, keys)

    def _merge_sources(self, source: yaml.Node) -> list[MappingNode]:
        """Return the mappings merged by `<<`. The first one takes precedence."""
        found = self.convert(source)
        nodes = found.nodes if isinstance(found, ListNode) else (found,)
        for item in nodes:
            if not isinstance(item, MappingNode):
                fail(item.position, "`<<` takes a mapping, or a list of mappings")
        return [item for item in nodes if isinstance(item, MappingNode)]


def resolve_references(top: MappingNode) -> MappingNode:
    """Return the file with every `!reference` replaced with its target."""
    done: dict[int, Node] = {}

    def walk(node: Node, chain: int) -> Node:
        if id(node) in done:
            return done[id(node)]
        result: Node
        match node:
            case ReferenceNode():
                if chain == MAX_REFERENCE_CHAIN:
                    fail(node.position, f"references form a cycle or a chain of more than {MAX_REFERENCE_CHAIN}")
                result = walk(_find_target(top, node), chain + 1)
            case ListNode():
                result = ListNode(node.position, tuple(walk(item, chain) for item in node.nodes))
            case MappingNode():
                result = MappingNode(
                    node.position, {key: walk(item, chain) for key, item in node.members.items()}, node.keys
                )
            case ScalarNode():
                return node
        done[id(node)] = result
        return result

    found = walk(top, 0)
    check_size(found)
    return found if isinstance(found, MappingNode) else top


def _find_target(top: MappingNode, reference: ReferenceNode) -> Node:
    node: Node = top
    for name in reference.path:
        inner = node.members.get(name) if isinstance(node, MappingNode) else None
        if inner is None:
            fail(reference.position, f"!reference [{', '.join(reference.path)}] does not exist")
        node = inner
    return node
