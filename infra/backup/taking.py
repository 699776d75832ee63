"""Taking a backup: all service databases as they were at one moment, while the system goes on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import bson
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from infra.backup.container import BackupError, Section, Writer
from infra.backup.contents import DERIVED, GROWING, LOG, kept, older, recent
from libs.eventstore.documents import Document
from libs.handled import HANDLED
from libs.relay import SKEW
from libs.service import Service
from libs.workers import consumer_name

Databases = Mapping[str, AsyncDatabase[Document]]
Report = Callable[[Section], None]
Write = Callable[[datetime], Writer]  # begins the file, once the moment is known

TOO_LATE = {239, 246}  # SnapshotTooOld, SnapshotUnavailable
REACTIONS = "reactions-to-"


async def take(
    client: AsyncMongoClient[Document],
    services: Sequence[Service],
    databases: Databases,
    floors: Mapping[str, Mapping[str, datetime]],
    begin: Write,
    report: Report,
    left_out: Sequence[str] = (),
) -> Sequence[Section]:
    """`floors`: by service and consumer the time of the last event below which all were worked off."""
    before = await _names(databases)
    if not (logs := [databases[name][LOG] for name, names in before.items() if LOG in names]):
        raise BackupError("There is nothing to back up: no service has a log here.")
    async with client.start_session(snapshot=True) as session:
        # the first read makes the moment, but not that of a collection that is not there; all others of the session,
        # in all databases, see the same
        await logs[0].find_one({}, {"_id": 1}, session=session)
        assert session.operation_time is not None  # noqa: S101
        moment = session.operation_time.as_datetime()
        if before != await _names(databases):
            raise BackupError("A collection was made at this very moment; begin the backup again.")
        writer, since = begin(moment), moment - SKEW
        chosen = {name: kept(names, left_out) for name, names in before.items()}
        try:
            for service in services:
                for collection in chosen[service.name]:
                    source = databases[service.name][collection]
                    await _copy(writer, report, service.name, source, recent(collection, since), session)
                writer.begin(service.name, HANDLED)
                for one in await _handled(service, databases, floors.get(service.name, {}), session):
                    writer.documents(bson.encode(one))
                writer.end()
        except OperationFailure as error:
            if error.code not in TOO_LATE:
                raise
            raise BackupError(
                "MongoDB remembers the moment of the backup no longer: it took too long, or an index was made "
                "meanwhile. Begin again; if that does not help, let it remember longer, on every member: "
                "db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 1800})."
            ) from error
    for service in services:
        for collection in chosen[service.name]:
            if collection in GROWING:
                source = databases[service.name][collection]
                await _copy(writer, report, service.name, source, older(collection, since), None)
    return writer.close()


async def _names(databases: Databases) -> dict[str, list[str]]:
    found = {name: sorted(await database.list_collection_names()) for name, database in databases.items()}
    return {service: [one for one in names if one not in DERIVED] for service, names in found.items()}


async def _copy(
    writer: Writer,
    report: Report,
    service: str,
    source: AsyncCollection[Any],
    query: Document,
    session: AsyncClientSession | None,
) -> None:
    writer.begin(service, source.name)
    async for batch in source.find_raw_batches(query, session=session):
        writer.documents(batch)
        report(writer.section)
    writer.end()


async def _handled(
    service: Service, databases: Databases, floors: Mapping[str, datetime], session: AsyncClientSession
) -> Sequence[Document]:
    """How far followers and workers had come, as times: another JetStream counts its events from one again."""
    done = dict(floors)
    async for position in databases[service.name]["followers"].find({"event_id": {"$ne": ""}}, session=session):
        source = position["_id"].removeprefix(REACTIONS)
        if source != position["_id"] and source in databases:
            stream, _, place = position["event_id"].rpartition("@")
            wanted = {"stream": stream, "version": int(place.partition(".")[0])}
            if last := await databases[source][LOG].find_one(wanted, {"at": 1}, session=session):
                done[position["_id"]] = last["at"]
    before = {name: at - SKEW for name, at in done.items()}
    async for earlier in databases[service.name][HANDLED].find({}, session=session):  # this system was restored itself
        before[earlier["_id"]] = max(earlier["before"], before.get(earlier["_id"], earlier["before"]))
    return [{"_id": name, "before": at} for name, at in sorted(before.items())]


async def floors(services: Sequence[Service], nats: Client) -> dict[str, dict[str, datetime]]:
    """By service and consumer the time of the event up to which its worker has worked off all. To be asked first."""
    js = nats.jetstream()
    found: dict[str, dict[str, datetime]] = {}
    for service in services:
        for worker in service.workers:
            name = consumer_name(service.name, worker)
            try:
                info = await js.consumer_info(worker.source, name)
                if info.ack_floor is None or not info.ack_floor.stream_seq:
                    continue
                last = await js.get_msg(worker.source, seq=info.ack_floor.stream_seq)
            except NotFoundError:
                continue  # it will look at every event again
            if time := (last.headers or {}).get("ce-time"):
                found.setdefault(service.name, {})[name] = datetime.fromisoformat(time)
    return found
