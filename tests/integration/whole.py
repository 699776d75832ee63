"""All services and the gateway in this process, on real servers: what a client meets, without processes to start."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from pymongo.asynchronous.database import AsyncDatabase

from infra.local.servers import Servers
from infra.migrate import all_services
from libs.connections import Document, database_of, mongo
from libs.service import Service
from libs.settings import Settings
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage

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
async def whole(servers: Servers, **settings: Any) -> AsyncIterator[Whole]:
    login = {"admin_username": ADMINISTRATOR, "admin_password": PASSWORD}
    async with empty_stage(servers, **login, **settings) as stage, AsyncExitStack() as stack:
        services = all_services()
        await stage.migrate(*services)
        for service in services:
            await stack.enter_async_context(stage.running(partial(_itself, service)))
        _, _, url = await stack.enter_async_context(serving(stage.settings))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
        here = Whole(stage, http, {})
        here.admin = await here.log_in(ADMINISTRATOR, PASSWORD)
        yield here


def _itself(service: Service) -> Service:
    return service
