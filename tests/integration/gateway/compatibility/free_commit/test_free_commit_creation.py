"""Free Commit resources: fields of responses, creation, and errors of a creation."""

import json
from typing import Any

import pytest

from tests.integration.gateway.compatibility.free_commit.field_shapes import CREDENTIAL, SECRET, SHAPES, TEXT
from tests.support.in_process.free_commit_system import (
    UNKNOWN_ID,
    FreeCommitSystem,
    error_of,
)

SHAPES_WITH_SECRETS: dict[str, dict[str, tuple[type, ...]]] = {
    "secret": SECRET | {"value": (TEXT,)},
    "credential": CREDENTIAL | {"ssh_key": (TEXT,)},
}


def mismatched_fields(found: dict[str, Any], shape: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    return {
        name: found.get(name, "missing") for name, types in shape.items() if type(found.get(name, 0.5)) not in types
    }


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
        ("project", {"keep_log_days": "many"}, 422, "PROJECT_RETENTION_INVALID"),
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
    response = await free_commit.admin.post("/api/admin/credentials", json=body)
    assert (response.status_code, response.json()["name"]) == (201, "flat")


async def test_a_body_without_a_json_content_type_is_ignored(free_commit: FreeCommitSystem) -> None:
    raw = json.dumps({"credential": {"name": "x", "ssh_key": "y"}})
    answer = await free_commit.admin.post("/api/admin/credentials", content=raw, headers={"Content-Type": "text/plain"})
    assert error_of(answer) == (422, "CREDENTIAL_NAME_REQUIRED")
