"""The job graph of a build: which jobs may start, which are skipped, and when the build is finished."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from contracts.builds import BuildJobsChanged, BuildStatus, JobStatus, PlannedJob

CREATED, MANUAL, SKIPPED = JobStatus.CREATED, JobStatus.MANUAL, JobStatus.SKIPPED
PASSED = frozenset({JobStatus.SUCCESS, JobStatus.WARNING})
FAILED = frozenset({JobStatus.FAILED, JobStatus.CANCELED})
BLOCKING = frozenset({CREATED, MANUAL, JobStatus.QUEUED})


@dataclass(frozen=True, slots=True)
class JobGraph:
    """The jobs of a build with their statuses. QUEUED means queued or running: the job's own stream has the details."""

    jobs: Mapping[int, PlannedJob] = field(default_factory=dict)  # job id -> job
    statuses: Mapping[int, JobStatus] = field(default_factory=dict)  # job id -> status
    upstream: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # job id -> ids of the jobs it waits for

    @classmethod
    def of(cls, jobs: Iterable[PlannedJob]) -> "JobGraph":
        """Return the graph of a build that was just planned, with its first jobs queued."""
        planned = {job.job_id: job for job in jobs}
        upstream = {job.job_id: tuple(_upstream_of(job, planned.values())) for job in planned.values()}
        return cls(planned, dict.fromkeys(planned, CREATED), upstream).advance()

    def with_statuses(self, changes: Mapping[int, JobStatus]) -> "JobGraph":
        return replace(self, statuses={**self.statuses, **changes})

    @property
    def queued(self) -> tuple[int, ...]:
        """Ids of the jobs that are queued or running."""
        return tuple(job_id for job_id, status in self.statuses.items() if status is JobStatus.QUEUED)

    @property
    def has_failed(self) -> bool:
        return any(status in FAILED for status in self.statuses.values())

    @property
    def is_finished(self) -> bool:
        """Whether no job is queued or running and no manual job blocks the end of the build.

        After a failure, manual jobs do not block the end of the build.
        """
        is_blocked = any(
            status is MANUAL and not self.jobs[job_id].allow_failure for job_id, status in self.statuses.items()
        )
        return not self.queued and (self.has_failed or not is_blocked)

    def effective_status(self, job_id: int, status: JobStatus, exit_code: int) -> JobStatus:
        """Return the status that the build records for a job: WARNING instead of FAILED if the failure is allowed."""
        return apply_allow_failure(self.jobs[job_id], status, exit_code)

    def advance(self) -> "JobGraph":
        """Return the graph after queuing, skipping or offering for manual start each job whose upstream jobs are done.

        When the build is finished, jobs that still wait for a manual job are skipped.
        """
        graph = self
        while changes := graph._next_statuses():
            graph = graph.with_statuses(changes)
        waiting = [job_id for job_id, status in graph.statuses.items() if status is CREATED]
        return graph.with_statuses(dict.fromkeys(waiting, SKIPPED)) if graph.is_finished else graph

    def rerun(self, job_ids: Iterable[int]) -> "JobGraph":
        """Return the graph with these jobs queued. Skipped jobs wait for their upstream jobs again."""
        again = [job_id for job_id, status in self.statuses.items() if status is SKIPPED]
        return self.with_statuses(
            {**dict.fromkeys(again, CREATED), **dict.fromkeys(job_ids, JobStatus.QUEUED)}
        ).advance()

    def _next_statuses(self) -> dict[int, JobStatus]:
        optional_manual = self._optional_manual()
        waiting = [job_id for job_id, status in self.statuses.items() if status is CREATED]
        return {
            job_id: status for job_id in waiting if (status := self._next_status(job_id, optional_manual)) is not None
        }

    def _next_status(self, job_id: int, optional_manual: frozenset[int]) -> JobStatus | None:
        job = self.jobs[job_id]
        upstream = self.upstream[job_id]
        if job.needs is None:
            upstream = tuple(other for other in upstream if other not in optional_manual)
        statuses = {self.statuses[other] for other in upstream}
        if statuses & BLOCKING:
            return None
        failed = bool(statuses & FAILED) or (job.needs is not None and SKIPPED in statuses)
        match job.when:
            case "always":
                return JobStatus.QUEUED
            case "on_failure":
                return JobStatus.QUEUED if failed else SKIPPED
            case "manual":
                return SKIPPED if failed else MANUAL
            case "on_success":
                return SKIPPED if failed else JobStatus.QUEUED

    def _optional_manual(self) -> frozenset[int]:
        """Return the ids of waiting manual jobs that may fail, and of the jobs that need them.

        Later stages do not wait for any of these jobs.
        """
        optional = {
            job_id for job_id, status in self.statuses.items() if status is MANUAL and self.jobs[job_id].allow_failure
        }
        changed = bool(optional)
        while changed:
            dependent = {
                job_id
                for job_id, status in self.statuses.items()
                if status is CREATED
                and self.jobs[job_id].needs is not None
                and not optional.isdisjoint(self.upstream[job_id])
            }
            changed = not dependent <= optional
            optional |= dependent
        return frozenset(optional)


def apply_allow_failure(job: PlannedJob, status: JobStatus, exit_code: int) -> JobStatus:
    """Return the status of a finished job: WARNING instead of FAILED if the pipeline allows the failure."""
    allowed = job.allow_failure or exit_code in job.allow_failure_codes
    return JobStatus.WARNING if status is JobStatus.FAILED and allowed else status


def status_changes(event: BuildJobsChanged) -> dict[int, JobStatus]:
    """Return the new job statuses of the event, by job id."""
    changes = {change.job_id: change.status for change in (*event.ended, *event.waiting)}
    return changes | {job.job_id: JobStatus.QUEUED for job in event.released}


def final_statuses(statuses: Mapping[int, JobStatus], end: BuildStatus) -> dict[int, JobStatus]:
    """Return the statuses that queued, running and waiting jobs get when the build ends, by job id."""
    ends = {BuildStatus.SUCCESS: JobStatus.SUCCESS, BuildStatus.KILLED: JobStatus.CANCELED}
    return {
        job_id: ends.get(end, JobStatus.FAILED) if status is JobStatus.QUEUED else SKIPPED
        for job_id, status in statuses.items()
        if status in (JobStatus.QUEUED, CREATED)
    }


def _upstream_of(job: PlannedJob, jobs: Iterable[PlannedJob]) -> Iterator[int]:
    needed = None if job.needs is None else frozenset(job.needs)
    for other in jobs:
        if other.stage_place < job.stage_place if needed is None else other.name in needed:
            yield other.job_id
