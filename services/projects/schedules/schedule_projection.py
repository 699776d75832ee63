"""The read model of schedules, and their category."""

from datetime import datetime

from contracts.messages import ReadModelRow
from contracts.projects import (
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleEvent,
    ScheduleVariable,
)
from libs.eventstore.decider import Category, RecordedEvent
from services.projects.domain.schedules.schedule import changed_fields, schedule_decider
from services.projects.projections import EPOCH

TIMING_FIELDS = frozenset({"cron", "zone", "active"})


class ScheduleRow(ReadModelRow):
    id: int = 0
    project_id: int = 0
    cron: str = ""
    zone: str = ""
    branch: str | None = None
    variables: tuple[ScheduleVariable, ...] = ()
    description: str = ""
    active: bool = True
    owner_id: int = 0  # user who created the schedule or changed it last
    created_at: datetime = EPOCH
    timed_at: datetime = EPOCH  # time of the last event that set one of TIMING_FIELDS; due times are later
    timing_version: int = 0  # version of the stream after the last event that set one of TIMING_FIELDS


def apply_schedule_event(row: ScheduleRow, recorded: RecordedEvent[ScheduleEvent]) -> ScheduleRow:
    timing = {"timed_at": recorded.at, "timing_version": recorded.version}
    owner_id = recorded.metadata.actor.id
    match recorded.event:
        case ScheduleCreated() as event:
            fields = {name: value for name, value in event if name != "schedule_id"}
            return ScheduleRow(id=event.schedule_id, owner_id=owner_id, created_at=recorded.at, **timing, **fields)
        case ScheduleChanged() as event:
            changed = changed_fields(event)
            del changed["schedule_id"]
            return row.replace(owner_id=owner_id, **(timing if changed.keys() & TIMING_FIELDS else {}), **changed)
        case ScheduleDeleted():
            return ScheduleRow()


schedule_category = Category(
    "schedule",
    schedule_decider,
    ScheduleRow(),
    apply_schedule_event,
    indexes=(("id",), ("project_id", "id")),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)
