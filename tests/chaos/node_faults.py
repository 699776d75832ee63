"""Faults of the servers of a stack with three nodes: the primary, the leader of a stream, majorities, all servers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from libs.documents import Document
from libs.messaging.nats_connection import connect
from libs.settings import Settings
from tests.chaos.process_killer import ProcessKiller
from tests.chaos.storm import Disturbance
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import eventually

NODES = 3
MEMBERS = [f"mongod-{number}" for number in range(1, NODES + 1)]
BROKERS = [f"nats-server-{number}" for number in range(1, NODES + 1)]
FROZEN_SECONDS = 12.0  # longer than an election takes, and than a client waits for a server that hangs

Fault = Callable[[RunningStack, ProcessKiller], Awaitable[None]]


async def find_primary(stack: RunningStack) -> str:
    """Return the name of the process that is MongoDB's primary. Waits until there is one."""
    client: AsyncMongoClient[Document]
    async with AsyncMongoClient(stack.mongodb_url) as client:
        await client.admin.command("ping")  # waits until there is a primary
        address = await client.address
    assert address is not None
    return stack.process_at(f"mongodb://{address[0]}:{address[1]}")


async def find_stream_leader(stack: RunningStack, stream: str) -> str:
    """Return the name of the nats-server that leads the stream."""
    bus = await connect(Settings(nats_url=stack.nats_url), "test")
    try:
        cluster = (await bus.jetstream().stream_info(stream)).cluster
    finally:
        await bus.close()
    assert cluster is not None
    assert cluster.leader
    return cluster.leader


async def kill_the_primary(stack: RunningStack, killer: ProcessKiller) -> None:
    await killer.kill(["the primary"], [await find_primary(stack)])


async def kill_the_stream_leader(stack: RunningStack, killer: ProcessKiller) -> None:
    await killer.kill(["the leader of a stream"], [await find_stream_leader(stack, "builds")])


async def freeze_the_primary(stack: RunningStack, killer: ProcessKiller) -> None:
    await killer.freeze(await find_primary(stack), FROZEN_SECONDS, "the frozen primary")


async def freeze_the_stream_leader(stack: RunningStack, killer: ProcessKiller) -> None:
    await killer.freeze(await find_stream_leader(stack, "builds"), FROZEN_SECONDS, "the frozen leader of a stream")


async def kill_a_majority_of_mongodb(stack: RunningStack, killer: ProcessKiller) -> None:
    primary = await find_primary(stack)
    other = next(name for name in MEMBERS if name != primary)
    await killer.kill(["two MongoDB members"], [primary, other])


async def kill_a_majority_of_nats(stack: RunningStack, killer: ProcessKiller) -> None:
    leader = await find_stream_leader(stack, "builds")
    other = next(name for name in BROKERS if name != leader)
    await killer.kill(["two NATS servers"], [leader, other])


async def kill_all_servers(_: RunningStack, killer: ProcessKiller) -> None:
    await killer.kill(["all servers"], [*MEMBERS, *BROKERS])


async def step_down(stack: RunningStack, _: ProcessKiller) -> None:
    """Make MongoDB's primary step down, as an operator does for maintenance. Another member is elected."""
    client: AsyncMongoClient[Document]
    async with AsyncMongoClient(stack.mongodb_url) as client:
        await eventually(lambda: _request_step_down(client), within=30)


async def _request_step_down(client: AsyncMongoClient[Document]) -> bool:
    try:
        await client.admin.command("replSetStepDown", 10)
    except PyMongoError:
        return False  # for example, no secondary is up to date enough
    return True


SINGLE_FAULTS: Mapping[str, Fault] = {
    "killed primary": kill_the_primary,
    "killed stream leader": kill_the_stream_leader,
    "frozen primary": freeze_the_primary,
    "frozen stream leader": freeze_the_stream_leader,
    "step-down": step_down,
}
MAJORITY_FAULTS: Mapping[str, Fault] = {
    "killed MongoDB majority": kill_a_majority_of_mongodb,
    "killed NATS majority": kill_a_majority_of_nats,
    "all servers killed": kill_all_servers,
}


def in_turn(stack: RunningStack, faults: Sequence[Fault], pause: float = 2.0) -> Disturbance:
    """Return a disturbance that applies these faults one after the other.

    Before each fault, it waits until all processes are ready, and then for `pause` seconds.
    """

    async def disturb(killer: ProcessKiller) -> None:
        for fault in faults:
            await killer.wait_until_ready()
            await asyncio.sleep(pause)
            await fault(stack, killer)

    return Disturbance(disturb, ends_by_itself=True)
