"""Build routes of the gateway: the messages sent to services, and the responses."""

import pytest

from contracts.builds import (
    BuildRow,
    BuildStatus,
    GetBuild,
    GetLiveLog,
    KillBuild,
    ListProjectBuilds,
    ListQueuedBuilds,
    ListRunningBuilds,
    LiveSection,
    QueueBuild,
    QueuedBuild,
)
from contracts.errors import RequestRejected
from contracts.messages import Page, Query
from contracts.projects import (
    GetLaunchSettings,
    GetProject,
    ProjectView,
)
from gateway.routers.free_commit import builds
from tests.integration.gateway.json_routes.sample_views import NOON
from tests.support.in_process.gateway_stage import ADMIN, DEVELOPER, GatewayStage, command_result

RUNNING_BUILD = BuildRow(
    id=17, executor_id="e-1", project_id=84, project_name="Mill", status=BuildStatus.RUNNING, queued_at=NOON
)


async def test_a_launch_sends_the_caller_as_actor_and_returns_the_build(stage: GatewayStage) -> None:
    await stage.services.serve(
        QueueBuild, lambda _: command_result("build-17", **RUNNING_BUILD.model_dump(mode="json"))
    )
    body = {"build": {"ignore_steps": ["@deploy"]}}
    response = await stage.http.post("/api/developer/builds/84", json=body, headers=stage.developer)
    assert response.status_code == 200
    assert response.json() == {"project_name": "Mill", "executor_id": "e-1", "build_id": 17}
    [received] = stage.services.received_of(QueueBuild)
    assert received.message == QueueBuild(project_id=84, ignore_steps=("@deploy",))
    assert (received.actor.id, received.actor.roles) == (DEVELOPER, ("ROLE_DEVELOPER",))


async def test_fields_set_by_the_service_cannot_be_sent_by_clients(stage: GatewayStage) -> None:
    await stage.services.serve(
        QueueBuild, lambda _: command_result("build-17", **RUNNING_BUILD.model_dump(mode="json"))
    )
    body = {"build": {"build_id": 1, "initiator_id": ADMIN, "max_attempts": 99}, "build_executor_id": "x"}
    await stage.http.post("/api/developer/builds/84", json=body, headers=stage.developer)
    assert stage.services.received_of(QueueBuild)[0].message == QueueBuild(project_id=84)


async def test_an_idempotency_key_maps_to_one_command_id_per_user_and_path(stage: GatewayStage) -> None:
    await stage.services.serve(
        QueueBuild, lambda _: command_result("build-17", **RUNNING_BUILD.model_dump(mode="json"))
    )
    stage.users.add(8, "ROLE_DEVELOPER")
    mine, theirs = stage.developer | {"Idempotency-Key": "k"}, stage.bearer(8) | {"Idempotency-Key": "k"}
    await stage.http.post("/api/developer/builds/84", headers=mine)
    await stage.http.post("/rest-api/developer/builds/84", headers=mine)
    await stage.http.post("/api/developer/builds/85", headers=mine)
    await stage.http.post("/api/developer/builds/84", headers=theirs)
    first, same, elsewhere, other = [received.command_id for received in stage.services.received_of(QueueBuild)]
    assert first == same
    assert len({first, elsewhere, other}) == 3


async def test_a_stopped_service_is_reported_as_503_without_waiting(stage: GatewayStage) -> None:
    await stage.services.serve(
        QueueBuild, lambda _: command_result("build-17", **RUNNING_BUILD.model_dump(mode="json"))
    )
    await stage.services.stop(QueueBuild)
    response = await stage.http.post("/api/developer/builds/84", headers=stage.developer)
    assert (response.status_code, response.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert "no process of the service builds" in response.json()["detail"]  # after a timeout: it did not answer
    assert stage.services.received_of(QueueBuild) == []


@pytest.mark.parametrize(("path", "message_type"), [("queueds", ListQueuedBuilds), ("executeds", ListRunningBuilds)])
async def test_an_outage_gives_an_empty_list_to_polling_pages_and_503_to_other_clients(
    stage: GatewayStage, path: str, message_type: type[Query]
) -> None:
    await stage.services.serve(message_type, lambda _: Page(rows=()))
    await stage.services.stop(message_type)
    page = await stage.http.get(f"/api-free-commit/developer/builds/{path}", headers=stage.developer)
    assert (page.status_code, page.json()) == (200, [])
    other = await stage.http.get(f"/api/developer/builds/{path}", headers=stage.developer)
    assert (other.status_code, other.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    stranger = await stage.http.get(
        f"/api-free-commit/developer/builds/{path}", headers={"Authorization": "Bearer null"}
    )
    assert stranger.status_code == 401


async def test_queued_builds_are_returned_unchanged(stage: GatewayStage) -> None:
    queued = QueuedBuild(
        build_id=17, executor_id="e-1", project_id=84, project_name="Mill", queued_at=NOON, reason="no runner"
    )
    await stage.services.serve(ListQueuedBuilds, lambda _: Page(rows=(queued.model_dump(mode="json"),)))
    response = await stage.http.get("/api/developer/builds/queueds", headers=stage.developer)
    assert response.json() == [queued.model_dump(mode="json")]


async def test_listing_builds_of_an_unknown_project_is_404(stage: GatewayStage) -> None:
    await stage.services.serve(ListProjectBuilds, lambda _: [])
    await stage.services.serve(GetLaunchSettings, reject_unknown_project)
    response = await stage.http.get("/api/developer/builds/by/project/9", headers=stage.developer)
    assert (response.status_code, response.json()["message"]) == (404, "PROJECT_NOT_FOUND")


def reject_unknown_project(_query: GetProject) -> ProjectView:
    raise RequestRejected("PROJECT_NOT_FOUND")


@pytest.mark.parametrize("state", ["queued", "executed"])
async def test_a_build_is_killed_by_its_executor_id(stage: GatewayStage, state: str) -> None:
    await stage.services.serve(KillBuild, lambda _: command_result("build-17"))
    response = await stage.http.delete(f"/api/developer/builds/kill/{state}/e-1", headers=stage.developer)
    assert (response.status_code, response.content) == (204, b"")
    assert stage.services.received_of(KillBuild)[0].message == KillBuild(executor_id="e-1")


async def test_a_kill_is_answered_when_the_build_has_finished_its_clean_up(stage: GatewayStage) -> None:
    build_rows = iter([RUNNING_BUILD, None, RUNNING_BUILD.replace(status=BuildStatus.KILLED, finished=True)])

    def get_next_row(_query: GetBuild) -> BuildRow:
        if found := next(build_rows):
            return found
        raise RequestRejected("SERVICE_UNAVAILABLE")

    await stage.services.serve(GetBuild, get_next_row)
    await stage.services.serve(KillBuild, lambda _: command_result("build-17", status="CANCELING"))
    response = await stage.http.delete("/api/developer/builds/kill/executed/e-1", headers=stage.developer)
    assert response.status_code == 204
    assert next(build_rows, None) is None


async def test_a_kill_waits_for_the_clean_up_only_up_to_a_timeout(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "CLEANUP_TIMEOUT_SECONDS", 0.3)
    await stage.services.serve(GetBuild, lambda _: RUNNING_BUILD)
    await stage.services.serve(KillBuild, lambda _: command_result("build-17", status="CANCELING"))
    response = await stage.http.delete("/api/developer/builds/kill/executed/e-1", headers=stage.developer)
    assert response.status_code == 204


async def test_a_live_log_is_read_from_a_line_number(stage: GatewayStage) -> None:
    section = LiveSection(step="init", start_at=NOON, log="\nhello", line_number=4)
    await stage.services.serve(GetLiveLog, lambda _: section)
    response = await stage.http.get("/api/developer/logs/e-1/init/3", headers=stage.developer)
    assert response.json() == section.model_dump(mode="json")
    assert stage.services.received_of(GetLiveLog)[0].message == GetLiveLog(
        executor_id="e-1", step="init", line_number=3
    )


@pytest.mark.parametrize("line", ["x", "-1", "1.5", "9" * 40])
async def test_an_invalid_line_number_is_400(stage: GatewayStage, line: str) -> None:
    response = await stage.http.get(f"/api/developer/logs/e-1/init/{line}", headers=stage.developer)
    assert response.status_code == 400
