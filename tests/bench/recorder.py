"""Recorder of a benchmark's results and targets. It also opens connections and pauses the agents of the stack."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from contracts.runners import EditRunner, ListRunners
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from libs.settings import Settings
from services.builds.projections import job_category as job_category
from tests.bench.client import Connection
from tests.support.stacks.running_stack import RunningStack

ResultRow = tuple[str, str, str, str]


class Bench:
    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.token = stack.admin.headers["Authorization"].removeprefix("Bearer ")
        self.rows: list[ResultRow] = []
        self.results: dict[str, Any] = {}

    def record(self, name: str, label: str, value: str, target: str, reached: bool | None, **figures: Any) -> None:
        verdict = "" if reached is None else "reached" if reached else "missed"
        self.rows.append((label, value, target, verdict))
        self.results[name] = {"value": value, "target": target, "reached": reached, **figures}
        Console(stderr=True).print(f"  {label}: {value}")

    @asynccontextmanager
    async def open_connections(self, url: str, number: int, token: str = "") -> AsyncIterator[list[Connection]]:
        async with AsyncExitStack() as opened:
            yield [await opened.enter_async_context(Connection(url, token)) for _ in range(number)]

    async def set_agents_active(self, *, active: bool) -> None:
        nats = await connect(Settings(nats_url=self.stack.nats_url_for("gateway")), "bench")
        caller = MessageClient(nats)
        page = json.loads(await caller.query(ListRunners(limit=100)))
        for runner in page["rows"]:
            await caller.send(EditRunner(runner_uuid=runner["uuid"], active=active))
        await nats.close()
