"""Fixture: the identity service behind two gateways."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from services.identity.app import service as identity
from tests.integration.gateway.compatibility.gitflic_users.gitflic_stage import PASSWORD, URL, GitFlicStage
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import empty_stage
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
async def gitflic(servers: Servers) -> AsyncIterator[GitFlicStage]:
    async with AsyncExitStack() as opened:
        settings = {"url": URL, "admin_username": "root", "admin_password": PASSWORD}
        stage = await opened.enter_async_context(empty_stage(servers, **settings))
        await stage.migrate(*load_services())
        await opened.enter_async_context(stage.running(lambda: identity, replicas=2))
        clients = []
        for _ in range(2):
            _gateway, _server, url = await opened.enter_async_context(running_gateway(stage.settings))
            client = httpx.AsyncClient(base_url=f"{url}/rest-api", timeout=60)
            clients.append(await opened.enter_async_context(client))
        first, second = clients
        bus = await connect(stage.settings, "test")
        opened.push_async_callback(bus.close)
        gitflic = GitFlicStage(first, second, MessageClient(bus), stage)
        token = (await gitflic.log_in("root")).json()["access_token"]
        first.headers["Authorization"] = second.headers["Authorization"] = f"token {token}"
        yield gitflic
