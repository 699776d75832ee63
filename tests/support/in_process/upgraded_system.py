"""The current services on the databases, streams and unfinished work of an earlier release."""

import asyncio
import base64
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from infra.service_catalog import SERVICES, load_services
from libs.service.connections import create_mongo_client, get_database
from libs.settings import MailSecurity, MailSettings
from tests.releases import answers, dump
from tests.releases.history import PASSWORD, Leftovers
from tests.releases.record import FOLDER
from tests.releases.release import NEVER_SECONDS
from tests.support import read_event_ids
from tests.support.external.mail_server import MailServer, running_mail_server
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.running_system import return_service
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers, running_servers

Json = dict[str, Any]


@dataclass(frozen=True)
class UpgradedSystem:
    release: str
    servers: Servers
    stage: ServiceStage
    http: httpx.AsyncClient
    post_office: MailServer
    answers: Json
    left: Leftovers
    published: dict[str, list[str]]  # by service: ids of the events in its stream before the upgrade
    durables: dict[str, datetime]  # creation time of each durable consumer before the upgrade
    logged_event_names: Counter[str]  # number of events by name in the event logs before the upgrade

    async def log_in(self, username: str) -> Json:
        response = await self.http.post("/api/auth/token", json={"auth": {"username": username, "password": PASSWORD}})
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['access_token']}"}

    async def recorded_event_ids(self, service: str) -> set[str]:
        async with create_mongo_client(self.stage.settings, "test") as client:
            commits = get_database(client, self.stage.settings, service)["commits"]
            return {
                f"{commit['stream']}@{commit['version']}.{number}"
                async for commit in commits.find({})
                for number in range(len(commit["events"]))
            }

    async def new_events(self) -> Counter[str]:
        """Return the number of events by name, recorded since the upgrade."""
        return await count_event_names(self.stage) - self.logged_event_names


async def list_durables(bus: Client) -> dict[str, datetime]:
    found = {}
    for service in SERVICES:
        with suppress(NotFoundError):
            for info in await bus.jetstream().consumers_info(service):
                if info.config.durable_name and info.created:
                    found[info.name] = info.created
    return found


async def count_event_names(stage: ServiceStage) -> Counter[str]:
    found: Counter[str] = Counter()
    async with create_mongo_client(stage.settings, "test") as client:
        for service in SERVICES:
            async for commit in get_database(client, stage.settings, service)["commits"].find({}):
                found.update(event["name"] for event in commit["events"])
    return found


async def run_migrate_command(servers: Servers, stage: ServiceStage) -> None:
    """Run `headrace server migrate` with the NATS login for migrations."""
    environment = {
        "HEADRACE_MONGODB_URL": servers.mongodb_url,
        "HEADRACE_NATS_URL": servers.nats_url_for("migrate"),
        "HEADRACE_MASTER_KEY": base64.b64encode(stage.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": stage.settings.database_prefix,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra", "migrate", env=os.environ | environment, stdout=-1, stderr=-2
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@asynccontextmanager
async def upgraded_system(release: str, folder: Path) -> AsyncIterator[UpgradedSystem]:
    left, responses = answers.read_answers(FOLDER / release)
    with running_servers(folder) as servers, running_mail_server() as mails:
        more = {
            "data": folder,
            "url": "http://ci.example",
            "long_poll_seconds": 1.0,
            "local_repositories": True,
            "runner_offline_seconds": NEVER_SECONDS,
            "job_lease_seconds": 600.0,  # the running job has no runner until its test reports for it
            "mail": MailSettings(host="127.0.0.1", port=mails.port, tls=MailSecurity.NONE),
        }
        async with empty_stage(servers, **more) as stage, AsyncExitStack() as stack:
            async with create_mongo_client(stage.settings, "test") as client, stage.connected() as bus:
                await dump.restore_dump(FOLDER / release, client, stage.settings, bus)
                with_streams = (FOLDER / release / dump.STREAMS_FILE).exists()
                present = await list_durables(bus)
                published = {
                    service: await read_event_ids(bus, service) if with_streams else [] for service in SERVICES
                }
            log = await count_event_names(stage)
            await run_migrate_command(servers, stage)
            for service in load_services():
                await stack.enter_async_context(stage.running(partial(return_service, service)))
            _, _, url = await stack.enter_async_context(
                running_gateway(stage.settings.model_copy(update={"instance": "gateway"}))
            )
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
            yield UpgradedSystem(
                release, servers, stage, http, mails, responses, Leftovers(**left), published, present, log
            )
