"""Events of schedules."""

from contracts.messages import ChangedFields, Event
from contracts.projects.schedules.schedule import ScheduleVariable


class ScheduleCreated(Event):
    schedule_id: int
    project_id: int
    cron: str
    zone: str = "UTC"
    branch: str | None = None
    variables: tuple[ScheduleVariable, ...] = ()
    description: str = ""
    active: bool = True


class ScheduleChanged(ChangedFields, Event):
    """Fields of a schedule changed. The event contains only the changed fields."""

    schedule_id: int
    project_id: int
    cron: str = ""
    zone: str = "UTC"
    branch: str | None = None
    variables: tuple[ScheduleVariable, ...] = ()
    description: str = ""
    active: bool = True


class ScheduleDeleted(Event):
    schedule_id: int
    project_id: int


ScheduleEvent = ScheduleCreated | ScheduleChanged | ScheduleDeleted
