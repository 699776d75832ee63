"""The gateway's JSON routes: who may ask, what the services are told, what clients read."""

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
    KillBuild,
    ListBuildsOfProject,
    ListQueued,
    ListRunning,
    LiveSection,
    QueueBuild,
    QueuedBuild,
    ReadLiveLog,
)
from contracts.errors import Refused
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
    PageProjects,
    ProjectView,
    RevealSecret,
    SecretView,
)
from contracts.runners import GetRegistrationInfo, RegistrationInfo
from gateway.auth import Doorkeeper, Role
from gateway.dialects import free_commit_actions
from libs.messaging import Caller
from libs.security.tokens import new_signing_key
from libs.version import VERSION
from tests.integration.gateway_stage import ADMIN, DEVELOPER, Stage, done, eventually, stage
from tests.support.servers import lone_nats

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
RUNNING = BuildRow(
    id=17, executor_id="e-1", project_id=84, project_name="Mill", status=BuildStatus.RUNNING, queued_at=NOON
)
FAILURE = {"timestamp", "status", "error", "message", "path", "detail", "trace_id"}


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url) as one:
            yield one


@pytest.fixture(autouse=True)
def nothing_told_yet(here: Stage) -> None:
    here.services.told.clear()


# ---- logging in, tokens, roles


async def test_a_log_in_answers_as_free_commit_does(here: Stage) -> None:
    await here.services.play(LogIn, lambda _: Session(access_token="a.b.c", expires_in=3600))
    answer = await here.http.post("/api/auth/token", json={"auth": {"username": "ivan", "password": "secret"}})
    assert answer.status_code == 200
    assert answer.json() == {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600}
    assert here.services.told_of(LogIn)[0].message == LogIn(username="ivan", password="secret", ip_address="127.0.0.1")


def refuse_log_in(_query: LogIn) -> Session:
    raise Refused("UNAUTHORIZED")


async def test_a_failed_log_in_is_an_error_with_every_member(here: Stage) -> None:
    await here.services.play(LogIn, refuse_log_in)
    answer = await here.http.post("/api-free-commit/auth/token", json={})
    assert answer.status_code == 401
    assert answer.json().keys() == FAILURE
    assert (answer.json()["message"], answer.json()["path"]) == ("UNAUTHORIZED", "/api-free-commit/auth/token")


async def test_who_one_is_comes_from_identity_and_not_from_the_token(here: Stage) -> None:
    answer = await here.http.get("/api/user/info", headers=here.developer)
    assert answer.json() == {"id": DEVELOPER, "username": "user2", "roles": ["ROLE_DEVELOPER"]}


@pytest.mark.parametrize("prefix", ["/api", "/api-free-commit", "/rest-api", ""])
async def test_every_prefix_leads_to_the_same_routes(here: Stage, prefix: str) -> None:
    assert (await here.http.get(f"{prefix}/guest/ping")).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "token", "Token"])
async def test_the_scheme_of_a_token_is_read_without_case(here: Stage, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {here.users.token(ADMIN)}"}
    assert (await here.http.get("/api/user/info", headers=headers)).status_code == 200


async def test_each_fault_of_a_token_has_its_code(here: Stage) -> None:
    stranger = new_signing_key()
    known, here.users.key = here.users.key, stranger
    forged = here.users.token(ADMIN)
    here.users.key = known
    codes = {
        name: (await here.http.get("/api/user/info", headers=headers)).json()["message"]
        for name, headers in {
            "none": {},
            "null": {"Authorization": "Bearer null"},
            "forged": {"Authorization": f"Bearer {forged}"},
            "old": here.bearer(ADMIN, age=7200),
            "of nobody": here.bearer(999),
            "before a change": here.bearer(ADMIN, epoch=0),
        }.items()
    }
    assert codes == {
        "none": "UNAUTHORIZED",
        "null": "TOKEN_INVALID",
        "forged": "TOKEN_INVALID",
        "old": "TOKEN_EXPIRED",
        "of nobody": "TOKEN_INVALID",
        "before a change": "TOKEN_INVALID",
    }


async def test_an_administrator_is_no_developer(here: Stage) -> None:
    answer = await here.http.get("/api/developer/builds/queueds", headers=here.admin)
    assert (answer.status_code, answer.json()["message"]) == (403, "FORBIDDEN")


async def test_a_developer_is_no_administrator(here: Stage) -> None:
    answer = await here.http.get("/api/admin/executors", headers=here.developer)
    assert (answer.status_code, answer.json()["message"]) == (403, "FORBIDDEN")


async def test_a_disabled_user_is_out_within_two_seconds(here: Stage) -> None:
    here.users.put(3, "ROLE_DEVELOPER")
    headers = here.bearer(3)
    assert (await here.http.get("/api/user/info", headers=headers)).status_code == 200
    here.users.put(3, "ROLE_DEVELOPER", enabled=False, epoch=2)
    await eventually(lambda: here.http.get("/api/user/info", headers=headers), is_refused, within=2)


def is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == 401


async def test_many_requests_of_one_user_ask_identity_once(here: Stage) -> None:
    here.users.put(4, "ROLE_DEVELOPER")
    headers = here.bearer(4)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(here.http.get("/api/user/info", headers=headers))
    assert len(here.services.told_of(GetAccess)) == 1


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_known_users_go_on_for_a_minute_while_identity_is_away(here: Stage) -> None:
    clock = Clock()
    doorkeeper = Doorkeeper(Caller(here.client), clock)
    headers = {b"authorization": b"Bearer " + here.users.token(DEVELOPER).encode()}
    await doorkeeper.admit(headers, Role.DEVELOPER, None)
    await here.services.stop(GetAccess)
    clock.now = 59
    assert (await doorkeeper.admit(headers, Role.DEVELOPER, None)).id == DEVELOPER
    clock.now = 61
    with pytest.raises(Refused, match="SERVICE_UNAVAILABLE"):
        await doorkeeper.admit(headers, Role.DEVELOPER, None)
    await here.services.play(GetAccess, here.users.get)


# ---- builds


async def test_a_launch_names_the_build_and_whose_wish_it_is(here: Stage) -> None:
    await here.services.play(QueueBuild, lambda _: done("build-17", **RUNNING.model_dump(mode="json")))
    body = {"build": {"ignore_steps": ["@deploy"]}}
    answer = await here.http.post("/api/developer/builds/84", json=body, headers=here.developer)
    assert answer.status_code == 200
    assert answer.json() == {"project_name": "Mill", "executor_id": "e-1", "build_id": 17}
    [told] = here.services.told_of(QueueBuild)
    assert told.message == QueueBuild(project_id=84, ignore_steps=("@deploy",))
    assert (told.actor.id, told.actor.roles) == (DEVELOPER, ("ROLE_DEVELOPER",))


async def test_what_the_service_fills_in_cannot_be_sent(here: Stage) -> None:
    await here.services.play(QueueBuild, lambda _: done("build-17", **RUNNING.model_dump(mode="json")))
    body = {"build": {"build_id": 1, "initiator_id": ADMIN, "max_attempts": 99}, "build_executor_id": "x"}
    await here.http.post("/api/developer/builds/84", json=body, headers=here.developer)
    assert here.services.told_of(QueueBuild)[0].message == QueueBuild(project_id=84)


async def test_an_idempotency_key_makes_one_command_per_user_and_address(here: Stage) -> None:
    await here.services.play(QueueBuild, lambda _: done("build-17", **RUNNING.model_dump(mode="json")))
    here.users.put(8, "ROLE_DEVELOPER")
    mine, theirs = here.developer | {"Idempotency-Key": "k"}, here.bearer(8) | {"Idempotency-Key": "k"}
    await here.http.post("/api/developer/builds/84", headers=mine)
    await here.http.post("/rest-api/developer/builds/84", headers=mine)
    await here.http.post("/api/developer/builds/85", headers=mine)
    await here.http.post("/api/developer/builds/84", headers=theirs)
    first, same, elsewhere, other = [one.command_id for one in here.services.told_of(QueueBuild)]
    assert first == same
    assert len({first, elsewhere, other}) == 3


async def test_a_service_that_is_down_is_said_at_once(here: Stage) -> None:
    await here.services.play(QueueBuild, lambda _: done("build-17", **RUNNING.model_dump(mode="json")))
    await here.services.stop(QueueBuild)
    begun = time.monotonic()
    answer = await here.http.post("/api/developer/builds/84", headers=here.developer)
    assert (answer.status_code, answer.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert time.monotonic() - begun < 4  # a service that is silent is told after five
    assert here.services.told_of(QueueBuild) == []


@pytest.mark.parametrize(("path", "message_type"), [("queueds", ListQueued), ("executeds", ListRunning)])
async def test_an_outage_blanks_no_page_and_is_told_to_all_others(
    here: Stage, path: str, message_type: type[Query]
) -> None:
    await here.services.play(message_type, lambda _: [])
    await here.services.stop(message_type)
    page = await here.http.get(f"/api-free-commit/developer/builds/{path}", headers=here.developer)
    assert (page.status_code, page.json()) == (200, [])
    other = await here.http.get(f"/api/developer/builds/{path}", headers=here.developer)
    assert (other.status_code, other.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    stranger = await here.http.get(
        f"/api-free-commit/developer/builds/{path}", headers={"Authorization": "Bearer null"}
    )
    assert stranger.status_code == 401


async def test_queued_builds_are_passed_on_as_they_are(here: Stage) -> None:
    queued = QueuedBuild(
        build_id=17, executor_id="e-1", project_id=84, project_name="Mill", queued_at=NOON, reason="no runner"
    )
    await here.services.play(ListQueued, lambda _: [queued])
    answer = await here.http.get("/api/developer/builds/queueds", headers=here.developer)
    assert answer.json() == [queued.model_dump(mode="json")]


async def test_builds_of_a_project_that_is_not_there_are_not_an_empty_list(here: Stage) -> None:
    await here.services.play(ListBuildsOfProject, lambda _: [])
    await here.services.play(GetLaunchSettings, no_project)
    answer = await here.http.get("/api/developer/builds/by/project/9", headers=here.developer)
    assert (answer.status_code, answer.json()["message"]) == (404, "PROJECT_NOT_FOUND")


def no_project(_query: GetProject) -> ProjectView:
    raise Refused("PROJECT_NOT_FOUND")


@pytest.mark.parametrize("state", ["queued", "executed"])
async def test_a_build_is_killed_by_its_executor_id(here: Stage, state: str) -> None:
    await here.services.play(KillBuild, lambda _: done("build-17"))
    answer = await here.http.delete(f"/api/developer/builds/kill/{state}/e-1", headers=here.developer)
    assert (answer.status_code, answer.content) == (204, b"")
    assert here.services.told_of(KillBuild)[0].message == KillBuild(executor_id="e-1")


async def test_a_kill_is_answered_when_the_build_has_cleaned_up(here: Stage) -> None:
    looks = iter([RUNNING, None, RUNNING.but(status=BuildStatus.KILLED, finished=True)])

    def look(_query: GetBuild) -> BuildRow:
        if found := next(looks):
            return found
        raise Refused("SERVICE_UNAVAILABLE")

    await here.services.play(GetBuild, look)
    await here.services.play(KillBuild, lambda _: done("build-17", status="CANCELING"))
    answer = await here.http.delete("/api/developer/builds/kill/executed/e-1", headers=here.developer)
    assert answer.status_code == 204
    assert next(looks, None) is None


async def test_a_kill_does_not_wait_for_ever(here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_commit_actions, "CLEANUP_PATIENCE", 0.3)
    await here.services.play(GetBuild, lambda _: RUNNING)
    await here.services.play(KillBuild, lambda _: done("build-17", status="CANCELING"))
    answer = await here.http.delete("/api/developer/builds/kill/executed/e-1", headers=here.developer)
    assert answer.status_code == 204


async def test_a_live_log_is_read_from_a_line(here: Stage) -> None:
    section = LiveSection(step="init", start_at=NOON, log="\nhello", line_number=4)
    await here.services.play(ReadLiveLog, lambda _: section)
    answer = await here.http.get("/api/developer/logs/e-1/init/3", headers=here.developer)
    assert answer.json() == section.model_dump(mode="json")
    assert here.services.told_of(ReadLiveLog)[0].message == ReadLiveLog(executor_id="e-1", step="init", line_number=3)


@pytest.mark.parametrize("line", ["x", "-1", "1.5", "9" * 40])
async def test_a_line_that_is_no_number_is_a_bad_request(here: Stage, line: str) -> None:
    answer = await here.http.get(f"/api/developer/logs/e-1/init/{line}", headers=here.developer)
    assert answer.status_code == 400


# ---- resources


async def test_a_new_project_is_shown_whole_with_its_key(here: Stage) -> None:
    await here.services.play(CreateProject, lambda _: done("project-84"))
    await here.services.play(GetProject, lambda query: PROJECT.but(signature_key="k" * 32 if query.reveal else None))
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
    answer = await here.http.post("/api/admin/projects", json=body, headers=here.admin)
    assert answer.status_code == 201
    assert (answer.json()["signature_key"], answer.json()["repository_credential_id"]) == ("k" * 32, 3)
    assert here.services.told_of(CreateProject)[0].message == CreateProject(
        name="Mill",
        repository="https://forge.example/mill.git",
        allow_concurrent_execution=True,
        executor_id=1,
        credential_id=3,
        developers_id=(2,),
    )


async def test_a_developer_reads_asterisks_for_the_key(here: Stage) -> None:
    await here.services.play(GetProject, lambda query: PROJECT.but(signature_key="k" if query.reveal else None))
    answer = await here.http.get("/api/developer/projects/84", headers=here.developer)
    assert answer.json()["signature_key"] == "*" * 15


async def test_a_new_secret_is_shown_to_its_maker_without_a_look_on_record(here: Stage) -> None:
    await here.services.play(CreateSecret, lambda _: done("secret-6"))
    await here.services.play(GetSecret, lambda _: SECRET)
    await here.services.play(RevealSecret, lambda _: SECRET.but(value="other"))
    body = {"secret": {"name": "KEY", "value": "hush", "projects_id": []}}
    answer = await here.http.post("/api/admin/secrets", json=body, headers=here.admin)
    assert (answer.status_code, answer.json()["value"]) == (201, "hush")
    assert here.services.told_of(RevealSecret) == []


async def test_a_developer_never_reads_a_value(here: Stage) -> None:
    await here.services.play(GetSecret, lambda _: SECRET.but(value="hush"))
    answer = await here.http.get("/api/developer/secrets/6", headers=here.developer)
    assert answer.json().keys() == {"id", "name", "env", "escape_char", "projects_id"}


async def test_a_user_is_made_and_shown_without_a_password(here: Stage) -> None:
    await here.services.play(RegisterUser, lambda _: done("user-5"))
    await here.services.play(GetUser, lambda _: USER)
    body = {"developer": {"username": "anna", "password": "long enough", "roles": ["ROLE_DEVELOPER"]}}
    answer = await here.http.post("/api/admin/developers", json=body, headers=here.admin)
    assert (answer.status_code, answer.json()["id"], answer.json()["password"]) == (201, 5, "*" * 11)


async def test_a_single_field_is_changed_under_the_same_envelope(here: Stage) -> None:
    await here.services.play(ChangeEmail, lambda _: done("user-5"))
    await here.services.play(GetUser, lambda _: USER)
    body = {"developer": {"email": "anna@example.org"}}
    answer = await here.http.patch("/api/admin/developers/5/email", json=body, headers=here.admin)
    assert (answer.status_code, answer.json()["username"]) == (200, "anna")
    assert here.services.told_of(ChangeEmail)[0].message == ChangeEmail(user_id=5, email="anna@example.org")


async def test_a_page_has_free_commits_envelope(here: Stage) -> None:
    row = {
        "project_id": 84,
        "project_name": "Mill",
        "build_last_exit_code": None,
        "build_last_exit_message": None,
        "build_last_created_at": None,
    }
    await here.services.play(PageProjects, lambda _: Page(rows=(row,), total=11))
    query = "per_page=10&page=2&mode=exclude&orderBy=ASC&sortBy=project_name&project_name%5Bcontains%5D=Mi"
    answer = await here.http.get(f"/api/developer/paginations/project?{query}", headers=here.developer)
    assert answer.json() == {
        "current_page": 2,
        "from": 11,
        "to": 11,
        "per_page": 10,
        "total": 11,
        "last_page": 2,
        "data": [row],
    }


async def test_a_test_mail_is_asked_for_without_a_body(here: Stage) -> None:
    await here.services.play(SendTestMail, lambda _: done("notification-1"))
    answer = await here.http.post("/api/admin/config/mail/test/a%40b.example", headers=here.admin)
    assert (answer.status_code, answer.content) == (200, b"")
    assert here.services.told_of(SendTestMail)[0].message.recipient == "a@b.example"


async def test_gitflics_registration_information_is_for_administrators(here: Stage) -> None:
    await here.services.play(
        GetRegistrationInfo, lambda _: RegistrationInfo(scope="service", registration_token="0d949a3a")
    )
    path = "/rest-api/admin/runners/registration-info"
    answer = await here.http.get(path, headers={"Authorization": f"token {here.users.token(ADMIN)}"})
    assert answer.json() == {
        "id": "1",
        "registrationUrl": "http://ci.example:80/-/runner/registration",
        "registrationToken": "0d949a3a",
    }
    strangers = [{}, {"Authorization": "token x"}, here.bearer(ADMIN, age=7200), here.developer]
    assert [(await here.http.get(path, headers=one)).status_code for one in strangers] == [403, 403, 403, 403]


# ---- what is wrong is said


async def test_unknown_addresses_and_methods_have_their_codes(here: Stage) -> None:
    nowhere = await here.http.get("/api/nowhere")
    assert (nowhere.status_code, nowhere.json()["message"]) == (404, "NOT_FOUND")
    beyond = await here.http.get(f"/api/admin/projects/{2**63}", headers=here.admin)
    assert (beyond.status_code, beyond.json()["message"]) == (404, "NOT_FOUND")
    wrong = await here.http.put("/api/admin/projects/1", headers=here.admin)
    assert (wrong.status_code, wrong.json()["message"]) == (405, "METHOD_NOT_ALLOWED")
    assert wrong.headers["Allow"] == "GET, HEAD, DELETE, OPTIONS"
    alike = await here.http.put("/api/developer/builds/1", headers=here.developer)
    assert alike.headers["Allow"] == "POST, GET, HEAD, OPTIONS"


async def test_a_body_that_is_no_json_is_a_bad_request(here: Stage) -> None:
    headers = here.admin | {"Content-Type": "application/json"}
    answer = await here.http.post("/api/admin/projects", content=b'{"project":', headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (400, "REQUEST_MALFORMED")


async def test_a_body_that_is_too_large_is_refused(here: Stage) -> None:
    headers = here.admin | {"Content-Type": "application/json"}
    answer = await here.http.post("/api/admin/projects", content=b" " * (2 * 1024 * 1024), headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_wrong_type_names_its_field(here: Stage) -> None:
    body = {"project": {"keep_number_build": "many"}}
    answer = await here.http.post("/api/admin/projects", json=body, headers=here.admin)
    assert (answer.status_code, answer.json()["message"]) == (422, "PROJECT_KEEP_NUMBER_BUILD_INVALID")


def broken(_command: CreateProject) -> None:
    raise RuntimeError("a defect")


async def test_a_defect_of_a_service_shows_nothing_of_itself(here: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await here.services.play(CreateProject, broken)
    answer = await here.http.post("/api/admin/projects", json={}, headers=here.admin)
    assert (answer.status_code, answer.json()["message"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "a defect" not in answer.text
    caplog.clear()


async def test_an_answer_that_cannot_be_read_is_a_defect_logged_once(
    here: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await here.services.play(ListBuildsOfProject, lambda _: [{"id": "hush"}])
    await here.services.play(GetLaunchSettings, lambda _: {})
    answer = await here.http.get("/api/developer/builds/by/project/9", headers=here.developer)
    assert (answer.status_code, answer.json()["message"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "hush" not in answer.text
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["headrace.gateway"]
    caplog.clear()


async def test_a_trace_begun_by_the_client_goes_on(here: Stage) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await here.http.get("/api/nowhere", headers={"traceparent": traceparent})
    assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_the_document_speaks_only_of_the_documented_prefix(here: Stage) -> None:
    document = (await here.http.get("/api/openapi.json")).json()
    assert all(path.startswith("/api/") for path in document["paths"])
    protected = [
        operation for path in document["paths"].values() for operation in path.values() if operation["security"]
    ]
    assert [one["operationId"] for one in protected if "403" not in one["responses"]] == []
    assert "text/event-stream" in document["paths"]["/api/events"]["get"]["responses"]["200"]["content"]
    assert "/api/developer/builds/{project_id}" in (await here.http.get("/api/docs")).text


async def test_the_events_are_described_beside_it(here: Stage) -> None:
    document = (await here.http.get("/api/asyncapi.json")).json()
    assert "builds.BuildFinished" in document["channels"]
    assert 'id="builds.BuildFinished"' in (await here.http.get("/api/events/docs")).text


async def test_probes_answer_for_themselves(here: Stage) -> None:
    assert (await here.http.get("/healthz")).json() == {"alive": True, "version": VERSION}
    assert (await here.http.get("/readyz")).json() == {"ready": True, "reasons": {}}
    assert "headrace_long_polls 0.0" in (await here.http.get("/metrics")).text


async def test_metrics_are_for_programs_of_the_same_machine(here: Stage) -> None:
    answer = await here.http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"})
    assert (answer.status_code, answer.json()["message"]) == (404, "NOT_FOUND")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\x00") | st.just(2**80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["name", "branch", "executor_id", "developers_id", "keep_number_build", "value", "roles"])
RESOURCES = st.sampled_from(["project", "secret", "developer", "executor", "credential", "build"])
HOSTILE = (
    st.binary(max_size=40)
    | st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 5000, b"NaN", b'"\\ud800"', b"9" * 5000, b"null", b"[1]", b"\xff\xfe"]
    )
    | st.dictionaries(RESOURCES, st.dictionaries(FIELDS, JSON, max_size=3) | JSON, max_size=2).map(
        lambda body: json.dumps(body).encode()
    )
)


CREATING: dict[str, type[Command]] = {
    "projects": CreateProject,
    "secrets": CreateSecret,
    "developers": RegisterUser,
    "executors": CreateExecutor,
    "credentials": CreateCredential,
}


def refuse_all(_command: Command) -> None:
    raise Refused("REQUEST_INVALID")


@pytest.fixture
async def creating(here: Stage) -> Stage:
    for message_type in CREATING.values():
        await here.services.play(message_type, refuse_all)
    return here


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=HOSTILE, path=st.sampled_from([*CREATING]))
async def test_no_body_makes_a_server_error(creating: Stage, raw: bytes, path: str) -> None:
    headers = creating.admin | {"Content-Type": "application/json"}
    answer = await creating.http.post(f"/api/admin/{path}", content=raw, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.json().keys() == FAILURE
