"""The gateway's JSON routes: authentication, the messages sent to services, and the responses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from contracts.identity import ChangeEmail, GetAccess, GetUser, LogIn, RegisterUser, Session, UserView
from contracts.messages import Command, Page, Query
from contracts.notifications import SendTestMail
from contracts.projects import (
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    GetLaunchSettings,
    GetProject,
    GetSecret,
    LastBuild,
    ListProjectsPage,
    ProjectView,
    RevealSecret,
    SecretView,
)
from contracts.runners import GetRegistrationInfo, RegistrationInfo
from gateway.adapters.free_commit import handlers
from gateway.auth import Authenticator, Role
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import generate_signing_key
from libs.version import VERSION
from tests.support.in_process.gateway_stage import ADMIN, DEVELOPER, GatewayStage, command_result, open_gateway_stage
from tests.support.infrastructure.servers import running_nats
from tests.support.waiting import eventually

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PROJECT = ProjectView(
    id=84,
    name="Mill",
    description=None,
    repository="https://forge.example/mill.git",
    branch="main",
    spec_file_path="/ci.yaml",
    keep_number_build=None,
    allow_concurrent_execution=True,
    signature_key=None,
    available_steps=("@build",),
    credential_id=3,
    secrets_id=(),
    builds_id=(),
    developers_id=(2,),
    executor_id=1,
    last_build=LastBuild(),
    owner_alias="ivan",
    alias="mill",
    protected_branches=("main",),
    created_at=NOON,
)
USER = UserView(
    id=5,
    uuid="0d9",
    username="anna",
    email=None,
    roles=("ROLE_DEVELOPER",),
    enabled=True,
    github_username=None,
    gitlab_username=None,
    projects_id=(),
    created_at=NOON,
)
SECRET = SecretView(id=6, name="KEY", value=None, env=None, escape_char=None, projects_id=(), is_global=True)
RUNNING_BUILD = BuildRow(
    id=17, executor_id="e-1", project_id=84, project_name="Mill", status=BuildStatus.RUNNING, queued_at=NOON
)
ERROR_FIELDS = {"timestamp", "status", "error", "message", "path", "detail", "trace_id"}


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            yield running


@pytest.fixture(autouse=True)
def clear_received_messages(stage: GatewayStage) -> None:
    stage.services.received.clear()


# ---- login, tokens and roles


async def test_a_login_response_has_the_fields_of_free_commit(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, lambda _: Session(access_token="a.b.c", expires_in=3600))
    answer = await stage.http.post("/api/auth/token", json={"auth": {"username": "ivan", "password": "secret"}})
    assert answer.status_code == 200
    assert answer.json() == {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600}
    assert stage.services.received_of(LogIn)[0].message == LogIn(
        username="ivan", password="secret", ip_address="127.0.0.1"
    )


def refuse_log_in(_query: LogIn) -> Session:
    raise RequestRejected("UNAUTHORIZED")


async def test_a_failed_login_returns_an_error_with_all_fields(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, refuse_log_in)
    answer = await stage.http.post("/api-free-commit/auth/token", json={})
    assert answer.status_code == 401
    assert answer.json().keys() == ERROR_FIELDS
    assert (answer.json()["message"], answer.json()["path"]) == ("UNAUTHORIZED", "/api-free-commit/auth/token")


async def test_user_info_comes_from_the_identity_service_and_not_from_the_token(stage: GatewayStage) -> None:
    answer = await stage.http.get("/api/user/info", headers=stage.developer)
    assert answer.json() == {"id": DEVELOPER, "username": "user2", "roles": ["ROLE_DEVELOPER"]}


@pytest.mark.parametrize("prefix", ["/api", "/api-free-commit", "/rest-api", ""])
async def test_every_path_prefix_leads_to_the_same_routes(stage: GatewayStage, prefix: str) -> None:
    assert (await stage.http.get(f"{prefix}/guest/ping")).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "token", "Token"])
async def test_the_authorization_scheme_is_case_insensitive(stage: GatewayStage, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {stage.users.token(ADMIN)}"}
    assert (await stage.http.get("/api/user/info", headers=headers)).status_code == 200


async def test_each_token_error_has_its_code(stage: GatewayStage) -> None:
    stranger = generate_signing_key()
    known, stage.users.key = stage.users.key, stranger
    forged = stage.users.token(ADMIN)
    stage.users.key = known
    codes = {
        name: (await stage.http.get("/api/user/info", headers=headers)).json()["message"]
        for name, headers in {
            "none": {},
            "null": {"Authorization": "Bearer null"},
            "forged": {"Authorization": f"Bearer {forged}"},
            "old": stage.bearer(ADMIN, age=7200),
            "of an unknown user": stage.bearer(999),
            "before a change": stage.bearer(ADMIN, epoch=0),
        }.items()
    }
    assert codes == {
        "none": "UNAUTHORIZED",
        "null": "TOKEN_INVALID",
        "forged": "TOKEN_INVALID",
        "old": "TOKEN_EXPIRED",
        "of an unknown user": "TOKEN_INVALID",
        "before a change": "TOKEN_INVALID",
    }


async def test_an_administrator_cannot_use_developer_routes(stage: GatewayStage) -> None:
    answer = await stage.http.get("/api/developer/builds/queueds", headers=stage.admin)
    assert (answer.status_code, answer.json()["message"]) == (403, "FORBIDDEN")


async def test_a_developer_cannot_use_administrator_routes(stage: GatewayStage) -> None:
    answer = await stage.http.get("/api/admin/executors", headers=stage.developer)
    assert (answer.status_code, answer.json()["message"]) == (403, "FORBIDDEN")


async def test_a_disabled_user_is_rejected_within_two_seconds(stage: GatewayStage) -> None:
    stage.users.add(3, "ROLE_DEVELOPER")
    headers = stage.bearer(3)
    assert (await stage.http.get("/api/user/info", headers=headers)).status_code == 200
    stage.users.add(3, "ROLE_DEVELOPER", enabled=False, epoch=2)
    await eventually(lambda: stage.http.get("/api/user/info", headers=headers), is_unauthorized, within=2)


def is_unauthorized(answer: httpx.Response) -> bool:
    return answer.status_code == 401


async def test_concurrent_requests_of_one_user_send_one_access_query(stage: GatewayStage) -> None:
    stage.users.add(4, "ROLE_DEVELOPER")
    headers = stage.bearer(4)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(stage.http.get("/api/user/info", headers=headers))
    assert len(stage.services.received_of(GetAccess)) == 1


@dataclass
class ManualClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_cached_access_is_used_for_a_minute_while_identity_is_unavailable(stage: GatewayStage) -> None:
    clock = ManualClock()
    doorkeeper = Authenticator(MessageClient(stage.client), clock)
    headers = {b"authorization": b"Bearer " + stage.users.token(DEVELOPER).encode()}
    await doorkeeper.authenticate(headers, Role.DEVELOPER, None)
    await stage.services.stop(GetAccess)
    clock.now = 59
    assert (await doorkeeper.authenticate(headers, Role.DEVELOPER, None)).id == DEVELOPER
    clock.now = 61
    with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
        await doorkeeper.authenticate(headers, Role.DEVELOPER, None)
    await stage.services.serve(GetAccess, stage.users.get)


# ---- builds


async def test_a_launch_sends_the_caller_as_actor_and_returns_the_build(stage: GatewayStage) -> None:
    await stage.services.serve(
        QueueBuild, lambda _: command_result("build-17", **RUNNING_BUILD.model_dump(mode="json"))
    )
    body = {"build": {"ignore_steps": ["@deploy"]}}
    answer = await stage.http.post("/api/developer/builds/84", json=body, headers=stage.developer)
    assert answer.status_code == 200
    assert answer.json() == {"project_name": "Mill", "executor_id": "e-1", "build_id": 17}
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
    started = time.monotonic()
    answer = await stage.http.post("/api/developer/builds/84", headers=stage.developer)
    assert (answer.status_code, answer.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert time.monotonic() - started < 4  # the request timeout is five seconds
    assert stage.services.received_of(QueueBuild) == []


@pytest.mark.parametrize(("path", "message_type"), [("queueds", ListQueuedBuilds), ("executeds", ListRunningBuilds)])
async def test_an_outage_gives_an_empty_list_to_polling_pages_and_503_to_other_clients(
    stage: GatewayStage, path: str, message_type: type[Query]
) -> None:
    await stage.services.serve(message_type, lambda _: [])
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
    await stage.services.serve(ListQueuedBuilds, lambda _: [queued])
    answer = await stage.http.get("/api/developer/builds/queueds", headers=stage.developer)
    assert answer.json() == [queued.model_dump(mode="json")]


async def test_listing_builds_of_an_unknown_project_is_404(stage: GatewayStage) -> None:
    await stage.services.serve(ListProjectBuilds, lambda _: [])
    await stage.services.serve(GetLaunchSettings, reject_unknown_project)
    answer = await stage.http.get("/api/developer/builds/by/project/9", headers=stage.developer)
    assert (answer.status_code, answer.json()["message"]) == (404, "PROJECT_NOT_FOUND")


def reject_unknown_project(_query: GetProject) -> ProjectView:
    raise RequestRejected("PROJECT_NOT_FOUND")


@pytest.mark.parametrize("state", ["queued", "executed"])
async def test_a_build_is_killed_by_its_executor_id(stage: GatewayStage, state: str) -> None:
    await stage.services.serve(KillBuild, lambda _: command_result("build-17"))
    answer = await stage.http.delete(f"/api/developer/builds/kill/{state}/e-1", headers=stage.developer)
    assert (answer.status_code, answer.content) == (204, b"")
    assert stage.services.received_of(KillBuild)[0].message == KillBuild(executor_id="e-1")


async def test_a_kill_is_answered_when_the_build_has_finished_its_clean_up(stage: GatewayStage) -> None:
    build_rows = iter([RUNNING_BUILD, None, RUNNING_BUILD.replace(status=BuildStatus.KILLED, finished=True)])

    def get_next_row(_query: GetBuild) -> BuildRow:
        if found := next(build_rows):
            return found
        raise RequestRejected("SERVICE_UNAVAILABLE")

    await stage.services.serve(GetBuild, get_next_row)
    await stage.services.serve(KillBuild, lambda _: command_result("build-17", status="CANCELING"))
    answer = await stage.http.delete("/api/developer/builds/kill/executed/e-1", headers=stage.developer)
    assert answer.status_code == 204
    assert next(build_rows, None) is None


async def test_a_kill_waits_for_the_clean_up_only_up_to_a_timeout(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "CLEANUP_TIMEOUT_SECONDS", 0.3)
    await stage.services.serve(GetBuild, lambda _: RUNNING_BUILD)
    await stage.services.serve(KillBuild, lambda _: command_result("build-17", status="CANCELING"))
    answer = await stage.http.delete("/api/developer/builds/kill/executed/e-1", headers=stage.developer)
    assert answer.status_code == 204


async def test_a_live_log_is_read_from_a_line_number(stage: GatewayStage) -> None:
    section = LiveSection(step="init", start_at=NOON, log="\nhello", line_number=4)
    await stage.services.serve(GetLiveLog, lambda _: section)
    answer = await stage.http.get("/api/developer/logs/e-1/init/3", headers=stage.developer)
    assert answer.json() == section.model_dump(mode="json")
    assert stage.services.received_of(GetLiveLog)[0].message == GetLiveLog(
        executor_id="e-1", step="init", line_number=3
    )


@pytest.mark.parametrize("line", ["x", "-1", "1.5", "9" * 40])
async def test_an_invalid_line_number_is_400(stage: GatewayStage, line: str) -> None:
    answer = await stage.http.get(f"/api/developer/logs/e-1/init/{line}", headers=stage.developer)
    assert answer.status_code == 400


# ---- resources


async def test_creating_a_project_returns_it_with_its_signature_key(stage: GatewayStage) -> None:
    await stage.services.serve(CreateProject, lambda _: command_result("project-84"))
    await stage.services.serve(
        GetProject, lambda query: PROJECT.replace(signature_key="k" * 32 if query.reveal else None)
    )
    body = {
        "project": {
            "name": "Mill",
            "repository": "https://forge.example/mill.git",
            "keep_number_build": "",
            "allow_concurrent_execution": "TRUE",
            "executor_id": "1",
            "repository_credential_id": 3,
            "developers_id": ["2"],
            "unknown": {"a": 1},
        }
    }
    answer = await stage.http.post("/api/admin/projects", json=body, headers=stage.admin)
    assert answer.status_code == 201
    assert (answer.json()["signature_key"], answer.json()["repository_credential_id"]) == ("k" * 32, 3)
    assert stage.services.received_of(CreateProject)[0].message == CreateProject(
        name="Mill",
        repository="https://forge.example/mill.git",
        allow_concurrent_execution=True,
        executor_id=1,
        credential_id=3,
        developers_id=(2,),
    )


async def test_a_developer_sees_asterisks_instead_of_the_signature_key(stage: GatewayStage) -> None:
    await stage.services.serve(GetProject, lambda query: PROJECT.replace(signature_key="k" if query.reveal else None))
    answer = await stage.http.get("/api/developer/projects/84", headers=stage.developer)
    assert answer.json()["signature_key"] == "*" * 15


async def test_creating_a_secret_returns_its_value_without_recording_an_access(stage: GatewayStage) -> None:
    await stage.services.serve(CreateSecret, lambda _: command_result("secret-6"))
    await stage.services.serve(GetSecret, lambda _: SECRET)
    await stage.services.serve(RevealSecret, lambda _: SECRET.replace(value="other"))
    body = {"secret": {"name": "KEY", "value": "hush", "projects_id": []}}
    answer = await stage.http.post("/api/admin/secrets", json=body, headers=stage.admin)
    assert (answer.status_code, answer.json()["value"]) == (201, "hush")
    assert stage.services.received_of(RevealSecret) == []


async def test_a_developer_never_sees_the_value_of_a_secret(stage: GatewayStage) -> None:
    await stage.services.serve(GetSecret, lambda _: SECRET.replace(value="hush"))
    answer = await stage.http.get("/api/developer/secrets/6", headers=stage.developer)
    assert answer.json().keys() == {"id", "name", "env", "escape_char", "projects_id"}


async def test_creating_a_user_returns_it_with_a_masked_password(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterUser, lambda _: command_result("user-5"))
    await stage.services.serve(GetUser, lambda _: USER)
    body = {"developer": {"username": "anna", "password": "long enough", "roles": ["ROLE_DEVELOPER"]}}
    answer = await stage.http.post("/api/admin/developers", json=body, headers=stage.admin)
    assert (answer.status_code, answer.json()["id"], answer.json()["password"]) == (201, 5, "*" * 11)


async def test_a_single_field_is_patched_in_the_resource_envelope(stage: GatewayStage) -> None:
    await stage.services.serve(ChangeEmail, lambda _: command_result("user-5"))
    await stage.services.serve(GetUser, lambda _: USER)
    body = {"developer": {"email": "anna@example.org"}}
    answer = await stage.http.patch("/api/admin/developers/5/email", json=body, headers=stage.admin)
    assert (answer.status_code, answer.json()["username"]) == (200, "anna")
    assert stage.services.received_of(ChangeEmail)[0].message == ChangeEmail(user_id=5, email="anna@example.org")


async def test_a_page_has_the_envelope_of_free_commit(stage: GatewayStage) -> None:
    row = {
        "project_id": 84,
        "project_name": "Mill",
        "build_last_exit_code": None,
        "build_last_exit_message": None,
        "build_last_created_at": None,
    }
    await stage.services.serve(ListProjectsPage, lambda _: Page(rows=(row,), total=11))
    query = "per_page=10&page=2&mode=exclude&orderBy=ASC&sortBy=project_name&project_name%5Bcontains%5D=Mi"
    answer = await stage.http.get(f"/api/developer/paginations/project?{query}", headers=stage.developer)
    assert answer.json() == {
        "current_page": 2,
        "from": 11,
        "to": 11,
        "per_page": 10,
        "total": 11,
        "last_page": 2,
        "data": [row],
    }


async def test_a_test_mail_is_requested_without_a_body(stage: GatewayStage) -> None:
    await stage.services.serve(SendTestMail, lambda _: command_result("notification-1"))
    answer = await stage.http.post("/api/admin/config/mail/test/a%40b.example", headers=stage.admin)
    assert (answer.status_code, answer.content) == (200, b"")
    assert stage.services.received_of(SendTestMail)[0].message.recipient == "a@b.example"


async def test_the_runner_registration_token_is_for_administrators_only(stage: GatewayStage) -> None:
    await stage.services.serve(
        GetRegistrationInfo, lambda _: RegistrationInfo(scope="service", registration_token="0d949a3a")
    )
    path = "/rest-api/admin/runners/registration-info"
    answer = await stage.http.get(path, headers={"Authorization": f"token {stage.users.token(ADMIN)}"})
    assert answer.json() == {
        "id": "1",
        "registrationUrl": "http://ci.example:80/-/runner/registration",
        "registrationToken": "0d949a3a",
    }
    strangers = [{}, {"Authorization": "token x"}, stage.bearer(ADMIN, age=7200), stage.developer]
    assert [(await stage.http.get(path, headers=headers)).status_code for headers in strangers] == [403, 403, 403, 403]


# ---- errors


async def test_unknown_paths_and_methods_have_their_codes(stage: GatewayStage) -> None:
    nowhere = await stage.http.get("/api/nowhere")
    assert (nowhere.status_code, nowhere.json()["message"]) == (404, "NOT_FOUND")
    beyond = await stage.http.get(f"/api/admin/projects/{2**63}", headers=stage.admin)
    assert (beyond.status_code, beyond.json()["message"]) == (404, "NOT_FOUND")
    wrong = await stage.http.put("/api/admin/projects/1", headers=stage.admin)
    assert (wrong.status_code, wrong.json()["message"]) == (405, "METHOD_NOT_ALLOWED")
    assert wrong.headers["Allow"] == "GET, HEAD, DELETE, OPTIONS"
    alike = await stage.http.put("/api/developer/builds/1", headers=stage.developer)
    assert alike.headers["Allow"] == "POST, GET, HEAD, OPTIONS"


async def test_a_body_that_is_not_json_is_400(stage: GatewayStage) -> None:
    headers = stage.admin | {"Content-Type": "application/json"}
    answer = await stage.http.post("/api/admin/projects", content=b'{"project":', headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (400, "REQUEST_MALFORMED")


async def test_a_body_above_the_size_limit_is_413(stage: GatewayStage) -> None:
    headers = stage.admin | {"Content-Type": "application/json"}
    answer = await stage.http.post("/api/admin/projects", content=b" " * (2 * 1024 * 1024), headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_value_of_a_wrong_type_is_422_with_the_code_of_its_field(stage: GatewayStage) -> None:
    body = {"project": {"keep_number_build": "many"}}
    answer = await stage.http.post("/api/admin/projects", json=body, headers=stage.admin)
    assert (answer.status_code, answer.json()["message"]) == (422, "PROJECT_KEEP_NUMBER_BUILD_INVALID")


def raise_defect(_command: CreateProject) -> None:
    raise RuntimeError("a defect")


async def test_a_defect_of_a_service_is_500_without_details(
    stage: GatewayStage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.services.serve(CreateProject, raise_defect)
    answer = await stage.http.post("/api/admin/projects", json={}, headers=stage.admin)
    assert (answer.status_code, answer.json()["message"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "a defect" not in answer.text
    caplog.clear()


async def test_an_unreadable_service_reply_is_500_and_logged_once(
    stage: GatewayStage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.services.serve(ListProjectBuilds, lambda _: [{"id": "hush"}])
    await stage.services.serve(GetLaunchSettings, lambda _: {})
    answer = await stage.http.get("/api/developer/builds/by/project/9", headers=stage.developer)
    assert (answer.status_code, answer.json()["message"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "hush" not in answer.text
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["headrace.gateway"]
    caplog.clear()


async def test_a_trace_started_by_the_client_is_continued(stage: GatewayStage) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await stage.http.get("/api/nowhere", headers={"traceparent": traceparent})
    assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_the_openapi_document_lists_only_the_documented_prefix(stage: GatewayStage) -> None:
    document = (await stage.http.get("/api/openapi.json")).json()
    assert all(path.startswith("/api/") for path in document["paths"])
    protected = [
        operation for path in document["paths"].values() for operation in path.values() if operation["security"]
    ]
    assert [operation["operationId"] for operation in protected if "403" not in operation["responses"]] == []
    assert "text/event-stream" in document["paths"]["/api/events"]["get"]["responses"]["200"]["content"]
    assert "/api/developer/builds/{project_id}" in (await stage.http.get("/api/docs")).text


async def test_the_asyncapi_document_describes_the_events(stage: GatewayStage) -> None:
    document = (await stage.http.get("/api/asyncapi.json")).json()
    assert "builds.BuildFinished" in document["channels"]
    assert 'id="builds.BuildFinished"' in (await stage.http.get("/api/events/docs")).text


async def test_health_readiness_and_metrics_endpoints_respond(stage: GatewayStage) -> None:
    assert (await stage.http.get("/healthz")).json() == {"alive": True, "version": VERSION}
    assert (await stage.http.get("/readyz")).json() == {"ready": True, "reasons": {}}
    assert "headrace_long_polls 0.0" in (await stage.http.get("/metrics")).text


async def test_metrics_are_hidden_from_forwarded_requests(stage: GatewayStage) -> None:
    answer = await stage.http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"})
    assert (answer.status_code, answer.json()["message"]) == (404, "NOT_FOUND")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\x00") | st.just(2**80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from(["name", "branch", "executor_id", "developers_id", "keep_number_build", "value", "roles"])
RESOURCE_NAMES = st.sampled_from(["project", "secret", "developer", "executor", "credential", "build"])
HOSTILE_BODIES = (
    st.binary(max_size=40)
    | st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 5000, b"NaN", b'"\\ud800"', b"9" * 5000, b"null", b"[1]", b"\xff\xfe"]
    )
    | st.dictionaries(
        RESOURCE_NAMES, st.dictionaries(FIELD_NAMES, JSON_VALUES, max_size=3) | JSON_VALUES, max_size=2
    ).map(lambda body: json.dumps(body).encode())
)


CREATE_COMMANDS: dict[str, type[Command]] = {
    "projects": CreateProject,
    "secrets": CreateSecret,
    "developers": RegisterUser,
    "executors": CreateExecutor,
    "credentials": CreateCredential,
}


def refuse_all(_command: Command) -> None:
    raise RequestRejected("REQUEST_INVALID")


@pytest.fixture
async def stage_rejecting_creation(stage: GatewayStage) -> GatewayStage:
    for message_type in CREATE_COMMANDS.values():
        await stage.services.serve(message_type, refuse_all)
    return stage


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=HOSTILE_BODIES, path=st.sampled_from([*CREATE_COMMANDS]))
async def test_no_request_body_causes_a_server_error(
    stage_rejecting_creation: GatewayStage, raw: bytes, path: str
) -> None:
    headers = stage_rejecting_creation.admin | {"Content-Type": "application/json"}
    answer = await stage_rejecting_creation.http.post(f"/api/admin/{path}", content=raw, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.json().keys() == ERROR_FIELDS
