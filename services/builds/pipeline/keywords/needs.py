"""Who waits for whom: needs and dependencies, checked, and as names of the jobs that are really there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from contracts.builds import PlannedJob
from services.builds.pipeline.document.ast_nodes import as_text, fail
from services.builds.pipeline.job_parser import JobDraft, Need
from services.builds.pipeline.keywords.matrix import instance_name, list_combinations

ExpandedJobs = Sequence[tuple[JobDraft, Sequence[PlannedJob]]]


def resolve_needs(expanded: ExpandedJobs) -> tuple[PlannedJob, ...]:
    """All jobs, those of earlier stages first. Refuses needs of what is not there, and circles."""
    found = {draft.planned.name: jobs for draft, jobs in expanded}
    found |= {job.name: [job] for _, jobs in expanded for job in jobs if job.name not in found}
    places = {job.name: job.stage_place for jobs in found.values() for job in jobs}
    result = []
    for draft, jobs in expanded:
        needs = None if draft.needs is None else tuple(dict.fromkeys(_needed_names(draft, draft.needs, found)))
        fetches = tuple(dict.fromkeys(_artifact_sources(draft, found, places)))
        for job in jobs:
            if needs is not None and job.name in needs:
                fail(draft.node.position_of("needs"), f"the job `{job.name}` needs itself")
            result.append(job.replace(needs=needs, fetches=fetches))
    _check_cycles(result, expanded)
    return tuple(sorted(result, key=lambda job: job.stage_place))


def _needed_names(draft: JobDraft, needs: Sequence[Need], found: Mapping[str, Sequence[PlannedJob]]) -> Iterator[str]:
    for need in needs:
        if need.job not in found:
            if not need.optional:
                fail(need.node.place, f"the job `{draft.planned.name}` needs `{need.job}`, which is not there")
            continue
        names = [job.name for job in found[need.job]]
        if need.matrix is not None:
            wanted = list_combinations(need.matrix, need.node, f"a need of the job `{draft.planned.name}`")
            names = [name for one in wanted if (name := instance_name(need.job, one)) in names]
            if not names:
                fail(need.node.place, f"no job of the matrix of `{need.job}` is meant")
        yield from names


def _artifact_sources(
    draft: JobDraft, found: Mapping[str, Sequence[PlannedJob]], places: Mapping[str, int]
) -> Iterator[str]:
    """By `dependencies`; else those of its needs, else all of earlier stages."""
    own = draft.planned
    if draft.dependencies is not None:
        for node in draft.dependencies:
            name = as_text(node, f"a dependency of the job `{own.name}`")
            if name not in found:
                fail(node.place, f"the job `{own.name}` depends on `{name}`, which is not there")
            yield from _names_with_artifacts(found[name])
    elif draft.needs is not None:
        for name in _needed_names(draft, [need for need in draft.needs if need.artifacts], found):
            yield from _names_with_artifacts(job for jobs in found.values() for job in jobs if job.name == name)
    else:
        for jobs in found.values():
            yield from (name for name in _names_with_artifacts(jobs) if places[name] < own.stage_place)


def _names_with_artifacts(jobs: Iterable[PlannedJob]) -> Iterator[str]:
    return (job.name for job in jobs if job.artifacts is not None)


def _check_cycles(jobs: Sequence[PlannedJob], expanded: ExpandedJobs) -> None:
    """Waits by stage alone follow the stages' order; a need may go against it, and so be part of a circle."""
    try:
        TopologicalSorter({job.name: upstream_names(job, jobs) for job in jobs}).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        draft = next(draft for draft, found in expanded if any(job.name == circle[0] for job in found))
        fail(draft.node.position_of("needs"), f"needs lead in a circle: {' and '.join(f'`{name}`' for name in circle)}")


def upstream_names(job: PlannedJob, jobs: Sequence[PlannedJob]) -> Iterator[str]:
    if job.needs is not None:
        return iter(job.needs)
    return (other.name for other in jobs if other.stage_place < job.stage_place)
