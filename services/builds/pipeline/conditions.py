"""Whether a job is in the pipeline, and how it starts: `rules`, `only` and `except`, `workflow: rules`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contracts.builds import PlannedVariable
from services.builds.pipeline.expressions import ExpressionInvalid, holds, parsed
from services.builds.pipeline.nodes import Block, Node, block, choice, flag, items, string, strings, wrong
from services.builds.pipeline.patterns import PatternInvalid, is_pattern, matches
from services.builds.pipeline.tree import GlobInvalid, any_matches
from services.builds.pipeline.variables import Situation, declared, expand

Warn = Callable[[str], None]

WHEN = ("on_success", "on_failure", "always", "manual", "delayed", "never")
RULE_KEYS = {"if", "when", "changes", "exists", "allow_failure", "variables", "needs", "start_in", "interruptible"}
SOURCES: dict[str, Callable[[Situation], bool]] = {
    "branches": lambda now: not now.is_tag,
    "tags": lambda now: now.is_tag,
    "pushes": lambda now: now.source == "push",
    "web": lambda now: now.source == "web",
    "api": lambda now: now.source == "api",
    **dict.fromkeys(
        ("merge_requests", "schedules", "triggers", "external", "pipelines", "chat", "external_pull_requests"),
        lambda _now: False,
    ),
}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the first rule that holds says; None: the job says it itself."""

    when: str | None = None
    allow_failure: bool | None = None
    variables: Mapping[str, PlannedVariable] = field(default_factory=dict)
    needs: Node | None = None


def ruled(node: Node, what: str, now: Situation, values: Mapping[str, str], warn: Warn) -> Ruling | None:
    """None: no rule holds."""
    for one in items(node, f"`rules` of {what}"):
        rule = block(one, f"a rule of {what}")
        for key in rule.members:
            if key not in RULE_KEYS:
                warn(f"{rule.at(key)}: the keyword `{key}` in a rule of {what} is not known and has no effect")
            elif key == "interruptible":
                warn(f"{rule.at(key)}: `{key}` in a rule of {what} is not supported and has no effect")
        condition = rule.get("if")
        if condition is not None and not true(condition, f"`if` of {what}", now, values):
            continue
        where = f"a rule of {what}"
        if not all(_in_tree(key, rule, where, now, values, warn) for key in ("changes", "exists")):
            continue
        when, allowed = rule.get("when"), rule.get("allow_failure")
        return Ruling(
            when=choice(when, f"`when` in a rule of {what}", WHEN) if when is not None else None,
            allow_failure=flag(allowed, f"`allow_failure` in a rule of {what}") if allowed is not None else None,
            variables=declared(rule.get("variables"), f"`variables` in a rule of {what}"),
            needs=rule.members.get("needs"),
        )
    return None


def true(node: Node, what: str, now: Situation, values: Mapping[str, str]) -> bool:
    """The project's secrets count as well, but here alone: nothing of them gets into the plan or the words about it."""
    source = string(node, what)
    try:
        parsed(source)
    except ExpressionInvalid as error:
        wrong(node.place, f"{what}: {error}")
    try:
        return holds(source, {**values, **now.secrets})
    except ExpressionInvalid as error:  # for what a variable holds
        hidden = any(name in source for name in now.secrets)
        wrong(node.place, f"{what}: {'a secret in it is not a valid pattern' if hidden else error}")


def _in_tree(
    key: str, source: Block, what: str, now: Situation, values: Mapping[str, str], warn: Warn, *, unknown: bool = True
) -> bool:
    """Whether one of the paths changed, or exists."""
    node = source.get(key)
    if node is None:
        return True
    if isinstance(node, Block):
        for other in node.members.keys() - {"paths"}:
            warn(f"{node.at(other)}: `{other}` of `{key}` in {what} is not supported and has no effect")
    listed_in = node.get("paths") if isinstance(node, Block) else node
    globs = [expand(one, values) for one in strings(listed_in, f"`{key}` in {what}")]
    paths = None if now.tree is None else now.tree.changed if key == "changes" else now.tree.blobs
    if paths is None:
        effect = "counts as fulfilled" if unknown else "has no effect"
        warn(f"{source.at(key)}: `{key}` in {what} {effect}: it is not known of this commit")
        return unknown
    try:
        return any_matches(globs, paths)
    except GlobInvalid as error:
        wrong(node.place, f"`{key}` in {what}: {error}")


def selected(job: Block, what: str, now: Situation, values: Mapping[str, str], warn: Warn) -> bool:
    """By `only` and `except`; without `only` all branches and tags."""
    only, refused = job.get("only"), job.get("except")
    if only is not None and not _chosen(only, f"`only` of {what}", now, values, warn, every=True):
        return False
    return refused is None or not _chosen(refused, f"`except` of {what}", now, values, warn, every=False)


def _chosen(node: Node, what: str, now: Situation, values: Mapping[str, str], warn: Warn, *, every: bool) -> bool:
    """`only` wants all of its kinds of conditions to hold, `except` is content with one."""
    if not isinstance(node, Block):
        return any(_is_ref(one, what, now) for one in items(node, what))
    found = []
    for key, inner in node.members.items():
        match key:
            case "refs":
                found.append(any(_is_ref(one, what, now) for one in items(inner, f"`refs` in {what}")))
            case "variables":
                found.append(
                    any(
                        true(one, f"`variables` in {what}", now, values)
                        for one in items(inner, f"`variables` in {what}")
                    )
                )
            case "changes":
                found.append(_in_tree(key, node, what, now, values, warn, unknown=every))
            case "kubernetes":
                effect = "counts as fulfilled" if every else "has no effect"
                warn(f"{node.at(key)}: `{key}` in {what} is not evaluated: it {effect}")
            case _:
                wrong(node.at(key), f"{what} has the unknown keyword `{key}`; known are refs, variables, changes")
    return all(found) if every else any(found)


def _is_ref(node: Node, what: str, now: Situation) -> bool:
    written = string(node, what)
    wanted, _, path = (written, "", "") if is_pattern(written) else written.partition("@")
    if path and path != f"{now.project.owner_alias}/{now.project.alias}":
        return False
    if wanted in SOURCES:
        return SOURCES[wanted](now)
    if not is_pattern(wanted):
        return wanted == now.ref_name
    try:
        return matches(wanted, now.ref_name)
    except PatternInvalid as error:
        wrong(node.place, f"{what}: {error}")
