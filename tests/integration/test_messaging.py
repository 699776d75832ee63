"""Requests and answers over a real nats-server: every failure is an answer, and a replica that stops loses none."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from pymongo.errors import AutoReconnect, PyMongoError

from contracts.errors import Refused
from libs import messaging
from libs.deciding import Actor
from libs.eventstore import Conflict, OutcomeUnknown, Unavailable
from libs.messaging import COMMAND_ID, REPEATABLE, Caller, Headers, Responder, actor_from, connect
from libs.settings import Settings
from tests.support import eventually
from tests.support.servers import Servers, servers_in
from tests.toy.counters import GetCounter, OpenCounter, RaiseCounter

SECRET = "hunter2-hunter2"
OPEN = OpenCounter(counter_id="1", label=SECRET)
GET = GetCounter(counter_id="1")


@pytest.fixture
def caller(bus: Client) -> Caller:
    return Caller(bus)


@pytest.fixture
def responder(bus: Client) -> Responder:
    return Responder(bus, "counters", (PyMongoError,))


async def echo(body: bytes, _headers: Headers) -> bytes:
    return body


async def refusal(caller: Caller, timeout: float = 20) -> Refused:
    with pytest.raises(Refused) as refused:
        await caller.tell(OPEN, timeout=timeout)
    return refused.value


async def refusal_after(caller: Caller, responder: Responder, failure: Exception) -> Refused:
    async def fail(_body: bytes, _headers: Headers) -> bytes:
        raise failure

    await responder.answer(OpenCounter, fail)
    return await refusal(caller)


async def test_an_answer_comes_back_as_it_was_given(caller: Caller, responder: Responder) -> None:
    await responder.answer(GetCounter, echo)
    assert GetCounter.model_validate_json(await caller.ask(GET)) == GET


async def test_actor_and_command_id_travel_along(caller: Caller, responder: Responder) -> None:
    seen: list[Headers] = []

    async def look(_body: bytes, headers: Headers) -> bytes:
        seen.append(headers)
        return b"{}"

    await responder.answer(OpenCounter, look)
    ivan = Actor(7, "Иван", ("ROLE_ADMIN",))
    await caller.tell(OPEN, actor=ivan, command_id="mine")
    await caller.tell(OPEN)
    assert actor_from(seen[0]) == ivan
    assert (seen[0][COMMAND_ID], seen[0][REPEATABLE]) == ("mine", "1")
    assert seen[1][COMMAND_ID] != "mine"
    assert REPEATABLE not in seen[1]


async def test_a_service_that_does_not_run_is_unavailable_at_once(caller: Caller) -> None:
    async with asyncio.timeout(10):  # far below the time in which it may answer
        refused = await refusal(caller)
    assert refused.code == "SERVICE_UNAVAILABLE"


async def test_a_silent_service_is_a_timeout(caller: Caller, responder: Responder) -> None:
    async def wait(_body: bytes, _headers: Headers) -> bytes:
        await asyncio.sleep(2)
        return b""

    await responder.answer(OpenCounter, wait)
    assert (await refusal(caller, timeout=0.3)).code == "SERVICE_TIMEOUT"


async def test_a_refusal_crosses_with_code_detail_and_delay(caller: Caller, responder: Responder) -> None:
    refused = await refusal_after(caller, responder, Refused("TOO_MANY_REQUESTS", "slowly", retry_after=7))
    assert (refused.code, refused.detail, refused.retry_after) == ("TOO_MANY_REQUESTS", "slowly", 7)


async def test_a_body_that_does_not_fit_is_refused_without_its_values(
    caller: Caller, responder: Responder, bus: Client
) -> None:
    async def validate(body: bytes, _headers: Headers) -> bytes:
        return RaiseCounter.model_validate_json(body).model_dump_json().encode()

    await responder.answer(OpenCounter, validate)
    refused = await refusal(caller)
    assert refused.code == "REQUEST_INVALID"
    assert "label" in refused.detail
    assert SECRET not in refused.detail
    reply = await bus.request(OpenCounter.subject(), b"{not json " + SECRET.encode(), timeout=2)
    assert b"REQUEST_INVALID" in reply.data
    assert SECRET.encode() not in reply.data


async def test_a_defect_tells_nothing_of_its_text(caller: Caller, responder: Responder) -> None:
    refused = await refusal_after(caller, responder, ValueError(SECRET))
    assert refused.code == "INTERNAL_SERVER_ERROR"
    assert SECRET not in str(refused)


async def test_a_refusal_nobody_declared_is_a_defect_and_still_an_answer(caller: Caller, responder: Responder) -> None:
    refused = await refusal_after(caller, responder, Refused("NO_SUCH_CODE"))
    assert refused.code == "INTERNAL_SERVER_ERROR"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Conflict("counter-1"), "CONFLICT"),
        (Unavailable("away"), "SERVICE_UNAVAILABLE"),
        (AutoReconnect("away"), "SERVICE_UNAVAILABLE"),
        (OutcomeUnknown("counter-1"), "SERVICE_TIMEOUT"),
    ],
)
async def test_trouble_with_the_database_is_told(
    caller: Caller, responder: Responder, failure: Exception, code: str
) -> None:
    assert (await refusal_after(caller, responder, failure)).code == code


async def test_an_answer_too_large_for_the_bus_is_refused_with_the_advice_to_page(
    caller: Caller, responder: Responder
) -> None:
    async def much(_body: bytes, _headers: Headers) -> bytes:
        return bytes(9 * 1024 * 1024)

    await responder.answer(OpenCounter, much)
    refused = await refusal(caller)
    assert (refused.code, refused.failure.status) == ("ANSWER_TOO_LARGE", 400)
    assert "smaller pages" in refused.detail


@pytest.mark.parametrize("bound", ["MAX_REQUESTS", "MAX_REQUEST_BYTES"])
async def test_more_requests_than_a_process_takes_are_refused_at_once(
    caller: Caller, responder: Responder, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    size = len(GET.model_dump_json())
    monkeypatch.setattr(messaging, bound, 3 if bound == "MAX_REQUESTS" else 3 * size)
    begun, finish = asyncio.Semaphore(0), asyncio.Event()

    async def wait(body: bytes, _headers: Headers) -> bytes:
        begun.release()
        await finish.wait()
        return body

    await responder.answer(GetCounter, wait)
    taken = [asyncio.create_task(caller.ask(GET, timeout=20)) for _ in range(3)]
    for _ in taken:
        await begun.acquire()
    with pytest.raises(Refused) as refused:
        await caller.ask(GET, timeout=20)
    assert (refused.value.code, refused.value.retry_after) == ("SERVICE_UNAVAILABLE", 1)
    finish.set()
    assert len(await asyncio.gather(*taken)) == 3
    assert await caller.ask(GET)  # there is room again


async def test_a_request_too_large_for_the_bus_is_refused(caller: Caller, responder: Responder) -> None:
    await responder.answer(OpenCounter, echo)
    with pytest.raises(Refused, match="REQUEST_TOO_LARGE"):
        await caller.tell(OPEN.but(label="x" * 9 * 1024 * 1024))


async def test_slow_requests_do_not_wait_for_each_other(caller: Caller, responder: Responder) -> None:
    together = asyncio.Barrier(20)

    async def meet(body: bytes, _headers: Headers) -> bytes:
        async with together:
            return body

    await responder.answer(GetCounter, meet)
    assert len(await asyncio.gather(*(caller.ask(GET) for _ in range(20)))) == 20


async def test_each_request_reaches_one_replica(caller: Caller, bus: Client) -> None:
    taken: list[int] = []

    async def answer(replica: int) -> bytes:
        taken.append(replica)
        return b"{}"

    for replica in range(3):
        await Responder(bus, "counters").answer(GetCounter, lambda _body, _headers, replica=replica: answer(replica))  # type: ignore[misc]
    await asyncio.gather(*(caller.ask(GET) for _ in range(60)))
    assert len(taken) == 60
    assert set(taken) == {0, 1, 2}


async def test_a_stopping_replica_finishes_and_takes_no_more(caller: Caller, responder: Responder) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def work(_body: bytes, _headers: Headers) -> bytes:
        begun.set()
        await finish.wait()
        return b'"done"'

    await responder.answer(GetCounter, work)
    early = asyncio.create_task(caller.ask(GET))
    await begun.wait()
    stopping = asyncio.create_task(responder.stop(within=5))

    async def is_refused() -> bool:
        with pytest.raises(Refused) as late:
            await caller.ask(GET, timeout=0.1)
        return late.value.code == "SERVICE_UNAVAILABLE"

    await eventually(is_refused)
    finish.set()
    assert await early == b'"done"'
    await stopping


async def test_stopping_does_not_wait_for_ever(caller: Caller, responder: Responder) -> None:
    begun = asyncio.Event()

    async def hang(_body: bytes, _headers: Headers) -> bytes:
        begun.set()
        await asyncio.sleep(60)
        return b""

    await responder.answer(GetCounter, hang)
    asked = asyncio.create_task(caller.ask(GET, timeout=0.5))
    await begun.wait()
    async with asyncio.timeout(10):
        await responder.stop(within=0.1)
    with pytest.raises(Refused, match="SERVICE_TIMEOUT"):
        await asked


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with servers_in(tmp_path) as servers:
        yield servers


async def test_while_the_bus_is_away_requests_are_refused_at_once_and_later_answered(own_servers: Servers) -> None:
    bus = await connect(Settings(nats_url=own_servers.nats_url), "test")
    caller = Caller(bus)
    await Responder(bus, "counters").answer(GetCounter, echo)
    await asyncio.to_thread(own_servers.nats.kill)
    await eventually(lambda: not bus.is_connected)
    async with asyncio.timeout(10):
        with pytest.raises(Refused, match="SERVICE_UNAVAILABLE"):
            await caller.ask(GET, timeout=20)
    own_servers.nats.start()
    await eventually(lambda: bus.is_connected)
    assert await caller.ask(GET)
    await bus.close()
