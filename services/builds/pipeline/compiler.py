"""Entry point of the compiler: turns the text of a pipeline file into the jobs of one build."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.builds import PlannedJob, PlannedVariable
from services.builds.pipeline import job_parser
from services.builds.pipeline.context import PipelineContext
from services.builds.pipeline.document.ast_nodes import MappingNode, Node, as_mapping, as_strings, fail, is_null
from services.builds.pipeline.document.extends import DEFAULT_KEYWORDS, apply_defaults, resolve_extends
from services.builds.pipeline.document.includes import resolve_includes
from services.builds.pipeline.document.yaml_reader import check_size, resolve_references
from services.builds.pipeline.job_parser import FileSettings, JobDraft
from services.builds.pipeline.keywords.matrix import expand_parallel
from services.builds.pipeline.keywords.needs import resolve_needs
from services.builds.pipeline.rules import conditions
from services.builds.pipeline.variables import context_values, expand, parse_variables
from services.builds.planning.spec import SpecInvalid

PIPELINE_FILE_NAMES = frozenset({".gitlab-ci.yml", ".gitlab-ci.yaml", "gitflic-ci.yaml", "gitflic-ci.yml"})
DEFAULT_STAGES = ("build", "test", "deploy")
FIRST_STAGE, LAST_STAGE = ".pre", ".post"
MAX_JOBS = 200
MAX_WARNINGS = 100
MAX_PLAN_BYTES = 512 * 1024  # limit for all jobs of a build as JSON, because one event contains them
MAX_NAME_LENGTH = 255
DEFAULT_SPELLINGS = {spelling for spellings in DEFAULT_KEYWORDS.values() for spelling in spellings}
GLOBAL_KEYWORDS = {"stages", "variables", "default", "workflow", "types", *DEFAULT_SPELLINGS} - {
    "artifacts",
    "retry",
    "timeout",
    "tags",
}
UNSUPPORTED_KEYWORDS = {"spec"}

VariablesByName = dict[str, PlannedVariable]


@dataclass(frozen=True, slots=True)
class Pipeline:
    jobs: tuple[PlannedJob, ...]  # without ids, which the planner adds
    warnings: tuple[str, ...]


def is_pipeline(spec_file_path: str) -> bool:
    return spec_file_path.rpartition("/")[2] in PIPELINE_FILE_NAMES


def compile_pipeline(content: bytes, context: PipelineContext, timeout_seconds: int, max_attempts: int) -> Pipeline:
    """Compile the file to jobs and warnings.

    Raises SpecUnreadable, SpecInvalid with line and column if they are known, and IncludesRequired if included files
    must be read first.
    """
    warnings: list[str] = []
    top = resolve_references(resolve_extends(resolve_includes(content, context, warnings.append)))
    check_size(top)
    _warn_about(top, UNSUPPORTED_KEYWORDS & top.members.keys(), "at the top", warnings)
    defaults = _parse_defaults(top, warnings)
    variables = parse_variables(top.get("variables"), "`variables`")
    allowed = _evaluate_workflow(top, context, variables, warnings)
    stages = _parse_stages(top)
    file = FileSettings(
        context, stages, variables | allowed, timeout_seconds, max_attempts, has_workflow_rules=_has_workflow_rules(top)
    )
    drafts = []
    for name, node in top.members.items():
        if _is_job(name, node, top):
            job = apply_defaults(as_mapping(node, f"the job `{name}`"), top, defaults)
            drafts.append(job_parser.parse_job(name, job, file, warnings.append))
    planned = _expand_jobs([draft for draft in drafts if draft is not None], top, context)
    ordered = resolve_needs(planned)
    if not {job.stage for job in ordered} - {FIRST_STAGE, LAST_STAGE}:
        raise SpecInvalid(
            f"the pipeline has no jobs for {context.ref_name}: `rules`, or `only` and `except`, exclude them all"
        )
    if sum(len(job.model_dump_json()) for job in ordered) > MAX_PLAN_BYTES:
        raise SpecInvalid(f"the jobs of the pipeline take more than {MAX_PLAN_BYTES // 1024} KiB together")
    return Pipeline(ordered, _truncate(warnings))


def _warn_about(source: MappingNode, keywords: Iterable[str], where: str, warnings: list[str]) -> None:
    message = "{}: `{}` {} is not supported and has no effect"
    warnings += [
        message.format(source.position_of(keyword), keyword, where)
        for keyword in sorted(keywords, key=source.position_of)
    ]


def _parse_defaults(top: MappingNode, warnings: list[str]) -> MappingNode | None:
    node = top.get("default")
    if node is None:
        return None
    defaults = as_mapping(node, "`default`")
    _warn_about(defaults, defaults.members.keys() - DEFAULT_SPELLINGS, "in `default`", warnings)
    return defaults


def _evaluate_workflow(
    top: MappingNode, context: PipelineContext, variables: VariablesByName, warnings: list[str]
) -> VariablesByName:
    """Return the variables set by `workflow: rules`. Raises SpecInvalid if the rules allow no pipeline."""
    node = top.get("workflow")
    if node is None:
        return {}
    workflow = as_mapping(node, "`workflow`")
    _warn_about(workflow, workflow.members.keys() - {"rules"}, "in `workflow`", warnings)
    rules = workflow.get("rules")
    if rules is None:
        return {}
    values = context_values(context, variables.values())
    rule = conditions.match_rules(rules, "`workflow`", context, values, warnings.append)
    if rule is None or rule.when == "never":
        raise SpecInvalid(f"{rules.position}: the rules of `workflow` allow no pipeline for {context.ref_name}")
    return dict(rule.variables)


def _has_workflow_rules(top: MappingNode) -> bool:
    workflow = top.get("workflow")
    return workflow is not None and as_mapping(workflow, "`workflow`").get("rules") is not None


def _parse_stages(top: MappingNode) -> tuple[str, ...]:
    named = as_strings(top.get("stages", "types"), "`stages`") or DEFAULT_STAGES
    middle = [stage for stage in dict.fromkeys(named) if stage not in (FIRST_STAGE, LAST_STAGE)]
    return (FIRST_STAGE, *middle, LAST_STAGE)


def _is_job(name: str, node: Node, top: MappingNode) -> bool:
    if name.startswith(".") or name in GLOBAL_KEYWORDS or name in UNSUPPORTED_KEYWORDS:
        return False
    if is_null(node) or not isinstance(node, MappingNode):
        fail(top.position_of(name), f"`{name}` is neither a known keyword nor a job: a job is a mapping")
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        fail(top.position_of(name), f"the name of a job is one line of at most {MAX_NAME_LENGTH} characters")
    return True


def _expand_jobs(
    drafts: Sequence[JobDraft], top: MappingNode, context: PipelineContext
) -> list[tuple[JobDraft, list[PlannedJob]]]:
    result = [
        (draft, [_expand_tags(job, context) for job in expand_parallel(draft.planned, draft.parallel)])
        for draft in drafts
    ]
    names = Counter(job.name for _, expanded in result for job in expanded)
    if names.total() > MAX_JOBS:
        fail(top.position, f"the pipeline has {names.total()} jobs; at most {MAX_JOBS} are allowed")
    duplicates = [name for name, times in names.items() if times > 1]
    if duplicates:
        fail(top.position, f"two jobs are named `{duplicates[0]}`")
    return result


def _expand_tags(job: PlannedJob, context: PipelineContext) -> PlannedJob:
    """Expand variables in the job's tags, among them the variables of the job's matrix."""
    if not any("$" in tag for tag in job.tags):
        return job
    values = context_values(context, job.variables, {"CI_JOB_NAME": job.name, "CI_JOB_STAGE": job.stage})
    return job.replace(tags=tuple(expand(tag, values) for tag in job.tags))


def _truncate(warnings: Sequence[str]) -> tuple[str, ...]:
    different = list(dict.fromkeys(warnings))
    more = len(different) - MAX_WARNINGS
    return (*different[:MAX_WARNINGS], *([f"... and {more} more warnings"] if more > 0 else []))
