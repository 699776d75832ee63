"""Reading YAML in safe mode, within limits: bytes, depth, aliases, and what aliases and merges unfold to."""

from collections.abc import Callable, Sequence
from typing import Protocol

import yaml

from services.builds.pipeline.nodes import Block, Items, Node, Place, Reference, Scalar, wrong
from services.builds.spec import SpecInvalid, SpecUnreadable

LARGEST = 1024 * 1024  # bytes
DEEPEST = 50
MOST_ALIASES = 1000
MOST_NODES = 100_000  # with everything that aliases and references stand for
LONGEST_CHAIN = 10  # references to references
PLAIN = {f"tag:yaml.org,2002:{kind}": kind for kind in ("str", "int", "float", "bool", "null")}
DATES = {"tag:yaml.org,2002:timestamp": "str", "tag:yaml.org,2002:value": "str", "tag:yaml.org,2002:merge": "str"}
KINDS = PLAIN | DATES
MERGE = "tag:yaml.org,2002:merge"


def read(content: bytes, warn: Callable[[str], None], name: str = "") -> Block:
    """The top of the file. Raises SpecUnreadable, or SpecInvalid with line and column; `name` of an included file."""
    called = f"the file {name}" if name else "the spec file"
    if len(content) > LARGEST:
        raise SpecUnreadable(f"{called} is larger than {LARGEST // 1024} KiB")
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecUnreadable(f"{called} is not UTF-8 text") from error
    try:
        _within_limits(source, name)
        top = yaml.compose(source, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{_place(mark, name)}: " if mark else ""
        raise SpecInvalid(f"{where}{called} is not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SpecInvalid(f"{called} is not YAML: {' '.join(str(error).split())[:200]}") from error
    if top is None:
        raise SpecInvalid(f"{called} is empty")
    node = _Conversion(warn, name).node(top)
    if not isinstance(node, Block):
        wrong(node.place, f"{called} must be a mapping of keywords and jobs")
    limited(node)
    return node


def limited(node: Node) -> None:
    """Refuse what a few bytes of aliases or references unfold to."""
    sizes: dict[int, tuple[int, int]] = {}

    def measured(one: Node) -> tuple[int, int]:
        """How many nodes, and how deep."""
        if id(one) not in sizes:
            inner = [measured(child) for child in _children(one)]
            sizes[id(one)] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        return sizes[id(one)]

    size, depth = measured(node)
    if size > MOST_NODES:
        wrong(node.place, f"aliases and references unfold to more than {MOST_NODES} values")
    if depth > DEEPEST:
        wrong(node.place, f"aliases and references nest deeper than {DEEPEST}")


def _children(node: Node) -> Sequence[Node]:
    match node:
        case Items(nodes=nodes):
            return nodes
        case Block(members=members):
            return list(members.values())
        case _:
            return ()


def _within_limits(source: str, name: str) -> None:
    depth = aliases = documents = 0
    for event in yaml.parse(source, Loader=yaml.CSafeLoader):
        place = _place(event.start_mark, name)
        match event:
            case yaml.CollectionStartEvent():
                depth += 1
                if depth > DEEPEST:
                    wrong(place, f"nested deeper than {DEEPEST}")
            case yaml.CollectionEndEvent():
                depth -= 1
            case yaml.AliasEvent():
                aliases += 1
                if aliases > MOST_ALIASES:
                    wrong(place, f"more than {MOST_ALIASES} aliases")
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    wrong(
                        place,
                        "a second YAML document; one is expected, and a header of `spec: inputs` is not supported",
                    )
            case _:
                pass


class _Mark(Protocol):
    line: int
    column: int


def _place(mark: _Mark | None, name: str) -> Place:
    return Place(mark.line + 1, mark.column + 1, name) if mark else Place(1, 1, name)


class _Conversion:
    """Of PyYAML's nodes; what an anchor names is converted once, however many aliases it has."""

    def __init__(self, warn: Callable[[str], None], name: str) -> None:
        self._warn = warn
        self._name = name
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()
        self._merges = 0

    def node(self, source: yaml.Node) -> Node:
        if id(source) in self._open:
            wrong(_place(source.start_mark, self._name), "an anchor contains itself")
        if id(source) not in self._done:
            self._open.add(id(source))
            self._done[id(source)] = self._converted(source)
            self._open.discard(id(source))
        return self._done[id(source)]

    def _converted(self, source: yaml.Node) -> Node:
        place = _place(source.start_mark, self._name)
        match source:
            case yaml.SequenceNode(tag="!reference"):
                return Reference(place, tuple(one.value for one in source.value if isinstance(one, yaml.ScalarNode)))
            case yaml.ScalarNode() if source.tag in KINDS:
                return Scalar(place, source.value, KINDS[source.tag])
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return Items(place, tuple(self.node(one) for one in source.value))
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._block(source, place)
            case _:
                wrong(place, f"the tag {source.tag} is not supported")

    def _block(self, source: yaml.MappingNode, place: Place) -> Block:
        members: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[Block] = []
        for key, value in source.value:
            at = _place(key.start_mark, self._name)
            if key.tag == MERGE:
                merged += self._merged(value)
                continue
            if not isinstance(key, yaml.ScalarNode):
                wrong(at, "a key must be text")
            if key.value in members:
                self._warn(f"{at}: `{key.value}` stands here a second time; the first one has no effect")
            members[key.value], keys[key.value] = self.node(value), at
        for other in merged:
            self._merges += len(other.members)
            if self._merges > MOST_NODES:
                wrong(place, f"`<<` brings more than {MOST_NODES} values")
            members = {**other.members, **members}
            keys = {**other.keys, **keys}
        return Block(place, members, keys)

    def _merged(self, source: yaml.Node) -> list[Block]:
        """What `<<` brings; of several mappings the first one wins."""
        found = self.node(source)
        nodes = found.nodes if isinstance(found, Items) else (found,)
        for one in nodes:
            if not isinstance(one, Block):
                wrong(one.place, "`<<` takes a mapping, or a list of mappings")
        return [one for one in nodes if isinstance(one, Block)]


def resolved(top: Block) -> Block:
    """The same with every `!reference` replaced by what it names."""
    done: dict[int, Node] = {}

    def walk(node: Node, chain: int) -> Node:
        if id(node) in done:
            return done[id(node)]
        result: Node
        match node:
            case Reference():
                if chain == LONGEST_CHAIN:
                    wrong(node.place, f"references lead in a circle, or through more than {LONGEST_CHAIN} others")
                result = walk(_target(top, node), chain + 1)
            case Items():
                result = Items(node.place, tuple(walk(one, chain) for one in node.nodes))
            case Block():
                result = Block(node.place, {key: walk(one, chain) for key, one in node.members.items()}, node.keys)
            case Scalar():
                return node
        done[id(node)] = result
        return result

    found = walk(top, 0)
    limited(found)
    return found if isinstance(found, Block) else top


def _target(top: Block, reference: Reference) -> Node:
    node: Node = top
    for name in reference.path:
        inner = node.members.get(name) if isinstance(node, Block) else None
        if inner is None:
            wrong(reference.place, f"!reference [{', '.join(reference.path)}] names nothing")
        node = inner
    return node
