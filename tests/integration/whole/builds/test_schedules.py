"""A due schedule launches one build, also if the leader dies before it has recorded the launch."""

from datetime import UTC, datetime, timedelta
from typing import Any

from libs.service.connections import create_mongo_client, get_database
from services.projects.schedules.schedule_timers import TIMERS_COLLECTION
from tests.support.in_process.build_system import BuildSystem
from tests.support.waiting import eventually


async def set_due_time(system: BuildSystem, schedule_id: int, due_at: datetime) -> None:
    """Set the due time of a schedule. An earlier time gives the timer as it was before the latest run was recorded."""
    async with create_mongo_client(system.settings, "test") as client:
        timers = get_database(client, system.settings, "projects")[TIMERS_COLLECTION]

        async def is_set() -> bool:
            fields = {"due_at": due_at, "wake_at": due_at, "last_build_id": None}
            return (await timers.update_one({"_id": schedule_id}, {"$set": fields})).matched_count == 1

        await eventually(is_set)


async def test_a_due_time_launches_one_build(system: BuildSystem) -> None:
    project = await system.create_project()
    fields = {"cron": "@yearly", "description": "Nightly", "variables": [{"name": "SUITE", "value": "all"}]}
    path = f"/api/developer/projects/{project['id']}/schedules"
    created = (await system.post(path, {"schedule": fields}, 201)).json()
    due_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

    async def find_last_build() -> Any:
        return (await system.get(f"{path}/{created['id']}"))["last_build_id"]

    await set_due_time(system, created["id"], due_at)
    await eventually(find_last_build)
    build_id = await find_last_build()
    await set_due_time(system, created["id"], due_at)
    await eventually(find_last_build)
    listed = await system.get("/api/developer/builds", params={"project": project["id"], "source": "schedule"})
    assert [build["id"] for build in listed["builds"]] == [build_id]
    overview = await system.get(f"/api/developer/builds/{build_id}/overview")
    assert overview["schedule"] == {"id": created["id"], "description": "Nightly"}
    assert overview["variables"] == fields["variables"]
    assert overview["initiator"]["name"] == "root"
    assert (await system.get(f"{path}/{created['id']}"))["next_run_at"] == created["next_run_at"]
    await system.http.delete(f"/api/developer/builds/kill/queued/{overview['executor_id']}", headers=system.admin)


async def test_a_schedule_keeps_its_rights_when_its_owner_leaves_the_project(system: BuildSystem) -> None:
    project = await system.create_project()  # its branch is protected: only maintainers may set variables
    user_id = await system.create_user("schedule-owner")
    member = f"/api/admin/projects/{project['id']}/members/{user_id}"
    await system.http.put(member, json={"member": {"role": "maintainer"}}, headers=system.admin)
    path = f"/api/developer/projects/{project['id']}/schedules"
    body = {"schedule": {"cron": "@yearly", "variables": [{"name": "SUITE", "value": "all"}]}}
    owner = await system.log_in("schedule-owner")
    created = (await system.http.post(path, json=body, headers=owner)).json()
    await system.http.delete(member, headers=system.admin)
    assert (await system.http.post(f"{path}/{created['id']}/run", headers=owner)).json()["message"] == "FORBIDDEN"

    async def find_last_build() -> Any:
        return (await system.get(f"{path}/{created['id']}"))["last_build_id"]

    await set_due_time(system, created["id"], datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))
    await eventually(find_last_build)
    overview = await system.get(f"/api/developer/builds/{await find_last_build()}/overview")
    assert overview["variables"] == body["schedule"]["variables"]
    assert overview["initiator"] == {"id": 0, "name": "system"}
    await system.http.delete(f"/api/developer/builds/kill/queued/{overview['executor_id']}", headers=system.admin)
