"""From the text of a pipeline's spec file to the jobs of one build."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.builds import PlannedJob, PlannedVariable
from services.builds.pipeline import conditions, jobs
from services.builds.pipeline.including import included
from services.builds.pipeline.inheriting import DEFAULTS, extended, with_defaults
from services.builds.pipeline.jobs import Draft, File
from services.builds.pipeline.multiplying import instances
from services.builds.pipeline.needing import settled
from services.builds.pipeline.nodes import Block, Node, block, nothing, strings, wrong
from services.builds.pipeline.reading import limited, resolved
from services.builds.pipeline.variables import Situation, build_variables, declared, expand, with_meanings
from services.builds.spec import SpecInvalid

NAMES = frozenset({".gitlab-ci.yml", ".gitlab-ci.yaml", "gitflic-ci.yaml", "gitflic-ci.yml"})
STAGES = ("build", "test", "deploy")
FIRST, LAST = ".pre", ".post"
MOST_JOBS = 200
MOST_WARNINGS = 100
LARGEST_PLAN = 512 * 1024  # bytes of all jobs together, as events carry them
LONGEST_NAME = 255
SPELLINGS = {spelling for spellings in DEFAULTS.values() for spelling in spellings}
GLOBAL = {"stages", "variables", "default", "workflow", "types", *SPELLINGS} - {"artifacts", "retry", "timeout", "tags"}
WITHOUT_EFFECT = {"spec"}

Declared = dict[str, PlannedVariable]


@dataclass(frozen=True, slots=True)
class Pipeline:
    jobs: tuple[PlannedJob, ...]  # without numbers
    warnings: tuple[str, ...]


def is_pipeline(spec_file_path: str) -> bool:
    """Told by the name of the file alone."""
    return spec_file_path.rpartition("/")[2] in NAMES


def compile_pipeline(content: bytes, now: Situation, timeout_seconds: int, max_attempts: int) -> Pipeline:
    """Raises SpecInvalid or SpecUnreadable, whose text has line and column; FilesWanted for files that it includes."""
    warnings: list[str] = []
    top = resolved(extended(included(content, now, warnings.append)))
    limited(top)
    _warn_of(top, WITHOUT_EFFECT & top.members.keys(), "at the top", warnings)
    defaults = _defaults(top, warnings)
    variables = declared(top.get("variables"), "`variables`")
    allowed = _workflow(top, now, variables, warnings)
    stages = _stages(top)
    file = File(now, stages, variables | allowed, timeout_seconds, max_attempts)
    drafts = []
    for name, node in top.members.items():
        if _is_job(name, node, top):
            job = with_defaults(block(node, f"the job `{name}`"), top, defaults)
            drafts.append(jobs.draft(name, job, file, warnings.append))
    planned = _multiplied([one for one in drafts if one is not None], top, now)
    ordered = settled(planned)
    if not {job.stage for job in ordered} - {FIRST, LAST}:
        raise SpecInvalid(f"the pipeline has no jobs for {now.ref_name}: their rules, or `only` and `except`, say so")
    if sum(len(job.model_dump_json()) for job in ordered) > LARGEST_PLAN:
        raise SpecInvalid(f"the jobs of the pipeline take more than {LARGEST_PLAN // 1024} KiB together")
    return Pipeline(ordered, _few(warnings))


def _warn_of(source: Block, keywords: Iterable[str], where: str, warnings: list[str]) -> None:
    words = "{}: `{}` {} is not supported and has no effect"
    warnings += [words.format(source.at(keyword), keyword, where) for keyword in sorted(keywords, key=source.at)]


def _defaults(top: Block, warnings: list[str]) -> Block | None:
    node = top.get("default")
    if node is None:
        return None
    found = block(node, "`default`")
    _warn_of(found, found.members.keys() - SPELLINGS, "in `default`", warnings)
    return found


def _workflow(top: Block, now: Situation, variables: Declared, warnings: list[str]) -> Declared:
    """The variables that its rules bring. Raises SpecInvalid where they say that there is nothing to do."""
    node = top.get("workflow")
    if node is None:
        return {}
    workflow = block(node, "`workflow`")
    _warn_of(workflow, workflow.members.keys() - {"rules"}, "in `workflow`", warnings)
    rules = workflow.get("rules")
    if rules is None:
        return {}
    values = with_meanings(build_variables(now), variables.values())
    ruling = conditions.ruled(rules, "`workflow`", now, values, warnings.append)
    if ruling is None or ruling.when == "never":
        raise SpecInvalid(f"{rules.place}: the rules of `workflow` allow no pipeline for {now.ref_name}")
    return dict(ruling.variables)


def _stages(top: Block) -> tuple[str, ...]:
    named = strings(top.get("stages", "types"), "`stages`") or STAGES
    middle = [stage for stage in dict.fromkeys(named) if stage not in (FIRST, LAST)]
    return (FIRST, *middle, LAST)


def _is_job(name: str, node: Node, top: Block) -> bool:
    if name.startswith(".") or name in GLOBAL or name in WITHOUT_EFFECT:
        return False
    if nothing(node) or not isinstance(node, Block):
        wrong(top.at(name), f"`{name}` is neither a known keyword nor a job: a job is a mapping")
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        wrong(top.at(name), f"the name of a job is one line of at most {LONGEST_NAME} characters")
    return True


def _multiplied(drafts: Sequence[Draft], top: Block, now: Situation) -> list[tuple[Draft, list[PlannedJob]]]:
    result = [(draft, [_tagged(job, now) for job in instances(draft.planned, draft.parallel)]) for draft in drafts]
    names = Counter(job.name for _, found in result for job in found)
    if names.total() > MOST_JOBS:
        wrong(top.place, f"the pipeline has {names.total()} jobs; at most {MOST_JOBS} are allowed")
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        wrong(top.place, f"two jobs are called `{twice[0]}`")
    return result


def _tagged(job: PlannedJob, now: Situation) -> PlannedJob:
    """Variables in tags may be those of a matrix."""
    if not any("$" in tag for tag in job.tags):
        return job
    known = build_variables(now) | {"CI_JOB_NAME": job.name, "CI_JOB_STAGE": job.stage}
    values = with_meanings(known, job.variables)
    return job.but(tags=tuple(expand(tag, values) for tag in job.tags))


def _few(warnings: Sequence[str]) -> tuple[str, ...]:
    """Each once."""
    different = list(dict.fromkeys(warnings))
    more = len(different) - MOST_WARNINGS
    return (*different[:MOST_WARNINGS], *([f"... and {more} more warnings"] if more > 0 else []))
