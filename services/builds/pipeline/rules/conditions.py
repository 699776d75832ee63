"""Whether a job is in the pipeline, and how it starts: `rules`, `only` and `except`, `workflow: rules`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contracts.builds import PlannedVariable
from services.builds.pipeline.document.ast_nodes import (
    MappingNode,
    Node,
    as_bool,
    as_choice,
    as_mapping,
    as_string,
    as_strings,
    fail,
    require_list,
)
from services.builds.pipeline.rules.expressions import ExpressionInvalid, evaluate, parse_expression
from services.builds.pipeline.rules.patterns import PatternInvalid, is_pattern, matches_pattern
from services.builds.pipeline.rules.repository_tree import GlobInvalid, matches_any
from services.builds.pipeline.variables import PipelineContext, expand, parse_variables

Warn = Callable[[str], None]

WHEN_VALUES = ("on_success", "on_failure", "always", "manual", "delayed", "never")
RULE_KEYS = {"if", "when", "changes", "exists", "allow_failure", "variables", "needs", "start_in", "interruptible"}
REF_CONDITIONS: dict[str, Callable[[PipelineContext], bool]] = {
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
class RuleResult:
    """What the first rule that holds says; None: the job says it itself."""

    when: str | None = None
    allow_failure: bool | None = None
    variables: Mapping[str, PlannedVariable] = field(default_factory=dict)
    needs: Node | None = None


def match_rules(
    node: Node, what: str, now: PipelineContext, values: Mapping[str, str], warn: Warn
) -> RuleResult | None:
    """None: no rule holds."""
    for one in require_list(node, f"`rules` of {what}"):
        rule = as_mapping(one, f"a rule of {what}")
        for key in rule.members:
            if key not in RULE_KEYS:
                warn(f"{rule.position_of(key)}: the keyword `{key}` in a rule of {what} is not known and has no effect")
            elif key == "interruptible":
                warn(f"{rule.position_of(key)}: `{key}` in a rule of {what} is not supported and has no effect")
        condition = rule.get("if")
        if condition is not None and not evaluate_if(condition, f"`if` of {what}", now, values):
            continue
        where = f"a rule of {what}"
        if not all(_matches_tree(key, rule, where, now, values, warn) for key in ("changes", "exists")):
            continue
        when, allowed = rule.get("when"), rule.get("allow_failure")
        return RuleResult(
            when=as_choice(when, f"`when` in a rule of {what}", WHEN_VALUES) if when is not None else None,
            allow_failure=as_bool(allowed, f"`allow_failure` in a rule of {what}") if allowed is not None else None,
            variables=parse_variables(rule.get("variables"), f"`variables` in a rule of {what}"),
            needs=rule.members.get("needs"),
        )
    return None


def evaluate_if(node: Node, what: str, now: PipelineContext, values: Mapping[str, str]) -> bool:
    """The project's secrets count as well, but here alone: nothing of them gets into the plan or the words about it."""
    source = as_string(node, what)
    try:
        parse_expression(source)
    except ExpressionInvalid as error:
        fail(node.place, f"{what}: {error}")
    try:
        return evaluate(source, {**values, **now.secrets})
    except ExpressionInvalid as error:  # for what a variable holds
        hidden = any(name in source for name in now.secrets)
        fail(node.place, f"{what}: {'a secret in it is not a valid pattern' if hidden else error}")


def _matches_tree(
    key: str,
    source: MappingNode,
    what: str,
    now: PipelineContext,
    values: Mapping[str, str],
    warn: Warn,
    *,
    unknown: bool = True,
) -> bool:
    """Whether one of the paths changed, or exists."""
    node = source.get(key)
    if node is None:
        return True
    if isinstance(node, MappingNode):
        for other in node.members.keys() - {"paths"}:
            warn(f"{node.position_of(other)}: `{other}` of `{key}` in {what} is not supported and has no effect")
    listed_in = node.get("paths") if isinstance(node, MappingNode) else node
    globs = [expand(one, values) for one in as_strings(listed_in, f"`{key}` in {what}")]
    paths = None if now.tree is None else now.tree.changed_paths if key == "changes" else now.tree.blobs
    if paths is None:
        effect = "counts as fulfilled" if unknown else "has no effect"
        warn(f"{source.position_of(key)}: `{key}` in {what} {effect}: it is not known of this commit")
        return unknown
    try:
        return matches_any(globs, paths)
    except GlobInvalid as error:
        fail(node.place, f"`{key}` in {what}: {error}")


def matches_only_except(
    job: MappingNode, what: str, now: PipelineContext, values: Mapping[str, str], warn: Warn
) -> bool:
    """By `only` and `except`; without `only` all branches and tags."""
    only, refused = job.get("only"), job.get("except")
    if only is not None and not _matches_selector(only, f"`only` of {what}", now, values, warn, every=True):
        return False
    return refused is None or not _matches_selector(refused, f"`except` of {what}", now, values, warn, every=False)


def _matches_selector(
    node: Node, what: str, now: PipelineContext, values: Mapping[str, str], warn: Warn, *, every: bool
) -> bool:
    """`only` wants all of its kinds of conditions to hold, `except` is content with one."""
    if not isinstance(node, MappingNode):
        return any(_matches_ref(one, what, now) for one in require_list(node, what))
    found = []
    for key, inner in node.members.items():
        match key:
            case "refs":
                found.append(any(_matches_ref(one, what, now) for one in require_list(inner, f"`refs` in {what}")))
            case "variables":
                found.append(
                    any(
                        evaluate_if(one, f"`variables` in {what}", now, values)
                        for one in require_list(inner, f"`variables` in {what}")
                    )
                )
            case "changes":
                found.append(_matches_tree(key, node, what, now, values, warn, unknown=every))
            case "kubernetes":
                effect = "counts as fulfilled" if every else "has no effect"
                warn(f"{node.position_of(key)}: `{key}` in {what} is not evaluated: it {effect}")
            case _:
                fail(
                    node.position_of(key), f"{what} has the unknown keyword `{key}`; known are refs, variables, changes"
                )
    return all(found) if every else any(found)


def _matches_ref(node: Node, what: str, now: PipelineContext) -> bool:
    written = as_string(node, what)
    wanted, _, path = (written, "", "") if is_pattern(written) else written.partition("@")
    if path and path != f"{now.project.owner_alias}/{now.project.alias}":
        return False
    if wanted in REF_CONDITIONS:
        return REF_CONDITIONS[wanted](now)
    if not is_pattern(wanted):
        return wanted == now.ref_name
    try:
        return matches_pattern(wanted, now.ref_name)
    except PatternInvalid as error:
        fail(node.place, f"{what}: {error}")
