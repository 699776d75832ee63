"""Changes and deletion of Free Commit resources."""

from typing import Any

import pytest

from tests.integration.gateway.compatibility.free_commit.field_shapes import SHAPES
from tests.support.in_process.free_commit_system import (
    UNKNOWN_ID,
    FreeCommitSystem,
    error_of,
)
from tests.support.waiting import eventually

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
    response = await free_commit.patch(resource, new["id"], part, fields)
    assert response.status_code == 200, response.text
    assert response.json() == new | shown
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

    async def get_members(*projects: dict[str, Any]) -> list[list[int]]:
        return [(await free_commit.get("project", project["id"]))["developers_id"] for project in projects]

    for wanted in ([first, second], [second, third], [second, third], []):
        ids = [project["id"] for project in wanted]
        response = await free_commit.patch("developer", developer["id"], "projects", {"projects_id": ids})
        assert response.json() == developer | {"projects_id": ids}
        mine = sorted((developer["id"], other["id"]))
        assert await get_members(*wanted) == [mine] * len(wanted)
        others = [project for project in (first, second, third) if project not in wanted]
        assert await get_members(*others) == [[other["id"]]] * len(others)
        await eventually(
            lambda: free_commit.get("developer", developer["id"]), (developer | {"projects_id": ids}).__eq__
        )


async def test_renewing_a_signature_key_needs_no_body(free_commit: FreeCommitSystem) -> None:
    project = await free_commit.create("project")
    path = f"/api/admin/projects/{project['id']}/signature_key"
    keys = {project["signature_key"]}
    for raw in (b"", b"{", b"[1]"):
        response = await free_commit.admin.patch(path, content=raw, headers={"Content-Type": "application/json"})
        assert response.status_code == 200
        keys.add(response.json()["signature_key"])
    assert {len(bytes.fromhex(key)) for key in keys} == {16}
    assert len(keys) == 4


@pytest.mark.parametrize("resource", SHAPES)
async def test_a_deleted_resource_is_404(free_commit: FreeCommitSystem, resource: str) -> None:
    new = await free_commit.create(resource)
    path = f"/api/admin/{resource}s/{new['id']}"
    response = await free_commit.admin.delete(path)
    assert (response.status_code, response.content) == (204, b"")
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

        await eventually(count_accesses, (6).__eq__)
