"""Leader election on a real nats-server, including a leader that hangs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from libs.service.leader_election import LeadershipLost, run_as_leader
from libs.tasks import cancel_and_wait


@asynccontextmanager
async def running_candidate(bus: Client, duties: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    leading = asyncio.create_task(run_as_leader(bus, "counters", "replica-1", duties))
    try:
        yield
    finally:
        await cancel_and_wait({leading})


async def test_a_leader_that_hangs_is_replaced(bus: Client) -> None:
    took_over = asyncio.Event()

    async def never_answer(_message: Msg) -> None:
        return

    async def run_tasks() -> None:
        took_over.set()
        await asyncio.Event().wait()

    await bus.subscribe("lead.counters", cb=never_answer)
    async with running_candidate(bus, run_tasks), asyncio.timeout(20):
        await took_over.wait()


async def test_a_leader_that_lost_leadership_runs_its_tasks_again_when_it_is_elected_again(bus: Client) -> None:
    scheduler: asyncio.Queue[str] = asyncio.Queue()

    async def run_tasks() -> None:
        await scheduler.put("began")
        raise LeadershipLost("another replica leads")

    async with running_candidate(bus, run_tasks), asyncio.timeout(20):
        assert [await scheduler.get(), await scheduler.get()] == ["began", "began"]
