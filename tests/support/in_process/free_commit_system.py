"""All services and a gateway in this process, used through the Free Commit API."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from tests.support.in_process.running_system import run_all_services
from tests.support.in_process.service_stage import ServiceStage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import post_until_answered, send_until_answered

PASSWORD = "millwheel-7"
UNKNOWN_ID = 777_777_777
Json = dict[str, Any]


@dataclass
class FreeCommitSystem:
    url: str
    stage: ServiceStage
    admin: httpx.AsyncClient  # client of a user with the roles ROLE_ADMIN and ROLE_DEVELOPER
    developer: httpx.AsyncClient  # client of a user with the role ROLE_DEVELOPER only
    defaults: Json
    numbers: "count[int]" = field(default_factory=count)

    def client(self, authorization: str = "") -> httpx.AsyncClient:
        headers = {"Authorization": authorization} if authorization else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    async def log_in(self, username: str, password: str = PASSWORD) -> httpx.AsyncClient:
        body = {"auth": {"username": username, "password": password}}
        async with self.client() as stranger:
            response = await send_until_answered(lambda: stranger.post("/api/auth/token", json=body))
        return self.client(f"Bearer {response.raise_for_status().json()['access_token']}")

    def new_name(self) -> str:
        return f"name_{next(self.numbers)}"

    async def create(self, resource: str, **fields: Any) -> Json:
        """Create a resource as administrator. Missing required fields get default values."""
        named = {"username" if resource == "developer" else "name": self.new_name()}
        body = {resource: named | self.defaults[resource] | fields}
        response = await post_until_answered(self.admin, f"/api/admin/{resource}s", body)
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def patch(self, resource: str, id_: int, part: str, fields: Mapping[str, Any]) -> httpx.Response:
        path = f"/api/admin/{resource}s/{id_}/{part}"
        return await send_until_answered(lambda: self.admin.patch(path, json={resource: fields}))

    async def get(self, resource: str, id_: int) -> Json:
        response = await send_until_answered(lambda: self.admin.get(f"/api/admin/{resource}s/{id_}"))
        assert response.status_code == 200, response.text
        return dict(response.json())


@asynccontextmanager
async def free_commit_system(servers: Servers) -> AsyncIterator[FreeCommitSystem]:
    settings: Json = {"admin_username": "root", "admin_password": PASSWORD, "local_repositories": True}
    async with run_all_services(servers, **settings) as (stage, _gateway, url), httpx.AsyncClient() as placeholder:
        system = FreeCommitSystem(url, stage, placeholder, placeholder, {})
        async with await system.log_in("root") as system.admin:
            [executor] = (await system.admin.get("/api/admin/executors")).json()
            system.defaults = {
                "project": {
                    "repository": "https://forge.example/shop.git",
                    "branch": "main",
                    "spec_file_path": "/spec.yaml",
                    "allow_concurrent_execution": True,
                    "executor_id": executor["id"],
                },
                "secret": {"value": "hush"},
                "credential": {"ssh_key": "PRIVATE"},
                "executor": {"driver": "localDriver"},
                "developer": {"password": PASSWORD},
            }
            await system.create("developer", username="dora", roles=["ROLE_DEVELOPER"])
            async with await system.log_in("dora") as system.developer:
                yield system


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["message"]
