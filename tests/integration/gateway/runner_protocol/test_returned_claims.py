"""Claims that the gateway returns or repeats, because a job did not reach its runner."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from contracts.builds import (
    ClaimJob,
    ClaimResult,
    ClaimReturned,
    ReturnClaim,
)
from contracts.errors import RequestRejected
from contracts.projects import GetWebhookPayload
from libs.messaging.message_server import MessageServer
from tests.integration.gateway.runner_protocol.runner_requests import (
    ASSIGNMENT,
    publish_queued_job,
    start_job_request,
    wait_for_held_requests,
)
from tests.support.in_process.gateway_stage import (
    GatewayStage,
    running_gateway,
)
from tests.support.waiting import eventually


async def list_returned_claims(stage: GatewayStage) -> list[str | None]:
    return [received.command_id for received in stage.services.received_of(ReturnClaim)]


async def test_a_claim_for_a_disconnected_client_is_returned(long_poll_stage: GatewayStage) -> None:
    await long_poll_stage.services.serve(ReturnClaim, lambda _: ClaimReturned(job_id=11))
    request = start_job_request(long_poll_stage)
    await wait_for_held_requests(long_poll_stage)
    (waiter,) = long_poll_stage.gateway.state.long_polls._polls

    async def once_the_client_is_gone(_body: bytes, _headers: Mapping[str, str]) -> bytes:
        request.cancel()
        await eventually(lambda: asyncio.sleep(0, waiter.is_disconnected))
        return b"the body"

    bodies = MessageServer(long_poll_stage.client, "projects")
    await bodies.serve(GetWebhookPayload, once_the_client_is_gone)
    await long_poll_stage.services.serve(
        ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT.replace(delivery_id="d-1"))
    )
    await publish_queued_job(long_poll_stage)
    found = await eventually(lambda: list_returned_claims(long_poll_stage))
    await bodies.stop(30)
    assert found == [long_poll_stage.services.received_of(ClaimJob)[-1].command_id]


def raise_service_timeout(_command: Any) -> None:
    raise RequestRejected("SERVICE_TIMEOUT")


async def test_an_unanswered_claim_is_returned_and_the_return_is_retried(stage: GatewayStage) -> None:
    answers: Iterator[Callable[[], Any]] = iter(
        [lambda: raise_service_timeout(ClaimJob), lambda: ClaimReturned(job_id=None)]
    )

    await stage.services.serve(ClaimJob, raise_service_timeout)
    await stage.services.serve(ReturnClaim, lambda _: next(answers)())
    response = await start_job_request(stage)
    claimed = stage.services.received_of(ClaimJob)[0].command_id
    assert (response.status_code, await list_returned_claims(stage)) == (504, [claimed, claimed])


async def test_a_claim_is_returned_if_the_webhook_payload_cannot_be_loaded(stage: GatewayStage) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT.replace(delivery_id="d-1")))
    await stage.services.serve(ReturnClaim, lambda _: ClaimReturned(job_id=11))
    assert (await start_job_request(stage)).status_code == 503
    assert await list_returned_claims(stage) == [stage.services.received_of(ClaimJob)[0].command_id]


async def test_a_repeated_request_id_is_the_same_claim_at_another_gateway(
    stage: GatewayStage,
) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    body, name = {"token": "runner-token"}, {"X-Request-Id": "4f7c2f4d6c1c4e0f9a2f3b1c0d5e6f70"}
    async with (
        running_gateway(stage.gateway.state.settings) as (_, _, url),
        httpx.AsyncClient(base_url=url, timeout=60) as other_http,
    ):
        await stage.http.post("/api/v4/jobs/request", json=body, headers=name)
        await other_http.post("/api/v4/jobs/request", json=body, headers=name)
    await stage.http.post("/api/v4/jobs/request", json=body, headers={"X-Request-Id": "1"})
    await stage.http.post("/api/v4/jobs/request", json=body, headers={"X-Request-Id": "1"})
    first, again, other, another = [received.command_id for received in stage.services.received_of(ClaimJob)]
    assert first == again
    assert len({first, other, another}) == 3
