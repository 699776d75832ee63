"""Resource routes of the gateway: projects, secrets, users, pages and mail."""

from contracts.identity import ChangeEmail, GetUser, RegisterUser, UserView
from contracts.messages import Page
from contracts.notifications import SendTestMail
from contracts.projects import (
    CreateProject,
    CreateSecret,
    GetProject,
    GetSecret,
    LastBuild,
    ListProjectsPage,
    ProjectView,
    RevealSecret,
    SecretView,
)
from contracts.runners import RegistrationInfo, RevealRegistrationToken
from tests.integration.gateway.json_routes.sample_views import NOON
from tests.support.in_process.gateway_stage import ADMIN, GatewayStage, command_result

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
    response = await stage.http.post("/api/admin/projects", json=body, headers=stage.admin)
    assert response.status_code == 201
    assert (response.json()["signature_key"], response.json()["repository_credential_id"]) == ("k" * 32, 3)
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
    response = await stage.http.get("/api/developer/projects/84", headers=stage.developer)
    assert response.json()["signature_key"] == "*" * 15


async def test_creating_a_secret_returns_its_value_without_recording_an_access(stage: GatewayStage) -> None:
    await stage.services.serve(CreateSecret, lambda _: command_result("secret-6"))
    await stage.services.serve(GetSecret, lambda _: SECRET)
    await stage.services.serve(RevealSecret, lambda _: SECRET.replace(value="other"))
    body = {"secret": {"name": "KEY", "value": "hush", "projects_id": []}}
    response = await stage.http.post("/api/admin/secrets", json=body, headers=stage.admin)
    assert (response.status_code, response.json()["value"]) == (201, "hush")
    assert stage.services.received_of(RevealSecret) == []


async def test_a_developer_never_sees_the_value_of_a_secret(stage: GatewayStage) -> None:
    await stage.services.serve(GetSecret, lambda _: SECRET.replace(value="hush"))
    response = await stage.http.get("/api/developer/secrets/6", headers=stage.developer)
    assert response.json().keys() == {"id", "name", "env", "escape_char", "projects_id"}


async def test_creating_a_user_returns_it_with_a_masked_password(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterUser, lambda _: command_result("user-5"))
    await stage.services.serve(GetUser, lambda _: USER)
    body = {"developer": {"username": "anna", "password": "long enough", "roles": ["ROLE_DEVELOPER"]}}
    response = await stage.http.post("/api/admin/developers", json=body, headers=stage.admin)
    assert (response.status_code, response.json()["id"], response.json()["password"]) == (201, 5, "*" * 11)


async def test_a_single_field_is_patched_in_the_resource_envelope(stage: GatewayStage) -> None:
    await stage.services.serve(ChangeEmail, lambda _: command_result("user-5"))
    await stage.services.serve(GetUser, lambda _: USER)
    body = {"developer": {"email": "anna@example.org"}}
    response = await stage.http.patch("/api/admin/developers/5/email", json=body, headers=stage.admin)
    assert (response.status_code, response.json()["username"]) == (200, "anna")
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
    response = await stage.http.get(f"/api/developer/paginations/project?{query}", headers=stage.developer)
    assert response.json() == {
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
    response = await stage.http.post("/api/admin/config/mail/test/a%40b.example", headers=stage.admin)
    assert (response.status_code, response.content) == (200, b"")
    assert stage.services.received_of(SendTestMail)[0].message.recipient == "a@b.example"


async def test_the_runner_registration_token_is_for_administrators_only(stage: GatewayStage) -> None:
    await stage.services.serve(
        RevealRegistrationToken, lambda _: RegistrationInfo(scope="service", registration_token="0d949a3a")
    )
    path = "/rest-api/admin/runners/registration-info"
    response = await stage.http.get(path, headers={"Authorization": f"token {stage.users.token(ADMIN)}"})
    assert response.json() == {
        "id": "1",
        "registrationUrl": "http://ci.example:80/-/runner/registration",
        "registrationToken": "0d949a3a",
    }
    strangers = [{}, {"Authorization": "token x"}, stage.bearer(ADMIN, age=7200), stage.developer]
    assert [(await stage.http.get(path, headers=headers)).status_code for headers in strangers] == [403, 403, 403, 403]


async def test_a_head_request_reveals_and_records_nothing(stage: GatewayStage) -> None:
    await stage.services.serve(RevealSecret, lambda _: SECRET.replace(value="hush"))
    response = await stage.http.head("/api/admin/secrets/6", headers=stage.admin)
    assert response.status_code == 405
    assert stage.services.received_of(RevealSecret) == []


async def test_a_head_request_for_a_resource_gets_the_headers_of_get(stage: GatewayStage) -> None:
    await stage.services.serve(GetSecret, lambda _: SECRET)
    path = "/api/developer/secrets/6"
    head = await stage.http.head(path, headers=stage.developer)
    get = await stage.http.get(path, headers=stage.developer)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.content))
