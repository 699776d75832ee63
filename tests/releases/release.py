"""All services and the gateway in this process. Each service can be stopped separately."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.service_catalog import load_services
from libs.service.declaration import Service
from libs.settings import MailSecurity, MailSettings
from services.notifications.app import create_service
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_system import PASSWORD, BuildSystem
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import running_servers

NEVER_SECONDS = 10**9  # for timeouts that must not pass between recording and restore
SHORT_RETRY_DELAYS = (0.2, 0.2)  # seconds between attempts to send an email


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
        """Restart notifications with its default delays, so that the event of a rejected e-mail stays pending."""
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
        "job_lease_seconds": 600.0,  # longer than a recording takes
        "runner_offline_seconds": NEVER_SECONDS,
        "login_seconds": 20.0 * NEVER_SECONDS,  # the first wait after failed logins is a twentieth of this setting
        "mail": MailSettings(host="127.0.0.1", port=post_office.port, tls=MailSecurity.NONE),
    }
    with running_servers(folder) as servers:
        async with empty_stage(servers, **settings) as stage:
            services = {service.name: service for service in load_services()} | {
                "notifications": create_service(SHORT_RETRY_DELAYS)
            }
            await stage.migrate(*services.values())
            release = RunningRelease(BuildSystem.__new__(BuildSystem), stage, post_office)
            try:
                for service in services.values():
                    await release.start(service)
                async with (
                    running_gateway(stage.settings.model_copy(update={"instance": "gateway"})) as (gateway, _, url),
                    httpx.AsyncClient(base_url=url, timeout=40) as http,
                ):
                    release.system = BuildSystem(
                        http,
                        gateway,
                        create_sample_repository(folder / "repository"),
                        stage.settings,
                        servers.nats_url_for("consumer"),
                    )
                    release.system.admin = await release.system.log_in("root")
                    (executor,) = await release.system.get("/api/admin/executors")
                    release.system.executor_id = executor["id"]
                    yield release
            finally:
                for name in list(release.service_stacks):
                    await release.stop(name)
