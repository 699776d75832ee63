"""All services and the gateway in this process, on real servers: what a client meets, without processes to start."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
from pymongo.asynchronous.database import AsyncDatabase

from gateway.app import Gateway
from infra.migrate import all_services
from libs.clock import Clock
from libs.connections import Document, database_of, mongo
from libs.service import Service
from libs.settings import Settings
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

ADMINISTRATOR, PASSWORD = "admin", "correct horse battery"

Headers = dict[str, str]


@dataclass
class Whole:
    stage: Stage
    http: httpx.AsyncClient
    admin: Headers

    @property
    def settings(self) -> Settings:
        return self.stage.settings

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[AsyncDatabase[Document]]:
        async with mongo(self.settings, "test") as client:
            yield database_of(client, self.settings, service)

    async def log_in(self, username: str, password: str) -> Headers:
        answer = await self.http.post("/api/auth/token", json={"auth": {"username": username, "password": password}})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def make(self, path: str, **body: Any) -> Any:
        """What an administrator creates; the path below /api/admin names the resource in the plural."""
        resource = path.replace("ies", "ys").removesuffix("s")
        answer = await self.http.post(f"/api/admin/{path}", json={resource: body}, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return answer.json()


@asynccontextmanager
async def all_running(
    servers: Servers, clock: Clock | None = None, /, **settings: Any
) -> AsyncIterator[tuple[Stage, Gateway, str]]:
    """Every service, and a gateway with its address."""
    async with empty_stage(servers, **settings) as stage, AsyncExitStack() as stack:
        services = all_services()
        await stage.migrate(*services)
        for service in services:
            await stack.enter_async_context(
                stage.running(partial(itself, service), replicas=stage.settings.replicas, clock=clock)
            )
        gateway, _, url = await stack.enter_async_context(serving(replace(stage.settings, instance="gateway")))
        yield stage, gateway, url


def itself(service: Service) -> Service:
    return service


@asynccontextmanager
async def whole(servers: Servers, **settings: Any) -> AsyncIterator[Whole]:
    login = {"admin_username": ADMINISTRATOR, "admin_password": PASSWORD}
    async with (
        all_running(servers, **login, **settings) as (stage, _gateway, url),
        httpx.AsyncClient(base_url=url, timeout=20) as http,
    ):
        here = Whole(stage, http, {})
        here.admin = await here.log_in(ADMINISTRATOR, PASSWORD)
        yield here
