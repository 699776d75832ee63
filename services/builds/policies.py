"""Reaction policies: events of this service turned into commands."""

from collections.abc import Sequence

from contracts.builds import (
    BuildDeleted,
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    JobAssigned,
    JobFinished,
    PlannedJob,
)
from contracts.messages import Event
from libs.eventstore.decider import AnyCommand, RecordedEvent
from services.builds.domain.internal_commands import (
    CancelJob,
    ChangeJobPriority,
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
            return [RequestConcurrencySlot(project_id=project_id, build_id=build_id)]
        case BuildPlanned() as planned:
            begun = JobGraph.of(planned.jobs)
            return [_queue_job(planned, begun.jobs[job_id]) for job_id in begun.queued]
        case BuildResumed(needs_lane=True, project_id=project_id, build_id=build_id):
            return [RequestConcurrencySlot(project_id=project_id, build_id=build_id)]
        case BuildJobsChanged(stopped=stopped) as advanced:
            cancels = [CancelJob(job_id=job_id, graceful=True) for job_id in stopped]
            return [*cancels, *(_queue_job(advanced, job) for job in advanced.released)]
        case JobAssigned(build_id=build_id, runner_name=runner):
            return [StartBuild(build_id=build_id, runner_name=runner)]
        case JobFinished() as finished:
            return [
                EndJobOfBuild(
                    build_id=finished.build_id,
                    job_id=finished.job_id,
                    status=finished.status,
                    exit_code=finished.exit_code,
                    exit_message=finished.message,
                    output=finished.output,
                )
            ]
        case BuildKilled(job_ids=job_ids, graceful=graceful):
            return [CancelJob(job_id=job_id, graceful=graceful) for job_id in job_ids]
        case BuildPriorityChanged(job_ids=job_ids, priority=priority):
            return [ChangeJobPriority(job_id=job_id, priority=priority) for job_id in job_ids]
        case BuildDeleted(job_ids=job_ids):
            return [DeleteJob(job_id=job_id) for job_id in job_ids]
        case BuildFinished(held_lane=True, project_id=project_id, build_id=build_id):
            return [ReleaseConcurrencySlot(project_id=project_id, build_id=build_id)]
        case _:
            return []


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
