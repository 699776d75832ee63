"""Reaction policies: events of this service turned into commands.

A reaction may come late, after a user has resumed the build. Therefore the commands say which round they belong to.
"""

from collections.abc import Sequence
from itertools import zip_longest

from contracts.builds import (
    BuildDeleted,
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    BuildRow,
    BuildStatus,
    ConcurrencySlotGranted,
    JobAssigned,
    JobFinished,
    PlannedJob,
)
from contracts.messages import Event
from libs.eventstore.decider import AnyCommand, RecordedEvent
from services.builds.domain.internal_commands import (
    CancelJob,
    ChangeJobPriority,
    ContinueBuild,
    DeleteJob,
    EndJobOfBuild,
    QueueJob,
    ReleaseConcurrencySlot,
    RequestConcurrencySlot,
    StartBuild,
)
from services.builds.domain.job_graph import JobGraph


def on_build_event(recorded: RecordedEvent[Event]) -> Sequence[AnyCommand]:
    match recorded.event:
        case BuildQueued(needs_lane=True, project_id=project_id, build_id=build_id):
            return [RequestConcurrencySlot(project_id, build_id, recorded.version)]
        case BuildPlanned() as planned:
            begun = JobGraph.of(planned.jobs)
            return [_queue_job(planned, begun.jobs[job_id]) for job_id in begun.queued]
        case BuildResumed(needs_lane=True, project_id=project_id, build_id=build_id):
            return [RequestConcurrencySlot(project_id, build_id, recorded.version)]
        case BuildJobsChanged() as advanced:
            cancels = _cancel_jobs(advanced.stopped, advanced.stopped_rounds, graceful=True)
            return [*cancels, *(_queue_job(advanced, job) for job in advanced.released)]
        case JobAssigned() as assigned:
            return [StartBuild(assigned.build_id, assigned.runner_name, assigned.job_id, assigned.round)]
        case JobFinished() as finished:
            return [
                EndJobOfBuild(
                    build_id=finished.build_id,
                    job_id=finished.job_id,
                    status=finished.status,
                    exit_code=finished.exit_code,
                    exit_message=finished.message,
                    output=finished.output,
                    round=finished.round,
                )
            ]
        case BuildKilled(job_ids=job_ids, job_rounds=rounds, graceful=graceful):
            return _cancel_jobs(job_ids, rounds, graceful=graceful)
        case BuildPriorityChanged(job_ids=job_ids, job_rounds=rounds, priority=priority):
            return [
                ChangeJobPriority(job_id, priority, recorded.version, round_)
                for job_id, round_ in zip_longest(job_ids, rounds)
            ]
        case BuildDeleted(job_ids=job_ids):
            return [DeleteJob(job_id=job_id) for job_id in job_ids]
        case BuildFinished(held_lane=True, project_id=project_id, build_id=build_id):
            return [ReleaseConcurrencySlot(project_id, build_id, recorded.version)]
        case _:
            return []


def on_slot_granted(granted: ConcurrencySlotGranted, build: BuildRow | None) -> AnyCommand | None:
    """Return the command for a build that got the slot of its concurrency group, or None if it needs none.

    A build needs no command if it is not planned yet, or already runs. A build that has finished or was resumed since
    its request returns the slot: it may have finished before its request arrived. Releases up to 0.2.0 recorded no
    version of the build.
    """
    if build is None or build.finished or 0 < granted.build_version < build.round_version:
        return ReleaseConcurrencySlot(granted.project_id, granted.build_id, granted.build_version)
    return ContinueBuild(build.id, build.round) if build.status is BuildStatus.PLANNED else None


def _cancel_jobs(job_ids: Sequence[int], rounds: Sequence[int], *, graceful: bool) -> list[CancelJob]:
    """Return the commands that cancel jobs. Events of releases up to 0.2.0 have no rounds."""
    return [CancelJob(job_id, graceful, round_) for job_id, round_ in zip_longest(job_ids, rounds)]


def _queue_job(plan: BuildPlanned | BuildJobsChanged, job: PlannedJob) -> QueueJob:
    return QueueJob(
        job_id=job.job_id,
        build_id=plan.build_id,
        project=plan.project,
        job=job,
        ref=plan.ref,
        sha=plan.sha,
        protected=plan.protected,
        build_local_id=plan.local_id,
        priority=plan.priority,
    )
