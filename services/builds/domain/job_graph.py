"""How the jobs of a build follow each other: who may begin, who is not wanted any more, and what it all comes to."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from contracts.builds import BuildJobsChanged, BuildStatus, JobStatus, PlannedJob

CREATED, MANUAL, SKIPPED = JobStatus.CREATED, JobStatus.MANUAL, JobStatus.SKIPPED
PASSED = frozenset({JobStatus.SUCCESS, JobStatus.WARNING})
FAILED = frozenset({JobStatus.FAILED, JobStatus.CANCELED})
BLOCKING = frozenset({CREATED, MANUAL, JobStatus.QUEUED})


@dataclass(frozen=True, slots=True)
class JobGraph:
    """A job whose status is QUEUED here is at a runner, or on its way to one."""

    jobs: Mapping[int, PlannedJob] = field(default_factory=dict)
    statuses: Mapping[int, JobStatus] = field(default_factory=dict)

    upstream: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # whom a job waits for

    @classmethod
    def of(cls, jobs: Iterable[PlannedJob]) -> "JobGraph":
        """As it is when the build was planned, with all that begins at once."""
        planned = {job.job_id: job for job in jobs}
        before = {job.job_id: tuple(_upstream_of(job, planned.values())) for job in planned.values()}
        return cls(planned, dict.fromkeys(planned, CREATED), before).advance()

    def with_statuses(self, changes: Mapping[int, JobStatus]) -> "JobGraph":
        return replace(self, statuses={**self.statuses, **changes})

    @property
    def queued(self) -> tuple[int, ...]:
        return tuple(job_id for job_id, status in self.statuses.items() if status is JobStatus.QUEUED)

    @property
    def has_failed(self) -> bool:
        return any(status in FAILED for status in self.statuses.values())

    @property
    def is_finished(self) -> bool:
        """Nothing runs, and nobody has to be waited for: a job that holds up the others does so while none failed."""
        held_up = any(
            status is MANUAL and not self.jobs[job_id].allow_failure for job_id, status in self.statuses.items()
        )
        return not self.queued and (self.has_failed or not held_up)

    def effective_status(self, job_id: int, status: JobStatus, exit_code: int) -> JobStatus:
        """What the end of a job is for its build."""
        return apply_allow_failure(self.jobs[job_id], status, exit_code)

    def advance(self) -> "JobGraph":
        """With every job queued, skipped or offered to people that need not wait any longer.

        Once it is over, what still waits for such an offer by its needs is skipped.
        """
        now = self
        while changes := now._next_statuses():
            now = now.with_statuses(changes)
        left = [job_id for job_id, status in now.statuses.items() if status is CREATED]
        return now.with_statuses(dict.fromkeys(left, SKIPPED)) if now.is_finished else now

    def rerun(self, job_ids: Iterable[int]) -> "JobGraph":
        """These run, once more perhaps; what was skipped waits anew."""
        again = [job_id for job_id, status in self.statuses.items() if status is SKIPPED]
        return self.with_statuses(
            {**dict.fromkeys(again, CREATED), **dict.fromkeys(job_ids, JobStatus.QUEUED)}
        ).advance()

    def _next_statuses(self) -> dict[int, JobStatus]:
        idle = self._optional_manual()
        waiting = [job_id for job_id, status in self.statuses.items() if status is CREATED]
        return {job_id: found for job_id in waiting if (found := self._next_status(job_id, idle)) is not None}

    def _next_status(self, job_id: int, optional_manual: frozenset[int]) -> JobStatus | None:
        job = self.jobs[job_id]
        others = self.upstream[job_id]
        if job.needs is None:
            others = tuple(other for other in others if other not in optional_manual)
        statuses = {self.statuses[other] for other in others}
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
        """Jobs that nobody has to play, and what needs them: later stages do not wait for these."""
        idle = {job_id for job_id, one in self.statuses.items() if one is MANUAL and self.jobs[job_id].allow_failure}
        more = bool(idle)
        while more:
            found = {
                job_id
                for job_id, status in self.statuses.items()
                if status is CREATED
                and self.jobs[job_id].needs is not None
                and not idle.isdisjoint(self.upstream[job_id])
            }
            more = not found <= idle
            idle |= found
        return frozenset(idle)


def apply_allow_failure(job: PlannedJob, status: JobStatus, exit_code: int) -> JobStatus:
    """Return the status of a finished job, which is WARNING for a failure that its pipeline allows."""
    allowed = job.allow_failure or exit_code in job.allow_failure_codes
    return JobStatus.WARNING if status is JobStatus.FAILED and allowed else status


def status_changes(event: BuildJobsChanged) -> dict[int, JobStatus]:
    """What it changes."""
    changes = {one.job_id: one.status for one in (*event.ended, *event.waiting)}
    return changes | {job.job_id: JobStatus.QUEUED for job in event.released}


def final_statuses(statuses: Mapping[int, JobStatus], end: BuildStatus) -> dict[int, JobStatus]:
    """What the end of a build makes of the jobs that had not ended by themselves."""
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
