"""Sequence numbers allocated by several processes from one database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from libs.eventstore.sequences import SequenceGenerator
from libs.service.connections import create_mongo_client
from libs.settings import Settings
from tests.support.infrastructure.servers import Servers


@pytest.fixture
async def processes(servers: Servers) -> AsyncIterator[tuple[SequenceGenerator, SequenceGenerator]]:
    settings = Settings(mongodb_url=servers.mongodb_url)
    async with create_mongo_client(settings, "one") as first, create_mongo_client(settings, "other") as second:
        name = f"test-{uuid4().hex[:8]}"
        yield SequenceGenerator(first[name]["counters"]), SequenceGenerator(second[name]["counters"])
        await first.drop_database(name)


async def test_sequence_numbers_increase_across_processes(
    processes: tuple[SequenceGenerator, SequenceGenerator],
) -> None:
    first, second = processes
    numbers = [await process.next("project") for process in (first, second, second, first, second, first)]
    assert numbers == [1, 2, 3, 4, 5, 6]


async def test_concurrent_callers_get_distinct_sequence_numbers(
    processes: tuple[SequenceGenerator, SequenceGenerator],
) -> None:
    numbers = await asyncio.gather(*(process.next("job") for _ in range(100) for process in processes))
    assert sorted(numbers) == list(range(1, 201))


async def test_within_a_process_sequence_numbers_follow_the_order_of_calls(
    processes: tuple[SequenceGenerator, SequenceGenerator],
) -> None:
    numbers = await asyncio.gather(*(processes[0].next("job") for _ in range(50)))
    assert numbers == list(range(1, 51))


async def test_a_canceled_caller_does_not_block_others_waiting_for_a_number(
    processes: tuple[SequenceGenerator, SequenceGenerator],
) -> None:
    generator = processes[0]
    leaving = asyncio.create_task(generator.next("job"))
    waiting = asyncio.create_task(generator.next("job"))
    await asyncio.sleep(0)  # both callers wait, and the first one allocates numbers
    leaving.cancel()
    async with asyncio.timeout(20):
        assert await waiting < await generator.next("job")


async def test_each_aggregate_type_has_its_own_sequence(processes: tuple[SequenceGenerator, SequenceGenerator]) -> None:
    assert [await processes[0].next(kind) for kind in ("user", "secret", "user")] == [1, 1, 2]
