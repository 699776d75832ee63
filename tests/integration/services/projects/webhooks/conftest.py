"""Fixtures: gateways and services that receive webhooks, with a user and a project."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.builds.app import service as builds
from tests.integration.services.projects.webhooks.webhook_stage import WebhookProject, WebhookStage, webhook_stage
from tests.support.external.repositories import create_sample_repository
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_sample_repository(tmp_path_factory.mktemp("repository") / "mill")


@pytest.fixture(scope="package")
async def webhooks(
    servers: Servers, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebhookStage]:
    data = tmp_path_factory.mktemp("data")
    async with webhook_stage(servers, repository, data) as stage, stage.stage.running(lambda: builds):
        yield stage


@pytest.fixture(scope="package")
async def erin(webhooks: WebhookStage) -> int:
    return await webhooks.create_user(github_username="octo-erin", gitlab_username="tanuki-erin")


@pytest.fixture(scope="package")
async def shared_project(webhooks: WebhookStage, erin: int) -> WebhookProject:
    return await webhooks.create_project(erin)
