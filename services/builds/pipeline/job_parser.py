"""One job of the file: its keywords, read strictly; what is known but not supported is warned of, never silent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.builds import PlannedJob, PlannedVariable
from services.builds.pipeline.document.ast_nodes import (
    MappingNode,
    Node,
    as_bool,
    as_choice,
    as_commands,
    as_int,
    as_list,
    as_mapping,
    as_string,
    as_strings,
    as_text,
    fail,
    is_null,
    require_list,
)
from services.builds.pipeline.document.extends import select_inherited_variables
from services.builds.pipeline.keywords.durations import parse_duration
from services.builds.pipeline.keywords.environment import parse_environment
from services.builds.pipeline.keywords.job_resources import parse_artifacts, parse_caches, parse_image, parse_services
from services.builds.pipeline.rules import conditions
from services.builds.pipeline.rules.conditions import RuleResult
from services.builds.pipeline.variables import PipelineContext, build_variables, expand_variables, parse_variables

Warn = Callable[[str], None]

KNOWN_KEYWORDS = {
    *("stage", "script", "scripts", "before_script", "before_scripts", "after_script", "after_scripts", "variables"),
    *("image", "services", "tags", "needs", "only", "except", "rules", "when", "start_in", "allow_failure"),
    *("artifacts", "dependencies", "cache", "retry", "timeout", "parallel", "extends", "inherit", "environment"),
}
UNSUPPORTED_KEYWORDS = {
    *("interruptible", "resource_group", "coverage", "release", "inputs", "secrets", "id_tokens"),
    *(
        "identity",
        "pages",
        "publish",
        "hooks",
        "dast_configuration",
        "manual_confirmation",
        "run",
        "trigger",
        "include",
    ),
}
RETRY_REASONS = {
    *(
        "always",
        "unknown_failure",
        "script_failure",
        "api_failure",
        "stuck_or_timeout_failure",
        "runner_system_failure",
    ),
    *("runner_unsupported", "stale_schedule", "job_execution_timeout", "archived_failure", "unmet_prerequisites"),
    *("scheduler_failure", "data_integrity_failure"),
}
MAX_RETRIES = 2
MAX_TIMEOUT_SECONDS = 10 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a job needs to know of the rest of the file."""

    context: PipelineContext
    stages: tuple[str, ...]
    variables: Mapping[str, PlannedVariable]
    timeout_seconds: int  # the longest that a job may take
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Need:
    node: Node
    job: str
    optional: bool = False
    artifacts: bool = True
    matrix: Node | None = None


@dataclass(frozen=True, slots=True)
class JobDraft:
    """A job whose needs are not settled: others may be left out, or be many by `parallel`."""

    planned: PlannedJob
    node: MappingNode
    needs: tuple[Need, ...] | None
    dependencies: tuple[Node, ...] | None
    parallel: Node | None


def parse_job(name: str, job: MappingNode, file: FileSettings, warn: Warn) -> JobDraft | None:
    """None: its rules leave it out."""
    what = f"the job `{name}`"
    _warn_about_keywords(job, what, warn)
    script = as_commands(job.get("script", "scripts"), f"`script` of {what}")
    if script in ((), ("",)):
        if job.get("trigger", "run") is not None:
            warn(f"{job.place}: {what} has no script, and is left out: `trigger` and `run` are not supported")
            return None
        fail(job.place, f"{what} has no script")
    own = dict(parse_variables(job.get("variables"), f"`variables` of {what}"))
    inherited = select_inherited_variables(job, tuple(file.variables))
    variables = {key: one for key, one in file.variables.items() if key in inherited} | own
    stage = as_string(stage_node, f"`stage` of {what}") if (stage_node := job.get("stage")) is not None else "test"
    if stage not in file.stages:
        fail(
            job.position_of("stage"), f"{what} is of the stage `{stage}`, which is not one of {', '.join(file.stages)}"
        )
    values = expand_variables(
        build_variables(file.context) | {"CI_JOB_NAME": name, "CI_JOB_STAGE": stage}, variables.values()
    )
    ruling = _evaluate_rules(job, what, file.context, values, warn)
    if ruling is None:
        return None
    when, allowed = _start_condition(job, what, ruling, warn)
    if when is None:
        return None
    set_by_it = parse_environment(job.get("environment"), what, values, warn)
    retries, retry_when, retry_codes = _parse_retry(job.get("retry"), what)
    container = parse_image(job.get("image"), what, warn)
    planned = PlannedJob(
        job_id=0,
        job_uuid="",
        name=name,
        stage=stage,
        stage_place=file.stages.index(stage),
        tags=as_strings(job.get("tags"), f"`tags` of {what}"),
        image=container.name if container else None,
        timeout_seconds=_parse_timeout(job.get("timeout"), what, file.timeout_seconds, warn),
        max_attempts=file.max_attempts,
        when=when,
        allow_failure=allowed[0],
        allow_failure_codes=allowed[1],
        retries=retries,
        retry_when=retry_when,
        retry_codes=retry_codes,
        variables=tuple((variables | dict(ruling.variables) | set_by_it).values()),
        commands=(*as_commands(job.get("before_script", "before_scripts"), f"`before_script` of {what}"), *script),
        after_commands=as_commands(job.get("after_script", "after_scripts"), f"`after_script` of {what}"),
        container=container,
        services=parse_services(job.get("services"), what, warn),
        artifacts=parse_artifacts(job.get("artifacts"), what, warn),
        caches=parse_caches(job.get("cache"), what, file.context.tree, warn),
    )
    needs = ruling.needs if ruling.needs is not None else job.members.get("needs")
    fetched = job.members.get("dependencies")
    return JobDraft(
        planned,
        job,
        _parse_needs(needs, what, warn) if needs is not None else None,
        require_list(fetched, f"`dependencies` of {what}") if fetched is not None and not is_null(fetched) else None,
        job.get("parallel"),
    )


def _warn_about_keywords(job: MappingNode, what: str, warn: Warn) -> None:
    for keyword in job.members:
        if keyword in UNSUPPORTED_KEYWORDS:
            warn(f"{job.position_of(keyword)}: `{keyword}` of {what} is not supported and has no effect")
        elif keyword == "environment":
            warn(
                f"{job.position_of(keyword)}: `environment` of {what} sets variables only: what is deployed "
                f"where is not kept"
            )
        elif keyword not in KNOWN_KEYWORDS:
            warn(f"{job.position_of(keyword)}: the keyword `{keyword}` of {what} is not known and has no effect")


def _evaluate_rules(
    job: MappingNode, what: str, now: PipelineContext, values: Mapping[str, str], warn: Warn
) -> RuleResult | None:
    rules = job.get("rules")
    if rules is None:
        return RuleResult() if conditions.matches_only_except(job, what, now, values, warn) else None
    if job.get("only", "except") is not None:
        fail(job.position_of("rules"), f"{what} has `rules`, and `only` or `except` as well")
    return conditions.match_rules(rules, what, now, values, warn)


Start = Literal["on_success", "on_failure", "always", "manual"]


def _start_condition(
    job: MappingNode, what: str, ruling: RuleResult, warn: Warn
) -> tuple[Start | None, tuple[bool, tuple[int, ...]]]:
    """When it starts, None for never; and which of its failures are none of the build."""
    node = job.get("when")
    own = as_choice(node, f"`when` of {what}", conditions.WHEN_VALUES) if node is not None else "on_success"
    when = ruling.when or own
    allowed, codes = _parse_allow_failure(job.get("allow_failure"), what)
    if ruling.allow_failure is not None:
        allowed, codes = ruling.allow_failure, ()
    elif allowed is None:
        # a job that waits for somebody holds nothing up, except where a rule says so
        allowed = when == "manual" and job.get("rules") is None
    match when:
        case "on_success" | "on_failure" | "always" | "manual":
            return when, (allowed, codes)
        case "delayed":
            warn(f"{job.position_of('when')}: {what} starts without delay: `when: delayed` is not supported")
            return "on_success", (allowed, codes)
        case _:
            return None, (allowed, codes)


def _parse_allow_failure(node: Node | None, what: str) -> tuple[bool | None, tuple[int, ...]]:
    if node is None:
        return None, ()
    if not isinstance(node, MappingNode):
        return as_bool(node, f"`allow_failure` of {what}"), ()
    codes = as_list(node.get("exit_codes"))
    if not codes or set(node.members) != {"exit_codes"}:
        fail(node.place, f"`allow_failure` of {what} must be true, false, or a mapping with `exit_codes`")
    return False, tuple(as_int(code, f"`exit_codes` of {what}", 0, 255) for code in codes)


def _parse_retry(node: Node | None, what: str) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
    """How often, after which reasons, and after which exit codes whatever the reason."""
    if node is None:
        return 0, (), ()
    if not isinstance(node, MappingNode):
        return as_int(node, f"`retry` of {what}", 0, MAX_RETRIES), (), ()
    for key in node.members:
        if key not in ("max", "when", "exit_codes"):
            fail(
                node.position_of(key),
                f"`retry` of {what} has the unknown keyword `{key}`; known are max, when, exit_codes",
            )
    codes = tuple(as_int(one, f"`exit_codes` of {what}", 0, 255) for one in as_list(node.get("exit_codes")))
    most, reasons = node.get("max"), as_list(node.get("when"))
    found = tuple(as_choice(one, f"`when` in `retry` of {what}", sorted(RETRY_REASONS)) for one in reasons)
    times = as_int(most, f"`max` in `retry` of {what}", 0, MAX_RETRIES) if most is not None else MAX_RETRIES
    return (times, (), ()) if "always" in found else (times, found, codes)


def _parse_timeout(node: Node | None, what: str, limit: int, warn: Warn) -> int:
    if node is None:
        return limit
    wanted = parse_duration(as_text(node, f"`timeout` of {what}"))
    if not wanted or wanted > MAX_TIMEOUT_SECONDS:
        fail(node.place, f"`timeout` of {what} must be a length of time, for example `1h 30m`")
    if wanted > limit:
        warn(f"{node.place}: `timeout` of {what} is more than the server's limit: it is {limit} seconds")
    return min(wanted, limit)


def _parse_needs(node: Node, what: str, warn: Warn) -> tuple[Need, ...]:
    return tuple(need for one in as_list(node) if (need := _parse_need(one, what, warn)) is not None)


def _parse_need(node: Node, what: str, warn: Warn) -> Need | None:
    if not isinstance(node, MappingNode):
        return Need(node, as_text(node, f"a need of {what}"))
    for key in node.members:
        if key in ("project", "pipeline", "ref"):
            warn(
                f"{node.position_of(key)}: {what} needs a job of another pipeline: that is not supported and has "
                f"no effect"
            )
            return None
        if key not in ("job", "artifacts", "optional", "parallel"):
            fail(node.position_of(key), f"a need of {what} has the unknown keyword `{key}`")
    job = node.get("job")
    if job is None:
        fail(node.place, f"a need of {what} names no `job`")
    optional, wanted, parallel = node.get("optional"), node.get("artifacts"), node.get("parallel")
    return Need(
        node,
        as_text(job, f"a need of {what}"),
        optional is not None and as_bool(optional, "`optional`"),
        wanted is None or as_bool(wanted, "`artifacts`"),
        as_mapping(parallel, "`parallel`").get("matrix") if parallel is not None else None,
    )
