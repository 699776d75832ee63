"""Launches of builds by schedules: at their due times, and by users.

The leader finds due timers by an index. The id of a launch is derived from the schedule and the due time. A launch that
is repeated, after a crash or by a second leader, therefore returns the build of the first one.
"""

import logging
from datetime import datetime, timedelta

from contracts.builds import LaunchSchedule, LaunchVariable, QueueBuild
from contracts.errors import RequestRejected
from contracts.identity import GetUser, UserView
from contracts.projects import DeleteSchedule, ProjectDeleted, RunSchedule, ScheduleView
from libs.eventstore.decider import SYSTEM, Actor, RecordedEvent
from libs.permissions.lookups import fetch_company_members
from libs.service.declaration import Context
from services.projects.domain.schedules.cron import next_time
from services.projects.permissions.access import may_launch
from services.projects.projections import ProjectRow
from services.projects.schedules import schedule_timers
from services.projects.schedules.schedule_projection import ScheduleRow
from services.projects.schedules.schedule_queries import load_schedule_view, require_schedule
from services.projects.schedules.schedule_timers import Timer

log = logging.getLogger("headrace.schedules")

BATCH_SIZE = 100  # due schedules that are read at a time
MAX_BATCHES = 20  # in one run of the periodic task
RETRY_DELAY = timedelta(seconds=10)  # after a temporary failure
OUTAGE_CODES = frozenset({"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"})
TEMPORARY_CODES = frozenset({"CONFLICT", "REQUEST_INVALID", "TOO_MANY_REQUESTS"})
"""Codes of other temporary failures: contention, a replica of an earlier release, a limit of requests."""


async def launch_due_builds(ctx: Context) -> None:
    """Launch a build of each schedule that is due. After an outage, a schedule runs once, whatever it has missed.

    Raises RequestRejected during an outage of another service.
    """
    now = ctx.clock.database_time()
    timers = ctx.collection(schedule_timers.TIMERS_COLLECTION)
    for _ in range(MAX_BATCHES):
        due = await timers.find({"wake_at": {"$lte": now}}).sort("wake_at", 1).limit(BATCH_SIZE).to_list()
        for document in due:
            await _run_schedule(ctx, schedule_timers.read_timer(document), now)
        if len(due) < BATCH_SIZE:
            return


async def _run_schedule(ctx: Context, timer: Timer, now: datetime) -> None:
    """Launch the build of a due schedule and set its next due time.

    After a temporary failure, the schedule is retried after RETRY_DELAY. An outage or an unexpected error is also
    raised, which ends the current run of the periodic task.
    """
    try:
        await _launch_due_build(ctx, timer, now)
    except Exception as error:
        await schedule_timers.postpone(ctx, timer, now + RETRY_DELAY)
        if not isinstance(error, RequestRejected) or error.code in OUTAGE_CODES:
            raise
        log.warning("schedule %d is retried after %s", timer.schedule_id, error.code)


async def _launch_due_build(ctx: Context, timer: Timer, now: datetime) -> None:
    row = await ctx.read_model(ScheduleRow).get(f"schedule-{timer.schedule_id}")
    if row is None:
        await schedule_timers.delete_timer(ctx, timer.schedule_id)
        return
    if row.timing_version > timer.timing_version:  # the timer has not been updated after a change of the schedule yet
        await schedule_timers.update_timer(ctx, row)
        return
    project = await ctx.read_model(ProjectRow).get(f"project-{row.project_id}")
    if project is None:  # deleted while the schedule was being created
        await delete_schedule(ctx, row)
        return
    assert timer.due_at is not None  # noqa: S101  due timers have a due time
    try:
        initiator = await _find_initiator(ctx, project, row.owner_id)
        cause = f"schedule-{row.id}/{timer.due_at.isoformat()}"
        reply = await ctx.send(make_launch(row), actor=initiator, cause=cause)
    except RequestRejected as rejected:
        if rejected.failure.status >= 500 or rejected.code in TEMPORARY_CODES:
            raise
        log.info("schedule %d launched no build: %s", row.id, rejected.code)
        await schedule_timers.record_run(ctx, row.id, now, None, rejected.code, rejected.failure.detail)
    else:
        await schedule_timers.record_run(ctx, row.id, now, int(reply.row["id"]))
    following = next_time(row.cron, row.zone, max(now, timer.due_at))
    await schedule_timers.set_next_due_time(ctx, timer, following)


async def _find_initiator(ctx: Context, project: ProjectRow, user_id: int) -> Actor:
    """Return the owner of the schedule.

    Return SYSTEM if the owner is deleted or disabled, or may no longer launch builds of the project.
    """
    try:
        user = await ctx.query(GetUser(user_id=user_id), UserView)
    except RequestRejected as rejected:
        if rejected.code != "DEVELOPER_NOT_FOUND":
            raise
        return SYSTEM
    owner = Actor(user.id, user.username, user.roles)
    members = await fetch_company_members(ctx, project.company_id)
    return owner if user.enabled and may_launch(project, owner, members) else SYSTEM


def make_launch(row: ScheduleRow) -> QueueBuild:
    return QueueBuild(
        project_id=row.project_id,
        ref=row.branch,
        source="schedule",
        variables=tuple(LaunchVariable(name=variable.name, value=variable.value) for variable in row.variables),
        schedule=LaunchSchedule(id=row.id, description=row.description),
    )


async def run_schedule(ctx: Context, command: RunSchedule) -> ScheduleView:
    """Launch a build of a schedule for the actor. The next due time does not change."""
    row = await require_schedule(ctx, command.schedule_id, command.project_id)
    reply = await ctx.send(make_launch(row))
    await schedule_timers.record_run(ctx, row.id, ctx.clock.database_time(), int(reply.row["id"]))
    return await load_schedule_view(ctx, row)


async def delete_schedules_of_project(ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
    async for row in ctx.read_model(ScheduleRow).walk({"project_id": recorded.event.project_id}):
        await delete_schedule(ctx, row)


async def delete_schedule(ctx: Context, row: ScheduleRow) -> None:
    """Delete the schedule of a deleted project, unless it has been deleted already."""
    try:
        await ctx.send(DeleteSchedule(schedule_id=row.id, project_id=row.project_id), step=str(row.id))
    except RequestRejected as rejected:
        if rejected.code not in ("SCHEDULE_NOT_FOUND", "NOT_FOUND"):
            raise
