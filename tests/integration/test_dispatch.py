"""Who gets a job next: priorities, turns of projects, the price of a long queue, and two services that race."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import (
    Claim,
    ClaimJob,
    Demand,
    JobRow,
    LaunchedProject,
    PlannedJob,
    QueueJob,
    RunnerOffer,
)
from contracts.projects import GetJobSecrets, JobSecrets
from libs.connections import Document, database_of
from libs.deciding import Cause
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work, now
from libs.security.sealing import MemoryVault
from libs.service import Service
from libs.settings import Settings
from services.builds.app import service
from services.builds.attempts import Attempts
from services.builds.claiming import Claiming
from services.builds.queue import Turns
from services.builds.views import job as category
from tests.integration.gateway_stage import Services

ROW = f"job_v{category.row_version}"
NOON = datetime.fromisoformat("2026-01-02T12:00:00Z")
ANY = RunnerOffer(runner_id=1, runner_uuid="r-1", name="any")
LINUX = ANY.but(tags=("linux",))
OF_PROJECT_2 = ANY.but(owner_type="PROJECT", owner_id=2)
OF_COMPANY_9 = ANY.but(owner_type="COMPANY", owner_id=9)


def project(number: int, company_id: int | None = None) -> LaunchedProject:
    return LaunchedProject(
        project_id=number,
        name=f"mill {number}",
        owner_alias="ada",
        alias=f"mill-{number}",
        company_id=company_id,
        repository="/repository",
        branch="main",
        spec_file_path="/headrace.yaml",
    )


def head(number: int, project_id: int = 1, company_id: int | None = None, tags: Sequence[str] = (), **more: Any) -> Any:
    """A queued job as its head is kept; the number is its age."""
    launched = project(project_id, company_id)
    protected = bool(more.get("protected"))
    row = JobRow(
        id=number,
        uuid=str(uuid4()),
        build_id=number,
        project_id=project_id,
        name="build",
        tags=tuple(tags),
        attempt=1,
        queued_at=NOON + timedelta(seconds=number),
        project=launched,
        demand=Demand.of(tuple(tags), launched, protected=protected).key,
        **more,
    )
    return {"_id": f"job-{number}", "version": 1, "commit": f"c-{number}", ROW: row.model_dump()}


@dataclass
class Yard:
    runtime: Runtime

    @property
    def work(self) -> Work:
        return Work(self.runtime, Cause(uuid4().hex, now()))

    async def wait(self, *heads: Any) -> None:
        await self.runtime.database["streams"].insert_many(heads)

    async def queue(self, *job_ids: int, project_id: int = 1) -> None:
        for one in job_ids:
            planned = PlannedJob(job_id=one, job_uuid=str(uuid4()), name="build")
            order = QueueJob(
                job_id=one, build_id=one, project=project(project_id), job=planned, ref="main", sha="0" * 40
            )
            await self.work.tell(order, step=str(one))

    async def given(self, runner: RunnerOffer = ANY, turns: Turns | None = None) -> list[int]:
        """All that the runner gets, in this order."""
        turns, found = turns or Turns(), list[int]()
        while job := await turns.next(self.work, runner, set()):
            await turns.note(self.work, job)
            found.append(job.id)
        return found


@pytest.fixture
async def yard(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> AsyncIterator[Yard]:
    database = database_of(mongo_client, settings, "builds")
    vault = MemoryVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    runtime = Runtime(service, settings, database, bus, vault, Metrics.made_from(get_meter("test")))
    yield Yard(runtime)
    await runtime.finish(5)


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


@pytest.mark.usefixtures("no_secrets")
async def test_a_job_that_is_queued_and_then_given_away_leaves_the_queue(yard: Yard) -> None:
    await yard.queue(1, 2)
    rows = yard.work.rows("job")
    assert [one.id for one in await rows.find({"demand": Demand().key})] == [1, 2]
    await claim(yard, Claiming(Attempts()))
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


async def claim(yard: Yard, claiming: Claiming, runner: RunnerOffer = ANY) -> Claim:
    return await claiming.claim(yard.work, ClaimJob(runner=runner))


@pytest.fixture
async def no_secrets(bus: Client) -> AsyncIterator[None]:
    projects = Services(bus)
    await projects.play(GetJobSecrets, lambda _: JobSecrets(secrets=(), ssh_key=None))
    yield
    await projects.stop(GetJobSecrets)


@pytest.mark.usefixtures("no_secrets")
async def test_of_many_runners_at_two_processes_each_job_goes_to_one(yard: Yard, bus: Client) -> None:
    database, settings = yard.runtime.database, replace(yard.runtime.settings, instance="2")
    metrics = Metrics.made_from(get_meter("test"))
    other = Runtime(service, settings, database, bus, yard.runtime.vault, metrics)
    await yard.queue(*range(1, 16))
    processes = [(yard, Claiming(Attempts())), (Yard(other), Claiming(Attempts()))]
    claims = await asyncio.gather(
        *(
            claim(*processes[number % 2], ANY.but(runner_id=number, runner_uuid=f"r-{number}", name=f"r-{number}"))
            for number in range(20)
        )
    )
    await other.finish(5)
    given = Counter(one.assignment.job_id for one in claims if one.assignment)
    assert given == Counter(range(1, 16))
    assert await database["attempts"].count_documents({}) == 15
