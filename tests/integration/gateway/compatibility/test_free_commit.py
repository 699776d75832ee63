"""The Free Commit API as its clients use it: accepted input, responses and errors of each route."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.auth import Role
from gateway.routes import TABLE
from tests.support.in_process.free_commit_stage import (
    PASSWORD,
    UNKNOWN_ID,
    FreeCommitSystem,
    error_of,
    free_commit_system,
)
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

PATH_PARAMETER = re.compile(r"\{[^}]*\}")
NUMBER, TEXT, NULL, BOOL, NUMBERS, TEXTS = int, str, type(None), bool, list, list
PROJECT: dict[str, tuple[type, ...]] = {
    "id": (NUMBER,),
    "name": (TEXT,),
    "description": (TEXT, NULL),
    "repository": (TEXT,),
    "branch": (TEXT,),
    "spec_file_path": (TEXT,),
    "keep_number_build": (NUMBER, NULL),
    "allow_concurrent_execution": (BOOL,),
    "signature_key": (TEXT,),
    "available_steps": (TEXTS,),
    "repository_credential_id": (NUMBER, NULL),
    "secrets_id": (NUMBERS,),
    "builds_id": (NUMBERS,),
    "developers_id": (NUMBERS,),
    "executor_id": (NUMBER,),
    "last_build": (dict,),
}
DEVELOPER: dict[str, tuple[type, ...]] = {
    "id": (NUMBER,),
    "username": (TEXT,),
    "password": (TEXT,),
    "enabled": (BOOL,),
    "roles": (TEXTS,),
    "email": (TEXT, NULL),
    "github_username": (TEXT, NULL),
    "gitlab_username": (TEXT, NULL),
    "projects_id": (NUMBERS,),
}
SECRET: dict[str, tuple[type, ...]] = {
    "id": (NUMBER,),
    "name": (TEXT,),
    "escape_char": (TEXT, NULL),
    "env": (TEXT, NULL),
    "projects_id": (NUMBERS,),
}
CREDENTIAL: dict[str, tuple[type, ...]] = {"id": (NUMBER,), "name": (TEXT,)}
EXECUTOR: dict[str, tuple[type, ...]] = {"id": (NUMBER,), "name": (TEXT,), "driver": (TEXT,), "variables": (dict,)}
SHAPES = {
    "project": PROJECT,
    "developer": DEVELOPER,
    "secret": SECRET,
    "credential": CREDENTIAL,
    "executor": EXECUTOR,
}
SHAPES_WITH_SECRETS: dict[str, dict[str, tuple[type, ...]]] = {
    "secret": SECRET | {"value": (TEXT,)},
    "credential": CREDENTIAL | {"ssh_key": (TEXT,)},
}


@pytest.fixture(scope="module")
async def free_commit(servers: Servers) -> AsyncIterator[FreeCommitSystem]:
    async with free_commit_system(servers) as here:
        yield here


def mismatched_fields(found: dict[str, Any], shape: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return the fields that are missing or have a wrong type."""
    return {
        name: found.get(name, "missing") for name, types in shape.items() if type(found.get(name, 0.5)) not in types
    }


# ---- response shapes


@pytest.mark.parametrize("resource", SHAPES)
async def test_every_view_of_a_resource_has_all_fields(free_commit: FreeCommitSystem, resource: str) -> None:
    new = await free_commit.create(resource)
    clear = SHAPES_WITH_SECRETS.get(resource, SHAPES[resource])
    assert mismatched_fields(new, clear) == {}
    assert mismatched_fields(await free_commit.get(resource, new["id"]), clear) == {}
    for role in ("admin", "developer"):
        listed = (await free_commit.admin.get(f"/api/{role}/{resource}s")).json()
        mine = next(listed_resource for listed_resource in listed if listed_resource["id"] == new["id"])
        assert mismatched_fields(mine, SHAPES[resource]) == {}
        assert [listed_resource["id"] for listed_resource in listed] == sorted(
            listed_resource["id"] for listed_resource in listed
        )
    response = await free_commit.developer.get(f"/api/developer/{resource}s/{new['id']}")
    assert response.status_code == 200
    assert mismatched_fields(response.json(), SHAPES[resource]) == {}


async def test_secrets_are_hidden_from_developers_and_in_lists(free_commit: FreeCommitSystem) -> None:
    secret = await free_commit.create("secret", name="CANARY_1", value="canary-value")
    key = await free_commit.create("credential", ssh_key="canary-key")
    executor = await free_commit.create("executor", driver="openStackDriver")
    await free_commit.patch("executor", executor["id"], "variables", {"variables": {"OS_PASSWORD": "canary-variable"}})
    project = await free_commit.create("project", secrets_id=[secret["id"]])
    paths = (
        "secrets",
        f"secrets/{secret['id']}",
        "credentials",
        f"credentials/{key['id']}",
        "executors",
        f"executors/{executor['id']}",
        f"projects/{project['id']}",
        "projects",
        "paginations/secret",
    )
    texts = [(await free_commit.developer.get(f"/api/developer/{path}")).text for path in paths]
    lists = [(await free_commit.admin.get(f"/api/admin/{path}")).text for path in ("secrets", "credentials")]
    assert [text for text in texts + lists if "canary-" in text] == []
    assert [text for text in texts if project["signature_key"] in text] == []
    assert (await free_commit.developer.get(f"/api/developer/projects/{project['id']}")).json()[
        "signature_key"
    ] == "*" * 15
    assert (await free_commit.admin.get(f"/api/developer/projects/{project['id']}")).json() == project
    assert (await free_commit.get("executor", executor["id"]))["variables"] == {"OS_PASSWORD": "canary-variable"}
    assert (await free_commit.get("secret", secret["id"]))["value"] == "canary-value"
    assert (await free_commit.get("credential", key["id"]))["ssh_key"] == "canary-key"


async def test_a_password_is_eleven_asterisks(free_commit: FreeCommitSystem) -> None:
    assert (await free_commit.create("developer"))["password"] == "*" * 11


async def test_a_new_openstack_executor_has_its_default_variables(free_commit: FreeCommitSystem) -> None:
    names = ("FLAVOR_NAME", "IMAGE_NAME", "SECURITY_GROUP_NAME", "NETWORK_NAME", "VOLUME_ID")
    assert (await free_commit.create("executor", driver="openStackDriver"))["variables"] == dict.fromkeys(names, "")


async def test_the_configuration_is_shown_without_secrets(free_commit: FreeCommitSystem) -> None:
    assert (await free_commit.admin.get("/api/admin/config/env")).json() == {
        "max.parallel.executor": None,
        "default.admin.username": "root",
        "jwt.life-time": "3600",
        "mail.from": "headrace@localhost",
        "mail.host": None,
        "mail.port": "587",
    }


# ---- creation


@pytest.mark.parametrize(
    ("resource", "changes", "status", "code"),
    [
        ("project", {"name": None, "repository": None}, 422, "PROJECT_NAME_REQUIRED"),
        ("project", {"name": " ", "repository": None}, 422, "PROJECT_NAME_REQUIRED"),
        ("project", {"repository": "", "branch": ""}, 422, "PROJECT_REPOSITORY_REQUIRED"),
        ("project", {"branch": "", "spec_file_path": ""}, 422, "PROJECT_BRANCH_REQUIRED"),
        (
            "project",
            {"spec_file_path": None, "allow_concurrent_execution": None},
            422,
            "PROJECT_SPEC_FILE_PATH_REQUIRED",
        ),
        (
            "project",
            {"allow_concurrent_execution": "", "executor_id": None, "keep_number_build": -1},
            422,
            "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED",
        ),
        ("project", {"keep_number_build": "many"}, 422, "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        ("project", {"executor_id": None, "repository_credential_id": UNKNOWN_ID}, 404, "EXECUTOR_NOT_FOUND"),
        ("project", {"executor_id": "", "repository_credential_id": UNKNOWN_ID}, 404, "EXECUTOR_NOT_FOUND"),
        ("project", {"executor_id": UNKNOWN_ID, "repository_credential_id": UNKNOWN_ID}, 404, "EXECUTOR_NOT_FOUND"),
        (
            "project",
            {"repository_credential_id": UNKNOWN_ID, "developers_id": [UNKNOWN_ID]},
            404,
            "CREDENTIAL_NOT_FOUND",
        ),
        ("project", {"developers_id": [UNKNOWN_ID], "secrets_id": [UNKNOWN_ID]}, 404, "DEVELOPER_NOT_FOUND"),
        ("project", {"secrets_id": [str(UNKNOWN_ID)]}, 404, "SECRET_NOT_FOUND"),
        ("project", {"name": 5}, 422, "REQUEST_INVALID"),
        ("project", {"executor_id": 2**63}, 422, "REQUEST_INVALID"),
        ("secret", {"name": None, "value": None}, 422, "SECRET_NAME_REQUIRED"),
        ("secret", {"value": ""}, 422, "SECRET_VALUE_REQUIRED"),
        ("secret", {"value": " "}, 422, "SECRET_VALUE_REQUIRED"),
        ("secret", {"projects_id": [UNKNOWN_ID]}, 404, "PROJECT_NOT_FOUND"),
        ("credential", {"name": None, "ssh_key": None}, 422, "CREDENTIAL_NAME_REQUIRED"),
        ("credential", {"name": "", "ssh_key": " "}, 422, "CREDENTIAL_SSH_KEY_REQUIRED"),
        ("executor", {"name": "", "driver": ""}, 422, "EXECUTOR_NAME_REQUIRED"),
        ("executor", {"driver": None}, 422, "EXECUTOR_DRIVER_REQUIRED"),
        ("executor", {"driver": "dockerDriver"}, 422, "EXECUTOR_DRIVER_INVALID"),
        ("developer", {"username": None, "password": None}, 422, "DEVELOPER_USERNAME_REQUIRED"),
        ("developer", {"username": "DORA"}, 422, "DEVELOPER_USERNAME_TAKEN"),
        ("developer", {"password": ""}, 422, "DEVELOPER_PASSWORD_REQUIRED"),
        ("developer", {"roles": ["ROLE_KING"]}, 422, "DEVELOPER_ROLES_INVALID"),
    ],
)
async def test_creation_errors_are_reported_in_the_documented_order(
    free_commit: FreeCommitSystem, resource: str, changes: dict[str, Any], status: int, code: str
) -> None:
    named = {"username" if resource == "developer" else "name": free_commit.new_name()}
    body = {resource: named | free_commit.defaults[resource] | changes}
    assert error_of(await free_commit.admin.post(f"/api/admin/{resource}s", json=body)) == (status, code)


@pytest.mark.parametrize(
    ("resource", "sent", "shown"),
    [
        ("project", {"keep_number_build": ""}, {"keep_number_build": None}),
        ("project", {"keep_number_build": "7"}, {"keep_number_build": 7}),
        ("project", {"allow_concurrent_execution": "True"}, {"allow_concurrent_execution": True}),
        ("project", {"allow_concurrent_execution": "yes"}, {"allow_concurrent_execution": False}),
        ("project", {"repository_credential_id": ""}, {"repository_credential_id": None}),
        ("project", {"description": ""}, {"description": None}),
        ("project", {"branch": "*"}, {"branch": "*"}),
        ("secret", {"value": 5}, {"value": "5"}),
        ("secret", {"value": "true", "env": ""}, {"value": "true", "env": None}),
        ("secret", {"escape_char": ",a,b,"}, {"escape_char": ",a,b,"}),
        ("secret", {"escape_char": ""}, {"escape_char": None}),
        ("credential", {"name": ""}, {"name": ""}),
        ("executor", {"name": 7}, {"name": "7"}),
        (
            "developer",
            {"email": "", "github_username": "", "roles": []},
            {"email": None, "github_username": None, "roles": [], "enabled": True},
        ),
    ],
)
async def test_field_values_are_accepted_in_every_form_that_clients_send(
    free_commit: FreeCommitSystem, resource: str, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    new = await free_commit.create(resource, **sent)
    assert {name: new[name] for name in shown} == shown


async def test_fields_are_accepted_beside_the_resource_envelope(free_commit: FreeCommitSystem) -> None:
    body = {"credential_name": "flat", "credential": {"ssh_key": "KEY"}, "else": 1}
    answer = await free_commit.admin.post("/api/admin/credentials", json=body)
    assert (answer.status_code, answer.json()["name"]) == (201, "flat")


async def test_a_body_without_a_json_content_type_is_ignored(free_commit: FreeCommitSystem) -> None:
    raw = json.dumps({"credential": {"name": "x", "ssh_key": "y"}})
    answer = await free_commit.admin.post("/api/admin/credentials", content=raw, headers={"Content-Type": "text/plain"})
    assert error_of(answer) == (422, "CREDENTIAL_NAME_REQUIRED")


# ---- changes

CHANGES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("project", "name", {"name": " New "}, {"name": "New"}),
    ("project", "description", {"description": "d"}, {"description": "d"}),
    ("project", "description", {"description": None}, {"description": None}),
    ("project", "repository", {"repository": "git@forge.example:a/b.git"}, {"repository": "git@forge.example:a/b.git"}),
    ("project", "branch", {"branch": "v1/x"}, {"branch": "v1/x", "protected_branches": ["v1/x"]}),
    ("project", "spec_file_path", {"spec_file_path": "/ci.yaml"}, {"spec_file_path": "/ci.yaml"}),
    ("project", "keep_number_build", {"keep_number_build": "3"}, {"keep_number_build": 3}),
    ("project", "keep_number_build", {"keep_number_build": ""}, {"keep_number_build": None}),
    ("project", "keep_number_build", {}, {"keep_number_build": None}),
    (
        "project",
        "allow_concurrent_execution",
        {"allow_concurrent_execution": False},
        {"allow_concurrent_execution": False},
    ),
    ("project", "developers", {"developers_id": []}, {"developers_id": []}),
    ("project", "secrets", {"secrets_id": []}, {"secrets_id": []}),
    ("project", "repository_credential", {}, {"repository_credential_id": None}),
    ("project", "repository_credential", {"repository_credential_id": ""}, {"repository_credential_id": None}),
    ("secret", "name", {"name": "OTHER"}, {"name": "OTHER"}),
    ("secret", "value", {"value": "new value"}, {"value": "new value"}),
    ("secret", "env", {"env": "prod"}, {"env": "prod"}),
    ("secret", "env", {"env": None}, {"env": None}),
    ("secret", "escape_char", {"escape_char": ",a,b,"}, {"escape_char": "a,b"}),
    ("secret", "escape_char", {"escape_char": ",,"}, {"escape_char": None}),
    ("secret", "projects", {"projects_id": []}, {"projects_id": []}),
    ("secret", "projects", {}, {"projects_id": []}),
    ("credential", "name", {"name": ""}, {"name": ""}),
    ("credential", "ssh_key", {"ssh_key": "NEW"}, {"ssh_key": "NEW"}),
    ("developer", "password", {"password": "another-7x"}, {"password": "*" * 11}),
    ("developer", "github_username", {"github_username": "g"}, {"github_username": "g"}),
    ("developer", "gitlab_username", {"gitlab_username": ""}, {"gitlab_username": None}),
    ("developer", "email", {"email": "someone@example.org"}, {"email": "someone@example.org"}),
    ("developer", "enabled", {"enabled": "false"}, {"enabled": False}),
    ("developer", "roles", {"roles": ["ROLE_DEVELOPER"]}, {"roles": ["ROLE_DEVELOPER"]}),
    ("developer", "role", {"roles": ["ROLE_ADMIN"]}, {"roles": ["ROLE_ADMIN"]}),
    ("developer", "projects", {"projects_id": []}, {"projects_id": []}),
    ("executor", "name", {"name": "renamed"}, {"name": "renamed"}),
    ("executor", "variables", {"variables": {"A": "1", "B": 2}}, {"variables": {"A": "1", "B": "2"}}),
    ("executor", "variables", {}, {"variables": {}}),
]


@pytest.mark.parametrize(("resource", "part", "fields", "shown"), CHANGES)
async def test_a_patch_returns_the_whole_resource(
    free_commit: FreeCommitSystem, resource: str, part: str, fields: dict[str, Any], shown: dict[str, Any]
) -> None:
    new = await free_commit.create(resource)
    answer = await free_commit.patch(resource, new["id"], part, fields)
    assert answer.status_code == 200, answer.text
    assert answer.json() == new | shown
    assert await free_commit.get(resource, new["id"]) == new | shown


@pytest.mark.parametrize(
    ("resource", "part", "fields", "status", "code"),
    [
        ("project", "name", {}, 422, "PROJECT_NAME_REQUIRED"),
        ("project", "repository", {"repository": " "}, 422, "PROJECT_REPOSITORY_REQUIRED"),
        ("project", "branch", {"branch": None}, 422, "PROJECT_BRANCH_REQUIRED"),
        ("project", "spec_file_path", {"spec_file_path": ""}, 422, "PROJECT_SPEC_FILE_PATH_REQUIRED"),
        ("project", "keep_number_build", {"keep_number_build": "x"}, 422, "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        ("project", "allow_concurrent_execution", {}, 422, "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED"),
        ("project", "developers", {}, 422, "PROJECT_DEVELOPERS_ID_REQUIRED"),
        ("project", "developers", {"developers_id": [UNKNOWN_ID]}, 404, "DEVELOPER_NOT_FOUND"),
        ("project", "secrets", {"secrets_id": None}, 422, "PROJECT_SECRETS_ID_REQUIRED"),
        ("project", "secrets", {"secrets_id": [UNKNOWN_ID]}, 404, "SECRET_NOT_FOUND"),
        ("project", "repository_credential", {"repository_credential_id": UNKNOWN_ID}, 404, "CREDENTIAL_NOT_FOUND"),
        ("project", "executor", {}, 404, "EXECUTOR_NOT_FOUND"),
        ("project", "executor", {"executor_id": UNKNOWN_ID}, 404, "EXECUTOR_NOT_FOUND"),
        ("secret", "name", {"name": ""}, 422, "SECRET_NAME_REQUIRED"),
        ("secret", "value", {}, 422, "SECRET_VALUE_REQUIRED"),
        ("secret", "escape_char", {}, 422, "SECRET_ESCAPE_CHAR_REQUIRED"),
        ("secret", "projects", {"projects_id": [UNKNOWN_ID]}, 404, "PROJECT_NOT_FOUND"),
        ("credential", "name", {}, 422, "CREDENTIAL_NAME_REQUIRED"),
        ("credential", "ssh_key", {"ssh_key": ""}, 422, "CREDENTIAL_SSH_KEY_REQUIRED"),
        ("developer", "username", {}, 422, "DEVELOPER_USERNAME_REQUIRED"),
        ("developer", "username", {"username": "Dora"}, 422, "DEVELOPER_USERNAME_TAKEN"),
        ("developer", "password", {}, 422, "DEVELOPER_PASSWORD_REQUIRED"),
        ("developer", "enabled", {}, 422, "DEVELOPER_ENABLED_REQUIRED"),
        ("developer", "roles", {}, 422, "DEVELOPER_ROLES_REQUIRED"),
        ("developer", "role", {"roles": ["x"]}, 422, "DEVELOPER_ROLES_INVALID"),
        ("developer", "projects", {}, 422, "DEVELOPER_PROJECTS_ID_REQUIRED"),
        ("developer", "projects", {"projects_id": [UNKNOWN_ID]}, 404, "PROJECT_NOT_FOUND"),
        ("executor", "name", {}, 422, "EXECUTOR_NAME_REQUIRED"),
        ("executor", "variables", {"variables": {"A": {}}}, 422, "REQUEST_INVALID"),
    ],
)
async def test_a_rejected_patch_changes_nothing(
    free_commit: FreeCommitSystem, resource: str, part: str, fields: dict[str, Any], status: int, code: str
) -> None:
    new = await free_commit.create(resource)
    assert error_of(await free_commit.patch(resource, new["id"], part, fields)) == (status, code)
    assert await free_commit.get(resource, new["id"]) == new


@pytest.mark.parametrize(("resource", "part", "fields", "_shown"), CHANGES)
async def test_patching_an_unknown_resource_is_404(
    free_commit: FreeCommitSystem, resource: str, part: str, fields: dict[str, Any], _shown: dict[str, Any]
) -> None:
    answer = await free_commit.patch(resource, UNKNOWN_ID, part, fields)
    assert error_of(answer) == (404, f"{resource.upper()}_NOT_FOUND")


async def test_relations_are_shown_as_ids_on_both_sides(free_commit: FreeCommitSystem) -> None:
    developer, key = await free_commit.create("developer"), await free_commit.create("credential")
    secret, executor = await free_commit.create("secret"), await free_commit.create("executor")
    project = await free_commit.create("project")
    for part, fields in {
        "developers": {"developers_id": [str(developer["id"])]},
        "secrets": {"secrets_id": [secret["id"], secret["id"]]},
        "repository_credential": {"repository_credential_id": key["id"]},
        "executor": {"executor_id": str(executor["id"])},
    }.items():
        assert (await free_commit.patch("project", project["id"], part, fields)).status_code == 200
    assert await free_commit.get("project", project["id"]) == project | {
        "developers_id": [developer["id"]],
        "secrets_id": [secret["id"]],
        "repository_credential_id": key["id"],
        "executor_id": executor["id"],
    }
    assert (await free_commit.get("secret", secret["id"]))["projects_id"] == [project["id"]]
    assert error_of(await free_commit.admin.delete(f"/api/admin/secrets/{secret['id']}")) == (
        409,
        "SECRET_PROJECTS_NOT_EMPTY",
    )
    assert error_of(await free_commit.admin.delete(f"/api/admin/credentials/{key['id']}")) == (409, "CREDENTIAL_IN_USE")
    assert error_of(await free_commit.admin.delete(f"/api/admin/executors/{executor['id']}")) == (
        409,
        "EXECUTOR_IN_USE",
    )
    assert (await free_commit.admin.delete(f"/api/admin/projects/{project['id']}")).status_code == 204
    assert (await free_commit.get("secret", secret["id"]))["projects_id"] == []


async def test_patching_the_projects_of_a_developer_replaces_them(free_commit: FreeCommitSystem) -> None:
    developer, other = await free_commit.create("developer"), await free_commit.create("developer")
    first, second, third = [await free_commit.create("project", developers_id=[other["id"]]) for _ in range(3)]

    async def members(*projects: dict[str, Any]) -> list[list[int]]:
        return [(await free_commit.get("project", project["id"]))["developers_id"] for project in projects]

    for wanted in ([first, second], [second, third], [second, third], []):
        ids = [project["id"] for project in wanted]
        answer = await free_commit.patch("developer", developer["id"], "projects", {"projects_id": ids})
        assert answer.json() == developer | {"projects_id": ids}
        mine = sorted((developer["id"], other["id"]))
        assert await members(*wanted) == [mine] * len(wanted)
        others = [project for project in (first, second, third) if project not in wanted]
        assert await members(*others) == [[other["id"]]] * len(others)
        await eventually(
            lambda: free_commit.get("developer", developer["id"]), (developer | {"projects_id": ids}).__eq__, within=10
        )


async def test_renewing_a_signature_key_needs_no_body(free_commit: FreeCommitSystem) -> None:
    project = await free_commit.create("project")
    path = f"/api/admin/projects/{project['id']}/signature_key"
    keys = {project["signature_key"]}
    for raw in (b"", b"{", b"[1]"):
        answer = await free_commit.admin.patch(path, content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        keys.add(answer.json()["signature_key"])
    assert {len(bytes.fromhex(key)) for key in keys} == {16}
    assert len(keys) == 4


@pytest.mark.parametrize("resource", SHAPES)
async def test_a_deleted_resource_is_404(free_commit: FreeCommitSystem, resource: str) -> None:
    new = await free_commit.create(resource)
    path = f"/api/admin/{resource}s/{new['id']}"
    answer = await free_commit.admin.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    missing = (404, f"{resource.upper()}_NOT_FOUND")
    assert error_of(await free_commit.admin.delete(path)) == missing
    assert error_of(await free_commit.admin.get(path)) == missing
    assert new["id"] not in [
        listed_resource["id"] for listed_resource in (await free_commit.admin.get(f"/api/admin/{resource}s")).json()
    ]


async def test_each_reading_of_a_secret_is_recorded_despite_an_idempotency_key(free_commit: FreeCommitSystem) -> None:
    secret = await free_commit.create("secret")
    path, key = f"/api/admin/secrets/{secret['id']}", {"Idempotency-Key": "the same"}
    for _ in range(3):
        await free_commit.admin.get(path, headers=key)
        await free_commit.admin.patch(f"{path}/env", json={"secret": {"env": "x"}}, headers=key)
    async with free_commit.stage.connected() as bus:

        async def count_accesses() -> int:
            subject = f"evt.projects.secret-{secret['id']}.SecretRevealed"
            state = (await bus.jetstream().stream_info("projects", subjects_filter=subject)).state
            return (state.subjects or {}).get(subject, 0)

        await eventually(count_accesses, (6).__eq__, within=10)


# ---- permissions


async def test_developers_and_anonymous_callers_are_rejected_at_every_admin_route(
    free_commit: FreeCommitSystem,
) -> None:
    addresses = [
        (route.method, "/api" + PATH_PARAMETER.sub("1", route.path)) for route in TABLE if route.needs is Role.ADMIN
    ]
    async with free_commit.client("Bearer null") as anonymous:
        refused = [
            (
                (await free_commit.developer.request(*route_path)).status_code,
                (await anonymous.request(*route_path)).status_code,
            )
            for route_path in addresses
        ]
    assert set(refused) <= {(403, 401), (403, 403)}  # GitFlic's routes answer 403 to anonymous callers too


async def test_a_token_has_only_the_current_permissions_of_its_user(free_commit: FreeCommitSystem) -> None:
    user = await free_commit.create("developer", username="riser", roles=["ROLE_DEVELOPER"])
    async with await free_commit.log_in("riser") as riser:
        body = {"developer": {"roles": ["ROLE_ADMIN"]}, "roles": ["ROLE_ADMIN"]}
        assert (await riser.patch(f"/api/admin/developers/{user['id']}/roles", json=body)).status_code == 403
        assert (await riser.post("/api/admin/developers", json=body)).status_code == 403
        await free_commit.patch("developer", user["id"], "enabled", {"enabled": False})
        await eventually(lambda: riser.get("/api/user/info"), lambda answer: answer.status_code == 401, within=10)
    login = {"auth": {"username": "riser", "password": PASSWORD}}
    async with free_commit.client() as anonymous:
        assert error_of(await anonymous.post("/api/auth/token", json=login)) == (401, "UNAUTHORIZED")


async def test_a_deleted_user_loses_access_and_project_memberships(free_commit: FreeCommitSystem) -> None:
    user = await free_commit.create("developer", username="leaver", roles=["ROLE_DEVELOPER"])
    project = await free_commit.create("project", developers_id=[user["id"]])
    async with await free_commit.log_in("leaver") as leaver:
        assert (await free_commit.admin.delete(f"/api/admin/developers/{user['id']}")).status_code == 204
        await eventually(lambda: leaver.get("/api/user/info"), lambda answer: answer.status_code == 401, within=10)
    await eventually(
        lambda: free_commit.get("project", project["id"]), lambda shown: shown["developers_id"] == [], within=10
    )


async def test_the_last_administrator_cannot_be_deleted(free_commit: FreeCommitSystem) -> None:
    [root] = [
        user for user in (await free_commit.admin.get("/api/admin/developers")).json() if user["username"] == "root"
    ]
    others = [
        user for user in (await free_commit.admin.get("/api/admin/developers")).json() if "ROLE_ADMIN" in user["roles"]
    ]
    for user in others:
        await free_commit.patch(
            "developer", user["id"], "roles", {"roles": ["ROLE_ADMIN", "ROLE_DEVELOPER"] if user == root else []}
        )
    refused = await free_commit.admin.delete(f"/api/admin/developers/{root['id']}")
    assert error_of(refused) == (409, "DEVELOPER_LAST_ADMINISTRATOR")


# ---- polling


@pytest.mark.parametrize("path", ["queueds", "executeds"])
async def test_polled_lists_are_empty_lists_without_builds(free_commit: FreeCommitSystem, path: str) -> None:
    answer = await free_commit.admin.get(f"/api-free-commit/developer/builds/{path}")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_a_launched_build_is_queued_with_its_executor_id(free_commit: FreeCommitSystem) -> None:
    project = await free_commit.create("project", repository="https://127.0.0.1:9/none.git")
    answer = await free_commit.admin.post(f"/api-free-commit/developer/builds/{project['id']}")
    assert answer.status_code == 200
    assert answer.json()["project_name"] == project["name"]
    assert "-" in answer.json()["executor_id"]
    assert error_of(await free_commit.developer.post(f"/api/developer/builds/{project['id']}")) == (
        403,
        "LAUNCH_BUILD_NOT_ALLOWED",
    )
    assert error_of(await free_commit.admin.post(f"/api/developer/builds/{UNKNOWN_ID}")) == (404, "PROJECT_NOT_FOUND")
