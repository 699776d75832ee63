"""Asking for a job the GitLab way: the held request, and what becomes of a job that cannot be delivered."""

import asyncio
import logging
import re
from uuid import NAMESPACE_URL, uuid4, uuid5

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.builds import Assignment, Claim, ClaimJob, ReturnClaim, RunnerOffer
from contracts.errors import Refused
from contracts.projects import GetRequestBody
from contracts.runners import RunnerProfile
from gateway.asked import World
from gateway.dialects.gitlab_job import job_object
from gateway.dialects.gitlab_runner import Members, header, members, touch
from gateway.waiting import Waiter
from libs.deciding import runner_called

log = logging.getLogger("headrace.gateway")

RECHECK = 10.0  # seconds until a waiting runner asks again unasked: a call may be lost with the bus
PAUSED = 2.0  # seconds for which a runner that may take no job is held, so that it does not ask in a circle
GIVING_BACK = (0.2, 1.0, 3.0, 0.0)  # seconds between tries
REQUEST_NAME = re.compile(r"[!-~]{16,128}")  # shorter ones are made up by hand, and come again


async def request_job(world: World, scope: Scope, receive: Receive) -> Response:
    """201 with a job, or 204 once the time to wait is over.

    A runner that says what it was told with its last 204 does not look again for what was not there then. A job that
    cannot be delivered goes to somebody else at once; one whose answer is lost on its way is given to the same request
    again, as far as the runner names its requests.
    """
    sent = await members(scope, receive)
    with world.waiting.place() as waiter:
        waiter.looked = str(sent.get("last_update", ""))
        watching = asyncio.create_task(_watch(receive, waiter))
        try:
            return await _answer(world, scope, sent, waiter)
        finally:
            watching.cancel()


async def _answer(world: World, scope: Scope, sent: Members, waiter: Waiter) -> Response:
    assignment = await _wait(world, scope, sent, waiter)
    if assignment is None:
        if waiter.gone:
            raise ClientDisconnect
        return Response(status_code=204, headers={"X-GitLab-Last-Update": waiter.looked or world.waiting.news})
    try:
        request_body = await _request_body(world, assignment)
        # in a thread: a body may be long, and must not hold up other requests
        job = await asyncio.to_thread(
            job_object, assignment, waiter.offer, request_body, quotes_files=not _is_our_agent(sent)
        )
        answer = JSONResponse(job, 201)
        if waiter.gone:
            raise ClientDisconnect
    except (Refused, ClientDisconnect):
        await _give_back(world, waiter)
        raise
    return answer


async def _give_back(world: World, waiter: Waiter) -> None:
    """What it claimed, whether that is known here or not. What cannot be given back now is found by its lease."""
    for pause in GIVING_BACK:
        try:
            await world.caller.tell(ReturnClaim(), command_id=waiter.claim_id)
        except Refused as refused:
            log.warning("a claim was not given back: %s", refused.code)
            await asyncio.sleep(pause)
        else:
            return


async def _request_body(world: World, assignment: Assignment) -> bytes:
    """Fetched by itself, not within the assignment: together with many secrets it might be too much for one message."""
    if assignment.delivery_id is None:
        return b""
    return await world.caller.ask(GetRequestBody(delivery_id=assignment.delivery_id))


async def _watch(receive: Receive, waiter: Waiter) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiter.leave()


async def _wait(world: World, scope: Scope, sent: Members, waiter: Waiter) -> Assignment | None:
    """In the list before the first claim: what is queued between a claim and the wait is not missed."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    limit = world.settings.long_poll_seconds
    while True:
        waiter.signal.clear()
        if waiter.stale:
            waiter.stale = False
            profile = await touch(world, scope, sent)
            waiter.runner_uuid = profile.runner_uuid
            waiter.claim_id = waiter.claim_id or _claim_id(scope, profile)
            world.waiting.settle(waiter, _offer(profile, sent) if profile.active else None)
        if waiter.gone or world.waiting.closed:
            return None
        if waiter.offer and (waiter.calls or waiter.looked != world.waiting.news):
            waiter.looked = world.waiting.news  # before the look: what is queued meanwhile is new
            if assignment := await _claim(world, waiter.offer, waiter):
                return assignment
        end = begun + (limit if waiter.offer else min(limit, PAUSED))
        try:
            async with asyncio.timeout_at(min(end, clock() + RECHECK)):
                await waiter.signal.wait()
        except TimeoutError:
            waiter.stale, waiter.looked = True, ""
        if waiter.gone or world.waiting.closed or clock() >= end:
            return None


async def _claim(world: World, offer: RunnerOffer, waiter: Waiter) -> Assignment | None:
    """Calls answered by this claim are done with, except where it brought another job: theirs may still be waiting."""
    heard = len(waiter.calls)
    try:
        answer = await world.caller.tell(
            ClaimJob(runner=offer), actor=runner_called(offer.name), command_id=waiter.claim_id
        )
    except Refused as refused:
        if refused.code != "SERVICE_UNAVAILABLE":  # else nobody has taken the claim
            await _give_back(world, waiter)
        raise
    assignment = Claim.model_validate_json(answer).assignment
    if assignment is None:
        del waiter.calls[:heard]
    else:
        waiter.calls = [job for job in waiter.calls if job.job_id != assignment.job_id]
    return assignment


def _claim_id(scope: Scope, profile: RunnerProfile) -> str:
    """Of each request another one, and of a repeated request the same, if the runner says which one it is."""
    said = header(dict(scope["headers"]), b"x-request-id")
    name = said if REQUEST_NAME.fullmatch(said) else uuid4().hex
    return str(uuid5(NAMESPACE_URL, f"claim/{profile.runner_uuid}/{name}"))


def _offer(profile: RunnerProfile, sent: Members) -> RunnerOffer:
    return RunnerOffer(
        runner_id=profile.runner_id,
        runner_uuid=profile.runner_uuid,
        name=profile.name,
        tags=profile.tags,
        run_untagged=profile.run_untagged,
        protected=profile.protected,
        owner_type=profile.owner_type,
        owner_id=profile.owner_id,
        max_timeout_seconds=profile.max_timeout_seconds,
        cancels_gracefully=_announces(sent, "cancel_gracefully"),
        reports_late=not _announces(sent, "two_phase_job_commit"),
    )


def _is_our_agent(sent: Members) -> bool:
    match sent:
        case {"info": {"name": "headrace-agent"}}:
            return True
        case _:
            return False


def _announces(sent: Members, feature: str) -> bool:
    match sent:
        case {"info": {"features": dict(features)}}:
            return features.get(feature) is True
        case _:
            return False
