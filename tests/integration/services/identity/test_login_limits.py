"""Failed logins are counted across replicas. Addresses from which the user signed in before are not throttled."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import json_util

from contracts.errors import RequestRejected
from contracts.identity import LogIn, RegisterUser
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from services.identity.app import service as identity
from services.identity.authentication import login
from services.identity.authentication.login_throttling import ANY_ADDRESS_FACTOR, FAILURES_COLLECTION, make_limits
from services.projects.app import service as projects
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers

PASSWORD, WRONG = "millwheel-7", "millwheel-8"
ALLOWED_FAILURES, ALLOWED_ADDRESS_FAILURES, MAX_WAIT_SECONDS = 3, 20, 2000
FIRST_WAIT_SECONDS = MAX_WAIT_SECONDS // 20
LATENESS_SECONDS = 45  # maximum age of a wait when a test reads it
CLOCK_DIFFERENCE_SECONDS = 5  # maximum difference between the clocks of two replicas
FAILED_CODE, WAIT_CODE = "UNAUTHORIZED", "TOO_MANY_REQUESTS"


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    limited = {
        "login_failures": ALLOWED_FAILURES,
        "login_address_failures": ALLOWED_ADDRESS_FAILURES,
        "login_seconds": float(MAX_WAIT_SECONDS),
    }
    async with empty_stage(servers, admin_password=PASSWORD, **limited) as stage:
        await stage.migrate(identity, projects)
        async with stage.running(lambda: identity, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: ServiceStage) -> AsyncIterator[MessageClient]:
    async with stage.connected() as bus:
        yield MessageClient(bus)


@pytest.fixture
async def name(caller: MessageClient) -> str:
    name = f"user-{uuid4().hex[:8]}"
    await caller.send(RegisterUser(username=name, password=PASSWORD))
    return name


@pytest.fixture
def home_address() -> str:
    return f"address {uuid4()}"


def about(seconds: int) -> Any:
    """Return an approximation of a wait in seconds.

    It equals a wait of `seconds` that began up to LATENESS_SECONDS ago. Another replica may have a different clock.
    """
    shortest, longest = seconds - LATENESS_SECONDS, seconds + CLOCK_DIFFERENCE_SECONDS
    return pytest.approx((shortest + longest) / 2, abs=(longest - shortest) / 2)


async def try_log_in(caller: MessageClient, name: str, password: str, address: str) -> tuple[str, int | None]:
    try:
        await caller.send(LogIn(username=name, password=password, ip_address=address), timeout=30)
    except RequestRejected as refused:
        return refused.code, refused.retry_after
    return "", None


async def log_in_code(caller: MessageClient, name: str, password: str, address: str) -> str:
    return (await try_log_in(caller, name, password, address))[0]


async def log_in_codes(caller: MessageClient, count: int, name: str, password: str, address: str) -> list[str]:
    return [await log_in_code(caller, name, password, address) for _ in range(count)]


async def test_after_several_failed_logins_the_correct_password_is_throttled_too(
    caller: MessageClient, name: str, home_address: str
) -> None:
    assert await log_in_codes(caller, ALLOWED_FAILURES, name, WRONG, home_address) == [FAILED_CODE] * ALLOWED_FAILURES
    assert await try_log_in(caller, name, PASSWORD, home_address) == (WAIT_CODE, about(FIRST_WAIT_SECONDS))


async def test_logins_of_unknown_users_are_throttled_alike(caller: MessageClient, home_address: str) -> None:
    assert (
        await log_in_codes(caller, ALLOWED_FAILURES, "unknown-user", WRONG, home_address)
        == [FAILED_CODE] * ALLOWED_FAILURES
    )
    assert await try_log_in(caller, "unknown-user", WRONG, home_address) == (WAIT_CODE, about(FIRST_WAIT_SECONDS))


async def test_case_and_spaces_in_the_username_do_not_bypass_throttling(
    caller: MessageClient, name: str, home_address: str
) -> None:
    assert [
        await log_in_code(caller, spelling, WRONG, home_address) for spelling in (name, name.upper(), f" {name} ")
    ] == [FAILED_CODE] * ALLOWED_FAILURES
    assert await log_in_code(caller, name.title(), PASSWORD, home_address) == WAIT_CODE


async def test_a_successful_login_resets_the_failure_count(caller: MessageClient, name: str, home_address: str) -> None:
    for _ in range(3):
        assert await log_in_codes(caller, ALLOWED_FAILURES - 1, name, WRONG, home_address) == [FAILED_CODE] * (
            ALLOWED_FAILURES - 1
        )
        assert await log_in_code(caller, name, PASSWORD, home_address) == ""


async def test_concurrent_failed_logins_are_each_counted(caller: MessageClient, name: str, home_address: str) -> None:
    guesses = [log_in_code(caller, name, WRONG, home_address) for _ in range(20)]
    assert (
        sorted(await asyncio.gather(*guesses))
        == [WAIT_CODE] * (20 - ALLOWED_FAILURES) + [FAILED_CODE] * ALLOWED_FAILURES
    )


async def test_throttled_logins_do_not_check_the_password(
    caller: MessageClient, name: str, home_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    async def verify(_hash: str, password: str) -> bool:
        checked.append(password)
        return False

    monkeypatch.setattr(login, "verify_password_async", verify)
    await asyncio.gather(*(log_in_code(caller, name, WRONG, home_address) for _ in range(40)))
    assert len(checked) <= ALLOWED_FAILURES + login.MAX_CONCURRENT_PASSWORD_CHECKS


async def record_failures(stage: ServiceStage, *moments: datetime) -> tuple[list[bool], int]:
    """Record failed logins. Return whether a wait was stored before each, and the number of failures at the end."""
    limit, _, _ = make_limits(stage.settings, uuid4().hex, "home")
    async with create_mongo_client(stage.settings, "test") as client:
        failures = get_database(client, stage.settings, "identity")[FAILURES_COLLECTION]
        waited = []
        for moment in moments:
            before = await failures.find_one_and_update(
                {"_id": limit.key}, limit.count_failure_pipeline(moment), upsert=True
            )
            waited.append(bool(before and before["until"]))
        return waited, (await failures.find_one({"_id": limit.key}) or {})["failures"]


async def test_failures_counted_by_a_replica_with_a_slow_clock_add_up(stage: ServiceStage) -> None:
    now = datetime.now(UTC)
    assert await record_failures(stage, now, now - timedelta(seconds=1)) == ([False, False], 2)


async def test_failures_are_reset_after_the_longest_wait_without_a_failure(stage: ServiceStage) -> None:
    now = datetime.now(UTC)
    assert await record_failures(stage, now, now, now + timedelta(seconds=MAX_WAIT_SECONDS + 1)) == (
        [False, False, False],
        1,
    )


async def test_successful_logins_are_not_counted(caller: MessageClient, name: str, home_address: str) -> None:
    assert await asyncio.gather(*(log_in_code(caller, name, PASSWORD, home_address) for _ in range(20))) == [""] * 20


async def test_login_waits_grow_exponentially_up_to_a_limit(
    stage: ServiceStage, caller: MessageClient, name: str, home_address: str
) -> None:
    await log_in_codes(caller, ALLOWED_FAILURES, name, WRONG, home_address)
    waits = []
    for _ in range(6):
        _, wait = await try_log_in(caller, name, WRONG, home_address)
        waits.append(wait)
        await end_wait(stage, name, home_address)
        assert await log_in_code(caller, name, WRONG, home_address) == FAILED_CODE
    assert waits == [about(seconds) for seconds in (*(FIRST_WAIT_SECONDS * 2**n for n in range(5)), MAX_WAIT_SECONDS)]


async def end_wait(stage: ServiceStage, name: str, address: str) -> None:
    """Set the end of the current wait to the past: a test cannot move the database's clock, which the service uses."""
    key = make_limits(stage.settings, name, address)[0].key
    async with create_mongo_client(stage.settings, "test") as client:
        failures = get_database(client, stage.settings, "identity")[FAILURES_COLLECTION]
        await failures.update_one({"_id": key}, {"$set": {"until": datetime.now(UTC) - timedelta(hours=1)}})


async def test_failed_logins_from_one_address_do_not_throttle_another(
    caller: MessageClient, name: str, home_address: str
) -> None:
    await log_in_codes(caller, ALLOWED_FAILURES + 1, name, WRONG, "elsewhere 1")
    assert await log_in_code(caller, name, PASSWORD, "elsewhere 1") == WAIT_CODE
    assert await log_in_code(caller, name, PASSWORD, home_address) == ""


async def test_failed_logins_from_many_addresses_throttle_only_addresses_without_a_success(
    caller: MessageClient, name: str, home_address: str
) -> None:
    assert await log_in_code(caller, name, PASSWORD, home_address) == ""
    guesses = [
        await log_in_code(caller, name, WRONG, f"bot {number}")
        for number in range(ANY_ADDRESS_FACTOR * ALLOWED_FAILURES)
    ]
    assert guesses == [FAILED_CODE] * (ANY_ADDRESS_FACTOR * ALLOWED_FAILURES)
    assert await try_log_in(caller, name, PASSWORD, "another bot") == (WAIT_CODE, about(FIRST_WAIT_SECONDS))
    assert await log_in_code(caller, name, PASSWORD, home_address) == ""


async def test_failed_logins_for_many_users_throttle_the_address_except_for_users_who_succeeded(
    caller: MessageClient, name: str, home_address: str
) -> None:
    assert await log_in_code(caller, name, PASSWORD, home_address) == ""
    guesses = [
        await log_in_code(caller, f"guess {number}", WRONG, home_address) for number in range(ALLOWED_ADDRESS_FAILURES)
    ]
    assert guesses == [FAILED_CODE] * ALLOWED_ADDRESS_FAILURES
    assert await try_log_in(caller, "one more", WRONG, home_address) == (WAIT_CODE, about(FIRST_WAIT_SECONDS))
    assert await log_in_code(caller, name, PASSWORD, home_address) == ""


async def test_usernames_and_addresses_of_failed_logins_are_not_stored_in_clear(
    stage: ServiceStage, caller: MessageClient, home_address: str
) -> None:
    await log_in_code(caller, "oops-my-password", WRONG, home_address)
    async with create_mongo_client(stage.settings, "test") as client:
        documents = json_util.dumps(
            await get_database(client, stage.settings, "identity")[FAILURES_COLLECTION].find().to_list()
        )
    assert "oops" not in documents
    assert home_address not in documents


async def test_stored_login_failures_expire_by_a_ttl_index(stage: ServiceStage) -> None:
    async with create_mongo_client(stage.settings, "test") as client:
        indexes = await get_database(client, stage.settings, "identity")[FAILURES_COLLECTION].index_information()
    assert [index["expireAfterSeconds"] for index in indexes.values() if index["key"] == [("gone_at", 1)]] == [0]
