"""A release at work: all its services and the gateway in this process, where each service can be stopped by itself."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from infra.migration import load_services
from libs.service.declaration import Service
from libs.settings import MailSecurity, MailSettings
from services.notifications.app import create_service
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.stage import ServiceStage, empty_stage
from tests.support.in_process.whole_stage import PASSWORD, BuildSystem
from tests.support.infrastructure.servers import running_servers

NEVER_SECONDS = 10**9  # seconds: nothing shall time out because a release is old
SHORT_RETRY_DELAYS = (0.2, 0.2)  # seconds between the tries to send a mail


@dataclass
class RunningRelease:
    system: BuildSystem
    stage: ServiceStage
    mail_server: MailServer
    service_stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def start(self, service: Service) -> None:
        stack = self.service_stacks[service.name] = AsyncExitStack()
        await stack.enter_async_context(self.stage.running(lambda: service))

    async def stop(self, name: str) -> None:
        await self.service_stacks.pop(name).aclose()

    async def use_released_mail_delays(self) -> None:
        """From now on a mail that is refused stays in its durable consumer."""
        await self.stop("notifications")
        await self.start(create_service())


@asynccontextmanager
async def running_release(folder: Path, post_office: MailServer) -> AsyncIterator[RunningRelease]:
    settings: dict[str, Any] = {
        "admin_username": "root",
        "admin_password": PASSWORD,
        "data": folder / "data",
        "url": "http://ci.example",
        "long_poll_seconds": 1.0,
        "local_repositories": True,
        "build_timeout_seconds": NEVER_SECONDS,
        "job_lease_seconds": 600.0,  # longer than the recording takes
        "runner_offline_seconds": NEVER_SECONDS,
        "login_seconds": 20.0 * NEVER_SECONDS,  # the first wait is a twentieth
        "mail": MailSettings("127.0.0.1", post_office.port, tls=MailSecurity.NONE),
    }
    with running_servers(folder) as servers:
        async with empty_stage(servers, **settings) as stage:
            services = {one.name: one for one in load_services()} | {
                "notifications": create_service(SHORT_RETRY_DELAYS)
            }
            await stage.migrate(*services.values())
            at_work = RunningRelease(BuildSystem.__new__(BuildSystem), stage, post_office)
            try:
                for service in services.values():
                    await at_work.start(service)
                async with (
                    running_gateway(replace(stage.settings, instance="gateway")) as (gateway, _, url),
                    httpx.AsyncClient(base_url=url, timeout=40) as http,
                ):
                    at_work.system = BuildSystem(
                        http,
                        gateway,
                        create_sample_repository(folder / "repository"),
                        stage.settings,
                        servers.nats_url_for("consumer"),
                    )
                    at_work.system.admin = await at_work.system.log_in("root")
                    (executor,) = await at_work.system.get("/api/admin/executors")
                    at_work.system.executor_id = executor["id"]
                    yield at_work
            finally:
                for name in list(at_work.service_stacks):
                    await at_work.stop(name)
