"""The stage of the webhook tests, and sample requests of forges."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from nats.aio.client import Client

from contracts.builds import BuildRow, GetBuild
from contracts.identity import RegisterUser
from contracts.messages import Command, CommandReply, Page
from contracts.projects import (
    CreateProject,
    GetProject,
    ListExecutors,
    ProjectView,
)
from infra.service_catalog import load_services
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.service.declaration import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support import read_stream_messages
from tests.support.external.forge_webhooks import (
    github_push_body,
)
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers

ROOT = Actor(1, "root", ("ROLE_ADMIN",))
UNKNOWN_SHA = "1" * 40  # a commit that does not exist
Answer = tuple[int, Any]


@dataclass(frozen=True)
class WebhookProject:
    """A project that receives webhooks. `key` signs them."""

    id: int
    key: str


@dataclass(frozen=True)
class WebhookStage:
    """Two gateways in front of real services, and a repository to push to."""

    gateways: tuple[httpx.AsyncClient, ...]
    caller: MessageClient
    bus: Client
    stage: ServiceStage
    repository: Path
    admin: Mapping[str, str]

    async def create(self, command: Command) -> int:
        return int(CommandReply.model_validate_json(await self.caller.send(command, actor=ROOT)).row["id"])

    async def create_user(self, *, roles: tuple[str, ...] = ("ROLE_DEVELOPER",), **names: str) -> int:
        username = f"user-{uuid4().hex[:8]}"
        return await self.create(RegisterUser(username=username, password="millwheel-7", roles=roles, **names))

    async def create_project(
        self,
        *developers: int,
        branch: str = "main",
        repository: Path | None = None,
        spec_file_path: str = "/headrace.yaml",
    ) -> WebhookProject:
        (default,) = Page.model_validate_json(await self.caller.query(ListExecutors())).rows
        wanted = CreateProject(
            name=f"mill {uuid4().hex[:6]}",
            repository=str(repository or self.repository),
            branch=branch,
            spec_file_path=spec_file_path,
            allow_concurrent_execution=True,
            executor_id=default["id"],
            developers_id=developers,
        )
        return await self.load_project(await self.create(wanted))

    async def load_project(self, project_id: int) -> WebhookProject:
        shown = ProjectView.model_validate_json(await self.caller.query(GetProject(project_id=project_id, reveal=True)))
        return WebhookProject(project_id, shown.signature_key or "")

    async def deliver(self, project_id: int, headers: Mapping[str, str], body: bytes, *, gateway: int = 0) -> Answer:
        path = f"/api/guest/webhooks/build/{project_id}"
        response = await self.gateways[gateway].post(path, content=body, headers=headers)
        return response.status_code, response.json()

    async def list_deliveries(self, project_id: int, **query: str) -> list[dict[str, Any]]:
        path = f"/api/admin/projects/{project_id}/deliveries"
        response = await self.gateways[0].get(path, headers=self.admin, params=query)
        assert response.status_code == 200, response.text
        return list(response.json()["data"])

    async def get_build(self, executor_id: str) -> BuildRow:
        return BuildRow.model_validate_json(await self.caller.query(GetBuild(executor_id=executor_id)))

    async def list_queued_events(self, project_id: int) -> list[Any]:
        """Return the project's BuildQueued messages.

        The queue is not read: a build whose planning fails leaves it at once.
        """
        queued = [
            message
            for message in await read_stream_messages(self.bus, "builds")
            if message.subject.endswith(".BuildQueued")
        ]
        return [message for message in queued if json.loads(message.data)["project_id"] == project_id]

    async def list_delivery_events(self, project_id: int) -> list[str]:
        messages = [
            message for message in await read_stream_messages(self.bus, "projects") if ".delivery-" in message.subject
        ]
        mine = [message for message in messages if json.loads(message.data)["project_id"] == project_id]
        return [message.subject.rpartition(".")[2] for message in mine]


@asynccontextmanager
async def webhook_stage(
    servers: Servers, repository: Path, data: Path, projects: Service = projects
) -> AsyncIterator[WebhookStage]:
    settings = {"admin_username": "root", "admin_password": "millwheel-7", "local_repositories": True, "data": data}
    async with empty_stage(servers, **settings) as stage:
        await stage.migrate(*load_services())
        async with (
            stage.running(lambda: identity),
            stage.running(lambda: projects, replicas=2),
            running_gateway(stage.settings) as (_, _, first_url),
            running_gateway(stage.settings) as (_, _, second_url),
            httpx.AsyncClient(base_url=first_url, timeout=20) as first,
            httpx.AsyncClient(base_url=second_url, timeout=20) as second,
            stage.connected() as bus,
        ):
            body = {"auth": {"username": "root", "password": "millwheel-7"}}
            token = (await first.post("/api/auth/token", json=body)).json()["access_token"]
            admin = {"Authorization": f"Bearer {token}"}
            yield WebhookStage((first, second), MessageClient(bus), bus, stage, repository, admin)


def push_body(ref: str = "refs/heads/main", after: str = UNKNOWN_SHA, login: str = "Octo-Ada", **more: Any) -> bytes:
    return github_push_body(after, ref, login, **more)


def ignored_code(answer: Answer) -> str:
    status, body = answer
    assert (status, body["decision"], body["executor_id"]) == (200, "IGNORED", None)
    return str(body["code"])


def error_of(answer: Answer) -> tuple[int, str]:
    return answer[0], answer[1]["message"]
