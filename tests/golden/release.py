"""A release at work: all its services and the gateway in this process, where each service can be stopped by itself."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from infra.migrate import all_services
from libs.service import Service
from libs.settings import MailSecurity, MailSettings
from services.notifications.app import declare
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage
from tests.integration.whole_stage import PASSWORD, Whole
from tests.support.post_office import PostOffice
from tests.support.repositories import sample_repository
from tests.support.servers import servers_in

FOR_EVER = 10**9  # seconds: nothing shall time out because a release is old
IMPATIENT = (0.2, 0.2)  # seconds between the tries to send a mail


@dataclass
class Release:
    here: Whole
    stage: Stage
    post_office: PostOffice
    running: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def start(self, service: Service) -> None:
        stack = self.running[service.name] = AsyncExitStack()
        await stack.enter_async_context(self.stage.running(lambda: service))

    async def stop(self, name: str) -> None:
        await self.running.pop(name).aclose()

    async def be_patient(self) -> None:
        """From now on a mail that is refused stays in its durable consumer."""
        await self.stop("notifications")
        await self.start(declare())


@asynccontextmanager
async def release(folder: Path, post_office: PostOffice) -> AsyncIterator[Release]:
    settings: dict[str, Any] = {
        "admin_username": "root",
        "admin_password": PASSWORD,
        "data": folder / "data",
        "url": "http://ci.example",
        "long_poll_seconds": 1.0,
        "local_repositories": True,
        "build_timeout_seconds": FOR_EVER,
        "job_lease_seconds": 600.0,  # longer than the recording takes
        "runner_offline_seconds": FOR_EVER,
        "login_seconds": 20.0 * FOR_EVER,  # the first wait is a twentieth
        "mail": MailSettings("127.0.0.1", post_office.port, tls=MailSecurity.NONE),
    }
    with servers_in(folder) as servers:
        async with empty_stage(servers, **settings) as stage:
            services = {one.name: one for one in all_services()} | {"notifications": declare(IMPATIENT)}
            await stage.migrate(*services.values())
            at_work = Release(Whole.__new__(Whole), stage, post_office)
            try:
                for service in services.values():
                    await at_work.start(service)
                async with (
                    serving(replace(stage.settings, instance="gateway")) as (gateway, _, url),
                    httpx.AsyncClient(base_url=url, timeout=40) as http,
                ):
                    at_work.here = Whole(
                        http,
                        gateway,
                        sample_repository(folder / "repository"),
                        stage.settings,
                        servers.nats_for("consumer"),
                    )
                    at_work.here.admin = await at_work.here.logged_in("root")
                    (executor,) = await at_work.here.get("/api/admin/executors")
                    at_work.here.executor_id = executor["id"]
                    yield at_work
            finally:
                for name in list(at_work.running):
                    await at_work.stop(name)
