"""Asking for a job the GitLab way: the held request, and what becomes of a job that cannot be delivered."""

import asyncio
import logging
import re
from uuid import NAMESPACE_URL, uuid4, uuid5

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.builds import Assignment, ClaimJob, ClaimResult, ReturnClaim, RunnerDescription
from contracts.errors import RequestRejected
from contracts.projects import GetWebhookPayload
from contracts.runners import RunnerProfile
from gateway.adapters.gitlab.job_payload import build_job_payload
from gateway.adapters.gitlab.runner_api import RequestFields, authenticate_runner, read_fields, read_header
from gateway.context import AppState
from gateway.streaming.long_polls import PendingPoll
from libs.eventstore.decider import runner_actor

log = logging.getLogger("headrace.gateway")

RECHECK_SECONDS = 10.0  # seconds until a waiting runner asks again unasked: a call may be lost with the bus
PAUSED_HOLD_SECONDS = (
    2.0  # seconds for which a runner that may take no job is held, so that it does not ask in a circle
)
RETURN_RETRY_DELAYS = (0.2, 1.0, 3.0, 0.0)  # seconds between tries
REQUEST_ID = re.compile(r"[!-~]{16,128}")  # shorter ones are made up by hand, and come again


async def request_job(world: AppState, scope: Scope, receive: Receive) -> Response:
    """201 with a job, or 204 once the time to wait is over.

    A runner that says what it was told with its last 204 does not look again for what was not there then. A job that
    cannot be delivered goes to somebody else at once; one whose answer is lost on its way is given to the same request
    again, as far as the runner names its requests.
    """
    sent = await read_fields(scope, receive)
    with world.long_polls.enter() as waiter:
        waiter.seen_cursor = str(sent.get("last_update", ""))
        watching = asyncio.create_task(_watch_disconnect(receive, waiter))
        try:
            return await _respond(world, scope, sent, waiter)
        finally:
            watching.cancel()


async def _respond(world: AppState, scope: Scope, sent: RequestFields, waiter: PendingPoll) -> Response:
    assignment = await _wait_for_job(world, scope, sent, waiter)
    if assignment is None:
        if waiter.is_disconnected:
            raise ClientDisconnect
        return Response(
            status_code=204, headers={"X-GitLab-Last-Update": waiter.seen_cursor or world.long_polls.cursor}
        )
    try:
        request_body = await _fetch_webhook_body(world, assignment)
        # in a thread: a body may be long, and must not hold up other requests
        job = await asyncio.to_thread(
            build_job_payload, assignment, waiter.offer, request_body, quotes_files=not _is_headrace_agent(sent)
        )
        answer = JSONResponse(job, 201)
        if waiter.is_disconnected:
            raise ClientDisconnect
    except (RequestRejected, ClientDisconnect):
        await _return_claim(world, waiter)
        raise
    return answer


async def _return_claim(world: AppState, waiter: PendingPoll) -> None:
    """What it claimed, whether that is known here or not. What cannot be given back now is found by its lease."""
    for pause in RETURN_RETRY_DELAYS:
        try:
            await world.bus.send(ReturnClaim(), command_id=waiter.claim_id)
        except RequestRejected as refused:
            log.warning("a claim was not given back: %s", refused.code)
            await asyncio.sleep(pause)
        else:
            return


async def _fetch_webhook_body(world: AppState, assignment: Assignment) -> bytes:
    """Fetched by itself, not within the assignment: together with many secrets it might be too much for one message."""
    if assignment.delivery_id is None:
        return b""
    return await world.bus.query(GetWebhookPayload(delivery_id=assignment.delivery_id))


async def _watch_disconnect(receive: Receive, waiter: PendingPoll) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiter.disconnect()


async def _wait_for_job(world: AppState, scope: Scope, sent: RequestFields, waiter: PendingPoll) -> Assignment | None:
    """In the list before the first claim: what is queued between a claim and the wait is not missed."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    limit = world.settings.long_poll_seconds
    while True:
        waiter.wake_up.clear()
        if waiter.is_stale:
            waiter.is_stale = False
            profile = await authenticate_runner(world, scope, sent)
            waiter.runner_uuid = profile.runner_uuid
            waiter.claim_id = waiter.claim_id or _derive_claim_id(scope, profile)
            world.long_polls.update_offer(waiter, _describe_runner(profile, sent) if profile.active else None)
        if waiter.is_disconnected or world.long_polls.is_closed:
            return None
        if waiter.offer and (waiter.notified_jobs or waiter.seen_cursor != world.long_polls.cursor):
            waiter.seen_cursor = world.long_polls.cursor  # before the look: what is queued meanwhile is new
            if assignment := await _claim_job(world, waiter.offer, waiter):
                return assignment
        end = begun + (limit if waiter.offer else min(limit, PAUSED_HOLD_SECONDS))
        try:
            async with asyncio.timeout_at(min(end, clock() + RECHECK_SECONDS)):
                await waiter.wake_up.wait()
        except TimeoutError:
            waiter.is_stale, waiter.seen_cursor = True, ""
        if waiter.is_disconnected or world.long_polls.is_closed or clock() >= end:
            return None


async def _claim_job(world: AppState, offer: RunnerDescription, waiter: PendingPoll) -> Assignment | None:
    """Calls answered by this claim are done with, except where it brought another job: theirs may still be waiting."""
    heard = len(waiter.notified_jobs)
    try:
        answer = await world.bus.send(
            ClaimJob(runner=offer), actor=runner_actor(offer.name), command_id=waiter.claim_id
        )
    except RequestRejected as refused:
        if refused.code != "SERVICE_UNAVAILABLE":  # else nobody has taken the claim
            await _return_claim(world, waiter)
        raise
    assignment = ClaimResult.model_validate_json(answer).assignment
    if assignment is None:
        del waiter.notified_jobs[:heard]
    else:
        waiter.notified_jobs = [job for job in waiter.notified_jobs if job.job_id != assignment.job_id]
    return assignment


def _derive_claim_id(scope: Scope, profile: RunnerProfile) -> str:
    """Of each request another one, and of a repeated request the same, if the runner says which one it is."""
    said = read_header(dict(scope["headers"]), b"x-request-id")
    name = said if REQUEST_ID.fullmatch(said) else uuid4().hex
    return str(uuid5(NAMESPACE_URL, f"claim/{profile.runner_uuid}/{name}"))


def _describe_runner(profile: RunnerProfile, sent: RequestFields) -> RunnerDescription:
    return RunnerDescription(
        runner_id=profile.runner_id,
        runner_uuid=profile.runner_uuid,
        name=profile.name,
        tags=profile.tags,
        run_untagged=profile.run_untagged,
        protected=profile.protected,
        owner_type=profile.owner_type,
        owner_id=profile.owner_id,
        max_timeout_seconds=profile.max_timeout_seconds,
        cancels_gracefully=_has_feature(sent, "cancel_gracefully"),
        reports_late=not _has_feature(sent, "two_phase_job_commit"),
    )


def _is_headrace_agent(sent: RequestFields) -> bool:
    match sent:
        case {"info": {"name": "headrace-agent"}}:
            return True
        case _:
            return False


def _has_feature(sent: RequestFields, feature: str) -> bool:
    match sent:
        case {"info": {"features": dict(features)}}:
            return features.get(feature) is True
        case _:
            return False
