"""One job of the file: its keywords, read strictly; what is known but not supported is warned of, never silent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.builds import PlannedJob, PlannedVariable
from services.builds.pipeline import conditions
from services.builds.pipeline.conditions import Ruling
from services.builds.pipeline.durations import seconds
from services.builds.pipeline.environment import environment
from services.builds.pipeline.equipment import artifacts, caches, image, services
from services.builds.pipeline.inheriting import inherited_variables
from services.builds.pipeline.nodes import (
    Block,
    Node,
    block,
    choice,
    commands,
    flag,
    items,
    listed,
    nothing,
    number,
    string,
    strings,
    text,
    wrong,
)
from services.builds.pipeline.variables import Situation, build_variables, declared, with_meanings

Warn = Callable[[str], None]

KNOWN = {
    *("stage", "script", "scripts", "before_script", "before_scripts", "after_script", "after_scripts", "variables"),
    *("image", "services", "tags", "needs", "only", "except", "rules", "when", "start_in", "allow_failure"),
    *("artifacts", "dependencies", "cache", "retry", "timeout", "parallel", "extends", "inherit", "environment"),
}
WITHOUT_EFFECT = {
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
REASONS = {
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
MOST_RETRIES = 2
LONGEST_TIME = 10 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class File:
    """What a job needs to know of the rest of the file."""

    now: Situation
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
class Draft:
    """A job whose needs are not settled: others may be left out, or be many by `parallel`."""

    planned: PlannedJob
    node: Block
    needs: tuple[Need, ...] | None
    dependencies: tuple[Node, ...] | None
    parallel: Node | None


def draft(name: str, job: Block, file: File, warn: Warn) -> Draft | None:
    """None: its rules leave it out."""
    what = f"the job `{name}`"
    _warn_of_keywords(job, what, warn)
    script = commands(job.get("script", "scripts"), f"`script` of {what}")
    if script in ((), ("",)):
        if job.get("trigger", "run") is not None:
            warn(f"{job.place}: {what} has no script, and is left out: `trigger` and `run` are not supported")
            return None
        wrong(job.place, f"{what} has no script")
    own = dict(declared(job.get("variables"), f"`variables` of {what}"))
    inherited = inherited_variables(job, tuple(file.variables))
    variables = {key: one for key, one in file.variables.items() if key in inherited} | own
    stage = string(stage_node, f"`stage` of {what}") if (stage_node := job.get("stage")) is not None else "test"
    if stage not in file.stages:
        wrong(job.at("stage"), f"{what} is of the stage `{stage}`, which is not one of {', '.join(file.stages)}")
    values = with_meanings(build_variables(file.now) | {"CI_JOB_NAME": name, "CI_JOB_STAGE": stage}, variables.values())
    ruling = _ruling(job, what, file.now, values, warn)
    if ruling is None:
        return None
    when, allowed = _start(job, what, ruling, warn)
    if when is None:
        return None
    set_by_it = environment(job.get("environment"), what, values, warn)
    retries, retry_when, retry_codes = _retry(job.get("retry"), what)
    container = image(job.get("image"), what, warn)
    planned = PlannedJob(
        job_id=0,
        job_uuid="",
        name=name,
        stage=stage,
        stage_place=file.stages.index(stage),
        tags=strings(job.get("tags"), f"`tags` of {what}"),
        image=container.name if container else None,
        timeout_seconds=_timeout(job.get("timeout"), what, file.timeout_seconds, warn),
        max_attempts=file.max_attempts,
        when=when,
        allow_failure=allowed[0],
        allow_failure_codes=allowed[1],
        retries=retries,
        retry_when=retry_when,
        retry_codes=retry_codes,
        variables=tuple((variables | dict(ruling.variables) | set_by_it).values()),
        commands=(*commands(job.get("before_script", "before_scripts"), f"`before_script` of {what}"), *script),
        after_commands=commands(job.get("after_script", "after_scripts"), f"`after_script` of {what}"),
        container=container,
        services=services(job.get("services"), what, warn),
        artifacts=artifacts(job.get("artifacts"), what, warn),
        caches=caches(job.get("cache"), what, file.now.tree, warn),
    )
    needs = ruling.needs if ruling.needs is not None else job.members.get("needs")
    fetched = job.members.get("dependencies")
    return Draft(
        planned,
        job,
        _needs(needs, what, warn) if needs is not None else None,
        items(fetched, f"`dependencies` of {what}") if fetched is not None and not nothing(fetched) else None,
        job.get("parallel"),
    )


def _warn_of_keywords(job: Block, what: str, warn: Warn) -> None:
    for keyword in job.members:
        if keyword in WITHOUT_EFFECT:
            warn(f"{job.at(keyword)}: `{keyword}` of {what} is not supported and has no effect")
        elif keyword == "environment":
            warn(f"{job.at(keyword)}: `environment` of {what} sets variables only: what is deployed where is not kept")
        elif keyword not in KNOWN:
            warn(f"{job.at(keyword)}: the keyword `{keyword}` of {what} is not known and has no effect")


def _ruling(job: Block, what: str, now: Situation, values: Mapping[str, str], warn: Warn) -> Ruling | None:
    rules = job.get("rules")
    if rules is None:
        return Ruling() if conditions.selected(job, what, now, values, warn) else None
    if job.get("only", "except") is not None:
        wrong(job.at("rules"), f"{what} has `rules`, and `only` or `except` as well")
    return conditions.ruled(rules, what, now, values, warn)


Start = Literal["on_success", "on_failure", "always", "manual"]


def _start(job: Block, what: str, ruling: Ruling, warn: Warn) -> tuple[Start | None, tuple[bool, tuple[int, ...]]]:
    """When it starts, None for never; and which of its failures are none of the build."""
    node = job.get("when")
    own = choice(node, f"`when` of {what}", conditions.WHEN) if node is not None else "on_success"
    when = ruling.when or own
    allowed, codes = _allow_failure(job.get("allow_failure"), what)
    if ruling.allow_failure is not None:
        allowed, codes = ruling.allow_failure, ()
    elif allowed is None:
        # a job that waits for somebody holds nothing up, except where a rule says so
        allowed = when == "manual" and job.get("rules") is None
    match when:
        case "on_success" | "on_failure" | "always" | "manual":
            return when, (allowed, codes)
        case "delayed":
            warn(f"{job.at('when')}: {what} starts without delay: `when: delayed` is not supported")
            return "on_success", (allowed, codes)
        case _:
            return None, (allowed, codes)


def _allow_failure(node: Node | None, what: str) -> tuple[bool | None, tuple[int, ...]]:
    if node is None:
        return None, ()
    if not isinstance(node, Block):
        return flag(node, f"`allow_failure` of {what}"), ()
    codes = listed(node.get("exit_codes"))
    if not codes or set(node.members) != {"exit_codes"}:
        wrong(node.place, f"`allow_failure` of {what} must be true, false, or a mapping with `exit_codes`")
    return False, tuple(number(code, f"`exit_codes` of {what}", 0, 255) for code in codes)


def _retry(node: Node | None, what: str) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
    """How often, after which reasons, and after which exit codes whatever the reason."""
    if node is None:
        return 0, (), ()
    if not isinstance(node, Block):
        return number(node, f"`retry` of {what}", 0, MOST_RETRIES), (), ()
    for key in node.members:
        if key not in ("max", "when", "exit_codes"):
            wrong(node.at(key), f"`retry` of {what} has the unknown keyword `{key}`; known are max, when, exit_codes")
    codes = tuple(number(one, f"`exit_codes` of {what}", 0, 255) for one in listed(node.get("exit_codes")))
    most, reasons = node.get("max"), listed(node.get("when"))
    found = tuple(choice(one, f"`when` in `retry` of {what}", sorted(REASONS)) for one in reasons)
    times = number(most, f"`max` in `retry` of {what}", 0, MOST_RETRIES) if most is not None else MOST_RETRIES
    return (times, (), ()) if "always" in found else (times, found, codes)


def _timeout(node: Node | None, what: str, limit: int, warn: Warn) -> int:
    if node is None:
        return limit
    wanted = seconds(text(node, f"`timeout` of {what}"))
    if not wanted or wanted > LONGEST_TIME:
        wrong(node.place, f"`timeout` of {what} must be a length of time, for example `1h 30m`")
    if wanted > limit:
        warn(f"{node.place}: `timeout` of {what} is more than the server's limit: it is {limit} seconds")
    return min(wanted, limit)


def _needs(node: Node, what: str, warn: Warn) -> tuple[Need, ...]:
    return tuple(need for one in listed(node) if (need := _need(one, what, warn)) is not None)


def _need(node: Node, what: str, warn: Warn) -> Need | None:
    if not isinstance(node, Block):
        return Need(node, text(node, f"a need of {what}"))
    for key in node.members:
        if key in ("project", "pipeline", "ref"):
            warn(f"{node.at(key)}: {what} needs a job of another pipeline: that is not supported and has no effect")
            return None
        if key not in ("job", "artifacts", "optional", "parallel"):
            wrong(node.at(key), f"a need of {what} has the unknown keyword `{key}`")
    job = node.get("job")
    if job is None:
        wrong(node.place, f"a need of {what} names no `job`")
    optional, wanted, parallel = node.get("optional"), node.get("artifacts"), node.get("parallel")
    return Need(
        node,
        text(job, f"a need of {what}"),
        optional is not None and flag(optional, "`optional`"),
        wanted is None or flag(wanted, "`artifacts`"),
        block(parallel, "`parallel`").get("matrix") if parallel is not None else None,
    )
