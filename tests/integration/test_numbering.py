"""Numbers of things, taken by several processes from one database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from libs.connections import mongo
from libs.numbering import Numbering
from libs.settings import Settings
from tests.support.servers import Servers


@pytest.fixture
async def processes(servers: Servers) -> AsyncIterator[tuple[Numbering, Numbering]]:
    settings = Settings(mongodb_url=servers.mongodb_url)
    async with mongo(settings, "one") as one, mongo(settings, "other") as other:
        name = f"test-{uuid4().hex[:8]}"
        yield Numbering(one[name]["counters"]), Numbering(other[name]["counters"])
        await one.drop_database(name)


async def test_a_later_number_is_the_larger_one_whichever_process_gives_it(
    processes: tuple[Numbering, Numbering],
) -> None:
    one, other = processes
    given = [await process.next("project") for process in (one, other, other, one, other, one)]
    assert given == [1, 2, 3, 4, 5, 6]


async def test_those_who_ask_at_once_get_a_number_each(processes: tuple[Numbering, Numbering]) -> None:
    given = await asyncio.gather(*(process.next("job") for _ in range(100) for process in processes))
    assert sorted(given) == list(range(1, 201))


async def test_in_one_process_who_asks_first_gets_the_smaller_number(processes: tuple[Numbering, Numbering]) -> None:
    given = await asyncio.gather(*(processes[0].next("job") for _ in range(50)))
    assert given == list(range(1, 51))


async def test_who_leaves_while_numbers_are_taken_holds_up_nobody(processes: tuple[Numbering, Numbering]) -> None:
    numbering = processes[0]
    leaving = asyncio.create_task(numbering.next("job"))
    waiting = asyncio.create_task(numbering.next("job"))
    await asyncio.sleep(0)  # both ask; the first one has the turn
    leaving.cancel()
    async with asyncio.timeout(5):
        assert await waiting < await numbering.next("job")


async def test_kinds_are_counted_apart(processes: tuple[Numbering, Numbering]) -> None:
    assert [await processes[0].next(kind) for kind in ("user", "secret", "user")] == [1, 1, 2]
