"""Queries for schedules, and the upcoming times of a cron expression."""

from collections.abc import Mapping
from itertools import islice

from contracts.errors import RequestRejected
from contracts.projects import (
    MAX_UPCOMING_RUNS,
    GetSchedule,
    GetUpcomingRuns,
    ListSchedules,
    Schedules,
    ScheduleView,
    UpcomingRuns,
)
from libs.service.declaration import Context
from services.projects.domain.schedules.cron import upcoming_times, validate_cron, validate_zone
from services.projects.queries import require_project
from services.projects.schedules.schedule_projection import ScheduleRow
from services.projects.schedules.schedule_timers import Timer, find_due_time, load_timers


async def get_schedule(ctx: Context, query: GetSchedule) -> ScheduleView:
    return await load_schedule_view(ctx, await require_schedule(ctx, query.schedule_id, query.project_id))


async def list_schedules(ctx: Context, query: ListSchedules) -> Schedules:
    project = await require_project(ctx, query.project_id)
    rows = await ctx.read_model(ScheduleRow).find({"project_id": project.id}, [("id", 1)])
    timers = await load_timers(ctx, [row.id for row in rows])
    names = await ctx.get_usernames({row.owner_id for row in rows})
    return Schedules(schedules=tuple(_to_view(row, timers.get(row.id), names) for row in rows))


async def get_upcoming_runs(ctx: Context, query: GetUpcomingRuns) -> UpcomingRuns:
    """Return the next times of an expression. It is validated like the expression of a schedule."""
    await require_project(ctx, query.project_id)
    cron, zone = validate_cron(query.cron), validate_zone(query.zone)
    times = upcoming_times(cron, zone, ctx.clock.database_time())
    return UpcomingRuns(times=tuple(islice(times, MAX_UPCOMING_RUNS)))


async def require_schedule(ctx: Context, schedule_id: int, project_id: int | None) -> ScheduleRow:
    """Return the schedule. Raises RequestRejected with SCHEDULE_NOT_FOUND, also if it belongs to another project."""
    row = await ctx.read_model(ScheduleRow).get(f"schedule-{schedule_id}")
    if row is None or project_id not in (None, row.project_id):
        raise RequestRejected("SCHEDULE_NOT_FOUND")
    return row


async def load_schedule_view(ctx: Context, row: ScheduleRow) -> ScheduleView:
    timers = await load_timers(ctx, [row.id])
    return _to_view(row, timers.get(row.id), await ctx.get_usernames((row.owner_id,)))


def _to_view(row: ScheduleRow, timer: Timer | None, names: Mapping[int, str]) -> ScheduleView:
    fields = row.model_dump(exclude={"timed_at", "timing_version"})
    last = (
        timer.model_dump(include={"last_run_at", "last_build_id", "last_error", "last_error_detail"}) if timer else {}
    )
    return ScheduleView(**fields, **last, owner_name=names.get(row.owner_id, ""), next_run_at=find_due_time(row, timer))
