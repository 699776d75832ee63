"""The services at work: whether each answers, and whether builds find runners."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import JobStatus
from contracts.errors import Refused
from contracts.history import GetHistory, kinds
from infra.doctor.finding import Finding
from libs.clock import LIMIT_SECONDS, difference
from libs.connections import server_time
from libs.eventstore.documents import Document
from libs.messaging import Caller
from libs.replicas import COLLECTION, GATEWAY
from libs.rows import Rows
from libs.service import Service
from services.builds.views import job
from services.runners.views import runners

ANSWER = 4.0  # seconds
LONGEST_WAIT = timedelta(minutes=10)
ALIVE = timedelta(seconds=30)  # since the last sign of life
HEARD_BY = "builds"  # one of the services that gateways send heartbeats to
NOBODY = "0"  # no stream has this number
ANSWERED = {"HISTORY_NOT_FOUND"}


async def services(client: Client, declared: Sequence[Service]) -> AsyncIterator[Finding]:
    """Every replica answers for the history of its streams; of what was never there it says so, after a look."""
    caller = Caller(client)
    kind_of = {service: kind for kind, service in kinds().items()}
    for service in declared:
        try:
            await caller.ask(GetHistory(kind=kind_of[service.name], id=NOBODY), timeout=ANSWER)
        except Refused as refused:
            if refused.code in ANSWERED:
                continue
            yield Finding(
                f"service.{service.name}",
                f"The service {service.name} does not answer: {refused.failure.detail}.",
                "What it is for does not work, and commands to it are refused with SERVICE_UNAVAILABLE.",
                f"Start it, or see its logs: headrace service {service.name} says what it waits for.",
            )


async def clocks(databases: Mapping[str, AsyncDatabase[Document]]) -> AsyncIterator[Finding]:
    """Of every process that is alive, as it compared its clock with the database's itself. 0.2.0 does not tell."""
    for service, database in databases.items():
        alive = {"seen_at": {"$gt": await server_time(database) - ALIVE}, "clock_offset": {"$ne": None}}
        async for one in database[COLLECTION].find(alive).sort("_id"):
            beside = one["service"] == GATEWAY and service != HEARD_BY  # several services know of each gateway
            if abs(one["clock_offset"]) > LIMIT_SECONDS and not beside:
                yield Finding(
                    f"clock.{one['service']}",
                    f"The clock of {one['instance']} ({one['service']}) is {difference(one['clock_offset'])} the "
                    "database's.",
                    "The process is not ready. Events that it records carry a wrong time.",
                    "Synchronise the clock of its machine (NTP).",
                )


async def fleet(builds: AsyncDatabase[Document], fleet: AsyncDatabase[Document]) -> AsyncIterator[Finding]:
    online = Rows(fleet["streams"], type(runners.row), runners.row_field, "runner-")
    if not await online.count({"online": True, "active": True}):
        yield Finding(
            "runners",
            "No runner is online.",
            "Builds are planned and then wait.",
            "Start an agent (`headrace agent run`), or register one; GET /api/admin/runners shows which are known.",
        )
        return
    jobs = Rows(builds["streams"], type(job.row), job.row_field, "job-")
    waiting = {"status": JobStatus.QUEUED, "queued_at": {"$lt": datetime.now(UTC) - LONGEST_WAIT}}
    if number := await jobs.count(waiting):
        yield Finding(
            "queue",
            f"{number} jobs have waited for a runner for more than {LONGEST_WAIT.total_seconds() / 60:.0f} minutes.",
            "All runners are busy, or none fits: by its tags, its scope or protected branches.",
            "GET /api/developer/builds/queueds says of each why it waits; start more runners, or give them the tags.",
        )
