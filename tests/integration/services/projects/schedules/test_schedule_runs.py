"""Due schedules launch builds: once, after outages, in whose name, and what happens to refused launches."""

from datetime import UTC, datetime

import pytest

from contracts.builds import LaunchSchedule, LaunchVariable, QueueBuild
from contracts.errors import RequestRejected
from contracts.projects import (
    ChangeSchedule,
    CreateSecret,
    DeleteProject,
    DeleteSchedule,
    ProjectDeleted,
    RunSchedule,
    ScheduleVariable,
)
from libs.eventstore.decider import SYSTEM, CommandMetadata, RecordedEvent
from services.projects.schedules import schedule_runs, schedule_timers
from tests.integration.services.projects.schedules.schedule_stage import OWNER, PROJECT_ID, ScheduleStage

UNAVAILABLE = RequestRejected("SERVICE_UNAVAILABLE")


def at(text: str) -> datetime:
    return datetime.strptime(f"2026-03-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


async def test_a_due_schedule_launches_a_build_in_the_name_of_its_owner(stage: ScheduleStage) -> None:
    variables = (ScheduleVariable(name="SUITE", value="all"),)
    schedule_id = await stage.create(branch="next", variables=variables, description="Nightly")
    await stage.run_due("02 12:59")
    assert stage.launches == []
    await stage.run_due("02 13:00")
    await stage.run_due("02 13:59")
    [launch] = stage.launches
    assert launch.message == QueueBuild(
        project_id=PROJECT_ID,
        ref="next",
        source="schedule",
        variables=(LaunchVariable(name="SUITE", value="all"),),
        schedule=LaunchSchedule(id=schedule_id, description="Nightly"),
    )
    assert launch.actor.id == OWNER.id
    view = await stage.view(schedule_id)
    assert (view.last_build_id, view.last_run_at, view.next_run_at) == (1, at("02 13:00"), at("02 14:00"))
    assert (view.owner_id, view.owner_name) == (OWNER.id, OWNER.name)


async def test_missed_times_are_made_up_for_by_one_run(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    await stage.run_due("04 09:30")
    await stage.run_due("04 09:31")
    assert len(stage.launches) == 1
    assert (await stage.view(schedule_id)).next_run_at == at("04 10:00")


async def test_a_leader_that_dies_after_the_launch_has_launched_the_build_of_the_due_time(
    stage: ScheduleStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_id = await stage.create()

    async def die(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(schedule_timers, "record_run", die)
        patch.setattr(schedule_timers, "postpone", die)
        with pytest.raises(ConnectionResetError):
            await stage.run_due("02 13:00")
    await stage.run_due("02 13:10")
    assert len(stage.launches) == 2
    assert list(stage.builds.values()) == [1]
    view = await stage.view(schedule_id)
    assert (view.last_build_id, view.next_run_at) == (1, at("02 14:00"))


async def test_a_clock_that_goes_back_launches_no_second_build(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    await stage.run_due("02 13:00")
    await stage.run_due("02 12:30")
    await stage.run_due("02 13:00")
    assert len(stage.launches) == 1
    assert (await stage.view(schedule_id)).next_run_at == at("02 14:00")


async def test_an_outage_postpones_the_run(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    stage.launch_error = UNAVAILABLE
    with pytest.raises(RequestRejected):
        await stage.run_due("02 13:00")
    await stage.run_due("02 13:00")  # does nothing: the retry is due after RETRY_DELAY
    assert (await stage.view(schedule_id)).next_run_at == at("02 13:00")
    stage.launch_error = None
    await stage.run_due("02 16:10")
    assert len(stage.builds) == 1
    assert len({launch.command_id for launch in stage.launches}) == 1
    assert (await stage.view(schedule_id)).next_run_at == at("02 17:00")


async def test_a_temporary_failure_of_one_schedule_does_not_delay_others(stage: ScheduleStage) -> None:
    await stage.create()
    await stage.create()
    stage.launch_error = RequestRejected("CONFLICT")
    await stage.run_due("02 13:00")
    assert len(stage.launches) == 2


async def test_a_refused_launch_is_shown_and_the_schedule_goes_on(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    stage.launch_error = RequestRejected("BUILD_VARIABLES_RESERVED", "`SUITE` is the name of a secret.")
    await stage.run_due("02 13:00")
    view = await stage.view(schedule_id)
    assert (view.last_error, view.last_error_detail) == ("BUILD_VARIABLES_RESERVED", "`SUITE` is the name of a secret.")
    assert (view.last_build_id, view.next_run_at) == (None, at("02 14:00"))
    stage.launch_error = None
    await stage.run_due("02 14:00")
    view = await stage.view(schedule_id)
    assert (view.last_error, view.last_error_detail, view.last_build_id) == (None, None, 1)


async def test_without_its_owner_a_schedule_launches_builds_of_the_system(stage: ScheduleStage) -> None:
    await stage.create()
    stage.user_error = RequestRejected("DEVELOPER_NOT_FOUND")
    await stage.run_due("02 13:00")
    assert stage.launches[0].actor == SYSTEM


async def test_a_paused_schedule_does_not_run_and_makes_up_for_nothing(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    await stage.send(ChangeSchedule(project_id=PROJECT_ID, schedule_id=schedule_id, active=False))
    await stage.run_due("02 13:00")  # does nothing, although the worker has not updated the timer yet
    await stage.set_timer(schedule_id)
    await stage.run_due("02 15:10")
    assert (await stage.view(schedule_id)).next_run_at is None
    await stage.send(ChangeSchedule(project_id=PROJECT_ID, schedule_id=schedule_id, active=True))
    await stage.set_timer(schedule_id)
    await stage.run_due("02 15:20")
    assert stage.launches == []
    assert (await stage.view(schedule_id)).next_run_at == at("02 16:00")


async def test_a_repeated_event_does_not_change_the_due_time(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    await stage.run_due("02 13:00")
    await stage.set_timer(schedule_id)
    await schedule_timers.create_missing_timers(stage.context())
    await stage.run_due("02 13:30")
    assert len(stage.launches) == 1


async def test_a_lost_timer_is_created_again(stage: ScheduleStage) -> None:
    schedule_id = await stage.create()
    await stage.runtime.database[schedule_timers.TIMERS_COLLECTION].delete_many({})
    assert (await stage.view(schedule_id)).next_run_at == at("02 13:00")
    await schedule_timers.create_missing_timers(stage.context())
    await stage.run_due("02 13:00")
    assert len(stage.launches) == 1


async def test_a_user_runs_a_schedule_between_its_times(stage: ScheduleStage) -> None:
    schedule_id = await stage.create(active=False)
    view = await stage.query(RunSchedule(project_id=PROJECT_ID, schedule_id=schedule_id))
    assert (view.last_build_id, view.last_run_at, view.next_run_at) == (1, at("02 12:00"), None)
    with pytest.raises(RequestRejected) as rejected:
        await stage.query(RunSchedule(project_id=6, schedule_id=schedule_id))
    assert rejected.value.code == "SCHEDULE_NOT_FOUND"


async def test_schedules_are_deleted_with_their_project(stage: ScheduleStage) -> None:
    created = [await stage.create(), await stage.create()]
    late = await stage.create()
    await stage.send(DeleteSchedule(project_id=PROJECT_ID, schedule_id=created[0]))
    await stage.send(DeleteProject(project_id=PROJECT_ID))
    deletion = RecordedEvent(
        f"project-{PROJECT_ID}", 2, 0, ProjectDeleted(project_id=PROJECT_ID), CommandMetadata("deletion", stage.time)
    )
    await schedule_runs.delete_schedules_of_project(stage.context(), deletion)
    await schedule_runs.delete_schedules_of_project(stage.context(), deletion)
    for schedule_id in (*created, late):
        with pytest.raises(RequestRejected):
            await stage.view(schedule_id)
    await stage.run_due("02 13:00")
    assert stage.launches == []
    assert await stage.runtime.database[schedule_timers.TIMERS_COLLECTION].count_documents({}) == 0


async def test_a_schedule_that_was_created_during_the_deletion_of_its_project_is_deleted_when_it_is_due(
    stage: ScheduleStage,
) -> None:
    schedule_id = await stage.create()
    await stage.send(DeleteProject(project_id=PROJECT_ID))
    await stage.run_due("02 13:00")
    assert stage.launches == []
    with pytest.raises(RequestRejected):
        await stage.view(schedule_id)


async def test_names_of_secrets_and_too_many_schedules_are_rejected(
    stage: ScheduleStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.send(CreateSecret(name="TOKEN", value="hush-hush", projects_id=(PROJECT_ID,)))
    variables = (ScheduleVariable(name="TOKEN", value="x"),)
    with pytest.raises(RequestRejected) as rejected:
        await stage.create(variables=variables)
    assert (rejected.value.code, "`TOKEN`" in rejected.value.failure.detail) == ("BUILD_VARIABLES_RESERVED", True)
    schedule_id = await stage.create()
    with pytest.raises(RequestRejected) as rejected:
        await stage.send(ChangeSchedule(project_id=PROJECT_ID, schedule_id=schedule_id, variables=variables))
    assert rejected.value.code == "BUILD_VARIABLES_RESERVED"
    monkeypatch.setattr("services.projects.schedules.schedule_commands.MAX_SCHEDULES", 1)
    with pytest.raises(RequestRejected) as rejected:
        await stage.create()
    assert rejected.value.code == "SCHEDULE_LIMIT"
