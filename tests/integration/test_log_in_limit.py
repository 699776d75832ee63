"""Guessing passwords is slow, whichever replica is asked, and keeps nobody out of where they usually log in."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from bson import json_util

from contracts.errors import Refused
from contracts.identity import LogIn, RegisterUser
from libs.connections import database_of, mongo
from libs.messaging import Caller
from services.identity import logins
from services.identity.app import service as identity
from services.identity.guessing import EVERYWHERE, FAILURES, limits
from services.projects.app import service as projects
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

PASSWORD, WRONG = "millwheel-7", "millwheel-8"
FREE, OF_ADDRESS, LONGEST = 3, 20, 60
FIRST = LONGEST // 20
FAILED, WAIT = "UNAUTHORIZED", "TOO_MANY_REQUESTS"


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    limited = {"login_failures": FREE, "login_address_failures": OF_ADDRESS, "login_seconds": float(LONGEST)}
    async with empty_stage(servers, admin_password=PASSWORD, **limited) as stage:
        await stage.migrate(identity, projects)
        async with stage.running(lambda: identity, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: Stage) -> AsyncIterator[Caller]:
    async with stage.connected() as bus:
        yield Caller(bus)


@pytest.fixture
async def name(caller: Caller) -> str:
    name = f"user-{uuid4().hex[:8]}"
    await caller.tell(RegisterUser(username=name, password=PASSWORD))
    return name


@pytest.fixture
def home() -> str:
    """An address of which nobody has heard."""
    return f"address {uuid4()}"


async def outcome(caller: Caller, name: str, password: str, address: str) -> tuple[str, int | None]:
    try:
        await caller.ask(LogIn(username=name, password=password, ip_address=address), timeout=30)
    except Refused as refused:
        return refused.code, refused.retry_after
    return "", None


async def code(caller: Caller, name: str, password: str, address: str) -> str:
    return (await outcome(caller, name, password, address))[0]


async def codes(caller: Caller, count: int, name: str, password: str, address: str) -> list[str]:
    return [await code(caller, name, password, address) for _ in range(count)]


async def test_after_some_failures_one_has_to_wait_also_with_the_right_password(
    caller: Caller, name: str, home: str
) -> None:
    assert await codes(caller, FREE, name, WRONG, home) == [FAILED] * FREE
    assert await outcome(caller, name, PASSWORD, home) == (WAIT, FIRST)


async def test_it_makes_no_difference_whether_the_user_exists(caller: Caller, home: str) -> None:
    assert await codes(caller, FREE, "nobody", WRONG, home) == [FAILED] * FREE
    assert await outcome(caller, "nobody", WRONG, home) == (WAIT, FIRST)


async def test_neither_case_nor_space_makes_another_name(caller: Caller, name: str, home: str) -> None:
    assert [await code(caller, one, WRONG, home) for one in (name, name.upper(), f" {name} ")] == [FAILED] * FREE
    assert await code(caller, name.title(), PASSWORD, home) == WAIT


async def test_a_success_starts_anew(caller: Caller, name: str, home: str) -> None:
    for _ in range(3):
        assert await codes(caller, FREE - 1, name, WRONG, home) == [FAILED] * (FREE - 1)
        assert await code(caller, name, PASSWORD, home) == ""


async def test_guesses_at_the_same_moment_are_counted_one_by_one(caller: Caller, name: str, home: str) -> None:
    guesses = [code(caller, name, WRONG, home) for _ in range(20)]
    assert sorted(await asyncio.gather(*guesses)) == [WAIT] * (20 - FREE) + [FAILED] * FREE


async def test_guesses_that_come_too_late_cost_no_work(
    caller: Caller, name: str, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    async def verify(_hash: str, password: str) -> bool:
        checked.append(password)
        return False

    monkeypatch.setattr(logins, "verify_password_async", verify)
    await asyncio.gather(*(code(caller, name, WRONG, home) for _ in range(40)))
    assert len(checked) <= FREE + logins.AT_ONCE


async def counted(stage: Stage, *moments: datetime) -> tuple[list[bool], int]:
    """Failures at these moments: whether each met a wait, and how many count in the end."""
    limit, _, _ = limits(stage.settings, uuid4().hex, "home")
    async with mongo(stage.settings, "test") as client:
        failures = database_of(client, stage.settings, "identity")[FAILURES]
        waited = []
        for moment in moments:
            before = await failures.find_one_and_update({"_id": limit.key}, limit.counting(moment), upsert=True)
            waited.append(bool(before and before["until"]))
        return waited, (await failures.find_one({"_id": limit.key}) or {})["failures"]


async def test_a_replica_whose_clock_is_behind_counts_as_well(stage: Stage) -> None:
    now = datetime.now(UTC)
    assert await counted(stage, now, now - timedelta(seconds=1)) == ([False, False], 2)


async def test_failures_are_forgotten_after_a_quiet_time(stage: Stage) -> None:
    now = datetime.now(UTC)
    assert await counted(stage, now, now, now + timedelta(seconds=LONGEST + 1)) == ([False, False, False], 1)


async def test_successes_are_not_counted(caller: Caller, name: str, home: str) -> None:
    assert await asyncio.gather(*(code(caller, name, PASSWORD, home) for _ in range(20))) == [""] * 20


async def test_waits_grow_up_to_a_limit(stage: Stage, caller: Caller, name: str, home: str) -> None:
    await codes(caller, FREE, name, WRONG, home)
    waits = []
    for _ in range(6):
        _, wait = await outcome(caller, name, WRONG, home)
        waits.append(wait)
        await have_waited(stage, name, home)
        assert await code(caller, name, WRONG, home) == FAILED
    assert waits == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, LONGEST]


async def have_waited(stage: Stage, name: str, address: str) -> None:
    """As if the time were over."""
    key = limits(stage.settings, name, address)[0].key
    async with mongo(stage.settings, "test") as client:
        failures = database_of(client, stage.settings, "identity")[FAILURES]
        await failures.update_one({"_id": key}, {"$set": {"until": datetime.now(UTC)}})


async def test_somebody_elses_guesses_keep_nobody_out(caller: Caller, name: str, home: str) -> None:
    await codes(caller, FREE + 1, name, WRONG, "elsewhere 1")
    assert await code(caller, name, PASSWORD, "elsewhere 1") == WAIT
    assert await code(caller, name, PASSWORD, home) == ""


async def test_guesses_from_everywhere_keep_only_new_addresses_waiting_and_not_for_long(
    caller: Caller, name: str, home: str
) -> None:
    assert await code(caller, name, PASSWORD, home) == ""
    guesses = [await code(caller, name, WRONG, f"bot {number}") for number in range(EVERYWHERE * FREE)]
    assert guesses == [FAILED] * (EVERYWHERE * FREE)
    assert await outcome(caller, name, PASSWORD, "another bot") == (WAIT, FIRST)
    assert await code(caller, name, PASSWORD, home) == ""


async def test_guesses_at_many_names_keep_the_address_waiting_except_who_was_right_there(
    caller: Caller, name: str, home: str
) -> None:
    assert await code(caller, name, PASSWORD, home) == ""
    guesses = [await code(caller, f"guess {number}", WRONG, home) for number in range(OF_ADDRESS)]
    assert guesses == [FAILED] * OF_ADDRESS
    assert await outcome(caller, "one more", WRONG, home) == (WAIT, FIRST)
    assert await code(caller, name, PASSWORD, home) == ""


async def test_what_was_typed_as_a_name_is_not_kept(stage: Stage, caller: Caller, home: str) -> None:
    await code(caller, "oops-my-password", WRONG, home)
    async with mongo(stage.settings, "test") as client:
        kept = json_util.dumps(await database_of(client, stage.settings, "identity")[FAILURES].find().to_list())
    assert "oops" not in kept
    assert home not in kept


async def test_failures_are_forgotten_by_the_database(stage: Stage) -> None:
    async with mongo(stage.settings, "test") as client:
        indexes = await database_of(client, stage.settings, "identity")[FAILURES].index_information()
    assert [index["expireAfterSeconds"] for index in indexes.values() if index["key"] == [("gone_at", 1)]] == [0]
