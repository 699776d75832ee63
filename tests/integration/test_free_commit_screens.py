"""What Free Commit's own page asks for, screen by screen, as it asks for it."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.free_commit_stage import PASSWORD, FreeCommit, code_of, free_commit
from tests.support.repositories import SPEC, sample_repository
from tests.support.servers import Servers

LIST = "per_page=10&page=1&mode=exclude&orderBy=DESC"
API = "/api-free-commit"


@pytest.fixture(scope="module")
async def here(servers: Servers) -> AsyncIterator[FreeCommit]:
    async with free_commit(servers) as here:
        yield here


async def got(here: FreeCommit, path: str) -> Any:
    answer = await here.admin.get(f"{API}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def sent(here: FreeCommit, method: str, path: str, body: dict[str, Any], status: int) -> Any:
    answer = await here.admin.request(method, f"{API}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def created(here: FreeCommit, repository: str = "https://127.0.0.1:9/none.git") -> Any:
    [executor, *_] = await got(here, "developer/executors")
    fields = {
        "name": here.name(),
        "description": "",
        "repository": repository,
        "keep_number_build": "",
        "branch": "*",
        "spec_file_path": f"/{SPEC}",
        "allow_concurrent_execution": False,
        "executor_id": executor["id"],
    }
    return await sent(here, "POST", "admin/projects", {"project": fields}, 201)


async def test_logging_in_gives_a_token_that_the_page_can_read(here: FreeCommit) -> None:
    login = {"auth": {"username": "root", "password": PASSWORD}}
    answer = (await here.admin.post(f"{API}/auth/token", json=login)).json()
    assert answer.keys() == {"access_token", "token_type", "expires_in"}
    middle = answer["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    assert claims["roles"] == ["ROLE_ADMIN", "ROLE_DEVELOPER"]
    assert isinstance(claims["sub"], str)


async def test_calls_after_logging_out_lead_to_the_log_in(here: FreeCommit) -> None:
    async with here.client("Bearer null") as nobody:
        paths = ("developer/builds/queueds", "developer/builds/executeds", f"developer/paginations/project?{LIST}")
        assert [(await nobody.get(f"{API}/{path}")).status_code for path in paths] == [401, 401, 401]


async def test_the_list_of_projects(here: FreeCommit) -> None:
    project = await created(here)
    filters = f"sortBy=project_id&project_name%5Bcontains%5D={project['name']}"
    found = await got(here, f"developer/paginations/project?{LIST}&{filters}")
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


async def test_the_screen_of_a_project(here: FreeCommit) -> None:
    project = await created(here)
    assert project["id"] == (await got(here, f"developer/projects/{project['id']}"))["id"]
    for listing in ("credentials", "developers", "secrets", "executors"):
        assert isinstance(await got(here, f"developer/{listing}"), list)
    assert await got(here, f"developer/builds/by/project/{project['id']}") == []

    credential = await here.made("credential")
    developer = await here.made("developer")
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
        changed = await sent(here, "PATCH", f"admin/projects/{project['id']}/{part}", body, 200)
        assert changed.items() >= shown.items()
    renewed = await here.admin.patch(f"{API}/admin/projects/{project['id']}/signature_key")
    assert renewed.json()["signature_key"] != project["signature_key"]
    assert (await here.admin.delete(f"{API}/admin/projects/{project['id']}")).is_success


async def test_the_top_bar_and_its_buttons(here: FreeCommit, tmp_path: Path) -> None:
    """There is no runner here, so the build waits for one."""
    project = await created(here, str(sample_repository(tmp_path / "repository")))
    body = {"build": {"ignore_steps": ["@deploy"]}}
    launched = await sent(here, "POST", f"developer/builds/{project['id']}", body, 200)
    [queued] = await got(here, "developer/builds/queueds")
    assert queued.items() >= {"executor_id": launched["executor_id"], "project_name": project["name"]}.items()
    assert await got(here, "developer/builds/executeds") == []
    log = await here.admin.get(f"{API}/developer/logs/{launched['executor_id']}/-1/0")
    kill = await here.admin.delete(f"{API}/developer/builds/kill/queued/{launched['executor_id']}")
    again = await here.admin.delete(f"{API}/developer/builds/kill/queued/{launched['executor_id']}")
    assert (log.status_code, log.json()["step"], type(log.json()["log"])) == (200, "init", str)
    assert (kill.status_code, kill.content) == (204, b"")
    assert code_of(again) == (404, "EXECUTOR_NOT_FOUND")
    assert await got(here, "developer/builds/queueds") == []


async def test_the_screen_of_users_with_the_filters_of_the_secrets(here: FreeCommit) -> None:
    fields = {
        "username": here.name(),
        "password": "long-enough-7",
        "github_username": "",
        "gitlab_username": "",
        "roles": ["ROLE_DEVELOPER"],
    }
    user = await sent(here, "POST", "admin/developers", {"developer": fields}, 201)
    filters = "sortBy=developer_id&secret_name%5Bcontains%5D=x"
    found = await got(here, f"developer/paginations/developer?{LIST}&{filters}")
    assert found["data"][0] == {
        "developer_id": user["id"],
        "user_username": fields["username"],
        "developer_email": None,
        "user_role": "ROLE_DEVELOPER",
    }
    assert (await got(here, f"developer/developers/{user['id']}")) == user
    no_roles: dict[str, Any] = {"developer": {"roles": []}}
    assert (await sent(here, "PATCH", f"admin/developers/{user['id']}/roles", no_roles, 200))["roles"] == []


async def test_the_screen_of_secrets(here: FreeCommit) -> None:
    fields = {"name": "DEPLOY", "value": "v", "env": "", "escape_char": "", "projects_id": []}
    secret = await sent(here, "POST", "admin/secrets", {"secret": fields}, 201)
    found = await got(here, f"developer/paginations/secret?{LIST}&sortBy=secret_id")
    assert found["data"][0] == {
        "secret_id": secret["id"],
        "secret_name": "DEPLOY",
        "secret_env": None,
        "secret_scope": "PUBLIC",
    }
    choice = await got(here, "developer/paginations/project?per_page=100000")
    ids = [one["project_id"] for one in choice["data"]]
    assert choice["total"] == len(ids)
    body = {"secret": {"projects_id": ids}}
    assert (await sent(here, "PATCH", f"admin/secrets/{secret['id']}/projects", body, 200))["projects_id"] == sorted(
        ids
    )
    assert (await got(here, f"admin/secrets/{secret['id']}"))["value"] == "v"
    await sent(here, "PATCH", f"admin/secrets/{secret['id']}/projects", {"secret": {"projects_id": []}}, 200)
    assert (await here.admin.delete(f"{API}/admin/secrets/{secret['id']}")).is_success


async def test_the_screens_of_credentials_executors_and_the_configuration(here: FreeCommit) -> None:
    key = await sent(here, "POST", "admin/credentials", {"credential": {"name": "k", "ssh_key": "PRIVATE"}}, 201)
    assert await got(here, f"admin/credentials/{key['id']}") == {"id": key["id"], "name": "k", "ssh_key": "PRIVATE"}
    fields = {"name": "cloud", "driver": "openStackDriver"}
    executor = await sent(here, "POST", "admin/executors", {"executor": fields}, 201)
    variables = executor["variables"] | {"VOLUME_ID": "7"}
    body = {"executor": {"variables": variables}}
    await sent(here, "PATCH", f"admin/executors/{executor['id']}/variables", body, 200)
    assert (await got(here, f"admin/executors/{executor['id']}"))["variables"] == variables
    assert executor["id"] in [one["id"] for one in await got(here, "admin/executors")]
    assert {type(value) for value in (await got(here, "admin/config/env")).values()} <= {str, type(None)}
