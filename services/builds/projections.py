"""Projections of builds, jobs and concurrency groups. Each stream has one row."""

from collections.abc import Mapping

from contracts.builds import (
    BuildDeleted,
    BuildEvent,
    BuildFinished,
    BuildJobsChanged,
    BuildJobStatus,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    BuildRow,
    BuildStarted,
    BuildStatus,
    ConcurrencyGroupEvent,
    ConcurrencyGroupRow,
    ConcurrencySlotGranted,
    ConcurrencySlotReleased,
    ConcurrencySlotRequested,
    JobRow,
    JobStatus,
)
from libs.eventstore.decider import Category, PreviousRow, RecordedEvent
from services.builds.domain.build import build_decider
from services.builds.domain.concurrency_group import ConcurrencyGroup, SlotRequest, concurrency_group_decider
from services.builds.domain.concurrency_group import evolve as evolve_group
from services.builds.domain.job import job_decider
from services.builds.domain.job_graph import JobGraph, final_statuses, status_changes
from services.builds.job_projection import hide_warning, project_job


def project_build(row: BuildRow, recorded: RecordedEvent[BuildEvent]) -> BuildRow:
    match recorded.event:
        case BuildQueued() as queued:
            return new_build_row(queued)
        case BuildPlanned() as planned:
            return row.replace(
                status=BuildStatus.PLANNED,
                sha=planned.sha,
                ref=planned.ref,
                available_steps=planned.available_steps,
                job_ids=tuple(job.job_id for job in planned.jobs),
                jobs=_jobs_of_build(planned),
                protected=planned.protected,
                default_branch=planned.default_branch,
                message=planned.message,
                warnings=planned.warnings,
                served_by_hash=planned.served_by_hash,
            )
        case BuildJobsChanged():
            return row.replace(jobs=_with_statuses(row, status_changes(recorded.event)))
        case BuildResumed():
            return row.replace(
                status=BuildStatus.PLANNED,
                round=row.round + 1,
                round_version=recorded.version,
                finished=False,
                exit_code=None,
                exit_message=None,
                output=None,
                completed_at=None,
                killed_by=None,
                killed_by_id=None,
            )
        case BuildStarted(runner_name=runner):
            return row.replace(status=BuildStatus.RUNNING, runner=runner, started_at=recorded.at)
        case BuildKilled(graceful=graceful):
            status = BuildStatus.CANCELING if graceful else row.status
            actor = recorded.metadata.actor
            return row.replace(status=status, killed_by=actor.name or None, killed_by_id=actor.id)
        case BuildFinished() as finished:
            return row.replace(
                status=finished.status,
                finished=True,
                exit_code=finished.exit_code,
                exit_message=finished.exit_message,
                output=finished.output,
                completed_at=recorded.at,
                ran=finished.ran,
                jobs=_with_statuses(row, final_statuses({job.job_id: job.status for job in row.jobs}, finished.status)),
            )
        case BuildPriorityChanged(priority=priority):
            return row.replace(priority=priority)
        case BuildDeleted():
            return BuildRow()


def new_build_row(queued: BuildQueued) -> BuildRow:
    return BuildRow(
        id=queued.build_id,
        local_id=queued.local_id or queued.build_id,
        executor_id=queued.executor_id,
        project_id=queued.project_id,
        project_name=queued.project.name,
        branch=queued.project.branch,
        needs_lane=queued.needs_lane,
        project=queued.project,
        ignore_steps=queued.ignore_steps,
        pinned_sha=queued.sha,
        pinned_ref=queued.ref,
        before_sha=queued.before_sha,
        source="push" if queued.delivery_id and queued.pull_request is None else queued.source,
        delivery_id=queued.delivery_id,
        variables=queued.variables,
        schedule=queued.schedule,
        pull_request=queued.pull_request,
        timeout_seconds=queued.timeout_seconds,
        max_attempts=queued.max_attempts,
        round_version=1,
        initiator_id=queued.initiator_id,
        queued_at=queued.queued_at,
    )


def _jobs_of_build(planned: BuildPlanned) -> tuple[BuildJobStatus, ...]:
    if not any(job.is_pipeline_job for job in planned.jobs):
        return ()
    statuses = JobGraph.of(planned.jobs).statuses
    return tuple(
        BuildJobStatus(
            job_id=job.job_id,
            name=job.name,
            stage=job.stage,
            when=job.when,
            allow_failure=job.allow_failure,
            status=statuses[job.job_id],
            stage_place=job.stage_place,
            needs=job.needs,
            tags=job.tags,
        )
        for job in planned.jobs
    )


def _with_statuses(row: BuildRow, changes: Mapping[int, JobStatus]) -> tuple[BuildJobStatus, ...]:
    return tuple(job.replace(status=changes.get(job.job_id, job.status)) for job in row.jobs)


def project_concurrency_group(
    row: ConcurrencyGroupRow, recorded: RecordedEvent[ConcurrencyGroupEvent]
) -> ConcurrencyGroupRow:
    match recorded.event:
        case ConcurrencySlotRequested() | ConcurrencySlotGranted() | ConcurrencySlotReleased() as event:
            group = evolve_group(restore_concurrency_group(row), event)
            return ConcurrencyGroupRow(
                project_id=event.project_id,
                holder=group.holder.build_id if group.holder else None,
                holder_version=group.holder.build_version if group.holder else 0,
                waiting=tuple(request.build_id for request in group.waiting),
                waiting_versions=tuple(request.build_version for request in group.waiting),
            )


def restore_concurrency_group(row: ConcurrencyGroupRow) -> ConcurrencyGroup:
    """Return the state of the decider at the time of the row."""
    return ConcurrencyGroup(
        None if row.holder is None else SlotRequest(row.holder, row.holder_version),
        tuple(map(SlotRequest, row.waiting, row.waiting_versions)),
    )


build_category = Category(
    "build",
    build_decider,
    BuildRow(),
    project_build,
    row_version=8,
    previous_row=PreviousRow(7, lambda row: row),
    indexes=(
        ("executor_id",),
        ("job_ids",),
        ("finished", "id"),
        ("project_id", "finished", "id"),
        ("project_id", "local_id"),
        ("initiator_id", "id"),
    ),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)
job_category = Category(
    "job",
    job_decider,
    JobRow(),
    project_job,
    row_version=9,
    previous_row=PreviousRow(8, hide_warning),
    indexes=(
        ("demand", "project_id", "-priority", "queued_at", "id"),
        ("build_id",),
        ("project_id", "local_id"),
        ("-listed_at", "-id"),
        ("status", "-listed_at", "-id"),
        ("runner_uuid", "-listed_at", "-id"),
        ("runner_uuid", "status", "-listed_at", "-id"),
    ),
    time_index_field="listed_at",
    sparse_index_field="demand",
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)
concurrency_group_category = Category(
    "lane",
    concurrency_group_decider,
    ConcurrencyGroupRow(),
    project_concurrency_group,
    row_version=2,
    previous_row=PreviousRow(1, lambda row: row),
    restore_state=restore_concurrency_group,
)
