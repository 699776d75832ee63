"""Job requests at the gateway: long polling, wake-ups and claims."""

import asyncio
import contextlib
import time
from typing import Any

import httpx
import pytest

from contracts.builds import (
    ClaimJob,
    ClaimResult,
)
from contracts.errors import RequestRejected
from contracts.runners import (
    AuthenticateRunner,
)
from libs.messaging import hints
from libs.messaging.hints import TAKEN
from tests.integration.gateway.runner_protocol.runner_requests import (
    ASSIGNMENT,
    HOLD_SECONDS,
    RUNNER,
    SHA,
    publish_queued_job,
    start_job_request,
    wait_for_held_requests,
)
from tests.support.in_process.gateway_stage import (
    GatewayStage,
    running_gateway,
)
from tests.support.waiting import eventually


async def hang_up(stage: GatewayStage, requests: "list[asyncio.Task[httpx.Response]]") -> None:
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    await eventually(lambda: asyncio.sleep(0, len(stage.gateway.state.long_polls)), lambda count: count == 0)


async def test_a_queued_job_is_assigned_at_once(stage: GatewayStage) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    response = await start_job_request(stage)
    assert (response.status_code, response.headers["Content-Type"]) == (201, "application/json")
    job = response.json()
    assert (job["id"], job["token"], job["steps"][0]["script"]) == (11, "job-token", ["echo hello"])
    assert job["git_info"]["refspecs"] == ["+refs/heads/main:refs/remotes/origin/main"]
    assert {"key": "KEY", "value": "hush", "public": False, "masked": True, "file": False, "raw": True} in job[
        "variables"
    ]
    plain = {variable["key"]: variable["value"] for variable in job["variables"]}
    assert (plain["CI_COMMIT_SHA"], plain["CI_CONFIG_PATH"].startswith(".headrace/")) == (SHA, True)
    assert stage.services.received_of(ClaimJob)[0].message.runner.tags == ("linux",)


@pytest.mark.parametrize(
    ("info", "can"),
    [
        ({"features": {"cancel_gracefully": True}}, True),
        ({"features": {"cancel_gracefully": False}}, False),
        ({"features": ["cancel_gracefully"]}, False),
        ({}, False),
        ("nothing", False),
    ],
)
async def test_graceful_cancel_is_used_only_for_runners_that_announce_it(
    stage: GatewayStage, info: Any, can: bool
) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await stage.http.post("/api/v4/jobs/request", json={"token": "runner-token", "info": info})
    assert stage.services.received_of(ClaimJob)[0].message.runner.cancels_gracefully is can


async def test_a_job_request_without_a_job_is_held_for_the_long_poll_timeout(stage: GatewayStage) -> None:
    started = time.monotonic()
    response = await start_job_request(stage)
    assert response.status_code == 204
    assert response.headers["X-GitLab-Last-Update"]
    assert time.monotonic() - started >= HOLD_SECONDS
    assert len(stage.gateway.state.long_polls) == 0


async def test_a_held_job_request_gets_a_newly_queued_job_at_once(long_poll_stage: GatewayStage) -> None:
    request = start_job_request(long_poll_stage)
    await wait_for_held_requests(long_poll_stage)
    await long_poll_stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await publish_queued_job(long_poll_stage)
    async with asyncio.timeout(40):  # less than the hold time of one minute
        response = await request
    assert response.json()["id"] == 11


async def test_one_queued_job_wakes_one_of_many_held_requests(
    stage: GatewayStage, long_poll_stage: GatewayStage
) -> None:
    requests = [start_job_request(long_poll_stage) for _ in range(50)]
    await wait_for_held_requests(long_poll_stage, 50)
    stage.services.received.clear()
    await publish_queued_job(stage)
    await eventually(lambda: count_claims(stage))
    await asyncio.sleep(HOLD_SECONDS)  # a second request, if woken, would send its claim in this time
    assert await count_claims(stage) == 1
    await hang_up(long_poll_stage, requests)


async def test_each_gateway_wakes_at_most_one_held_request_per_job(
    stage: GatewayStage, long_poll_stage: GatewayStage
) -> None:
    async with (
        running_gateway(long_poll_stage.gateway.state.settings) as (second, _, url),
        httpx.AsyncClient(base_url=url, timeout=90) as other_http,
    ):
        request_body = {"token": "runner-token"}
        requests = [start_job_request(long_poll_stage) for _ in range(10)]
        requests += [asyncio.create_task(other_http.post("/api/v4/jobs/request", json=request_body)) for _ in range(10)]
        await wait_for_held_requests(long_poll_stage, 10)
        await eventually(lambda: count_claims(stage), lambda count: count == 20)
        assert len(second.state.long_polls) == 10
        stage.services.received.clear()
        await publish_queued_job(stage)
        await eventually(lambda: count_claims(stage), lambda count: count == 2)
        await asyncio.sleep(HOLD_SECONDS)  # a third request, if woken, would send its claim in this time
        await hang_up(long_poll_stage, requests)
        assert await count_claims(stage) == 2


async def test_a_held_request_woken_in_vain_stays_held(long_poll_stage: GatewayStage) -> None:
    request = start_job_request(long_poll_stage)
    await wait_for_held_requests(long_poll_stage)
    await publish_queued_job(long_poll_stage)
    await eventually(lambda: count_claims(long_poll_stage), lambda count: count == 2)
    await long_poll_stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await publish_queued_job(long_poll_stage)
    assert (await request).status_code == 201


async def test_a_request_with_the_current_last_update_sends_no_claim(stage: GatewayStage) -> None:
    known = {"token": "runner-token", "last_update": (await start_job_request(stage)).headers["X-GitLab-Last-Update"]}
    stage.services.received.clear()
    again = await stage.http.post("/api/v4/jobs/request", json=known)
    assert (again.status_code, again.headers["X-GitLab-Last-Update"]) == (204, known["last_update"])
    assert await count_claims(stage) == 0
    await publish_queued_job(stage)
    other = await stage.http.post("/api/v4/jobs/request", json=known)
    assert other.headers["X-GitLab-Last-Update"] != known["last_update"]
    assert await count_claims(stage) == 1


async def test_a_job_offered_when_the_hold_ends_is_claimed_by_the_next_request(
    stage: GatewayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first response must not contain the offered job's cursor, or the next request would wait for another job."""
    acceptances = await stage.client.subscribe("slow")
    monkeypatch.setattr(hints, "ANSWER_TIMEOUT_SECONDS", 60.0)
    polls = stage.gateway.state.long_polls

    async def hold_and_offer() -> "asyncio.Task[httpx.Response] | None":
        """Return a job request that was held when the job was offered; None if its hold had ended."""
        request = start_job_request(stage)
        await eventually(lambda: polls.idle_count == 1 or request.done())  # the claim is answered
        await publish_queued_job(stage, reply="slow")
        await eventually(lambda: acceptances.pending_msgs or request.done())
        return request if acceptances.pending_msgs else None

    ended = await eventually(hold_and_offer)
    assert ended
    # the hold ends while the gateway waits for the grant of the offer
    last_update = (await ended).headers["X-GitLab-Last-Update"]
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    known = {"token": "runner-token", "last_update": last_update}
    assert (await stage.http.post("/api/v4/jobs/request", json=known)).status_code == 201
    await (await acceptances.next_msg(timeout=30)).respond(TAKEN)
    await acceptances.unsubscribe()


async def test_a_held_request_with_the_current_last_update_is_woken_by_a_new_job(
    stage: GatewayStage, long_poll_stage: GatewayStage
) -> None:
    known = {"token": "runner-token", "last_update": (await start_job_request(stage)).headers["X-GitLab-Last-Update"]}
    request = asyncio.create_task(long_poll_stage.http.post("/api/v4/jobs/request", json=known))
    await wait_for_held_requests(long_poll_stage)
    await long_poll_stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await publish_queued_job(long_poll_stage)
    assert (await request).status_code == 201


async def count_claims(stage: GatewayStage) -> int:
    return len(stage.services.received_of(ClaimJob))


async def test_a_disconnected_client_is_removed_from_the_held_requests(
    stage: GatewayStage, long_poll_stage: GatewayStage
) -> None:
    request = start_job_request(long_poll_stage)
    await wait_for_held_requests(long_poll_stage)
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    await eventually(lambda: asyncio.sleep(0, len(long_poll_stage.gateway.state.long_polls)), lambda count: count == 0)
    stage.services.received.clear()
    await publish_queued_job(stage)
    assert (await start_job_request(stage)).status_code == 204
    assert len(stage.services.received_of(ClaimJob)) == 1  # the second request has sent it, not the disconnected one


async def test_a_paused_runner_sends_no_claim(stage: GatewayStage) -> None:
    await stage.services.serve(AuthenticateRunner, lambda _: RUNNER.replace(active=False))
    response = await start_job_request(stage)
    assert response.status_code == 204
    assert stage.services.received_of(ClaimJob) == []


async def test_a_runner_edit_applies_to_a_held_request_at_once(long_poll_stage: GatewayStage) -> None:
    request = start_job_request(long_poll_stage)
    await wait_for_held_requests(long_poll_stage)
    await long_poll_stage.services.serve(AuthenticateRunner, lambda _: RUNNER.replace(tags=("linux", "gpu")))
    await long_poll_stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    edited = b'{"runner_uuid": "r-7", "runner_id": 7}'
    await long_poll_stage.client.publish("hint.runners.runner-r-7.RunnerEdited", edited)
    assert (await request).status_code == 201
    assert long_poll_stage.services.received_of(ClaimJob)[-1].message.runner.tags == ("linux", "gpu")


def refuse_runner(_command: AuthenticateRunner) -> None:
    raise RequestRejected("RUNNER_TOKEN")


async def test_an_unknown_runner_token_is_403(stage: GatewayStage) -> None:
    await stage.services.serve(AuthenticateRunner, refuse_runner)
    assert (await start_job_request(stage)).status_code == 403
