"""State of a build and how its events change it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from contracts.builds import (
    BuildDeleted,
    BuildEvent,
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    BuildStarted,
)
from contracts.errors import RequestRejected
from services.builds.domain.job_graph import (
    FAILED,
    JobGraph,
    final_statuses,
    status_changes,
)


class Phase(StrEnum):
    NEW = "new"
    QUEUED = "queued"
    PLANNED = "planned"
    RESUMED = "resumed"  # a finished build whose jobs run again once its concurrency group allows it
    RUNNING = "running"
    CANCELING = "canceling"
    FINISHED = "finished"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Build:
    """State of a build: only what `decide` needs. The read model is in projections.py."""

    phase: Phase = Phase.NEW
    queued: BuildQueued | None = None
    planned: BuildPlanned | None = None
    graph: JobGraph = field(default_factory=JobGraph)
    ever_queued: frozenset[int] = frozenset()  # ids of jobs that have been queued at least once
    failures: tuple[BuildJobsChanged, ...] = ()  # failed jobs that have not been run again since, in order of failure
    duration_ms: int = 0  # total duration in the build's earlier BuildFinished events
    rerun_job_ids: tuple[int, ...] = ()  # ids of the jobs for which a user last resumed the build
    was_started: bool = False
    superseded_by: int | None = None  # number of the newer build because of which the build was killed
    priority: int = 0
    round: int = 0  # how many times the build was resumed

    @property
    def has_cleanup(self) -> bool:
        """Whether a job that is queued or running has cleanup steps."""
        return any(self.graph.jobs[job_id].has_cleanup for job_id in self.graph.queued)

    def can_be_superseded(self, ref: str, newer_build_id: int, *, running: bool) -> bool:
        """Whether a newer build of the ref may kill this one. Only builds that a webhook launched can be superseded.

        A build that a user has resumed cannot be superseded. `running`: a build that has started can be superseded too.
        """
        if self.queued is None or self.queued.delivery_id is None or self.rerun_job_ids:
            return False
        is_started = self.phase not in (Phase.QUEUED, Phase.PLANNED)
        return self.queued.ref == ref and self.queued.build_id < newer_build_id and (running or not is_started)

    @property
    def launch(self) -> BuildQueued:
        """The event that launched the build. Raises BUILD_NOT_FOUND if the build was not launched."""
        if self.queued is None:
            raise RequestRejected("BUILD_NOT_FOUND")
        return self.queued


def evolve(build: Build, event: BuildEvent) -> Build:
    match event:
        case BuildQueued():
            return replace(build, phase=Phase.QUEUED, queued=event)
        case BuildPlanned(jobs=jobs):
            graph = JobGraph.of(jobs)
            queued = frozenset(graph.queued)
            return replace(build, phase=Phase.PLANNED, planned=event, graph=graph, ever_queued=queued)
        case BuildStarted():
            return replace(build, phase=Phase.RUNNING)
        case BuildKilled(graceful=graceful, superseded_by=newer):
            phase = Phase.CANCELING if graceful else build.phase
            return replace(build, phase=phase, superseded_by=newer or build.superseded_by)
        case BuildPriorityChanged(priority=priority):
            return replace(build, priority=priority)
        case BuildJobsChanged():
            return _after_advance(build, event)
        case BuildResumed(needs_lane=needs_lane, job_ids=job_ids):
            phase = Phase.RESUMED if needs_lane else Phase.PLANNED
            round_ = build.round + 1
            return replace(build, phase=phase, rerun_job_ids=job_ids, round=round_, superseded_by=None)
        case BuildFinished():
            return _after_finish(build, event)
        case BuildDeleted():
            return replace(build, phase=Phase.DELETED)
        case _:
            assert_never(event)


def _after_advance(build: Build, event: BuildJobsChanged) -> Build:
    released = {job.job_id: job for job in event.released}
    graph = build.graph.with_statuses(status_changes(event))
    failures = [
        failure for failure in build.failures if released.keys().isdisjoint(job.job_id for job in failure.ended)
    ]
    if any(job.status in FAILED for job in event.ended):
        failures.append(event)
    return replace(
        build,
        phase=Phase.PLANNED if build.phase is Phase.RESUMED else build.phase,
        graph=replace(graph, jobs={**graph.jobs, **released}),
        ever_queued=build.ever_queued | released.keys(),
        failures=tuple(failures),
    )


def _after_finish(build: Build, event: BuildFinished) -> Build:
    graph = build.graph.with_statuses(final_statuses(build.graph.statuses, event.status))
    milliseconds = build.duration_ms + duration_ms_of(event)
    return replace(build, phase=Phase.FINISHED, graph=graph, duration_ms=milliseconds, was_started=event.ran)


def duration_ms_of(event: BuildFinished) -> int:
    """Return the duration of the build in milliseconds. Events of older releases have whole seconds only."""
    return event.duration * 1000 if event.duration_ms is None else event.duration_ms


def round_to_seconds(milliseconds: int) -> int:
    return (milliseconds + 500) // 1000
