"""Who leads, on a real nats-server: also when whoever led neither answers nor dies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from libs.ending import end
from libs.leading import Deposed, lead


@asynccontextmanager
async def candidate(bus: Client, duties: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    leading = asyncio.create_task(lead(bus, "counters", "replica-1", duties))
    try:
        yield
    finally:
        await end({leading})


async def test_a_leader_that_hangs_is_replaced(bus: Client) -> None:
    took_over = asyncio.Event()

    async def hangs(_message: Msg) -> None:
        return

    async def duties() -> None:
        took_over.set()
        await asyncio.Event().wait()

    await bus.subscribe("lead.counters", cb=hangs)
    async with candidate(bus, duties), asyncio.timeout(20):
        await took_over.wait()


async def test_a_leader_that_was_deposed_does_its_duties_again_once_nobody_else_does(bus: Client) -> None:
    turns: asyncio.Queue[str] = asyncio.Queue()

    async def duties() -> None:
        await turns.put("began")
        raise Deposed("somebody else was faster")

    async with candidate(bus, duties), asyncio.timeout(20):
        assert [await turns.get(), await turns.get()] == ["began", "began"]
