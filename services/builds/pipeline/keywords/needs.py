"""`needs` and `dependencies`: check them and resolve them to the names of the jobs in the pipeline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from contracts.builds import PlannedJob
from services.builds.pipeline.document.ast_nodes import as_text, fail
from services.builds.pipeline.job_parser import JobDraft, Need
from services.builds.pipeline.keywords.matrix import instance_name, list_combinations

ExpandedJobs = Sequence[tuple[JobDraft, Sequence[PlannedJob]]]


def resolve_needs(expanded: ExpandedJobs) -> tuple[PlannedJob, ...]:
    """Return all jobs in order of their stages, with resolved needs. Raises SpecInvalid if that fails."""
    by_name = {draft.planned.name: jobs for draft, jobs in expanded}
    by_name |= {job.name: [job] for _, jobs in expanded for job in jobs if job.name not in by_name}
    stage_places = {job.name: job.stage_place for jobs in by_name.values() for job in jobs}
    result = []
    for draft, jobs in expanded:
        needs = None if draft.needs is None else tuple(dict.fromkeys(_needed_names(draft, draft.needs, by_name)))
        fetches = tuple(dict.fromkeys(_artifact_sources(draft, by_name, stage_places)))
        for job in jobs:
            if needs is not None and job.name in needs:
                fail(draft.node.position_of("needs"), f"the job `{job.name}` needs itself")
            result.append(job.replace(needs=needs, fetches=fetches))
    _check_cycles(result, expanded)
    return tuple(sorted(result, key=lambda job: job.stage_place))


def _needed_names(draft: JobDraft, needs: Sequence[Need], by_name: Mapping[str, Sequence[PlannedJob]]) -> Iterator[str]:
    for need in needs:
        if need.job not in by_name:
            if not need.optional:
                fail(need.node.position, f"the job `{draft.planned.name}` needs `{need.job}`, which does not exist")
            continue
        names = [job.name for job in by_name[need.job]]
        if need.matrix is not None:
            combinations = list_combinations(need.matrix, need.node, f"a need of the job `{draft.planned.name}`")
            names = [name for combination in combinations if (name := instance_name(need.job, combination)) in names]
            if not names:
                fail(need.node.position, f"the matrix of `{need.job}` has no such job")
        yield from names


def _artifact_sources(
    draft: JobDraft, by_name: Mapping[str, Sequence[PlannedJob]], stage_places: Mapping[str, int]
) -> Iterator[str]:
    """Yield the names of the jobs whose artifacts are downloaded.

    These are the jobs with artifacts in `dependencies`, else in `needs`, else in all earlier stages.
    """
    planned = draft.planned
    if draft.dependencies is not None:
        for node in draft.dependencies:
            name = as_text(node, f"a dependency of the job `{planned.name}`")
            if name not in by_name:
                fail(node.position, f"the job `{planned.name}` depends on `{name}`, which does not exist")
            yield from _names_with_artifacts(by_name[name])
    elif draft.needs is not None:
        for name in _needed_names(draft, [need for need in draft.needs if need.artifacts], by_name):
            yield from _names_with_artifacts(job for jobs in by_name.values() for job in jobs if job.name == name)
    else:
        for jobs in by_name.values():
            yield from (name for name in _names_with_artifacts(jobs) if stage_places[name] < planned.stage_place)


def _names_with_artifacts(jobs: Iterable[PlannedJob]) -> Iterator[str]:
    return (job.name for job in jobs if job.artifacts is not None)


def _check_cycles(jobs: Sequence[PlannedJob], expanded: ExpandedJobs) -> None:
    """Raise SpecInvalid if needs form a cycle.

    A need may point to a later stage, so stages alone do not prevent cycles.
    """
    try:
        TopologicalSorter({job.name: upstream_names(job, jobs) for job in jobs}).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        draft = next(draft for draft, jobs_of_draft in expanded if any(job.name == cycle[0] for job in jobs_of_draft))
        fail(draft.node.position_of("needs"), f"needs form a cycle: {' and '.join(f'`{name}`' for name in cycle)}")


def upstream_names(job: PlannedJob, jobs: Sequence[PlannedJob]) -> Iterator[str]:
    """Return the names of the jobs that a job waits for."""
    if job.needs is not None:
        return iter(job.needs)
    return (other.name for other in jobs if other.stage_place < job.stage_place)
