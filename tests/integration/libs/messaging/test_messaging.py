"""Requests over a real nats-server: failures become replies, and a stopping replica finishes the requests it has."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from pymongo.errors import AutoReconnect, PyMongoError

from contracts.errors import RequestRejected
from libs.eventstore import OutcomeUnknown, StoreUnavailable, WrongExpectedVersion
from libs.eventstore.decider import Actor
from libs.messaging import message_server
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import COMMAND_ID_HEADER, MAY_BE_DUPLICATE_HEADER, Headers, MessageClient, parse_actor
from libs.settings import Settings
from tests.support.counters.counters import GetCounter, OpenCounter, RaiseCounter
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.waiting import eventually

SECRET = "hunter2-hunter2"
OPEN_COMMAND = OpenCounter(counter_id="1", label=SECRET)
GET_QUERY = GetCounter(counter_id="1")


@pytest.fixture
def caller(bus: Client) -> MessageClient:
    return MessageClient(bus)


@pytest.fixture
def responder(bus: Client) -> MessageServer:
    return MessageServer(bus, "counters", (PyMongoError,))


async def echo(body: bytes, _headers: Headers) -> bytes:
    return body


async def get_rejection(caller: MessageClient, timeout: float = 20) -> RequestRejected:
    with pytest.raises(RequestRejected) as refused:
        await caller.send(OPEN_COMMAND, timeout=timeout)
    return refused.value


async def get_rejection_after(caller: MessageClient, responder: MessageServer, failure: Exception) -> RequestRejected:
    async def raise_failure(_body: bytes, _headers: Headers) -> bytes:
        raise failure

    await responder.serve(OpenCounter, raise_failure)
    return await get_rejection(caller)


async def test_a_reply_is_returned_unchanged(caller: MessageClient, responder: MessageServer) -> None:
    await responder.serve(GetCounter, echo)
    assert GetCounter.model_validate_json(await caller.query(GET_QUERY)) == GET_QUERY


async def test_actor_and_command_id_are_sent_with_a_command(caller: MessageClient, responder: MessageServer) -> None:
    seen: list[Headers] = []

    async def record_headers(_body: bytes, headers: Headers) -> bytes:
        seen.append(headers)
        return b"{}"

    await responder.serve(OpenCounter, record_headers)
    ivan = Actor(7, "Иван", ("ROLE_ADMIN",))
    await caller.send(OPEN_COMMAND, actor=ivan, command_id="mine")
    await caller.send(OPEN_COMMAND)
    assert parse_actor(seen[0]) == ivan
    assert (seen[0][COMMAND_ID_HEADER], seen[0][MAY_BE_DUPLICATE_HEADER]) == ("mine", "1")
    assert seen[1][COMMAND_ID_HEADER] != "mine"
    assert MAY_BE_DUPLICATE_HEADER not in seen[1]


async def test_a_request_to_a_stopped_service_fails_at_once(caller: MessageClient) -> None:
    async with asyncio.timeout(10):  # half of the timeout of 20 s that get_rejection uses
        refused = await get_rejection(caller)
    assert refused.code == "SERVICE_UNAVAILABLE"


async def test_a_request_without_a_reply_times_out(caller: MessageClient, responder: MessageServer) -> None:
    async def wait(_body: bytes, _headers: Headers) -> bytes:
        await asyncio.sleep(2)
        return b""

    await responder.serve(OpenCounter, wait)
    assert (await get_rejection(caller, timeout=0.3)).code == "SERVICE_TIMEOUT"


async def test_a_rejection_is_returned_with_code_detail_and_retry_after(
    caller: MessageClient, responder: MessageServer
) -> None:
    refused = await get_rejection_after(
        caller, responder, RequestRejected("TOO_MANY_REQUESTS", "slowly", retry_after=7)
    )
    assert (refused.code, refused.detail, refused.retry_after) == ("TOO_MANY_REQUESTS", "slowly", 7)


async def test_an_invalid_request_body_is_rejected_without_repeating_its_values(
    caller: MessageClient, responder: MessageServer, bus: Client
) -> None:
    async def validate(body: bytes, _headers: Headers) -> bytes:
        return RaiseCounter.model_validate_json(body).model_dump_json().encode()

    await responder.serve(OpenCounter, validate)
    refused = await get_rejection(caller)
    assert refused.code == "REQUEST_INVALID"
    assert "label" in refused.detail
    assert SECRET not in refused.detail
    reply = await bus.request(OpenCounter.subject(), b"{not json " + SECRET.encode(), timeout=2)
    assert b"REQUEST_INVALID" in reply.data
    assert SECRET.encode() not in reply.data


async def test_a_defect_is_reported_without_its_message(caller: MessageClient, responder: MessageServer) -> None:
    refused = await get_rejection_after(caller, responder, ValueError(SECRET))
    assert refused.code == "INTERNAL_SERVER_ERROR"
    assert SECRET not in str(refused)


async def test_a_rejection_with_an_unknown_code_becomes_an_internal_error(
    caller: MessageClient, responder: MessageServer
) -> None:
    refused = await get_rejection_after(caller, responder, RequestRejected("NO_SUCH_CODE"))
    assert refused.code == "INTERNAL_SERVER_ERROR"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (WrongExpectedVersion("counter-1"), "CONFLICT"),
        (StoreUnavailable("away"), "SERVICE_UNAVAILABLE"),
        (AutoReconnect("away"), "SERVICE_UNAVAILABLE"),
        (OutcomeUnknown("counter-1"), "SERVICE_TIMEOUT"),
    ],
)
async def test_database_errors_are_mapped_to_error_codes(
    caller: MessageClient, responder: MessageServer, failure: Exception, code: str
) -> None:
    assert (await get_rejection_after(caller, responder, failure)).code == code


async def test_a_reply_above_the_message_limit_is_rejected_with_advice_to_page(
    caller: MessageClient, responder: MessageServer
) -> None:
    async def reply_too_large(_body: bytes, _headers: Headers) -> bytes:
        return bytes(9 * 1024 * 1024)

    await responder.serve(OpenCounter, reply_too_large)
    refused = await get_rejection(caller)
    assert (refused.code, refused.failure.status) == ("ANSWER_TOO_LARGE", 400)
    assert "smaller pages" in refused.detail


@pytest.mark.parametrize("bound", ["MAX_CONCURRENT_REQUESTS", "MAX_CONCURRENT_REQUEST_BYTES"])
async def test_requests_above_the_limit_of_a_process_are_rejected_at_once(
    caller: MessageClient, responder: MessageServer, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    size = len(GET_QUERY.model_dump_json())
    monkeypatch.setattr(message_server, bound, 3 if bound == "MAX_CONCURRENT_REQUESTS" else 3 * size)
    started, finish = asyncio.Semaphore(0), asyncio.Event()

    async def wait(body: bytes, _headers: Headers) -> bytes:
        started.release()
        await finish.wait()
        return body

    await responder.serve(GetCounter, wait)
    taken = [asyncio.create_task(caller.query(GET_QUERY, timeout=20)) for _ in range(3)]
    for _ in taken:
        await started.acquire()
    with pytest.raises(RequestRejected) as refused:
        await caller.query(GET_QUERY, timeout=20)
    assert (refused.value.code, refused.value.retry_after) == ("SERVICE_UNAVAILABLE", 1)
    finish.set()
    assert len(await asyncio.gather(*taken)) == 3
    assert await caller.query(GET_QUERY)  # a new request is accepted again


async def test_a_request_above_the_message_limit_is_rejected(caller: MessageClient, responder: MessageServer) -> None:
    await responder.serve(OpenCounter, echo)
    with pytest.raises(RequestRejected, match="REQUEST_TOO_LARGE"):
        await caller.send(OPEN_COMMAND.replace(label="x" * 9 * 1024 * 1024))


async def test_slow_requests_are_handled_concurrently(caller: MessageClient, responder: MessageServer) -> None:
    together = asyncio.Barrier(20)

    async def wait_for_all(body: bytes, _headers: Headers) -> bytes:
        async with together:
            return body

    await responder.serve(GetCounter, wait_for_all)
    assert len(await asyncio.gather(*(caller.query(GET_QUERY) for _ in range(20)))) == 20


async def test_each_request_reaches_one_replica(caller: MessageClient, bus: Client) -> None:
    taken: list[int] = []

    async def reply(replica: int) -> bytes:
        taken.append(replica)
        return b"{}"

    for replica in range(3):
        await MessageServer(bus, "counters").serve(GetCounter, lambda _body, _headers, replica=replica: reply(replica))  # type: ignore[misc]
    await asyncio.gather(*(caller.query(GET_QUERY) for _ in range(60)))
    assert len(taken) == 60
    assert set(taken) == {0, 1, 2}


async def test_a_stopping_replica_finishes_its_requests_and_accepts_no_more(
    caller: MessageClient, responder: MessageServer
) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def work(_body: bytes, _headers: Headers) -> bytes:
        started.set()
        await finish.wait()
        return b'"done"'

    await responder.serve(GetCounter, work)
    early = asyncio.create_task(caller.query(GET_QUERY))
    await started.wait()
    stopping = asyncio.create_task(responder.stop(timeout=5))

    async def is_refused() -> bool:
        with pytest.raises(RequestRejected) as late:
            await caller.query(GET_QUERY, timeout=0.1)
        return late.value.code == "SERVICE_UNAVAILABLE"

    await eventually(is_refused)
    finish.set()
    assert await early == b'"done"'
    await stopping


async def test_stopping_a_server_waits_only_up_to_a_timeout(caller: MessageClient, responder: MessageServer) -> None:
    started = asyncio.Event()

    async def never_finish(_body: bytes, _headers: Headers) -> bytes:
        started.set()
        await asyncio.sleep(60)
        return b""

    await responder.serve(GetCounter, never_finish)
    pending = asyncio.create_task(caller.query(GET_QUERY, timeout=0.5))
    await started.wait()
    async with asyncio.timeout(10):
        await responder.stop(timeout=0.1)
    with pytest.raises(RequestRejected, match="SERVICE_TIMEOUT"):
        await pending


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with running_servers(tmp_path) as servers:
        yield servers


async def test_requests_fail_at_once_while_nats_is_down_and_work_after_reconnecting(own_servers: Servers) -> None:
    bus = await connect(Settings(nats_url=own_servers.nats_url), "test")
    caller = MessageClient(bus)
    await MessageServer(bus, "counters").serve(GetCounter, echo)
    await asyncio.to_thread(own_servers.nats.kill)
    await eventually(lambda: not bus.is_connected)
    async with asyncio.timeout(10):
        with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
            await caller.query(GET_QUERY, timeout=20)
    own_servers.nats.start()
    await eventually(lambda: bus.is_connected)
    assert await caller.query(GET_QUERY)
    await bus.close()
