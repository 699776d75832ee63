"""The requests of Free Commit's own web page, screen by screen."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.support.external.repositories import SPEC_FILE, create_sample_repository
from tests.support.in_process.free_commit_system import PASSWORD, FreeCommitSystem, error_of

LIST_QUERY = "per_page=10&page=1&mode=exclude&orderBy=DESC"
PREFIX = "/api-free-commit"


async def get_json(free_commit: FreeCommitSystem, path: str) -> Any:
    response = await free_commit.admin.get(f"{PREFIX}/{path}")
    assert response.status_code == 200, response.text
    return response.json()


async def send_json(free_commit: FreeCommitSystem, method: str, path: str, body: dict[str, Any], status: int) -> Any:
    response = await free_commit.admin.request(method, f"{PREFIX}/{path}", json=body)
    assert response.status_code == status, response.text
    return response.json()


async def create_project(free_commit: FreeCommitSystem, repository: str = "https://127.0.0.1:9/none.git") -> Any:
    [executor, *_] = await get_json(free_commit, "developer/executors")
    fields = {
        "name": free_commit.new_name(),
        "description": "",
        "repository": repository,
        "keep_number_build": "",
        "branch": "*",
        "spec_file_path": f"/{SPEC_FILE}",
        "allow_concurrent_execution": False,
        "executor_id": executor["id"],
    }
    return await send_json(free_commit, "POST", "admin/projects", {"project": fields}, 201)


async def test_logging_in_returns_a_token_that_the_page_can_decode(free_commit: FreeCommitSystem) -> None:
    login = {"auth": {"username": "root", "password": PASSWORD}}
    answer = (await free_commit.admin.post(f"{PREFIX}/auth/token", json=login)).json()
    assert answer.keys() == {"access_token", "token_type", "expires_in"}
    middle = answer["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    assert claims["roles"] == ["ROLE_ADMIN", "ROLE_DEVELOPER"]
    assert isinstance(claims["sub"], str)


async def test_requests_after_logging_out_are_401(free_commit: FreeCommitSystem) -> None:
    async with free_commit.client("Bearer null") as anonymous:
        paths = (
            "developer/builds/queueds",
            "developer/builds/executeds",
            f"developer/paginations/project?{LIST_QUERY}",
        )
        assert [(await anonymous.get(f"{PREFIX}/{path}")).status_code for path in paths] == [401, 401, 401]


async def test_the_requests_of_the_project_list_screen_work(free_commit: FreeCommitSystem) -> None:
    project = await create_project(free_commit)
    filters = f"sortBy=project_id&project_name%5Bcontains%5D={project['name']}"
    found = await get_json(free_commit, f"developer/paginations/project?{LIST_QUERY}&{filters}")
    assert (found["total"], found["data"]) == (
        1,
        [
            {
                "project_id": project["id"],
                "project_name": project["name"],
                "build_last_exit_code": None,
                "build_last_exit_message": None,
                "build_last_created_at": None,
            }
        ],
    )


async def test_the_requests_of_the_project_screen_work(free_commit: FreeCommitSystem) -> None:
    project = await create_project(free_commit)
    assert project["id"] == (await get_json(free_commit, f"developer/projects/{project['id']}"))["id"]
    for listing in ("credentials", "developers", "secrets", "executors"):
        assert isinstance(await get_json(free_commit, f"developer/{listing}"), list)
    assert await get_json(free_commit, f"developer/builds/by/project/{project['id']}") == []

    credential = await free_commit.create("credential")
    developer = await free_commit.create("developer")
    changes: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("keep_number_build", {"keep_number_build": "5"}, {"keep_number_build": 5}),
        (
            "repository_credential",
            {"repository_credential_id": credential["id"]},
            {"repository_credential_id": credential["id"]},
        ),
        ("repository_credential", {}, {"repository_credential_id": None}),
        ("developers", {"developers_id": [developer["id"]]}, {"developers_id": [developer["id"]]}),
        ("description", {"description": ""}, {"description": None}),
    ]
    for part, fields, shown in changes:
        body = {"project": fields}
        changed = await send_json(free_commit, "PATCH", f"admin/projects/{project['id']}/{part}", body, 200)
        assert changed.items() >= shown.items()
    renewed = await free_commit.admin.patch(f"{PREFIX}/admin/projects/{project['id']}/signature_key")
    assert renewed.json()["signature_key"] != project["signature_key"]
    assert (await free_commit.admin.delete(f"{PREFIX}/admin/projects/{project['id']}")).is_success


async def test_the_requests_of_the_top_bar_and_its_buttons_work(free_commit: FreeCommitSystem, tmp_path: Path) -> None:
    project = await create_project(free_commit, str(create_sample_repository(tmp_path / "repository")))
    body = {"build": {"ignore_steps": ["@deploy"]}}
    launched = await send_json(free_commit, "POST", f"developer/builds/{project['id']}", body, 200)

    async def list_builds(state: str) -> list[Any]:  # builds of other tests may be queued, too
        found = await get_json(free_commit, f"developer/builds/{state}")
        return [build for build in found if build["executor_id"] == launched["executor_id"]]

    [queued] = await list_builds("queueds")
    assert queued.items() >= {"executor_id": launched["executor_id"], "project_name": project["name"]}.items()
    assert await list_builds("executeds") == []
    log = await free_commit.admin.get(f"{PREFIX}/developer/logs/{launched['executor_id']}/-1/0")
    kill = await free_commit.admin.delete(f"{PREFIX}/developer/builds/kill/queued/{launched['executor_id']}")
    again = await free_commit.admin.delete(f"{PREFIX}/developer/builds/kill/queued/{launched['executor_id']}")
    assert (log.status_code, log.json()["step"], type(log.json()["log"])) == (200, "init", str)
    assert (kill.status_code, kill.content) == (204, b"")
    assert error_of(again) == (404, "EXECUTOR_NOT_FOUND")
    assert await list_builds("queueds") == []


async def test_the_requests_of_the_users_screen_work_with_filters_of_the_secrets_screen(
    free_commit: FreeCommitSystem,
) -> None:
    fields = {
        "username": free_commit.new_name(),
        "password": "long-enough-7",
        "github_username": "",
        "gitlab_username": "",
        "roles": ["ROLE_DEVELOPER"],
    }
    user = await send_json(free_commit, "POST", "admin/developers", {"developer": fields}, 201)
    filters = "sortBy=developer_id&secret_name%5Bcontains%5D=x"
    found = await get_json(free_commit, f"developer/paginations/developer?{LIST_QUERY}&{filters}")
    assert found["data"][0] == {
        "developer_id": user["id"],
        "user_username": fields["username"],
        "developer_email": None,
        "user_role": "ROLE_DEVELOPER",
    }
    assert (await get_json(free_commit, f"developer/developers/{user['id']}")) == user
    no_roles: dict[str, Any] = {"developer": {"roles": []}}
    assert (await send_json(free_commit, "PATCH", f"admin/developers/{user['id']}/roles", no_roles, 200))["roles"] == []


async def test_the_requests_of_the_secrets_screen_work(free_commit: FreeCommitSystem) -> None:
    fields = {"name": "DEPLOY", "value": "v", "env": "", "escape_char": "", "projects_id": []}
    secret = await send_json(free_commit, "POST", "admin/secrets", {"secret": fields}, 201)
    found = await get_json(free_commit, f"developer/paginations/secret?{LIST_QUERY}&sortBy=secret_id")
    assert found["data"][0] == {
        "secret_id": secret["id"],
        "secret_name": "DEPLOY",
        "secret_env": None,
        "secret_scope": "PUBLIC",
    }
    choice = await get_json(free_commit, "developer/paginations/project?per_page=100000")
    ids = [row["project_id"] for row in choice["data"]]
    assert choice["total"] == len(ids)
    body = {"secret": {"projects_id": ids}}
    assert (await send_json(free_commit, "PATCH", f"admin/secrets/{secret['id']}/projects", body, 200))[
        "projects_id"
    ] == sorted(ids)
    assert (await get_json(free_commit, f"admin/secrets/{secret['id']}"))["value"] == "v"
    await send_json(
        free_commit, "PATCH", f"admin/secrets/{secret['id']}/projects", {"secret": {"projects_id": []}}, 200
    )
    assert (await free_commit.admin.delete(f"{PREFIX}/admin/secrets/{secret['id']}")).is_success


async def test_the_requests_of_the_credentials_executors_and_configuration_screens_work(
    free_commit: FreeCommitSystem,
) -> None:
    key = await send_json(
        free_commit, "POST", "admin/credentials", {"credential": {"name": "k", "ssh_key": "PRIVATE"}}, 201
    )
    assert await get_json(free_commit, f"admin/credentials/{key['id']}") == {
        "id": key["id"],
        "name": "k",
        "ssh_key": "PRIVATE",
    }
    fields = {"name": "cloud", "driver": "openStackDriver"}
    executor = await send_json(free_commit, "POST", "admin/executors", {"executor": fields}, 201)
    variables = executor["variables"] | {"VOLUME_ID": "7"}
    body = {"executor": {"variables": variables}}
    await send_json(free_commit, "PATCH", f"admin/executors/{executor['id']}/variables", body, 200)
    assert (await get_json(free_commit, f"admin/executors/{executor['id']}"))["variables"] == variables
    assert executor["id"] in [
        listed_executor["id"] for listed_executor in await get_json(free_commit, "admin/executors")
    ]
    assert {type(value) for value in (await get_json(free_commit, "admin/config/env")).values()} <= {str, type(None)}
