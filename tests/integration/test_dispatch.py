"""Who gets a job next: priorities, turns of projects, the price of a long queue, and two services that race."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient

from contracts.builds import Claim, Demand, JobRow, JobStatus, ReportJob, ReturnClaim, RunnerOffer, StartJob
from contracts.errors import Refused
from libs.connections import Document
from libs.settings import Settings
from services.builds.attempts import Attempts
from services.builds.claiming import Claiming
from services.builds.queue import Turns
from services.builds.reporting import Reporting
from tests.integration.dispatch_stage import ANY, Yard, dispatching, head

LINUX = ANY.but(tags=("linux",))
OF_PROJECT_2 = ANY.but(owner_type="PROJECT", owner_id=2)
OF_COMPANY_9 = ANY.but(owner_type="COMPANY", owner_id=9)


@pytest.fixture
async def yards(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> AsyncIterator[list[Yard]]:
    async with dispatching(settings, mongo_client, bus, replicas=2) as two:
        yield two


@pytest.fixture
def yard(yards: list[Yard]) -> Yard:
    return yards[0]


# ---- the order


async def test_within_a_project_the_oldest_job_comes_first(yard: Yard) -> None:
    await yard.wait(head(3), head(1), head(2))
    assert await yard.given() == [1, 2, 3]


async def test_projects_take_turns_however_much_one_of_them_has_queued(yard: Yard) -> None:
    await yard.wait(*[head(number, 1) for number in range(1, 6)], head(6, 2), head(7, 2), head(8, 3))
    assert await yard.given() == [1, 6, 8, 2, 7, 3, 4, 5]


async def test_a_project_that_was_not_served_for_longest_is_next_for_another_process_too(yard: Yard) -> None:
    await yard.wait(head(1, 1), head(2, 1), head(3, 2), head(4, 2))
    turns = Turns()
    first = await turns.next(yard.work, ANY, set())
    assert first is not None
    await turns.note(yard.work, first)
    assert (first.id, await yard.given(turns=Turns())) == (1, [3, 1, 4, 2])


async def test_a_higher_priority_goes_before_age_and_turns(yard: Yard) -> None:
    await yard.wait(head(1, 1), head(2, 1, priority=5), head(3, 2), head(4, 2, priority=-1), head(5, 1, priority=5))
    assert await yard.given() == [2, 5, 3, 1, 4]


async def test_turns_hold_across_what_the_jobs_ask_for(yard: Yard) -> None:
    await yard.wait(head(1, 1), head(2, 1, tags=["linux"]), head(3, 2, tags=["linux"]), head(4, 2))
    assert await yard.given(LINUX) == [1, 3, 2, 4]


@pytest.mark.parametrize(
    ("runner", "gets"),
    [
        (ANY, [1, 4, 5, 6]),
        (LINUX, [1, 4, 5, 2, 6]),
        (LINUX.but(run_untagged=False), [2]),
        (ANY.but(protected=True), [4]),
        (OF_PROJECT_2, [5]),
        (OF_COMPANY_9, [6]),
        (OF_COMPANY_9.but(owner_id=None), []),
    ],
)
async def test_a_runner_gets_what_fits_it_and_nothing_else(yard: Yard, runner: RunnerOffer, gets: list[int]) -> None:
    await yard.wait(
        head(1),
        head(2, tags=["linux"]),
        head(3, tags=["gpu", "linux"]),
        head(4, protected=True),
        head(5, 2),
        head(6, 3, 9),
    )
    assert sorted(await yard.given(runner)) == sorted(gets)


async def test_a_job_that_is_queued_and_then_given_away_leaves_the_queue(yard: Yard) -> None:
    await yard.queue(1, 2)
    rows = yard.work.rows("job")
    assert [one.id for one in await rows.find({"demand": Demand().key})] == [1, 2]
    await yard.claim(Claiming(Attempts()))
    assert [one.id for one in await rows.find({"demand": Demand().key})] == [2]


# ---- the price


async def test_a_claim_reads_no_more_in_a_long_queue_full_of_impossible_jobs(yard: Yard) -> None:
    impossible = [head(number, number % 3, tags=["no-such-tag"]) for number in range(1, 1500)]
    others = [head(number, 50, 7, protected=bool(number % 2)) for number in range(1500, 3000)]
    await yard.wait(*impossible, *others, *[head(number, number % 2 + 1) for number in range(3000, 3500)])
    database = yard.runtime.database
    await database.command("profile", 2)
    found = await Turns().next(yard.work, ANY.but(owner_type="PROJECT", owner_id=2), set())
    await database.command("profile", 0)
    looks = await database["system.profile"].find({"ns": f"{database.name}.streams"}).to_list()
    assert found is not None
    assert {one["planSummary"].partition(" ")[0] for one in looks} == {"DISTINCT_SCAN", "IXSCAN"}
    assert sum(one["keysExamined"] for one in looks) < 20
    assert sum(one["docsExamined"] for one in looks) == 1  # the job itself


# ---- races


async def test_of_many_runners_at_two_processes_each_job_goes_to_one(yards: list[Yard]) -> None:
    yard = yards[0]
    await yard.queue(*range(1, 16))
    processes = [(one, Claiming(Attempts())) for one in yards]
    runners = [ANY.but(runner_id=number, runner_uuid=f"r-{number}", name=f"r-{number}") for number in range(20)]
    claims = await asyncio.gather(
        *(one.claim(claiming, runner) for (one, claiming), runner in zip(processes * 10, runners, strict=True))
    )
    given = Counter(one.assignment.job_id for one in claims if one.assignment)
    assert given == Counter(range(1, 16))
    assert await yard.runtime.database["attempts"].count_documents({}) == 15


# ---- answers that are lost on their way


async def job_of(yard: Yard, job_id: int) -> JobRow:
    found = await yard.work.rows("job").get(f"job-{job_id}")
    assert isinstance(found, JobRow)
    return found


async def test_a_claim_that_is_repeated_at_another_process_is_given_the_same_job(yards: list[Yard]) -> None:
    await yards[0].queue(1, 2)
    first = await yards[0].claim(Claiming(Attempts()), claim_id="request-1")
    again = await yards[1].claim(Claiming(Attempts()), claim_id="request-1")
    assert first == again
    assert again.assignment is not None
    assert (again.assignment.job_id, (await job_of(yards[0], 2)).status) == (1, JobStatus.QUEUED)


async def test_a_claim_whose_runner_was_heard_of_is_over(yard: Yard) -> None:
    await yard.queue(1, 2)
    claiming = Claiming(Attempts())
    await yard.claim(claiming, claim_id="request-1")
    await yard.work.tell(StartJob(job_id=1, attempt=1))
    other = await yard.claim(claiming, claim_id="request-1")
    assert other.assignment is not None
    assert other.assignment.job_id == 2


async def test_a_job_that_is_returned_goes_to_the_next_runner_at_once_and_the_old_token_is_worth_nothing(
    yard: Yard,
) -> None:
    await yard.queue(1)
    claiming = Claiming(Attempts())
    first = (await yard.claim(claiming, claim_id="request-1")).assignment
    returned = await claiming.give_back(yard.named("request-1"), ReturnClaim())
    repeated = await claiming.give_back(yard.named("request-1"), ReturnClaim())
    second = (await yard.claim(claiming, claim_id="request-2")).assignment
    assert (returned.job_id, repeated.job_id) == (1, None)
    assert first is not None
    assert second is not None
    assert (second.job_id, second.attempt) == (1, 2)
    with pytest.raises(Refused, match="JOB_TOKEN"):
        await Reporting(Attempts()).report(yard.work, ReportJob(job_id=1, token=first.token, state="running"))


async def test_a_claim_that_is_returned_before_it_is_answered_takes_nothing(yard: Yard) -> None:
    await yard.queue(1)
    claiming = Claiming(Attempts())
    found = await Turns().next(yard.work, ANY, set())
    assert found is not None
    name = yard.named("request-1")
    await claiming.give_back(name, ReturnClaim())
    with pytest.raises(Refused, match="CONFLICT"):
        await claiming._try(name, ANY, found, await name.new_token("hrj-"))
    assert (await job_of(yard, 1)).status is JobStatus.QUEUED
    second = (await yard.claim(claiming, claim_id="request-2")).assignment
    assert second is not None


async def test_two_answers_to_one_claim_give_out_one_job(yards: list[Yard]) -> None:
    await yards[0].queue(1, 2)
    answers = await asyncio.gather(
        *(one.claim(Claiming(Attempts()), claim_id="request-1") for one in yards), return_exceptions=True
    )
    given = {one.assignment.job_id for one in answers if isinstance(one, Claim) and one.assignment}
    statuses = [(await job_of(yards[0], number)).status for number in (1, 2)]
    assert len(given) == 1
    assert sorted(statuses) == [JobStatus.ASSIGNED, JobStatus.QUEUED]
