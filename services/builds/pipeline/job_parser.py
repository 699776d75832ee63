"""Parser for one job of a pipeline file. Types are checked strictly. Unsupported or unknown keywords give warnings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.builds import PlannedJob, PlannedVariable
from services.builds.pipeline.context import PipelineContext
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
from services.builds.pipeline.keywords.coverage import parse_coverage
from services.builds.pipeline.keywords.durations import parse_duration
from services.builds.pipeline.keywords.environment import parse_environment
from services.builds.pipeline.keywords.job_resources import (
    parse_artifacts,
    parse_caches,
    parse_image,
    parse_reports,
    parse_services,
)
from services.builds.pipeline.rules import conditions
from services.builds.pipeline.rules.conditions import RuleResult
from services.builds.pipeline.variables import context_values, parse_variables

Warn = Callable[[str], None]

KNOWN_KEYWORDS = {
    *("stage", "script", "scripts", "before_script", "before_scripts", "after_script", "after_scripts", "variables"),
    *("image", "services", "tags", "needs", "only", "except", "rules", "when", "start_in", "allow_failure"),
    *("artifacts", "dependencies", "cache", "retry", "timeout", "parallel", "extends", "inherit", "environment"),
    "coverage",
}
UNSUPPORTED_KEYWORDS = {
    *("interruptible", "resource_group", "release", "inputs", "secrets", "id_tokens"),
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
    context: PipelineContext
    stages: tuple[str, ...]
    variables: Mapping[str, PlannedVariable]
    timeout_seconds: int  # upper limit for the timeout of a job
    max_attempts: int
    has_workflow_rules: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """A job that another job needs, as written in the file."""

    node: Node
    job: str
    optional: bool = False
    artifacts: bool = True
    matrix: Node | None = None


@dataclass(frozen=True, slots=True)
class JobDraft:
    """A parsed job whose needs are not resolved yet, because other jobs may be left out or expanded by `parallel`."""

    planned: PlannedJob
    node: MappingNode
    needs: tuple[Need, ...] | None
    dependencies: tuple[Node, ...] | None
    parallel: Node | None


def parse_job(name: str, job: MappingNode, file: FileSettings, warn: Warn) -> JobDraft | None:
    """Parse one job. Raises SpecInvalid.

    Return None if `rules`, `only`, `except` or `when: never` excludes the job, or if it has `trigger` or `run` instead
    of a script.
    """
    label = f"the job `{name}`"
    _warn_about_keywords(job, label, warn)
    script = as_commands(job.get("script", "scripts"), f"`script` of {label}")
    if script in ((), ("",)):
        if job.get("trigger", "run") is not None:
            warn(f"{job.position}: {label} has no script, and is left out: `trigger` and `run` are not supported")
            return None
        fail(job.position, f"{label} has no script")
    job_variables = dict(parse_variables(job.get("variables"), f"`variables` of {label}"))
    inherited = select_inherited_variables(job, tuple(file.variables))
    variables = {key: variable for key, variable in file.variables.items() if key in inherited} | job_variables
    stage = as_string(stage_node, f"`stage` of {label}") if (stage_node := job.get("stage")) is not None else "test"
    if stage not in file.stages:
        fail(job.position_of("stage"), f"{label} has the stage `{stage}`, which is not one of {', '.join(file.stages)}")
    values = context_values(file.context, variables.values(), {"CI_JOB_NAME": name, "CI_JOB_STAGE": stage})
    rule = _evaluate_rules(job, label, file, values, warn)
    if rule is None:
        return None
    when, allowed = _start_condition(job, label, rule, warn)
    if when is None:
        return None
    environment_variables = parse_environment(job.get("environment"), label, values, warn)
    retries, retry_when, retry_codes = _parse_retry(job.get("retry"), label)
    container = parse_image(job.get("image"), label, warn)
    planned = PlannedJob(
        job_id=0,
        job_uuid="",
        name=name,
        stage=stage,
        stage_place=file.stages.index(stage),
        tags=as_strings(job.get("tags"), f"`tags` of {label}"),
        image=container.name if container else None,
        timeout_seconds=_parse_timeout(job.get("timeout"), label, file.timeout_seconds, warn),
        max_attempts=file.max_attempts,
        when=when,
        allow_failure=allowed[0],
        allow_failure_codes=allowed[1],
        retries=retries,
        retry_when=retry_when,
        retry_codes=retry_codes,
        variables=tuple((variables | dict(rule.variables) | environment_variables).values()),
        commands=(*as_commands(job.get("before_script", "before_scripts"), f"`before_script` of {label}"), *script),
        after_commands=as_commands(job.get("after_script", "after_scripts"), f"`after_script` of {label}"),
        container=container,
        services=parse_services(job.get("services"), label, warn),
        artifacts=parse_artifacts(job.get("artifacts"), label, warn),
        coverage=parse_coverage(job.get("coverage"), label),
        reports=parse_reports(job.get("artifacts"), label, warn),
        caches=parse_caches(job.get("cache"), label, file.context.tree, warn),
    )
    needs = rule.needs if rule.needs is not None else job.members.get("needs")
    dependencies = job.members.get("dependencies")
    return JobDraft(
        planned,
        job,
        _parse_needs(needs, label, warn) if needs is not None else None,
        require_list(dependencies, f"`dependencies` of {label}")
        if dependencies is not None and not is_null(dependencies)
        else None,
        job.get("parallel"),
    )


def _warn_about_keywords(job: MappingNode, label: str, warn: Warn) -> None:
    for keyword in job.members:
        if keyword in UNSUPPORTED_KEYWORDS:
            warn(f"{job.position_of(keyword)}: `{keyword}` of {label} is not supported and has no effect")
        elif keyword == "environment":
            warn(
                f"{job.position_of(keyword)}: `environment` of {label} only sets variables: deployments are not tracked"
            )
        elif keyword not in KNOWN_KEYWORDS:
            warn(f"{job.position_of(keyword)}: the keyword `{keyword}` of {label} is unknown and has no effect")


def _evaluate_rules(
    job: MappingNode, label: str, file: FileSettings, values: Mapping[str, str], warn: Warn
) -> RuleResult | None:
    rules = job.get("rules")
    if rules is None:
        is_included = conditions.matches_only_except(
            job, label, file.context, values, warn, has_workflow_rules=file.has_workflow_rules
        )
        return RuleResult() if is_included else None
    if job.get("only", "except") is not None:
        fail(job.position_of("rules"), f"{label} has `rules`, and `only` or `except` as well")
    return conditions.match_rules(rules, label, file.context, values, warn)


Start = Literal["on_success", "on_failure", "always", "manual"]


def _start_condition(
    job: MappingNode, label: str, rule: RuleResult, warn: Warn
) -> tuple[Start | None, tuple[bool, tuple[int, ...]]]:
    """Return when the job starts (None for never), and whether and for which exit codes it may fail."""
    node = job.get("when")
    job_when = as_choice(node, f"`when` of {label}", conditions.WHEN_VALUES) if node is not None else "on_success"
    when = rule.when or job_when
    allowed, codes = _parse_allow_failure(job.get("allow_failure"), label)
    if rule.allow_failure is not None:
        allowed, codes = rule.allow_failure, ()
    elif allowed is None:
        # a manual job does not block the pipeline, unless the job has rules
        allowed = when == "manual" and job.get("rules") is None
    match when:
        case "on_success" | "on_failure" | "always" | "manual":
            return when, (allowed, codes)
        case "delayed":
            warn(f"{job.position_of('when')}: {label} starts without delay: `when: delayed` is not supported")
            return "on_success", (allowed, codes)
        case _:
            return None, (allowed, codes)


def _parse_allow_failure(node: Node | None, label: str) -> tuple[bool | None, tuple[int, ...]]:
    if node is None:
        return None, ()
    if not isinstance(node, MappingNode):
        return as_bool(node, f"`allow_failure` of {label}"), ()
    codes = as_list(node.get("exit_codes"))
    if not codes or set(node.members) != {"exit_codes"}:
        fail(node.position, f"`allow_failure` of {label} must be true, false, or a mapping with `exit_codes`")
    return False, tuple(as_int(code, f"`exit_codes` of {label}", 0, 255) for code in codes)


def _parse_retry(node: Node | None, label: str) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
    """Return the number of retries, and the failure reasons and exit codes that allow one."""
    if node is None:
        return 0, (), ()
    if not isinstance(node, MappingNode):
        return as_int(node, f"`retry` of {label}", 0, MAX_RETRIES), (), ()
    for key in node.members:
        if key not in ("max", "when", "exit_codes"):
            fail(
                node.position_of(key),
                f"`retry` of {label} has the unknown keyword `{key}`; known are max, when, exit_codes",
            )
    codes = tuple(as_int(code, f"`exit_codes` of {label}", 0, 255) for code in as_list(node.get("exit_codes")))
    most, reasons = node.get("max"), as_list(node.get("when"))
    retry_when = tuple(as_choice(reason, f"`when` in `retry` of {label}", sorted(RETRY_REASONS)) for reason in reasons)
    times = as_int(most, f"`max` in `retry` of {label}", 0, MAX_RETRIES) if most is not None else MAX_RETRIES
    return (times, (), ()) if "always" in retry_when else (times, retry_when, codes)


def _parse_timeout(node: Node | None, label: str, limit: int, warn: Warn) -> int:
    if node is None:
        return limit
    seconds = parse_duration(as_text(node, f"`timeout` of {label}"))
    if not seconds or seconds > MAX_TIMEOUT_SECONDS:
        fail(node.position, f"`timeout` of {label} must be a duration, for example `1h 30m`")
    if seconds > limit:
        warn(f"{node.position}: `timeout` of {label} is more than the server's limit: it is {limit} seconds")
    return min(seconds, limit)


def _parse_needs(node: Node, label: str, warn: Warn) -> tuple[Need, ...]:
    return tuple(need for item in as_list(node) if (need := _parse_need(item, label, warn)) is not None)


def _parse_need(node: Node, label: str, warn: Warn) -> Need | None:
    if not isinstance(node, MappingNode):
        return Need(node, as_text(node, f"a need of {label}"))
    for key in node.members:
        if key in ("project", "pipeline", "ref"):
            warn(f"{node.position_of(key)}: {label} needs a job of another pipeline: this is not supported")
            return None
        if key not in ("job", "artifacts", "optional", "parallel"):
            fail(node.position_of(key), f"a need of {label} has the unknown keyword `{key}`")
    job = node.get("job")
    if job is None:
        fail(node.position, f"a need of {label} names no `job`")
    optional, with_artifacts, parallel = node.get("optional"), node.get("artifacts"), node.get("parallel")
    return Need(
        node,
        as_text(job, f"a need of {label}"),
        optional is not None and as_bool(optional, "`optional`"),
        with_artifacts is None or as_bool(with_artifacts, "`artifacts`"),
        as_mapping(parallel, "`parallel`").get("matrix") if parallel is not None else None,
    )
