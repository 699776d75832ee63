"""Checks of running services: responses, clocks, and queued jobs that no runner fits."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import JobStatus
from contracts.errors import RequestRejected
from contracts.history import GetHistory, aggregate_types
from infra.doctor.finding import Finding
from libs.clock import MAX_OFFSET_SECONDS, format_offset
from libs.documents import Document
from libs.messaging.request_reply import MessageClient
from libs.projections.read_model import ReadModel
from libs.service.connections import get_server_time
from libs.service.declaration import Service
from libs.service.replicas import GATEWAY, REPLICAS
from services.builds.projections import job_category
from services.runners.projections import runner_category

ANSWER_TIMEOUT_SECONDS = 4.0
MAX_QUEUE_WAIT = timedelta(minutes=10)
MAX_HEARTBEAT_AGE = timedelta(seconds=30)  # a process whose last heartbeat is older counts as stopped
HEARTBEAT_SERVICE = "builds"  # gateways send heartbeats to several services; only this service's are evaluated
UNKNOWN_ID = "0"  # no object has this id
ANSWERED_CODES = {"HISTORY_NOT_FOUND"}


async def check_services(client: Client, declared: Sequence[Service]) -> AsyncIterator[Finding]:
    """Check that each service responds: to a query for an unknown object, a working one replies HISTORY_NOT_FOUND."""
    caller = MessageClient(client)
    kind_of = {service: kind for kind, service in aggregate_types().items()}
    for service in declared:
        try:
            await caller.query(GetHistory(kind=kind_of[service.name], id=UNKNOWN_ID), timeout=ANSWER_TIMEOUT_SECONDS)
        except RequestRejected as refused:
            if refused.code in ANSWERED_CODES:
                continue
            yield Finding(
                f"service.{service.name}",
                f"The service {service.name} does not respond: {refused.failure.detail}",
                "Its functions are not available, and requests to it fail with SERVICE_UNAVAILABLE.",
                f"Start it with `headrace server service {service.name}`, or see its logs for what it waits for.",
            )


async def check_clocks(databases: Mapping[str, AsyncDatabase[Document]]) -> AsyncIterator[Finding]:
    """Find running processes whose reported clock is wrong. Processes of release 0.2.0 do not report their clock."""
    for service, database in databases.items():
        alive = {"seen_at": {"$gt": await get_server_time(database) - MAX_HEARTBEAT_AGE}, "clock_offset": {"$ne": None}}
        async for replica in database[REPLICAS].find(alive).sort("_id"):
            # a gateway gives one finding, by its heartbeats to HEARTBEAT_SERVICE
            beside = replica["service"] == GATEWAY and service != HEARTBEAT_SERVICE
            if abs(replica["clock_offset"]) > MAX_OFFSET_SECONDS and not beside:
                yield Finding(
                    f"clock.{replica['service']}",
                    f"The clock of {replica['instance']} ({replica['service']}) is "
                    f"{format_offset(replica['clock_offset'])} the database's.",
                    "The process is not ready, and events that it records have a wrong time.",
                    "Synchronize the clock of its machine with NTP.",
                )


async def check_runners(
    builds_database: AsyncDatabase[Document], runners_database: AsyncDatabase[Document]
) -> AsyncIterator[Finding]:
    online = ReadModel(
        runners_database["streams"], type(runner_category.initial_row), runner_category.row_field, "runner-"
    )
    if not await online.count({"online": True, "active": True}):
        yield Finding(
            "runners",
            "No runner is online.",
            "Builds are planned but do not start.",
            "Start an agent with `headrace agent run`, or register one. GET /api/admin/runners lists the registered "
            "runners.",
        )
        return
    jobs = ReadModel(builds_database["streams"], type(job_category.initial_row), job_category.row_field, "job-")
    waiting = {"status": JobStatus.QUEUED, "queued_at": {"$lt": datetime.now(UTC) - MAX_QUEUE_WAIT}}
    if number := await jobs.count(waiting):
        yield Finding(
            "queue",
            f"{number} jobs have been waiting for a runner for more than {MAX_QUEUE_WAIT.total_seconds() / 60:.0f} "
            "minutes.",
            "All runners are busy, or none matches their tags, scope or protected branches.",
            "GET /api/developer/builds/queueds returns the reason for each build. Start more runners, or add tags to "
            "them.",
        )
