"""Requests for histories, and changes that leave entries in them."""

from collections.abc import Sequence
from typing import Any

from contracts.runners import RegisterRunner, RunnerRegistration
from libs.messaging.request_reply import MessageClient
from tests.support.in_process.running_system import Headers, RunningSystem
from tests.support.waiting import send_until_answered

PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nhush-key\n-----END OPENSSH PRIVATE KEY-----"


PROJECT = {
    "name": "shop",
    "repository": "https://forge.invalid/shop.git",
    "branch": "main",
    "spec_file_path": "/ci.yaml",
    "allow_concurrent_execution": True,
    "executor_id": 1,
}


async def get_history(system: RunningSystem, path: str, **query: Any) -> Any:
    url = f"/api/admin/history/{path}"
    response = await send_until_answered(lambda: system.http.get(url, params=query, headers=system.admin))
    assert response.status_code == 200, response.text
    return response.json()


async def patch_resource(system: RunningSystem, path: str, **body: Any) -> None:
    resource = path.split("/")[0].removesuffix("s")
    response = await system.http.patch(f"/api/admin/{path}", json={resource: body}, headers=system.admin)
    assert response.status_code == 200, response.text


async def create_project(system: RunningSystem, **settings: Any) -> Any:
    return await system.create("projects", **(PROJECT | settings))


async def create_developer(
    system: RunningSystem, username: str, roles: Sequence[str] = ("ROLE_DEVELOPER",)
) -> tuple[Any, Headers]:
    user = await system.create(
        "developers",
        username=username,
        password="hush-password",
        email=f"{username}@example.org",
        roles=list(roles),
    )
    return user, await system.log_in(username, "hush-password")


def event_names(entry: Any) -> list[str]:
    return [event["name"] for event in entry["events"]]


async def register_runner(system: RunningSystem) -> RunnerRegistration:
    token = (await system.http.get("/api/admin/runners/registration-info", headers=system.admin)).json()
    async with system.stage.connected() as bus:
        command = RegisterRunner(registration_token=token["registrationToken"], name="builder")
        return RunnerRegistration.model_validate_json(await MessageClient(bus).send(command))
