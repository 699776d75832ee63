"""What a job gets from others: `extends`, and `default` where the job says nothing itself."""

from services.builds.pipeline.merging import Merging, without
from services.builds.pipeline.nodes import Block, Items, Node, block, flag, listed, string, strings, wrong

LONGEST_CHAIN = 10
DEFAULTS = {
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


class _Extending:
    def __init__(self, top: Block) -> None:
        self._top = top
        self._done: dict[str, Block] = {}
        self._merging = Merging("extends")

    def job(self, name: str, chain: tuple[str, ...]) -> Block:
        node = self._top.members[name]
        if not isinstance(node, Block):
            wrong(node.place, f"`{name}` must be a mapping")
        parents = node.members.get("extends")
        if parents is None:
            return node
        if name in self._done:
            return self._done[name]
        if name in chain or len(chain) > LONGEST_CHAIN:
            wrong(node.at("extends"), f"`extends` of `{name}` leads in a circle, or through more than {LONGEST_CHAIN}")
        result: Block | None = None
        for one in listed(parents):
            parent = string(one, "`extends`")
            if parent not in self._top.members:
                wrong(one.place, f"`{name}` extends `{parent}`, which does not exist")
            found = self.job(parent, (*chain, name))
            result = found if result is None else self._merging.merged(result, found)
        self._done[name] = without(node if result is None else self._merging.merged(result, node), "extends")
        return self._done[name]


def extended(top: Block) -> Block:
    """The file with every `extends` carried out."""
    extending = _Extending(top)
    members: dict[str, Node] = {}
    for name, node in top.members.items():
        has_parents = isinstance(node, Block) and "extends" in node.members and name != "variables"
        members[name] = extending.job(name, ()) if has_parents else node
    return Block(top.place, members, top.keys)


def with_defaults(job: Block, top: Block, defaults: Block | None) -> Block:
    """Keywords that the job lacks, from `default` or from the top of the file."""
    wanted = _inherits(job, "default", tuple(DEFAULTS))
    members, keys = dict(job.members), dict(job.keys)
    for keyword, spellings in DEFAULTS.items():
        if keyword not in wanted or any(spelling in members for spelling in spellings):
            continue
        for source in (defaults, top):
            found = source.get(*spellings) if source is not None else None
            if found is not None and (source is defaults or keyword not in ("tags", "artifacts", "retry", "timeout")):
                members[keyword], keys[keyword] = found, found.place
                break
    return Block(job.place, members, keys)


def inherited_variables(job: Block, names: tuple[str, ...]) -> frozenset[str]:
    """Which of the variables of the file the job gets."""
    return frozenset(_inherits(job, "variables", names))


def _inherits(job: Block, kind: str, all_of_them: tuple[str, ...]) -> tuple[str, ...]:
    inherit = job.get("inherit")
    if inherit is None:
        return all_of_them
    found = block(inherit, "`inherit`")
    for key in found.members:
        if key not in ("default", "variables"):
            wrong(found.at(key), f"`inherit` has the unknown keyword `{key}`; known are default, variables")
    node = found.get(kind)
    if node is None:
        return all_of_them
    if isinstance(node, Items):
        chosen = strings(node, f"`inherit: {kind}`")
        return tuple(name for name in all_of_them if name in chosen)
    return all_of_them if flag(node, f"`inherit: {kind}`") else ()
