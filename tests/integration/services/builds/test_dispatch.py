"""Dispatch of jobs: priorities, turns of projects, long queues, concurrent claims and lost replies."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import JobRequirements, JobRow, JobStatus, ReportJob, ReturnClaim, RunnerDescription
from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.eventstore.store import CommitRef
from libs.security.tokens import hash_token
from libs.settings import Settings
from services.builds.dispatch.job_dispatch import JobDispatcher
from services.builds.dispatch.scheduler import FairScheduler
from services.builds.domain.internal_commands import StartJob
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.runner_reports import RunnerReports
from tests.support.in_process.dispatch_stage import ANY_RUNNER, DispatchReplica, dispatch_replicas, queued_job_document

LINUX_RUNNER = ANY_RUNNER.replace(tags=("linux",))
PROJECT_2_RUNNER = ANY_RUNNER.replace(owner_type="PROJECT", owner_id=2)
COMPANY_9_RUNNER = ANY_RUNNER.replace(owner_type="COMPANY", owner_id=9)


@pytest.fixture
async def replicas(
    settings: Settings, database: AsyncDatabase[Document], bus: Client
) -> AsyncIterator[list[DispatchReplica]]:
    async with dispatch_replicas(settings, database, bus, replicas=2) as second:
        yield second


@pytest.fixture
def replica(replicas: list[DispatchReplica]) -> DispatchReplica:
    return replicas[0]


async def test_within_a_project_the_oldest_job_is_dispatched_first(replica: DispatchReplica) -> None:
    await replica.insert_jobs(queued_job_document(3), queued_job_document(1), queued_job_document(2))
    assert await replica.dispatch_all() == [1, 2, 3]


async def test_projects_are_served_in_turn_regardless_of_queue_length(replica: DispatchReplica) -> None:
    await replica.insert_jobs(
        *[queued_job_document(number, 1) for number in range(1, 6)],
        queued_job_document(6, 2),
        queued_job_document(7, 2),
        queued_job_document(8, 3),
    )
    assert await replica.dispatch_all() == [1, 6, 8, 2, 7, 3, 4, 5]


async def test_the_least_recently_served_project_is_next_in_every_process(replica: DispatchReplica) -> None:
    await replica.insert_jobs(
        queued_job_document(1, 1), queued_job_document(2, 1), queued_job_document(3, 2), queued_job_document(4, 2)
    )
    scheduler = FairScheduler()
    first = await scheduler.next_job(replica.context, ANY_RUNNER, set())
    assert first is not None
    await scheduler.record_service_time(replica.context, first)
    assert (first.id, await replica.dispatch_all(scheduler=FairScheduler())) == (1, [3, 1, 4, 2])


async def test_a_higher_priority_precedes_age_and_project_turns(replica: DispatchReplica) -> None:
    await replica.insert_jobs(
        queued_job_document(1, 1),
        queued_job_document(2, 1, priority=5),
        queued_job_document(3, 2),
        queued_job_document(4, 2, priority=-1),
        queued_job_document(5, 1, priority=5),
    )
    assert await replica.dispatch_all() == [2, 5, 3, 1, 4]


async def test_project_turns_apply_across_different_job_requirements(replica: DispatchReplica) -> None:
    await replica.insert_jobs(
        queued_job_document(1, 1),
        queued_job_document(2, 1, tags=["linux"]),
        queued_job_document(3, 2, tags=["linux"]),
        queued_job_document(4, 2),
    )
    assert await replica.dispatch_all(LINUX_RUNNER) == [1, 3, 2, 4]


@pytest.mark.parametrize(
    ("runner", "gets"),
    [
        (ANY_RUNNER, [1, 4, 5, 6]),
        (LINUX_RUNNER, [1, 4, 5, 2, 6]),
        (LINUX_RUNNER.replace(run_untagged=False), [2]),
        (ANY_RUNNER.replace(protected=True), [4]),
        (PROJECT_2_RUNNER, [5]),
        (COMPANY_9_RUNNER, [6]),
        (COMPANY_9_RUNNER.replace(owner_id=None), []),
    ],
)
async def test_a_runner_gets_only_jobs_whose_requirements_it_satisfies(
    replica: DispatchReplica, runner: RunnerDescription, gets: list[int]
) -> None:
    await replica.insert_jobs(
        queued_job_document(1),
        queued_job_document(2, tags=["linux"]),
        queued_job_document(3, tags=["gpu", "linux"]),
        queued_job_document(4, protected=True),
        queued_job_document(5, 2),
        queued_job_document(6, 3, 9),
    )
    assert sorted(await replica.dispatch_all(runner)) == sorted(gets)


async def test_an_assigned_job_leaves_the_queue(replica: DispatchReplica) -> None:
    await replica.queue_jobs(1, 2)
    rows = replica.context.read_model(JobRow)
    assert [job.id for job in await rows.find({"demand": JobRequirements().key})] == [1, 2]
    await replica.claim_job(JobDispatcher(AttemptStore()))
    assert [job.id for job in await rows.find({"demand": JobRequirements().key})] == [2]


async def test_a_claim_reads_few_documents_however_many_unsuitable_jobs_are_queued(replica: DispatchReplica) -> None:
    unsuitable = [queued_job_document(number, number % 3, tags=["no-such-tag"]) for number in range(1, 1500)]
    others = [queued_job_document(number, 50, 7, protected=bool(number % 2)) for number in range(1500, 3000)]
    await replica.insert_jobs(
        *unsuitable, *others, *[queued_job_document(number, number % 2 + 1) for number in range(3000, 3500)]
    )
    database = replica.runtime.database
    await database.command("profile", 2)
    found = await FairScheduler().next_job(replica.context, ANY_RUNNER.replace(owner_type="PROJECT", owner_id=2), set())
    await database.command("profile", 0)
    entries = await database["system.profile"].find({"ns": f"{database.name}.streams"}).to_list()
    assert found is not None
    assert {entry["planSummary"].partition(" ")[0] for entry in entries} == {"DISTINCT_SCAN", "IXSCAN"}
    assert sum(entry["keysExamined"] for entry in entries) < 20
    assert sum(entry["docsExamined"] for entry in entries) == 1  # the document of the dispatched job


async def test_concurrent_claims_at_two_processes_assign_each_job_once(replicas: list[DispatchReplica]) -> None:
    stage = replicas[0]
    await stage.queue_jobs(*range(1, 16))
    processes = [(process, JobDispatcher(AttemptStore())) for process in replicas]
    runners = [
        ANY_RUNNER.replace(runner_id=number, runner_uuid=f"r-{number}", name=f"r-{number}") for number in range(20)
    ]
    claims = await asyncio.gather(
        *(
            process.claim_job(dispatcher, runner)
            for (process, dispatcher), runner in zip(processes * 10, runners, strict=True)
        )
    )
    assigned = Counter(claim.assignment.job_id for claim in claims if claim.assignment)
    assert assigned == Counter(range(1, 16))
    assert await stage.runtime.database["attempts"].count_documents({}) == 15


async def get_job(replica: DispatchReplica, job_id: int) -> JobRow:
    found = await replica.context.read_model(JobRow).get(f"job-{job_id}")
    assert isinstance(found, JobRow)
    return found


async def test_a_claim_repeated_at_another_process_returns_the_same_job(replicas: list[DispatchReplica]) -> None:
    await replicas[0].queue_jobs(1, 2)
    first = await replicas[0].claim_job(JobDispatcher(AttemptStore()), claim_id="request-1")
    again = await replicas[1].claim_job(JobDispatcher(AttemptStore()), claim_id="request-1")
    assert first == again
    assert again.assignment is not None
    assert (again.assignment.job_id, (await get_job(replicas[0], 2)).status) == (1, JobStatus.QUEUED)


async def test_the_assignment_of_a_claim_that_may_be_a_repetition_is_not_looked_up(
    replica: DispatchReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of its command is new in each claim."""
    await replica.queue_jobs(1)
    looked_up: list[str] = []
    find = replica.runtime.store.find

    async def record_and_find(metadata: CommandMetadata) -> CommitRef | None:
        looked_up.append(metadata.command)
        return await find(metadata)

    monkeypatch.setattr(replica.runtime.store, "find", record_and_find)
    claimed = await replica.claim_job(JobDispatcher(AttemptStore()), claim_id="request-1")
    assert claimed.assignment
    assert "AssignJob" not in looked_up


async def test_a_claim_repeated_after_its_job_started_returns_another_job(replica: DispatchReplica) -> None:
    await replica.queue_jobs(1, 2)
    dispatcher = JobDispatcher(AttemptStore())
    await replica.claim_job(dispatcher, claim_id="request-1")
    await replica.context.send(StartJob(job_id=1, attempt=1))
    other = await replica.claim_job(dispatcher, claim_id="request-1")
    assert other.assignment is not None
    assert other.assignment.job_id == 2


async def test_a_returned_job_is_assigned_to_the_next_runner_and_its_old_token_is_invalid(
    replica: DispatchReplica,
) -> None:
    await replica.queue_jobs(1)
    dispatcher = JobDispatcher(AttemptStore())
    first = (await replica.claim_job(dispatcher, claim_id="request-1")).assignment
    returned = await dispatcher.return_claim(replica.repeatable_context("request-1"), ReturnClaim())
    repeated = await dispatcher.return_claim(replica.repeatable_context("request-1"), ReturnClaim())
    second = (await replica.claim_job(dispatcher, claim_id="request-2")).assignment
    assert (returned.job_id, repeated.job_id) == (1, None)
    assert first is not None
    assert second is not None
    assert (second.job_id, second.attempt) == (1, 2)
    with pytest.raises(RequestRejected, match="JOB_TOKEN"):
        await RunnerReports(AttemptStore()).report_status(
            replica.context, ReportJob(job_id=1, token=first.token, state="running")
        )


async def test_a_claim_returned_before_its_reply_assigns_no_job(replica: DispatchReplica) -> None:
    await replica.queue_jobs(1)
    dispatcher = JobDispatcher(AttemptStore())
    found = await FairScheduler().next_job(replica.context, ANY_RUNNER, set())
    assert found is not None
    name = replica.repeatable_context("request-1")
    await dispatcher.return_claim(name, ReturnClaim())
    with pytest.raises(RequestRejected, match="CONFLICT"):
        await dispatcher._assign(name, ANY_RUNNER, found, await name.derive_token("hrj-"))
    second = (await replica.claim_job(dispatcher, claim_id="request-2")).assignment
    assert second is not None
    assert (second.job_id, second.attempt) == (1, 1)


async def test_two_claims_of_one_job_leave_one_attempt(replicas: list[DispatchReplica]) -> None:
    await replicas[0].queue_jobs(1)
    job = await get_job(replicas[0], 1)
    claims = [
        JobDispatcher(AttemptStore())._assign(process.context, ANY_RUNNER, job, f"token-{number}")
        for number, process in enumerate(replicas)
    ]
    winner, loser = sorted(await asyncio.gather(*claims), key=lambda assignment: assignment is None)
    attempts = await replicas[0].runtime.database["attempts"].find({}).to_list()
    assert winner is not None
    assert loser is None
    assert [attempt["_id"] for attempt in attempts] == [hash_token(winner.token)]


async def test_one_claim_handled_by_two_processes_assigns_one_job(replicas: list[DispatchReplica]) -> None:
    await replicas[0].queue_jobs(1, 2)
    answers = await asyncio.gather(
        *(process.claim_job(JobDispatcher(AttemptStore()), claim_id="request-1") for process in replicas),
    )
    assigned = {claim.assignment.job_id for claim in answers if claim.assignment}
    statuses = [(await get_job(replicas[0], number)).status for number in (1, 2)]
    assert len(assigned) == 1
    assert sorted(statuses) == [JobStatus.ASSIGNED, JobStatus.QUEUED]
