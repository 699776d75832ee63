"""Commands and queries of schedules, which launch builds of a project at the times of a cron expression."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from contracts.messages import ChangedFields, Command, Message, Query
from contracts.projects.fields import Name

MAX_CRON_LENGTH = 200
MAX_ZONE_LENGTH = 64
MAX_UPCOMING_RUNS = 5

Cron = Annotated[str, Field(max_length=MAX_CRON_LENGTH)]
Zone = Annotated[str, Field(max_length=MAX_ZONE_LENGTH)]


class ScheduleVariable(Message):
    """A variable for all jobs of the builds that a schedule launches. Everybody who sees the project sees the value."""

    name: str
    value: str


class CreateSchedule(Command):
    """Create a schedule.

    Errors: PROJECT_NOT_FOUND, SCHEDULE_LIMIT, SCHEDULE_CRON_REQUIRED, SCHEDULE_CRON_INVALID,
    SCHEDULE_CRON_TOO_FREQUENT, SCHEDULE_ZONE_INVALID, SCHEDULE_BRANCH_INVALID, BUILD_VARIABLES_INVALID,
    BUILD_VARIABLES_RESERVED.
    """

    project_id: int
    cron: Cron | None = None
    zone: Zone | None = None  # None: UTC
    branch: Name | None = None  # None: the project's branch
    variables: tuple[ScheduleVariable, ...] | None = None
    description: Name | None = None
    active: bool | None = None  # None: true


class ChangeSchedule(ChangedFields, Command):
    """Change fields of a schedule. A missing field is unchanged, None is the default of CreateSchedule.

    The actor becomes the owner of the schedule. Errors: SCHEDULE_NOT_FOUND, and those of CreateSchedule except
    SCHEDULE_LIMIT.
    """

    project_id: int
    schedule_id: int
    cron: Cron | None = None
    zone: Zone | None = None
    branch: Name | None = None
    variables: tuple[ScheduleVariable, ...] | None = None
    description: Name | None = None
    active: bool | None = None


class DeleteSchedule(Command):
    """Delete a schedule. Its builds stay. Errors: PROJECT_NOT_FOUND, SCHEDULE_NOT_FOUND."""

    project_id: int
    schedule_id: int


class RunSchedule(Command):
    """Launch a build of a schedule now, also of a paused one, in the name of the actor. Answer: ScheduleView.

    The next due time does not change. Errors: PROJECT_NOT_FOUND, SCHEDULE_NOT_FOUND, BUILD_REF_INVALID,
    BUILD_VARIABLES_INVALID, BUILD_VARIABLES_RESERVED.
    """

    project_id: int
    schedule_id: int


class GetSchedule(Query):
    """Get a schedule. Answer: ScheduleView. Errors: SCHEDULE_NOT_FOUND."""

    schedule_id: int
    project_id: int | None = None  # SCHEDULE_NOT_FOUND for a schedule of another project; None: any


class ListSchedules(Query):
    """List the schedules of a project by id. Answer: Schedules. Errors: PROJECT_NOT_FOUND."""

    project_id: int


class GetUpcomingRuns(Query):
    """Get the next times of a cron expression, without a schedule. Answer: UpcomingRuns.

    Errors: PROJECT_NOT_FOUND, SCHEDULE_CRON_REQUIRED, SCHEDULE_CRON_INVALID, SCHEDULE_CRON_TOO_FREQUENT,
    SCHEDULE_ZONE_INVALID.
    """

    project_id: int
    cron: Cron | None = None
    zone: Zone | None = None


class UpcomingRuns(Message):
    times: tuple[datetime, ...]  # in UTC, at most MAX_UPCOMING_RUNS


class ScheduleView(Message):
    id: int
    project_id: int
    cron: str
    zone: str
    branch: str | None  # None: the project's branch
    variables: tuple[ScheduleVariable, ...]
    description: str
    active: bool
    owner_id: int  # user who created the schedule or changed it last
    owner_name: str
    created_at: datetime
    next_run_at: datetime | None  # None: paused, or no time in the next fifty years
    last_run_at: datetime | None = None
    last_build_id: int | None = None  # None: no run yet, or the latest one launched no build
    last_error: str | None = None  # code of the error that kept the latest run from launching a build; None: no error
    last_error_detail: str | None = None


class Schedules(Message):
    schedules: tuple[ScheduleView, ...]
