"""Functions for tests of live events: publish events, and read streams of server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.in_process.gateway_stage import GatewayStage


def event_data(service: str, number: int) -> str:
    owner = {"project_id": 1} if service == "builds" else {"runner_uuid": "r", "owner_type": "GLOBAL"}
    return json.dumps({"number": number, **owner})


async def publish(stage: GatewayStage, service: str, name: str, number: int) -> None:
    body = event_data(service, number).encode()
    await stage.client.jetstream().publish(f"evt.{service}.thing-{number}.{name}", body, timeout=30)


@asynccontextmanager
async def open_event_stream(
    stage: GatewayStage, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    async with stage.http.stream("GET", f"/api/events{query}", headers=stage.developer | headers) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(":")
        yield parse_events(lines)


async def parse_events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    event: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name:
            event[name] = value
        elif event:
            yield event
            event = {}


async def read_events(count: int, source: AsyncIterator[dict[str, str]]) -> list[dict[str, str]]:
    async with asyncio.timeout(60):
        return [await anext(source) for _ in range(count)]
