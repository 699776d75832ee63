"""Today's services on what an earlier release left: its databases, its streams, its unfinished work."""

import asyncio
import base64
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from infra.entry import SERVICES
from infra.migrate import all_services
from libs.connections import database_of, mongo
from libs.settings import MailSecurity, MailSettings
from tests.golden import answers, dump
from tests.golden.life import PASSWORD, Left
from tests.golden.record import FOLDER
from tests.golden.release import FOR_EVER
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage
from tests.integration.whole import itself
from tests.support import event_ids
from tests.support.post_office import PostOffice, post_office
from tests.support.servers import Servers, servers_in

Json = dict[str, Any]


@dataclass(frozen=True)
class Upgraded:
    release: str
    servers: Servers
    stage: Stage
    http: httpx.AsyncClient
    post_office: PostOffice
    answers: Json
    left: Left
    published: dict[str, list[str]]  # by service: the ids of the events that its stream held before today's code came
    durables: dict[str, datetime]  # when each durable consumer was created
    log: Counter[str]  # names of all events that were in the log

    async def log_in(self, username: str) -> Json:
        answer = await self.http.post("/api/auth/token", json={"auth": {"username": username, "password": PASSWORD}})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def recorded(self, service: str) -> set[str]:
        """The ids of all events in the log of a service."""
        async with mongo(self.stage.settings, "test") as client:
            commits = database_of(client, self.stage.settings, service)["commits"]
            return {
                f"{one['stream']}@{one['version']}.{place}"
                async for one in commits.find({})
                for place in range(len(one["events"]))
            }

    async def new_events(self) -> Counter[str]:
        """The names of those that today's code has recorded."""
        return await event_names(self.stage) - self.log


async def durables(bus: Client) -> dict[str, datetime]:
    """Those for which there is a worker, with the time when each was created."""
    found = {}
    for service in SERVICES:
        with suppress(NotFoundError):
            for info in await bus.jetstream().consumers_info(service):
                if info.config.durable_name and info.created:
                    found[info.name] = info.created
    return found


async def event_names(stage: Stage) -> Counter[str]:
    found: Counter[str] = Counter()
    async with mongo(stage.settings, "test") as client:
        for service in SERVICES:
            async for commit in database_of(client, stage.settings, service)["commits"].find({}):
                found.update(event["name"] for event in commit["events"])
    return found


async def headrace_migrate(servers: Servers, stage: Stage) -> None:
    """The command, with the login of operators."""
    environment = {
        "HEADRACE_MONGODB_URL": servers.mongodb_url,
        "HEADRACE_NATS_URL": servers.nats_for("migrate"),
        "HEADRACE_MASTER_KEY": base64.b64encode(stage.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": stage.settings.database_prefix,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra", "migrate", env=os.environ | environment, stdout=-1, stderr=-2
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@asynccontextmanager
async def upgraded(release: str, folder: Path) -> AsyncIterator[Upgraded]:
    left, given = answers.read(FOLDER / release)
    with servers_in(folder) as servers, post_office() as mails:
        more = {
            "data": folder,
            "url": "http://ci.example",
            "long_poll_seconds": 1.0,
            "local_repositories": True,
            "runner_offline_seconds": FOR_EVER,
            "mail": MailSettings("127.0.0.1", mails.port, tls=MailSecurity.NONE),
        }
        async with empty_stage(servers, **more) as stage, AsyncExitStack() as stack:
            async with mongo(stage.settings, "test") as client, stage.connected() as bus:
                await dump.restore(FOLDER / release, client, stage.settings, bus)
                with_streams = (FOLDER / release / dump.STREAMS).exists()
                present = await durables(bus)
                published = {one: await event_ids(bus, one) if with_streams else [] for one in SERVICES}
            log = await event_names(stage)
            await headrace_migrate(servers, stage)
            for service in all_services():
                await stack.enter_async_context(stage.running(partial(itself, service)))
            _, _, url = await stack.enter_async_context(serving(replace(stage.settings, instance="gateway")))
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
            yield Upgraded(release, servers, stage, http, mails, given, Left(**left), published, present, log)
