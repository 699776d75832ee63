"""Fixtures: the projects service, and a client that sends commands to it."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from contracts.messages import Page
from contracts.projects import (
    CreateProject,
    ListExecutors,
)
from libs.messaging.request_reply import MessageClient
from libs.service.declaration import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, admin_username="root", admin_password="millwheel-7") as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity), stage.running(lambda: projects, replicas=2):
            yield stage


@pytest.fixture(scope="package")
async def bus(stage: ServiceStage) -> AsyncIterator[Client]:
    async with stage.connected() as bus:
        yield bus


@pytest.fixture(scope="package")
async def caller(bus: Client) -> MessageClient:
    return MessageClient(bus)


@pytest.fixture(scope="package")
async def new_project(caller: MessageClient) -> CreateProject:
    """Return a project creation command without a name, which tests set."""
    (default,) = Page.model_validate_json(await caller.query(ListExecutors())).rows
    return CreateProject(
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        allow_concurrent_execution=True,
        executor_id=default["id"],
    )
