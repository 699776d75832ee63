"""Reads the whole log and everything that follows from it, and says what is lost, doubled, stuck or otherwise wrong."""

import base64
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import (
    BuildFinished,
    BuildQueued,
    JobAssigned,
    JobFinished,
    JobLost,
    JobStatus,
)
from libs.eventstore.decider import Category, RecordedEvent, Release, Reservation, Reserve
from libs.eventstore.mapping import from_document
from libs.eventstore.repository import LoadedStream
from libs.messaging import cloudevents
from libs.messaging.request_reply import connect
from libs.projections.projector import projection_collection
from libs.security.envelope_encryption import KeyVault
from libs.service.connections import Document, create_mongo_client, create_vault, get_database
from libs.service.declaration import Projection, Service
from libs.settings import Settings
from services.builds.app import service as builds
from services.identity.app import service as identity
from services.notifications.app import service as notifications
from services.projects.app import service as projects
from services.runners.app import service as runners
from tests.support import eventually, read_stream_messages
from tests.support.stacks.build_launcher import LaunchedBuild
from tests.support.stacks.running_stack import RunningStack

SERVICES = (identity, projects, builds, runners, notifications)
SETTLE_TIMEOUT = 60.0


@dataclass
class Verdict:
    """What should be four empty lists."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # what follows from the log disagrees with it

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.stuck or self.wrong)


def audit_settings(stack: RunningStack) -> Settings:
    key = base64.b64decode((stack.data / "secrets" / "master-key").read_text())
    return Settings(mongodb_url=stack.mongodb_url, nats_url=stack.nats_url, master_keys=(key,), instance="audit")


async def audit_stack(stack: RunningStack, launched: Sequence[LaunchedBuild], executions: Path) -> Verdict:
    """Once the stack is at rest."""
    verdict = Verdict(stuck=[f"build {one.build_id} has not ended" for one in launched if one.finished_at is None])
    logs = await compare_with_logs(stack, verdict)
    _check_builds(logs["builds"], launched, verdict)
    _check_executions(logs["builds"], executions, verdict)
    _check_empty_queues(stack, verdict)
    return verdict


async def compare_with_logs(stack: RunningStack, verdict: Verdict) -> dict[str, list[RecordedEvent[Any]]]:
    """Everything that follows from the logs of the services with these logs, which it answers."""
    settings = audit_settings(stack)
    bus = await connect(settings, "audit")
    try:
        async with create_mongo_client(settings, "audit") as client:
            logs = {}
            for service in SERVICES:
                database = get_database(client, settings, service.name)
                await _wait_until_settled(service, database, bus, verdict)
                vault = create_vault(database, settings)
                before = await _read_log(database, vault)
                found = [(message.headers or {})["ce-id"] for message in await read_stream_messages(bus, service.name)]
                log = logs[service.name] = await _read_log(database, vault)
                _check_publication(found, before, log, verdict)
                await _check_rows(service, database, log, verdict)
                await _check_projections(service, database, bus, verdict)
            await _check_attempts(get_database(client, settings, "builds"), verdict)
    finally:
        await bus.close()
    return logs


# ---- the builds


def _check_builds(log: Sequence[RecordedEvent[Any]], launched: Sequence[LaunchedBuild], verdict: Verdict) -> None:
    queued = Counter(one.event.build_id for one in log if isinstance(one.event, BuildQueued))
    ended = Counter(one.event.build_id for one in log if isinstance(one.event, BuildFinished))
    executors = {one.event.build_id: one.event.executor_id for one in log if isinstance(one.event, BuildQueued)}
    ends = [one.event for one in log if isinstance(one.event, JobFinished)]
    over = Counter(event.job_id for event in ends)
    won = Counter(event.job_id for event in ends if event.status is JobStatus.SUCCESS)
    for one in launched:
        if executors.get(one.build_id) != one.executor_id:
            verdict.lost.append(f"the launch of build {one.build_id} was acknowledged and is not in the log")
    asked = Counter(one.build_id for one in launched)
    verdict.duplicated += [f"build {build} is a launch too many" for build in queued.keys() - asked.keys()]
    verdict.duplicated += [f"build {build} answers {count} launches" for build, count in asked.items() if count > 1]
    verdict.duplicated += [f"build {build} was queued {count} times" for build, count in queued.items() if count > 1]
    verdict.duplicated += [f"build {build} ended {count} times" for build, count in ended.items() if count > 1]
    verdict.duplicated += [f"job {job} succeeded {count} times" for job, count in won.items() if count > 1]
    verdict.duplicated += [f"job {job} ended {count} times" for job, count in over.items() if count > 1]
    verdict.stuck += [f"build {build} has no end in the log" for build in queued.keys() - ended.keys()]


def _check_executions(log: Sequence[RecordedEvent[Any]], file: Path, verdict: Verdict) -> None:
    """A job runs once; again only after its runner was lost, and then the attempts in the log bound it."""
    lines = Counter(tuple(line.split()) for line in file.read_text().splitlines()) if file.exists() else Counter()
    assigned = Counter(one.event.job_id for one in log if isinstance(one.event, JobAssigned))
    lost = Counter(one.event.job_id for one in log if isinstance(one.event, JobLost))
    won = {
        one.event.job_id for one in log if isinstance(one.event, JobFinished) and one.event.status is JobStatus.SUCCESS
    }
    for job, times in assigned.items():
        begun, ended = lines["begin", str(job)], lines["end", str(job)]
        if begun > times or (not lost[job] and begun > 1):
            verdict.duplicated.append(f"job {job} was executed {begun} times in {times} attempts, {lost[job]} lost")
        if job in won and not ended:
            verdict.wrong.append(f"job {job} succeeded and was never executed to its end")


async def _check_attempts(database: AsyncDatabase[Document], verdict: Verdict) -> None:
    async def closed() -> bool:
        return await database["attempts"].count_documents({"finished": False}) == 0

    try:
        await eventually(closed, within=SETTLE_TIMEOUT)
    except TimeoutError:
        verdict.stuck.append(f"{await database['attempts'].count_documents({'finished': False})} attempts stay open")


def _check_empty_queues(stack: RunningStack, verdict: Verdict) -> None:
    for name in ("queueds", "executeds"):
        left = stack.admin.get(f"/developer/builds/{name}").raise_for_status().json()
        verdict.stuck += [f"{name} still shows {one}" for one in left]


# ---- what follows from the log


async def _read_log(database: AsyncDatabase[Document], vault: KeyVault) -> list[RecordedEvent[Any]]:
    cursor = database["commits"].find({}).sort([("stream", 1), ("version", 1)])
    return [recorded async for document in cursor for recorded in await from_document(document, vault)]


async def _wait_until_settled(
    service: Service, database: AsyncDatabase[Document], bus: Client, verdict: Verdict
) -> None:
    """Relay and followers have nothing left to do."""

    async def published() -> bool:
        pipeline: list[Document] = [{"$group": {"_id": None, "events": {"$sum": {"$size": "$events"}}}}]
        counted = await (await database["commits"].aggregate(pipeline)).to_list()
        events = counted[0]["events"] if counted else 0
        return bool((await bus.jetstream().stream_info(service.name)).state.messages >= events)

    async def followed() -> bool:
        positions = {one["_id"]: one["sequence"] async for one in database["followers"].find({})}
        interests: list[tuple[str, str, Callable[[RecordedEvent[Any]], Any]]] = [
            *((f"reactions-to-{source}", source, policy) for source, policy in service.policies.items()),
            *((projection_collection(view), view.source, view.row_key) for view in service.projections),
        ]
        ends = [(name, await _last_relevant_sequence(bus, source, interest)) for name, source, interest in interests]
        return all(positions.get(name, 0) >= end for name, end in ends)

    for condition, what in ((published, "the relay"), (followed, "a follower")):
        try:
            await eventually(condition, within=SETTLE_TIMEOUT)
        except TimeoutError:
            verdict.stuck.append(f"{what} of {service.name} did not catch up")


async def _last_relevant_sequence(bus: Client, source: str, interest: Callable[[RecordedEvent[Any]], Any]) -> int:
    places = [
        message.metadata.sequence.stream
        for message in await read_stream_messages(bus, source)
        if interest(cloudevents.from_message(message.headers or {}, message.data))
    ]
    return places[-1] if places else 0


def _check_publication(
    found: Sequence[str], before: Sequence[RecordedEvent[Any]], after: Sequence[RecordedEvent[Any]], verdict: Verdict
) -> None:
    """JetStream holds every event of the log once, and those of a stream in order."""
    verdict.duplicated += [f"{one} was published {times} times" for one, times in Counter(found).items() if times > 1]
    verdict.lost += [f"{one} was not published" for one in {one.id for one in before} - set(found)]
    verdict.wrong += [f"{one} was published and is not in the log" for one in set(found) - {one.id for one in after}]
    order = {event_id: place for place, event_id in enumerate(found)}
    verdict.wrong += [
        f"{second.id} was published before {first.id}"
        for first, second in itertools.pairwise(before)
        if first.stream == second.stream and order.get(first.id, 0) > order.get(second.id, len(found))
    ]


async def _check_rows(
    service: Service, database: AsyncDatabase[Document], log: Sequence[RecordedEvent[Any]], verdict: Verdict
) -> None:
    """Heads, rows and claims are what a fold of the log says."""
    heads = {one["_id"]: one async for one in database["streams"].find({})}
    owners = {one["_id"]: one["stream"] async for one in database["claims"].find({})}
    expected_owners: dict[str, str] = {}
    by_stream = defaultdict(list)
    for one in log:
        by_stream[one.stream].append(one)
    categories = {category.name: category for category in service.categories}
    for stream, history in by_stream.items():
        category = categories[stream.partition("-")[0]]
        folded = LoadedStream(0, category.decider.initial, category.initial_row).apply_events(category, history)
        versions = sorted({one.version for one in history})
        if versions != list(range(1, folded.version + 1)):
            verdict.wrong.append(f"{stream} has the versions {versions}")
        head = heads.pop(stream, None)
        if head is None or (head["version"], head["commit"]) != (folded.version, history[-1].metadata.command_id):
            verdict.wrong.append(f"the head of {stream} is not at version {folded.version}")
        elif _read_row(head, category) != (None if category.is_deleted(folded.row) else folded.row):
            verdict.wrong.append(f"the row of {stream} is not the fold of its events")
        for claim in _list_reservation_changes(category, history):
            match claim:
                case Reserve(key=key):
                    expected_owners[key] = stream
                case Release(key=key):
                    expected_owners.pop(key, None)
    verdict.wrong += [f"{stream} has a head and no events" for stream in heads]
    if owners != expected_owners:
        verdict.wrong.append(f"the claims of {service.name} do not follow from the log")


def _read_row(head: Document, category: Category[Any, Any, Any, Any]) -> Any:
    found = head[f"{category.name}_v{category.row_version}"]
    return None if found is None else type(category.initial_row).model_validate(found)


def _list_reservation_changes(
    category: Category[Any, Any, Any, Any], history: Iterable[RecordedEvent[Any]]
) -> Iterable[Reservation]:
    state = category.decider.initial
    for one in history:
        yield from category.decider.reservations(state, one.event)
        state = category.decider.evolve(state, one.event)


async def _check_projections(
    service: Service, database: AsyncDatabase[Document], bus: Client, verdict: Verdict
) -> None:
    for view in service.projections:
        messages = await read_stream_messages(bus, view.source)
        expected = _project_rows(view, [cloudevents.from_message(one.headers or {}, one.data) for one in messages])
        found = {
            one["_id"]: type(view.initial_row).model_validate(one["row"])
            async for one in database[projection_collection(view)].find({})
        }
        if found != expected:
            verdict.wrong.append(f"the view {view.name} is not what a rebuild would make")


def _project_rows(view: Projection, news: Iterable[RecordedEvent[Any]]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for one in news:
        key = view.row_key(one)
        if key is not None:
            rows[key] = view.apply(rows.get(key, view.initial_row), one)
    return {key: row for key, row in rows.items() if not view.is_deleted(row)}
