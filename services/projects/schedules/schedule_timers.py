"""Timers of schedules: when each is due next, and the result of its latest run.

They are not event-sourced: a run is recorded as a build, and a schedule of many years would have a very long stream. A
timer that is missing is created from the row of its schedule, with the first time after the last change of the timing.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from contracts.messages import Message
from contracts.projects import ScheduleChanged, ScheduleCreated, ScheduleDeleted
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context
from services.projects.domain.schedules.cron import next_time
from services.projects.schedules.schedule_projection import ScheduleRow

TIMERS_COLLECTION = "schedule_timers"
INDEXES = {TIMERS_COLLECTION: (("wake_at",),)}


class Timer(Message):
    schedule_id: int
    timing_version: int  # `timing_version` of the row from which `due_at` was computed
    due_at: datetime | None  # None: paused, or no time within fifty years
    wake_at: datetime | None  # when the leader runs the schedule; later than `due_at` after a temporary failure
    last_run_at: datetime | None = None
    last_build_id: int | None = None
    last_error: str | None = None
    last_error_detail: str | None = None


def read_timer(document: Any) -> Timer:
    return Timer(schedule_id=document["_id"], **{name: document[name] for name in document if name != "_id"})


async def load_timers(ctx: Context, schedule_ids: list[int]) -> dict[int, Timer]:
    """Return the timers of these schedules by id. The timer of a new schedule may be missing."""
    found = ctx.collection(TIMERS_COLLECTION).find({"_id": {"$in": schedule_ids}})
    return {document["_id"]: read_timer(document) async for document in found}


def find_due_time(row: ScheduleRow, timer: Timer | None) -> datetime | None:
    """Return when the schedule is due next. None: paused, or no time within fifty years."""
    if timer and timer.timing_version >= row.timing_version:
        return timer.due_at
    return next_time(row.cron, row.zone, row.timed_at) if row.active else None


async def set_timer(ctx: Context, recorded: RecordedEvent[ScheduleCreated | ScheduleChanged | ScheduleDeleted]) -> None:
    """Set or delete the timer of a schedule after an event. Events may be handled repeatedly and in any order."""
    row = await ctx.read_model(ScheduleRow).get(recorded.stream)
    if row is None:
        await delete_timer(ctx, recorded.event.schedule_id)
    else:
        await update_timer(ctx, row)


async def update_timer(ctx: Context, row: ScheduleRow) -> None:
    """Set the due time of a schedule, unless the timer was set from this version of its timing or from a newer one."""
    due_at = find_due_time(row, None)
    fields = {"timing_version": row.timing_version, "due_at": due_at, "wake_at": due_at}
    is_older = {"_id": row.id, "timing_version": {"$lt": row.timing_version}}
    with suppress(DuplicateKeyError):  # the timer exists and is current
        await ctx.collection(TIMERS_COLLECTION).update_one(is_older, {"$set": fields}, upsert=True)


async def delete_timer(ctx: Context, schedule_id: int) -> None:
    await ctx.collection(TIMERS_COLLECTION).delete_one({"_id": schedule_id})


async def postpone(ctx: Context, timer: Timer, wake_at: datetime) -> None:
    """Set when the run is tried again, unless the timer has changed since it was read."""
    unchanged = {"_id": timer.schedule_id, "due_at": timer.due_at, "timing_version": timer.timing_version}
    await ctx.collection(TIMERS_COLLECTION).update_one(unchanged, {"$set": {"wake_at": wake_at}})


async def set_next_due_time(ctx: Context, timer: Timer, due_at: datetime | None) -> None:
    """Set the due time that follows the timer's, unless the schedule has been changed since the timer was read."""
    unchanged = {"_id": timer.schedule_id, "due_at": timer.due_at, "timing_version": timer.timing_version}
    await ctx.collection(TIMERS_COLLECTION).update_one(unchanged, {"$set": {"due_at": due_at, "wake_at": due_at}})


async def record_run(
    ctx: Context, schedule_id: int, at: datetime, build_id: int | None, error: str | None = None, detail: str = ""
) -> None:
    """Store the result of the latest run: the launched build, or the code of the error."""
    fields = {
        "last_run_at": at,
        "last_build_id": build_id,
        "last_error": error,
        "last_error_detail": detail or None,
    }
    await ctx.collection(TIMERS_COLLECTION).update_one({"_id": schedule_id}, {"$set": fields})


async def create_missing_timers(ctx: Context) -> None:
    """Create timers that are missing after a restore: events shortly before the backup are not handled again."""
    async for row in ctx.read_model(ScheduleRow).walk({}):
        await update_timer(ctx, row)
