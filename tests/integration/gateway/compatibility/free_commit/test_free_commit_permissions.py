"""Permissions in the Free Commit API, and the lists that clients poll."""

import pytest

from tests.support.in_process.free_commit_system import (
    PASSWORD,
    UNKNOWN_ID,
    FreeCommitSystem,
    error_of,
)
from tests.support.waiting import eventually


async def test_a_token_has_only_the_current_permissions_of_its_user(free_commit: FreeCommitSystem) -> None:
    user = await free_commit.create("developer", username="riser", roles=["ROLE_DEVELOPER"])
    async with await free_commit.log_in("riser") as promoted:
        body = {"developer": {"roles": ["ROLE_ADMIN"]}, "roles": ["ROLE_ADMIN"]}
        assert (await promoted.patch(f"/api/admin/developers/{user['id']}/roles", json=body)).status_code == 403
        assert (await promoted.post("/api/admin/developers", json=body)).status_code == 403
        await free_commit.patch("developer", user["id"], "enabled", {"enabled": False})
        await eventually(lambda: promoted.get("/api/user/info"), lambda response: response.status_code == 401)
    login = {"auth": {"username": "riser", "password": PASSWORD}}
    async with free_commit.client() as anonymous:
        assert error_of(await anonymous.post("/api/auth/token", json=login)) == (401, "UNAUTHORIZED")


async def test_a_deleted_user_loses_access_and_project_memberships(free_commit: FreeCommitSystem) -> None:
    user = await free_commit.create("developer", username="leaver", roles=["ROLE_DEVELOPER"])
    project = await free_commit.create("project", developers_id=[user["id"]])
    async with await free_commit.log_in("leaver") as leaving_client:
        assert (await free_commit.admin.delete(f"/api/admin/developers/{user['id']}")).status_code == 204
        await eventually(lambda: leaving_client.get("/api/user/info"), lambda response: response.status_code == 401)
    await eventually(lambda: free_commit.get("project", project["id"]), lambda shown: shown["developers_id"] == [])


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


@pytest.mark.parametrize("path", ["queueds", "executeds"])
async def test_polled_lists_are_empty_lists_without_builds(free_commit: FreeCommitSystem, path: str) -> None:
    response = await free_commit.admin.get(f"/api-free-commit/developer/builds/{path}")
    assert (response.status_code, response.json()) == (200, [])


async def test_a_launched_build_is_queued_with_its_executor_id(free_commit: FreeCommitSystem) -> None:
    project = await free_commit.create("project", repository="https://127.0.0.1:9/none.git")
    response = await free_commit.admin.post(f"/api-free-commit/developer/builds/{project['id']}")
    assert response.status_code == 200
    assert response.json()["project_name"] == project["name"]
    assert "-" in response.json()["executor_id"]
    assert error_of(await free_commit.developer.post(f"/api/developer/builds/{project['id']}")) == (
        403,
        "LAUNCH_BUILD_NOT_ALLOWED",
    )
    assert error_of(await free_commit.admin.post(f"/api/developer/builds/{UNKNOWN_ID}")) == (404, "PROJECT_NOT_FOUND")
