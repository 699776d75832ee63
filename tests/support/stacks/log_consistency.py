"""Comparison of a stack's derived data with its event logs: rows, reservations, projections and streams."""

import base64
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore.decider import Category, RecordedEvent, Release, Reservation, Reserve
from libs.eventstore.mapping import from_document
from libs.eventstore.repository import LoadedStream
from libs.messaging import cloudevents
from libs.messaging.nats_connection import connect
from libs.projections.projector import projection_collection
from libs.security.envelope_encryption import KeyVault
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import AnyProjection, Service
from libs.settings import Settings
from services.builds.app import service as builds
from services.identity.app import service as identity
from services.notifications.app import service as notifications
from services.projects.app import service as projects
from services.runners.app import service as runners
from tests.releases.unfinished_work import wait_until_idle
from tests.support import read_stream_messages
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import eventually

SERVICES = (identity, projects, builds, runners, notifications)


SETTLE_TIMEOUT = 60.0


@dataclass
class Verdict:
    """The findings of an audit. For a correct stack, all four lists are empty."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # data that disagrees with the event log

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.stuck or self.wrong)


def audit_settings(stack: RunningStack) -> Settings:
    key = base64.b64decode((stack.data / "secrets" / "master-key").read_text())
    return Settings(mongodb_url=stack.mongodb_url, nats_url=stack.nats_url, master_keys=(key,), instance="audit")


async def compare_with_logs(stack: RunningStack, verdict: Verdict) -> dict[str, list[RecordedEvent[Any]]]:
    """Compare the derived data of all services with their event logs, and add the differences to `verdict`.

    Return the events by service name.
    """
    settings = audit_settings(stack)
    bus = await connect(settings, "audit")
    try:
        async with create_mongo_client(settings, "audit") as client:
            logs = {}
            for service in SERVICES:
                database = get_database(client, settings, service.name)
                try:
                    await _wait_until_settled(service, database, bus)
                except AssertionError as late:
                    verdict.stuck.append(f"the relay or a subscription of {service.name} did not catch up: {late}")
                vault = create_vault(database, settings)
                before = await _read_log(database, vault)
                published_ids = [
                    (message.headers or {})["ce-id"] for message in await read_stream_messages(bus, service.name)
                ]
                log = logs[service.name] = await _read_log(database, vault)
                _check_publication(published_ids, before, log, verdict)
                await _check_rows(service, database, log, verdict)
                await _check_projections(service, database, bus, verdict)
            await _check_attempts(get_database(client, settings, "builds"), verdict)
    finally:
        await bus.close()
    return logs


async def wait_until_settled(stack: RunningStack) -> None:
    """Wait until all events are published, and handled by all subscriptions and workers.

    The worker `builds-clearing` is excluded: it repeats the purge of a deleted project for half a minute.
    """
    settings = audit_settings(stack)
    bus = await connect(settings, "audit")
    try:
        async with create_mongo_client(settings, "audit") as client:
            for service in SERVICES:
                await _wait_until_settled(service, get_database(client, settings, service.name), bus)
        await wait_until_idle(bus, is_excluded=lambda durable: durable == "builds-clearing")
    finally:
        await bus.close()


async def _check_attempts(database: AsyncDatabase[Document], verdict: Verdict) -> None:
    async def all_closed() -> bool:
        return await database["attempts"].count_documents({"finished": False}) == 0

    try:
        await eventually(all_closed, within=SETTLE_TIMEOUT)
    except AssertionError:
        verdict.stuck.append(
            f"{await database['attempts'].count_documents({'finished': False})} attempts are still open"
        )


async def _read_log(database: AsyncDatabase[Document], vault: KeyVault) -> list[RecordedEvent[Any]]:
    cursor = database["commits"].find({}).sort([("stream", 1), ("version", 1)])
    return [recorded async for document in cursor for recorded in await from_document(document, vault)]


async def _wait_until_settled(service: Service, database: AsyncDatabase[Document], bus: Client) -> None:
    """Wait until the relay and all subscriptions of the service have caught up."""

    async def is_published() -> bool:
        pipeline: list[Document] = [{"$group": {"_id": None, "events": {"$sum": {"$size": "$events"}}}}]
        counted = await (await database["commits"].aggregate(pipeline)).to_list()
        events = counted[0]["events"] if counted else 0
        return bool((await bus.jetstream().stream_info(service.name)).state.messages >= events)

    async def has_caught_up() -> bool:
        positions = {checkpoint["_id"]: checkpoint["sequence"] async for checkpoint in database["followers"].find({})}
        return all(positions.get(name, 0) >= sequence for name, sequence in last_sequences.items())

    await eventually(is_published, within=SETTLE_TIMEOUT)
    last_sequences = await _last_relevant_sequences(service, bus)
    await eventually(has_caught_up, within=SETTLE_TIMEOUT)


async def _last_relevant_sequences(service: Service, bus: Client) -> dict[str, int]:
    """Return, for each subscription of the service, the sequence number of the last published event that it handles."""
    relevance: list[tuple[str, str, Callable[[RecordedEvent[Any]], Any]]] = [
        *((policy.subscription, policy.source, policy.react) for policy in service.policies),
        *(
            (projection_collection(projection), projection.source, projection.row_key)
            for projection in service.projections
        ),
    ]
    published = {
        source: [
            (message.metadata.sequence.stream, cloudevents.from_message(message.headers or {}, message.data))
            for message in await read_stream_messages(bus, source)
        ]
        for source in {source for _, source, _ in relevance}
    }
    return {
        name: max((sequence for sequence, recorded in published[source] if is_relevant(recorded)), default=0)
        for name, source, is_relevant in relevance
    }


def _check_publication(
    published_ids: Sequence[str],
    before: Sequence[RecordedEvent[Any]],
    after: Sequence[RecordedEvent[Any]],
    verdict: Verdict,
) -> None:
    """Check that JetStream holds every event exactly once and in stream order."""
    verdict.duplicated += [
        f"{event_id} was published {times} times" for event_id, times in Counter(published_ids).items() if times > 1
    ]
    verdict.lost += [
        f"{event_id} was not published" for event_id in {recorded.id for recorded in before} - set(published_ids)
    ]
    verdict.wrong += [
        f"{event_id} was published but is not in the log"
        for event_id in set(published_ids) - {recorded.id for recorded in after}
    ]
    order = {event_id: position for position, event_id in enumerate(published_ids)}
    verdict.wrong += [
        f"{second.id} was published before {first.id}"
        for first, second in itertools.pairwise(before)
        if first.stream == second.stream and order.get(first.id, 0) > order.get(second.id, len(published_ids))
    ]


async def _check_rows(
    service: Service, database: AsyncDatabase[Document], log: Sequence[RecordedEvent[Any]], verdict: Verdict
) -> None:
    """Check that stream heads, rows and reservations match the events."""
    heads = {head["_id"]: head async for head in database["streams"].find({})}
    owners = {reservation["_id"]: reservation["stream"] async for reservation in database["claims"].find({})}
    expected_owners: dict[str, str] = {}
    by_stream = defaultdict(list)
    for recorded in log:
        by_stream[recorded.stream].append(recorded)
    categories = {category.name: category for category in service.categories}
    for stream, history in by_stream.items():
        category = categories[stream.partition("-")[0]]
        loaded = LoadedStream(0, category.decider.initial, category.initial_row).apply_events(category, history)
        versions = sorted({recorded.version for recorded in history})
        if versions != list(range(1, loaded.version + 1)):
            verdict.wrong.append(f"{stream} has a gap in its versions: {versions}")
        head = heads.pop(stream, None)
        if head is None or (head["version"], head["commit"]) != (loaded.version, history[-1].metadata.command_id):
            verdict.wrong.append(f"the head of {stream} is not at version {loaded.version}")
        elif _read_row(head, category) != (None if category.is_deleted(loaded.row) else loaded.row):
            verdict.wrong.append(f"the row of {stream} does not match its events")
        for change in _list_reservation_changes(category, history):
            match change:
                case Reserve(key=key):
                    expected_owners[key] = stream
                case Release(key=key):
                    expected_owners.pop(key, None)
    verdict.wrong += [f"{stream} has a head but no events" for stream in heads]
    if owners != expected_owners:
        verdict.wrong.append(f"the reservations of {service.name} do not match the log")


def _read_row(head: Document, category: Category[Any, Any, Any, Any]) -> Any:
    stored_row = head[f"{category.name}_v{category.row_version}"]
    return None if stored_row is None else type(category.initial_row).model_validate(stored_row)


def _list_reservation_changes(
    category: Category[Any, Any, Any, Any], history: Iterable[RecordedEvent[Any]]
) -> Iterable[Reservation]:
    state = category.decider.initial
    for recorded in history:
        yield from category.decider.reservations(state, recorded.event)
        state = category.decider.evolve(state, recorded.event)


async def _check_projections(
    service: Service, database: AsyncDatabase[Document], bus: Client, verdict: Verdict
) -> None:
    """Check that each projection becomes equal to a rebuild. The relay of another service may still publish events."""
    for projection in service.projections:
        try:
            await eventually(partial(_equals_rebuild, projection, database, bus), within=SETTLE_TIMEOUT)
        except AssertionError:
            verdict.wrong.append(f"the projection {projection.name} differs from a rebuild")


async def _equals_rebuild(projection: AnyProjection, database: AsyncDatabase[Document], bus: Client) -> bool:
    messages = await read_stream_messages(bus, projection.source)
    expected = _project_rows(
        projection, [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
    )
    stored_rows = {
        document["_id"]: type(projection.initial_row).model_validate(document["row"])
        async for document in database[projection_collection(projection)].find({})
    }
    return stored_rows == expected


def _project_rows(projection: AnyProjection, events: Iterable[RecordedEvent[Any]]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for recorded in events:
        key = projection.row_key(recorded)
        if key is not None:
            rows[key] = projection.apply(rows.get(key, projection.initial_row), recorded)
    return {key: row for key, row in rows.items() if not projection.is_deleted(row)}
