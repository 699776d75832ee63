"""`POST /api/v4/jobs/request` of GitLab's runner protocol: a long poll that claims a job for a runner."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, islice
from uuid import NAMESPACE_URL, uuid4, uuid5

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from contracts.builds import Assignment, ClaimJob, ClaimResult, ReturnClaim, RunnerDescription
from contracts.errors import RequestRejected
from contracts.projects import GetWebhookPayload
from contracts.runners import RunnerProfile
from gateway.adapters.gitlab.job_payload import build_job_payload
from gateway.adapters.gitlab.protocol_models import JobRequest
from gateway.adapters.gitlab.runner_authentication import authenticate_runner
from gateway.context import AppState
from gateway.streaming.long_polls import PendingPoll
from libs.backoff import backoff_delays
from libs.eventstore.decider import runner_actor

log = logging.getLogger("headrace.gateway")

RECHECK_SECONDS = 10.0  # a held request looks for jobs at this interval, because hints can be lost
PAUSED_HOLD_SECONDS = 2.0  # time until the response to a paused runner, so that it does not repeat its request at once
MAX_RETURN_RETRIES = 3
LAST_UPDATE = "X-GitLab-Last-Update"
Authenticate = Callable[[], Awaitable[RunnerProfile]]
REQUEST_ID = re.compile(r"[!-~]{16,128}")  # valid X-Request-Id; shorter ids may not be unique


async def request_job(
    app_state: AppState, request: Request, body: JobRequest, token: str | None, ip_address: str
) -> Response:
    """Respond 201 with a job, or 204 after the long-poll timeout.

    With `last_update` from the previous 204, no claim is attempted at first unless jobs or runners changed since then.
    A claimed job that cannot be delivered is returned to the queue at once. If the response is lost, a retry with the
    same X-Request-Id gets the same job.
    """
    authenticate = partial(authenticate_runner, app_state, body, token, ip_address)
    with app_state.long_polls.enter() as poll:
        poll.seen_cursor = body.last_update
        watcher = asyncio.create_task(_watch_disconnect(request, poll))
        try:
            return await _respond(app_state, request, body, authenticate, poll)
        finally:
            watcher.cancel()


async def _respond(
    app_state: AppState, request: Request, body: JobRequest, authenticate: Authenticate, poll: PendingPoll
) -> Response:
    assignment = await _wait_for_job(app_state, request, body, authenticate, poll)
    if assignment is None:
        if poll.is_disconnected:
            raise ClientDisconnect
        # without a claim there is no cursor, so that the next request claims at once
        return Response(status_code=204, headers={LAST_UPDATE: poll.seen_cursor} if poll.seen_cursor else None)
    try:
        webhook_body = await _fetch_webhook_body(app_state, assignment)
        # in a thread, because compressing a large webhook body would block other requests
        job = await asyncio.to_thread(
            build_job_payload, assignment, poll.offer, webhook_body, quotes_files=not _is_headrace_agent(body)
        )
        response = JSONResponse(job, 201)
        if poll.is_disconnected:
            raise ClientDisconnect
    except (RequestRejected, ClientDisconnect):
        await _return_claim(app_state, poll)
        raise
    return response


async def _return_claim(app_state: AppState, poll: PendingPoll) -> None:
    """Return the claimed job to the queue, even if the response to the claim was lost.

    If all attempts fail, the job is lost and retried when its lease expires.
    """
    for delay in chain(islice(backoff_delays(0.4, 4.0), MAX_RETURN_RETRIES), (0.0,)):
        try:
            await app_state.bus.send(ReturnClaim(), command_id=poll.claim_id)
        except RequestRejected as rejection:
            log.warning("a claimed job could not be returned: %s", rejection.code)
            await asyncio.sleep(delay)
        else:
            return


async def _fetch_webhook_body(app_state: AppState, assignment: Assignment) -> bytes:
    """Return the body of the webhook that launched the build; nothing without a webhook, or after its removal.

    The assignment does not include it: together with many secrets, it could exceed the size of one message.
    """
    if assignment.delivery_id is None:
        return b""
    return await app_state.bus.query(GetWebhookPayload(delivery_id=assignment.delivery_id))


async def _watch_disconnect(request: Request, poll: PendingPoll) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    poll.disconnect()


async def _wait_for_job(
    app_state: AppState, request: Request, body: JobRequest, authenticate: Authenticate, poll: PendingPoll
) -> Assignment | None:
    """Claim a job and return it, or None after the timeout, a disconnect of the client, or a shutdown of the gateway.

    The poll is in the queue before its first claim, so no job queued after that claim is missed.
    """
    clock = asyncio.get_running_loop().time
    started_at = clock()
    limit = app_state.settings.long_poll_seconds
    while True:
        poll.wake_up.clear()
        if poll.is_stale:
            poll.is_stale = False
            profile = await authenticate()
            poll.runner_uuid = profile.runner_uuid
            poll.claim_id = poll.claim_id or _derive_claim_id(request, profile)
            app_state.long_polls.update_offer(poll, _describe_runner(profile, body) if profile.active else None)
        if poll.is_disconnected or app_state.long_polls.is_closed:
            return None
        if poll.offer and (poll.notified_jobs or poll.seen_cursor != app_state.long_polls.cursor):
            # read before the claim, to detect jobs that are queued during the claim
            poll.seen_cursor = app_state.long_polls.cursor
            if assignment := await _claim_job(app_state, poll.offer, poll):
                return assignment
            app_state.long_polls.take_missed_job(poll)
            if poll.notified_jobs:
                continue
        deadline = started_at + (limit if poll.offer else min(limit, PAUSED_HOLD_SECONDS))
        recheck_at = clock() + RECHECK_SECONDS
        try:
            async with asyncio.timeout_at(min(deadline, recheck_at)):
                await poll.wake_up.wait()
        except TimeoutError:
            # compare the two times, not the clock: timers of uvloop can end up to a millisecond early
            if recheck_at >= deadline:
                return None  # with the cursor of the latest claim: jobs may have been queued since then
            poll.is_stale, poll.seen_cursor = True, ""
        if poll.is_disconnected or app_state.long_polls.is_closed or clock() >= deadline:
            return None


async def _claim_job(app_state: AppState, offer: RunnerDescription, poll: PendingPoll) -> Assignment | None:
    """Claim a job and return it, or None if no job is available. Update `poll.notified_jobs`.

    Without a result, none of the jobs in this list before the claim is available, so all of them are removed. Otherwise
    only the claimed job is removed, because the others may still be queued.
    """
    notified_count = len(poll.notified_jobs)
    claim = ClaimJob(runner=offer, job_id=poll.notified_jobs[0].job_id if poll.notified_jobs else None)
    poll.is_busy = True
    poll.missed_jobs.clear()
    try:
        answer = await app_state.bus.send(
            claim,
            actor=runner_actor(offer.name),
            command_id=poll.claim_id,
            may_be_duplicate=not poll.has_claimed,  # if one claim got no job, no earlier one got any
        )
        poll.has_claimed = True
    except RequestRejected as rejection:
        if rejection.code != "SERVICE_UNAVAILABLE":  # with this code, no service has received the claim
            await _return_claim(app_state, poll)
        raise
    finally:
        poll.is_busy = False
    assignment = ClaimResult.model_validate_json(answer).assignment
    if assignment is None:
        del poll.notified_jobs[:notified_count]
    else:
        poll.notified_jobs = [job for job in poll.notified_jobs if job.job_id != assignment.job_id]
    return assignment


def _derive_claim_id(request: Request, profile: RunnerProfile) -> str:
    """Return the claim's command id, derived from X-Request-Id so that a retried request repeats the same claim."""
    request_id = request.headers.get("x-request-id", "").strip()
    unique_id = request_id if REQUEST_ID.fullmatch(request_id) else uuid4().hex
    return str(uuid5(NAMESPACE_URL, f"claim/{profile.runner_uuid}/{unique_id}"))


def _describe_runner(profile: RunnerProfile, body: JobRequest) -> RunnerDescription:
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
        cancels_gracefully=body.has_feature("cancel_gracefully"),
        reports_late=not body.has_feature("two_phase_job_commit"),
    )


def _is_headrace_agent(body: JobRequest) -> bool:
    return body.info is not None and body.info.name == "headrace-agent"
