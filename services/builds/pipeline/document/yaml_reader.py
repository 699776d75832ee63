"""Reading YAML in safe mode, within limits: bytes, depth, aliases, and what aliases and merges unfold to."""

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

MAX_FILE_BYTES = 1024 * 1024  # bytes
MAX_DEPTH = 50
MAX_ALIASES = 1000
MAX_NODES = 100_000  # with everything that aliases and references stand for
MAX_REFERENCE_CHAIN = 10  # references to references
PLAIN_TYPES = {f"tag:yaml.org,2002:{kind}": kind for kind in ("str", "int", "float", "bool", "null")}
TEXT_TYPES = {"tag:yaml.org,2002:timestamp": "str", "tag:yaml.org,2002:value": "str", "tag:yaml.org,2002:merge": "str"}
SCALAR_TYPES = PLAIN_TYPES | TEXT_TYPES
MERGE_TAG = "tag:yaml.org,2002:merge"


def read_yaml(content: bytes, warn: Callable[[str], None], name: str = "") -> MappingNode:
    """The top of the file. Raises SpecUnreadable, or SpecInvalid with line and column; `name` of an included file."""
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
        fail(node.place, f"{called} must be a mapping of keywords and jobs")
    check_size(node)
    return node


def check_size(node: Node) -> None:
    """Refuse what a few bytes of aliases or references unfold to."""
    sizes: dict[int, tuple[int, int]] = {}

    def measured(one: Node) -> tuple[int, int]:
        """How many nodes, and how deep."""
        if id(one) not in sizes:
            inner = [measured(child) for child in _children(one)]
            sizes[id(one)] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        return sizes[id(one)]

    size, depth = measured(node)
    if size > MAX_NODES:
        fail(node.place, f"aliases and references unfold to more than {MAX_NODES} values")
    if depth > MAX_DEPTH:
        fail(node.place, f"aliases and references nest deeper than {MAX_DEPTH}")


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
        place = _position(event.start_mark, name)
        match event:
            case yaml.CollectionStartEvent():
                depth += 1
                if depth > MAX_DEPTH:
                    fail(place, f"nested deeper than {MAX_DEPTH}")
            case yaml.CollectionEndEvent():
                depth -= 1
            case yaml.AliasEvent():
                aliases += 1
                if aliases > MAX_ALIASES:
                    fail(place, f"more than {MAX_ALIASES} aliases")
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    fail(
                        place,
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
    """Of PyYAML's nodes; what an anchor names is converted once, however many aliases it has."""

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
        place = _position(source.start_mark, self._name)
        match source:
            case yaml.SequenceNode(tag="!reference"):
                return ReferenceNode(
                    place, tuple(one.value for one in source.value if isinstance(one, yaml.ScalarNode))
                )
            case yaml.ScalarNode() if source.tag in SCALAR_TYPES:
                return ScalarNode(place, source.value, SCALAR_TYPES[source.tag])
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return ListNode(place, tuple(self.convert(one) for one in source.value))
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._convert_mapping(source, place)
            case _:
                fail(place, f"the tag {source.tag} is not supported")

    def _convert_mapping(self, source: yaml.MappingNode, place: Position) -> MappingNode:
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
                self._warn(f"{at}: `{key.value}` stands here a second time; the first one has no effect")
            members[key.value], keys[key.value] = self.convert(value), at
        for other in merged:
            self._merges += len(other.members)
            if self._merges > MAX_NODES:
                fail(place, f"`<<` brings more than {MAX_NODES} values")
            members = {**other.members, **members}
            keys = {**other.keys, **keys}
        return MappingNode(place, members, keys)

    def _merge_sources(self, source: yaml.Node) -> list[MappingNode]:
        """What `<<` brings; of several mappings the first one wins."""
        found = self.convert(source)
        nodes = found.nodes if isinstance(found, ListNode) else (found,)
        for one in nodes:
            if not isinstance(one, MappingNode):
                fail(one.place, "`<<` takes a mapping, or a list of mappings")
        return [one for one in nodes if isinstance(one, MappingNode)]


def resolve_references(top: MappingNode) -> MappingNode:
    """The same with every `!reference` replaced by what it names."""
    done: dict[int, Node] = {}

    def walk(node: Node, chain: int) -> Node:
        if id(node) in done:
            return done[id(node)]
        result: Node
        match node:
            case ReferenceNode():
                if chain == MAX_REFERENCE_CHAIN:
                    fail(node.place, f"references lead in a circle, or through more than {MAX_REFERENCE_CHAIN} others")
                result = walk(_find_target(top, node), chain + 1)
            case ListNode():
                result = ListNode(node.place, tuple(walk(one, chain) for one in node.nodes))
            case MappingNode():
                result = MappingNode(
                    node.place, {key: walk(one, chain) for key, one in node.members.items()}, node.keys
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
            fail(reference.place, f"!reference [{', '.join(reference.path)}] names nothing")
        node = inner
    return node
