"""What a job gets from others: `extends`, and `default` where the job says nothing itself."""

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
            fail(node.place, f"`{name}` must be a mapping")
        parents = node.members.get("extends")
        if parents is None:
            return node
        if name in self._done:
            return self._done[name]
        if name in chain or len(chain) > MAX_EXTENDS_CHAIN:
            fail(
                node.position_of("extends"),
                f"`extends` of `{name}` leads in a circle, or through more than {MAX_EXTENDS_CHAIN}",
            )
        result: MappingNode | None = None
        for one in as_list(parents):
            parent = as_string(one, "`extends`")
            if parent not in self._top.members:
                fail(one.place, f"`{name}` extends `{parent}`, which does not exist")
            found = self.resolve_job(parent, (*chain, name))
            result = found if result is None else self._merging.merge(result, found)
        self._done[name] = without_keyword(node if result is None else self._merging.merge(result, node), "extends")
        return self._done[name]


def resolve_extends(top: MappingNode) -> MappingNode:
    """The file with every `extends` carried out."""
    extending = _ExtendsResolver(top)
    members: dict[str, Node] = {}
    for name, node in top.members.items():
        has_parents = isinstance(node, MappingNode) and "extends" in node.members and name != "variables"
        members[name] = extending.resolve_job(name, ()) if has_parents else node
    return MappingNode(top.place, members, top.keys)


def apply_defaults(job: MappingNode, top: MappingNode, defaults: MappingNode | None) -> MappingNode:
    """Keywords that the job lacks, from `default` or from the top of the file."""
    wanted = _inherited_names(job, "default", tuple(DEFAULT_KEYWORDS))
    members, keys = dict(job.members), dict(job.keys)
    for keyword, spellings in DEFAULT_KEYWORDS.items():
        if keyword not in wanted or any(spelling in members for spelling in spellings):
            continue
        for source in (defaults, top):
            found = source.get(*spellings) if source is not None else None
            if found is not None and (source is defaults or keyword not in ("tags", "artifacts", "retry", "timeout")):
                members[keyword], keys[keyword] = found, found.place
                break
    return MappingNode(job.place, members, keys)


def select_inherited_variables(job: MappingNode, names: tuple[str, ...]) -> frozenset[str]:
    """Which of the variables of the file the job gets."""
    return frozenset(_inherited_names(job, "variables", names))


def _inherited_names(job: MappingNode, kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    inherit = job.get("inherit")
    if inherit is None:
        return names
    found = as_mapping(inherit, "`inherit`")
    for key in found.members:
        if key not in ("default", "variables"):
            fail(found.position_of(key), f"`inherit` has the unknown keyword `{key}`; known are default, variables")
    node = found.get(kind)
    if node is None:
        return names
    if isinstance(node, ListNode):
        chosen = as_strings(node, f"`inherit: {kind}`")
        return tuple(name for name in names if name in chosen)
    return names if as_bool(node, f"`inherit: {kind}`") else ()
