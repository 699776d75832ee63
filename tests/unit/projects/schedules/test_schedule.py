"""Commands to a schedule, and the rows that its events produce."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.projects import (
    ChangeSchedule,
    DeleteSchedule,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleEvent,
    ScheduleVariable,
)
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from services.projects.domain.internal_commands import AddSchedule
from services.projects.domain.schedules.schedule import schedule_decider
from services.projects.schedules.schedule_projection import ScheduleRow, apply_schedule_event
from tests.support.scenario import Scenario

schedule = Scenario(schedule_decider)
SUITE = ScheduleVariable(name="SUITE", value="all")
add = AddSchedule(project_id=5, schedule_id=3, cron="@daily")
created = ScheduleCreated(schedule_id=3, project_id=5, cron="@daily")
paused = ScheduleChanged(schedule_id=3, project_id=5, active=False)
deleted = ScheduleDeleted(schedule_id=3, project_id=5)
START = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_schedule_has_the_defaults_of_missing_fields() -> None:
    schedule.when(add).then(created)


def test_fields_are_normalized() -> None:
    full = AddSchedule(5, 3, " 0 0  * * * ", "Asia/Tokyo", " refs/heads/main ", (SUITE,), " Nightly ", active=False)
    schedule.when(full).then(
        ScheduleCreated(
            schedule_id=3,
            project_id=5,
            cron="0 0 * * *",
            zone="Asia/Tokyo",
            branch="main",
            variables=(SUITE,),
            description="Nightly",
            active=False,
        )
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cron": None}, "SCHEDULE_CRON_REQUIRED"),
        ({"cron": "* * * * *"}, "SCHEDULE_CRON_TOO_FREQUENT"),
        ({"zone": "Mars"}, "SCHEDULE_ZONE_INVALID"),
        ({"branch": "a..b"}, "SCHEDULE_BRANCH_INVALID"),
        ({"variables": (SUITE, SUITE)}, "BUILD_VARIABLES_INVALID"),
        ({"variables": (ScheduleVariable(name="CI_X", value=""),)}, "BUILD_VARIABLES_RESERVED"),
        ({"description": "two\nlines"}, "REQUEST_INVALID"),
    ],
)
def test_invalid_fields_are_rejected(change: dict[str, object], code: str) -> None:
    schedule.when(add.replace(**change)).then_refused(code)
    schedule.given(created).when(ChangeSchedule(project_id=5, schedule_id=3, **change)).then_refused(code)


def test_only_changed_fields_are_recorded() -> None:
    change = ChangeSchedule(project_id=5, schedule_id=3, cron="@daily", active=False, branch="next")
    schedule.given(created).when(change).then(paused.replace(branch="next"))
    schedule.given(created, paused).when(ChangeSchedule(project_id=5, schedule_id=3, active=False)).then()
    reset = ChangeSchedule(project_id=5, schedule_id=3, active=None)
    schedule.given(created, paused).when(reset).then(ScheduleChanged(schedule_id=3, project_id=5, active=True))


def test_a_change_keeps_the_other_fields() -> None:
    with_variables = created.replace(variables=(SUITE,), description="Nightly")
    same = ChangeSchedule(project_id=5, schedule_id=3, variables=(SUITE,), description="Nightly")
    schedule.given(with_variables, paused).when(same).then()


def test_a_schedule_of_another_project_is_not_found() -> None:
    schedule.given(created).when(DeleteSchedule(project_id=6, schedule_id=3)).then_refused("SCHEDULE_NOT_FOUND")
    schedule.given(created).when(ChangeSchedule(project_id=6, schedule_id=3)).then_refused("SCHEDULE_NOT_FOUND")


def test_a_schedule_is_deleted_once() -> None:
    delete = DeleteSchedule(project_id=5, schedule_id=3)
    schedule.given(created).when(delete).then(deleted)
    schedule.given(created, deleted).when(delete).then_refused("SCHEDULE_NOT_FOUND")
    schedule.given(created, deleted).when(add).then_refused("SCHEDULE_NOT_FOUND")
    schedule.given(created).when(add).then_refused("CONFLICT")


def apply(row: ScheduleRow, version: int, event: ScheduleEvent, user_id: int) -> ScheduleRow:
    at = START + timedelta(minutes=version)
    metadata = CommandMetadata(str(version), at, Actor(user_id))
    return apply_schedule_event(row, RecordedEvent("schedule-3", version, 0, event, metadata))


def test_the_row_knows_the_owner_and_the_last_change_of_the_timing() -> None:
    row = apply(ScheduleRow(), 1, created, 7)
    assert (row.owner_id, row.timing_version, row.timed_at) == (7, 1, START + timedelta(minutes=1))
    row = apply(row, 2, ScheduleChanged(schedule_id=3, project_id=5, description="Nightly", variables=(SUITE,)), 8)
    assert (row.owner_id, row.timing_version, row.description, row.variables) == (8, 1, "Nightly", (SUITE,))
    row = apply(row, 3, paused, 8)
    assert (row.active, row.timing_version, row.timed_at) == (False, 3, START + timedelta(minutes=3))
    assert (row.cron, row.created_at) == ("@daily", START + timedelta(minutes=1))
    assert apply(row, 4, deleted, 8) == ScheduleRow()
