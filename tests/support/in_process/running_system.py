"""All services and a gateway in this process, on real servers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
from pymongo.asynchronous.database import AsyncDatabase

from gateway.app import Gateway
from infra.service_catalog import load_services
from libs.clock import Clock
from libs.documents import Document
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from libs.settings import Settings
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import post_until_answered, send_until_answered

ADMINISTRATOR, PASSWORD = "admin", "correct horse battery"

Headers = dict[str, str]


@dataclass
class RunningSystem:
    stage: ServiceStage
    http: httpx.AsyncClient
    admin: Headers

    @property
    def settings(self) -> Settings:
        return self.stage.settings

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[AsyncDatabase[Document]]:
        async with create_mongo_client(self.settings, "test") as client:
            yield get_database(client, self.settings, service)

    async def log_in(self, username: str, password: str) -> Headers:
        body = {"auth": {"username": username, "password": password}}
        response = await send_until_answered(lambda: self.http.post("/api/auth/token", json=body))
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['access_token']}"}

    async def create(self, path: str, **body: Any) -> Any:
        """Create a resource as administrator. `path`: the part of the URL after /api/admin, such as `projects`."""
        resource = path.replace("ies", "ys").removesuffix("s")
        response = await post_until_answered(self.http, f"/api/admin/{path}", {resource: body}, self.admin)
        assert response.status_code == 201, response.text
        return response.json()


@asynccontextmanager
async def run_all_services(
    servers: Servers, clock: Clock | None = None, /, *, max_interval: float | None = None, **settings: Any
) -> AsyncIterator[tuple[ServiceStage, Gateway, str]]:
    """Run all services and a gateway. Yield the stage, the gateway and the gateway's URL.

    `max_interval`: maximum seconds between runs of a periodic task. None: as in production.
    """
    async with empty_stage(servers, **settings) as stage, AsyncExitStack() as stack:
        services = [with_max_interval(service, max_interval) for service in load_services()]
        await stage.migrate(*services)
        for service in services:
            await stack.enter_async_context(
                stage.running(partial(return_service, service), replicas=stage.settings.replicas, clock=clock)
            )
        gateway, _, url = await stack.enter_async_context(
            running_gateway(stage.settings.model_copy(update={"instance": "gateway"}))
        )
        yield stage, gateway, url


def return_service(service: Service) -> Service:
    return service


def with_max_interval(service: Service, seconds: float | None) -> Service:
    if seconds is None:
        return service
    tasks = (replace(task, interval_seconds=min(task.interval_seconds, seconds)) for task in service.periodic_tasks)
    return replace(service, periodic_tasks=tuple(tasks))


@asynccontextmanager
async def running_system(servers: Servers, **settings: Any) -> AsyncIterator[RunningSystem]:
    login: dict[str, Any] = {"admin_username": ADMINISTRATOR, "admin_password": PASSWORD}
    async with (
        run_all_services(servers, **login, **settings) as (stage, _gateway, url),
        httpx.AsyncClient(base_url=url, timeout=60) as http,
    ):
        system = RunningSystem(stage, http, {})
        system.admin = await system.log_in(ADMINISTRATOR, PASSWORD)
        yield system
