"""Queued jobs are offered to the gateways: each wakes one held request, which claims this job."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest
from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import ClaimJob, JobQueued, LaunchedProject, PlannedJob, PlannedStep
from contracts.runners import AuthenticateRunner, RunnerProfile
from gateway.streaming.long_polls import LongPollQueue
from libs.documents import Document
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import flush_to_server
from libs.settings import Settings
from services.builds.dispatch.scheduler import FairScheduler
from tests.support.in_process.dispatch_stage import ANY_RUNNER, DispatchReplica, dispatch_replicas, queued_job_document
from tests.support.in_process.gateway_stage import FakeServices, running_gateway
from tests.support.waiting import WITHIN_SECONDS, eventually

REQUEST_COUNT = 20
HOLD_SECONDS = 240  # longer than the test takes
RUNNER = RunnerProfile(runner_id=7, runner_uuid="r-7", name="seven", owner_type="GLOBAL", owner_id=None)


@pytest.fixture
async def replica(settings: Settings, database: AsyncDatabase[Document], bus: Client) -> AsyncIterator[DispatchReplica]:
    async with dispatch_replicas(settings, database, bus) as (only,):
        yield only


@pytest.fixture
async def claims(replica: DispatchReplica, bus: Client) -> AsyncIterator[list[ClaimJob]]:
    """Serve claims with the real service, and collect them. A fake service authenticates the runners."""
    claims: list[ClaimJob] = []

    async def claim(body: bytes, headers: Mapping[str, str]) -> bytes:
        claims.append(ClaimJob.model_validate_json(body))
        return await replica.runtime.respond(ClaimJob, body, headers)

    server, runners = MessageServer(bus, "builds"), FakeServices(bus)
    await runners.serve(AuthenticateRunner, lambda _: RUNNER)
    await server.serve(ClaimJob, claim)
    await flush_to_server(bus, WITHIN_SECONDS)
    yield claims
    await server.stop(1)
    await runners.stop(AuthenticateRunner)


def has_idle_requests(long_polls: Sequence[LongPollQueue], count: int) -> bool:
    return sum(polls.idle_count for polls in long_polls) == count


def has_ended(requests: Sequence[asyncio.Task[httpx.Response]], count: int) -> bool:
    return sum(request.done() for request in requests) == count


def woken_by(claims: list[ClaimJob]) -> list[ClaimJob]:
    """Return the claims that name a job: an offer woke their request. The first claim of a request names none."""
    return [claim for claim in claims if claim.job_id is not None]


@pytest.mark.parametrize("gateway_count", [1, 2, 10])
async def test_a_queued_job_wakes_one_request_of_all_gateways(
    settings: Settings,
    replica: DispatchReplica,
    claims: list[ClaimJob],
    gateway_count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a gateway that gets no answer acts as if it had got the offer
    monkeypatch.setattr("libs.messaging.hints.ANSWER_TIMEOUT_SECONDS", WITHIN_SECONDS)
    async with AsyncExitStack() as stack:
        requests, long_polls = list[asyncio.Task[httpx.Response]](), list[LongPollQueue]()
        for number in range(gateway_count):
            own = settings.model_copy(update={"instance": f"gateway-{number}", "long_poll_seconds": HOLD_SECONDS})
            gateway, _, url = await stack.enter_async_context(running_gateway(own))
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=HOLD_SECONDS))
            post = partial(http.post, "/api/v4/jobs/request", json={"token": "runner-token"})
            count = REQUEST_COUNT // gateway_count
            requests += [asyncio.create_task(post()) for _ in range(count)]
            long_polls.append(gateway.state.long_polls)
            await eventually(partial(has_idle_requests, long_polls[-1:], count))
        apart, at_once = range(1, REQUEST_COUNT // 2), range(REQUEST_COUNT // 2, REQUEST_COUNT + 1)
        for job_id in apart:
            await replica.queue_jobs(job_id)
            await eventually(partial(has_ended, requests, job_id))
            # all other requests wait again: no gateway is busy with the offer any more
            await eventually(partial(has_idle_requests, long_polls, REQUEST_COUNT - job_id))
        assert 0 < len(woken_by(claims)) <= 1.1 * len(apart) + 1  # one gateway may get an offer late
        await asyncio.gather(*(replica.queue_jobs(job_id) for job_id in at_once))
        jobs = [response.json() for response in await asyncio.gather(*requests)]
    assert sorted(job["id"] for job in jobs) == [*apart, *at_once]
    # a job that is offered while a gateway is busy with another offer can be claimed a second time
    assert len(woken_by(claims)) <= len(apart) + 2 * len(at_once)


@pytest.mark.parametrize(
    ("waiting", "offered_id", "dispatched_id"),
    [
        ([], 15, 15),
        ([queued_job_document(12)], 15, 15),  # queued at about the same time, so it was offered to another runner
        ([queued_job_document(2)], 15, 2),  # has waited for longer
        ([queued_job_document(16, priority=1)], 15, 16),
        ([queued_job_document(12, 2)], 15, 12),  # another project: the projects take turns
        ([queued_job_document(12)], 99, 12),  # the offered job does not wait any more
    ],
)
async def test_the_offered_job_is_dispatched_unless_another_has_precedence(
    replica: DispatchReplica, waiting: list[Document], offered_id: int, dispatched_id: int
) -> None:
    await replica.insert_jobs(queued_job_document(15), *waiting)
    job = await FairScheduler().next_job(replica.context, ANY_RUNNER, set(), offered_id)
    assert job is not None
    assert job.id == dispatched_id


def test_an_offer_has_no_script() -> None:
    project = LaunchedProject(
        project_id=1, name="mill", owner_alias="ada", alias="mill", repository="r", branch="main", spec_file_path="/c"
    )
    step = PlannedStep(name="@build", script="make", timeout_seconds=1)
    queued = JobQueued(
        job_id=1,
        job_uuid="j-1",
        build_id=1,
        project_id=1,
        owner_alias="ada",
        attempt=1,
        ref="main",
        sha="f" * 40,
        project=project,
        job=PlannedJob(job_id=1, job_uuid="j-1", name="build", tags=("linux",), steps=(step,)),
    )
    assert (queued.for_hint().job.steps, queued.for_hint().job.tags) == ((), ("linux",))
