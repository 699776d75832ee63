"""What follows from what happened: an event of this or another service becomes commands."""

from collections.abc import Sequence
from typing import Any

from contracts.builds import (
    BuildAdvanced,
    BuildDeleted,
    BuildFinished,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    CancelJob,
    ChangeJobPriority,
    DeleteJob,
    EndJobOfBuild,
    JobAssigned,
    JobFinished,
    PlannedJob,
    QueueJob,
    ReleaseLane,
    RequestLane,
    StartBuild,
)
from contracts.messages import Command
from libs.deciding import Recorded
from services.builds.domain.progress import Progress


def on_build_event(recorded: Recorded[Any]) -> Sequence[Command]:
    match recorded.event:
        case BuildQueued(needs_lane=True, project_id=project_id, build_id=build_id):
            return [RequestLane(project_id=project_id, build_id=build_id)]
        case BuildPlanned() as planned:
            begun = Progress.of(planned.jobs)
            return [_queue(planned, begun.jobs[job_id]) for job_id in begun.queued]
        case BuildResumed(needs_lane=True, project_id=project_id, build_id=build_id):
            return [RequestLane(project_id=project_id, build_id=build_id)]
        case BuildAdvanced(stopped=stopped) as advanced:
            cancels = [CancelJob(job_id=job_id, graceful=True) for job_id in stopped]
            return [*cancels, *(_queue(advanced, job) for job in advanced.released)]
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
            return [ReleaseLane(project_id=project_id, build_id=build_id)]
        case _:
            return []


def _queue(plan: BuildPlanned | BuildAdvanced, job: PlannedJob) -> QueueJob:
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
