"""Conditions for jobs, includes and pipelines: `rules`, `only` and `except`, `workflow: rules`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contracts.builds import PlannedVariable
from services.builds.pipeline.context import PipelineContext
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
from services.builds.pipeline.variables import expand, parse_variables

Warn = Callable[[str], None]

WHEN_VALUES = ("on_success", "on_failure", "always", "manual", "delayed", "never")
RULE_KEYS = {"if", "when", "changes", "exists", "allow_failure", "variables", "needs", "start_in", "interruptible"}
REF_CONDITIONS: dict[str, Callable[[PipelineContext], bool]] = {
    "branches": lambda context: context.is_branch,
    "tags": lambda context: context.is_tag,
    "pushes": lambda context: context.source == "push",
    "web": lambda context: context.source == "web",
    "api": lambda context: context.source == "api",
    "schedules": lambda context: context.source == "schedule",
    "merge_requests": lambda context: context.pull_request is not None,
    **dict.fromkeys(
        ("triggers", "external", "pipelines", "chat", "external_pull_requests"),
        lambda _context: False,
    ),
}


@dataclass(frozen=True, slots=True)
class RuleResult:
    """Result of the first matching rule. A keyword that the rule does not set is None, or empty for `variables`."""

    when: str | None = None
    allow_failure: bool | None = None
    variables: Mapping[str, PlannedVariable] = field(default_factory=dict)
    needs: Node | None = None


def match_rules(
    node: Node, label: str, context: PipelineContext, values: Mapping[str, str], warn: Warn
) -> RuleResult | None:
    """Return the result of the first rule that matches, or None if none does."""
    for item in require_list(node, f"`rules` of {label}"):
        rule = as_mapping(item, f"a rule of {label}")
        for key in rule.members:
            if key not in RULE_KEYS:
                warn(f"{rule.position_of(key)}: the keyword `{key}` in a rule of {label} is unknown and has no effect")
            elif key == "interruptible":
                warn(f"{rule.position_of(key)}: `{key}` in a rule of {label} is not supported and has no effect")
        condition = rule.get("if")
        if condition is not None and not evaluate_if(condition, f"`if` of {label}", context, values):
            continue
        where = f"a rule of {label}"
        if not all(_matches_tree(key, rule, where, context, values, warn) for key in ("changes", "exists")):
            continue
        when, allowed = rule.get("when"), rule.get("allow_failure")
        return RuleResult(
            when=as_choice(when, f"`when` in a rule of {label}", WHEN_VALUES) if when is not None else None,
            allow_failure=as_bool(allowed, f"`allow_failure` in a rule of {label}") if allowed is not None else None,
            variables=parse_variables(rule.get("variables"), f"`variables` in a rule of {label}"),
            needs=rule.members.get("needs"),
        )
    return None


def evaluate_if(node: Node, label: str, context: PipelineContext, values: Mapping[str, str]) -> bool:
    """Evaluate an `if` expression.

    It may use the project's secrets, whose values never appear in errors or in the plan.
    """
    source = as_string(node, label)
    try:
        parse_expression(source)
    except ExpressionInvalid as error:
        fail(node.position, f"{label}: {error}")
    try:
        return evaluate(source, {**values, **context.secrets})
    except ExpressionInvalid as error:  # caused by a variable's value
        hidden = any(name in source for name in context.secrets)
        fail(node.position, f"{label}: {'a secret in it is not a valid pattern' if hidden else error}")


def _matches_tree(
    key: str,
    source: MappingNode,
    label: str,
    context: PipelineContext,
    values: Mapping[str, str],
    warn: Warn,
    *,
    unknown: bool = True,
) -> bool:
    """Return whether `changes` or `exists` matches a path of the commit. A rule without the keyword matches.

    If the paths are unknown, it returns `unknown` and warns.
    """
    node = source.get(key)
    if node is None:
        return True
    if isinstance(node, MappingNode):
        for other in node.members.keys() - {"paths"}:
            warn(f"{node.position_of(other)}: `{other}` of `{key}` in {label} is not supported and has no effect")
    listed_in = node.get("paths") if isinstance(node, MappingNode) else node
    globs = [expand(glob, values) for glob in as_strings(listed_in, f"`{key}` in {label}")]
    paths = None if context.tree is None else context.tree.changed_paths if key == "changes" else context.tree.blobs
    if paths is None:
        effect = "counts as fulfilled" if unknown else "has no effect"
        warn(f"{source.position_of(key)}: `{key}` in {label} {effect}: the commit's files are unknown")
        return unknown
    try:
        return matches_any(globs, paths)
    except GlobInvalid as error:
        fail(node.position, f"`{key}` in {label}: {error}")


def matches_only_except(
    job: MappingNode,
    label: str,
    context: PipelineContext,
    values: Mapping[str, str],
    warn: Warn,
    *,
    has_workflow_rules: bool = False,
) -> bool:
    """Evaluate `only` and `except`. Without `only`, all branches and tags match.

    As in GitLab, pull requests match without `only` only in a pipeline that has `workflow: rules`.
    """
    only, excluded = job.get("only"), job.get("except")
    if only is None and context.pull_request is not None and not has_workflow_rules:
        return False
    if only is not None and not _matches_selector(only, f"`only` of {label}", context, values, warn, every=True):
        return False
    return excluded is None or not _matches_selector(
        excluded, f"`except` of {label}", context, values, warn, every=False
    )


def _matches_selector(
    node: Node, label: str, context: PipelineContext, values: Mapping[str, str], warn: Warn, *, every: bool
) -> bool:
    """Evaluate `only` or `except`. With `every`, all kinds of conditions must match. Otherwise one match is enough."""
    if not isinstance(node, MappingNode):
        return any(_matches_ref(item, label, context) for item in require_list(node, label))
    matches = []
    for key, inner in node.members.items():
        match key:
            case "refs":
                matches.append(
                    any(_matches_ref(item, label, context) for item in require_list(inner, f"`refs` in {label}"))
                )
            case "variables":
                matches.append(
                    any(
                        evaluate_if(item, f"`variables` in {label}", context, values)
                        for item in require_list(inner, f"`variables` in {label}")
                    )
                )
            case "changes":
                matches.append(_matches_tree(key, node, label, context, values, warn, unknown=every))
            case "kubernetes":
                effect = "counts as fulfilled" if every else "has no effect"
                warn(f"{node.position_of(key)}: `{key}` in {label} is not evaluated: it {effect}")
            case _:
                fail(
                    node.position_of(key),
                    f"{label} has the unknown keyword `{key}`; known are refs, variables, changes",
                )
    return all(matches) if every else any(matches)


def _matches_ref(node: Node, label: str, context: PipelineContext) -> bool:
    written = as_string(node, label)
    ref, _, path = (written, "", "") if is_pattern(written) else written.partition("@")
    if path and path != f"{context.project.owner_alias}/{context.project.alias}":
        return False
    if ref in REF_CONDITIONS:
        return REF_CONDITIONS[ref](context)
    if context.pull_request is not None:
        return False  # the author of a fork chooses the name of the source branch
    if not is_pattern(ref):
        return ref == context.ref_name
    try:
        return matches_pattern(ref, context.ref_name)
    except PatternInvalid as error:
        fail(node.position, f"{label}: {error}")
