"""Keywords that a job inherits: from other jobs by `extends`, and from `default` or the top of the file."""

from services.builds.pipeline.document.ast_nodes import (
    ListNode,
    MappingNode,
    Node,
    as_bool,
    as_list,
    as_mapping,
    as_string,
    as_strings,
    fail,
)
from services.builds.pipeline.document.deep_merge import DeepMerger, without_keyword

MAX_EXTENDS_CHAIN = 10
DEFAULT_KEYWORDS = {
    "image": ("image",),
    "services": ("services",),
    "before_script": ("before_script", "before_scripts"),
    "after_script": ("after_script", "after_scripts"),
    "tags": ("tags",),
    "cache": ("cache",),
    "artifacts": ("artifacts",),
    "retry": ("retry",),
    "timeout": ("timeout",),
}


class _ExtendsResolver:
    def __init__(self, top: MappingNode) -> None:
        self._top = top
        self._done: dict[str, MappingNode] = {}
        self._merging = DeepMerger("extends")

    def resolve_job(self, name: str, chain: tuple[str, ...]) -> MappingNode:
        node = self._top.members[name]
        if not isinstance(node, MappingNode):
            fail(node.position, f"`{name}` must be a mapping")
        parents = node.members.get("extends")
        if parents is None:
            return node
        if name in self._done:
            return self._done[name]
        if name in chain or len(chain) > MAX_EXTENDS_CHAIN:
            fail(
                node.position_of("extends"),
                f"`extends` of `{name}` forms a cycle or a chain of more than {MAX_EXTENDS_CHAIN}",
            )
        result: MappingNode | None = None
        for item in as_list(parents):
            parent = as_string(item, "`extends`")
            if parent not in self._top.members:
                fail(item.position, f"`{name}` extends `{parent}`, which does not exist")
            found = self.resolve_job(parent, (*chain, name))
            result = found if result is None else self._merging.merge(result, found)
        self._done[name] = without_keyword(node if result is None else self._merging.merge(result, node), "extends")
        return self._done[name]


def resolve_extends(top: MappingNode) -> MappingNode:
    resolver = _ExtendsResolver(top)
    members: dict[str, Node] = {}
    for name, node in top.members.items():
        has_parents = isinstance(node, MappingNode) and "extends" in node.members and name != "variables"
        members[name] = resolver.resolve_job(name, ()) if has_parents else node
    return MappingNode(top.position, members, top.keys)


def apply_defaults(job: MappingNode, top: MappingNode, defaults: MappingNode | None) -> MappingNode:
    """Return the job with missing keywords filled in from `default` or from the top of the file."""
    keywords = _inherited_names(job, "default", tuple(DEFAULT_KEYWORDS))
    members, keys = dict(job.members), dict(job.keys)
    for keyword, spellings in DEFAULT_KEYWORDS.items():
        if keyword not in keywords or any(spelling in members for spelling in spellings):
            continue
        for source in (defaults, top):
            value = source.get(*spellings) if source is not None else None
            if value is not None and (source is defaults or keyword not in ("tags", "artifacts", "retry", "timeout")):
                members[keyword], keys[keyword] = value, value.position
                break
    return MappingNode(job.position, members, keys)


def select_inherited_variables(job: MappingNode, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_inherited_names(job, "variables", names))


def _inherited_names(job: MappingNode, kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    inherit = job.get("inherit")
    if inherit is None:
        return names
    inherited = as_mapping(inherit, "`inherit`")
    for key in inherited.members:
        if key not in ("default", "variables"):
            fail(inherited.position_of(key), f"`inherit` has the unknown keyword `{key}`; known are default, variables")
    node = inherited.get(kind)
    if node is None:
        return names
    if isinstance(node, ListNode):
        chosen = as_strings(node, f"`inherit: {kind}`")
        return tuple(name for name in names if name in chosen)
    return names if as_bool(node, f"`inherit: {kind}`") else ()
