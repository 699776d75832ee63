"""Online backup of all service databases as of one point in time, read in a MongoDB snapshot session."""

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

from infra.backup.file_format import BackupError, Section
from infra.backup.file_writer import BackupWriter
from infra.backup.scope import (
    APPEND_ONLY_FIELDS,
    COMMITS,
    DERIVED_COLLECTIONS,
    older_filter,
    recent_filter,
    select_collections,
)
from libs.documents import Document
from libs.eventstore.change_stream import MAX_CLOCK_SKEW
from libs.service.declaration import POLICY_PREFIX, Service
from libs.service.restore_cutoffs import RESTORE_CUTOFFS

Databases = Mapping[str, AsyncDatabase[Document]]
SectionReport = Callable[[Section], None]
BeginBackup = Callable[[datetime], BackupWriter]  # creates the writer for a snapshot time

SNAPSHOT_EXPIRED_CODES = {239, 246}  # SnapshotTooOld, SnapshotUnavailable


async def create_backup(
    client: AsyncMongoClient[Document],
    services: Sequence[Service],
    databases: Databases,
    ack_floors: Mapping[str, Mapping[str, datetime]],
    begin: BeginBackup,
    report: SectionReport,
    excluded: Sequence[str] = (),
) -> Sequence[Section]:
    """Write a backup with the writer that `begin` creates. Return its sections.

    `ack_floors`: by service and consumer, the time up to which all events have been handled. `excluded`: any of "logs"
    and "artifacts". Raises BackupError if there is no event log, or if no consistent snapshot can be read.
    """
    before = await _list_collections(databases)
    if not (logs := [databases[name][COMMITS] for name, names in before.items() if COMMITS in names]):
        raise BackupError("There is nothing to back up: no service has an event log.")
    async with client.start_session(snapshot=True) as session:
        # The first read of an existing collection sets the time of the snapshot, for all databases.
        await logs[0].find_one({}, {"_id": 1}, session=session)
        assert session.operation_time is not None  # noqa: S101
        moment = session.operation_time.as_datetime()
        if before != await _list_collections(databases):
            raise BackupError("A collection was created at the same time. Start the backup again.")
        writer, since = begin(moment), moment - MAX_CLOCK_SKEW
        chosen = {name: select_collections(names, excluded) for name, names in before.items()}
        try:
            for service in services:
                for collection in chosen[service.name]:
                    source = databases[service.name][collection]
                    await _copy_collection(
                        writer, report, service.name, source, recent_filter(collection, since), session
                    )
                writer.begin_section(service.name, RESTORE_CUTOFFS)
                for cutoff in await _find_cutoffs(service, databases, ack_floors.get(service.name, {}), session):
                    writer.write_documents(bson.encode(cutoff))
                writer.end_section()
        except OperationFailure as error:
            if error.code not in SNAPSHOT_EXPIRED_CODES:
                raise
            raise BackupError(
                "The snapshot has expired: the backup took too long, or an index was created at the same time. "
                "Start it again. If that does not help, extend the snapshot history on every member: "
                "db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 1800})."
            ) from error
    for service in services:
        for collection in chosen[service.name]:
            if collection in APPEND_ONLY_FIELDS:
                source = databases[service.name][collection]
                await _copy_collection(writer, report, service.name, source, older_filter(collection, since), None)
    return writer.close()


async def _list_collections(databases: Databases) -> dict[str, list[str]]:
    names = {name: sorted(await database.list_collection_names()) for name, database in databases.items()}
    return {
        service: [name for name in collections if name not in DERIVED_COLLECTIONS]
        for service, collections in names.items()
    }


async def _copy_collection(
    writer: BackupWriter,
    report: SectionReport,
    service: str,
    source: AsyncCollection[Any],
    query: Document,
    session: AsyncClientSession | None,
) -> None:
    writer.begin_section(service, source.name)
    async for batch in source.find_raw_batches(query, session=session):
        writer.write_documents(batch)
        report(writer.section)
    writer.end_section()


async def _find_cutoffs(
    service: Service, databases: Databases, ack_floors: Mapping[str, datetime], session: AsyncClientSession
) -> Sequence[Document]:
    """Return the time before which each policy and each worker has handled all events.

    A backup stores times instead of sequence numbers, because a restore changes the sequence numbers.
    """
    done = dict(ack_floors)
    async for position in databases[service.name]["followers"].find({"event_id": {"$ne": ""}}, session=session):
        source = position["_id"].removeprefix(POLICY_PREFIX)
        if source != position["_id"] and source in databases:
            stream, _, place = position["event_id"].rpartition("@")
            # a removed stream has only its first commit
            versions = {"$in": [1, int(place.partition(".")[0])]}
            wanted = {"stream": stream, "version": versions}
            commits = databases[source][COMMITS].find(wanted, {"at": 1}, session=session)
            for last in await commits.sort("version", -1).limit(1).to_list():
                done[position["_id"]] = last["at"]
    before = {name: at - MAX_CLOCK_SKEW for name, at in done.items()}
    # cutoffs of an earlier restore of this system, which still apply
    async for earlier in databases[service.name][RESTORE_CUTOFFS].find({}, session=session):
        before[earlier["_id"]] = max(earlier["before"], before.get(earlier["_id"], earlier["before"]))
    return [{"_id": name, "before": at} for name, at in sorted(before.items())]


async def read_ack_floors(services: Sequence[Service], nats: Client) -> dict[str, dict[str, datetime]]:
    """Return, by service and consumer, the time up to which all events have been handled.

    Consumers that do not exist or have handled no event are left out. Call this function before the snapshot is taken:
    then the times are not later than the data in the backup.
    """
    js = nats.jetstream()
    floors: dict[str, dict[str, datetime]] = {}
    for service in services:
        for worker in service.workers:
            name = worker.consumer_name(service.name)
            try:
                state = (await js.stream_info(worker.source)).state
                info = await js.consumer_info(worker.source, name)
                if info.ack_floor is None or not info.ack_floor.stream_seq:
                    continue
                # events that were trimmed have been handled
                handled = max(info.ack_floor.stream_seq, state.first_seq)
                last = await js.get_msg(worker.source, seq=handled)
            except NotFoundError:
                continue  # the worker will receive all events again
            if time := (last.headers or {}).get("ce-time"):
                floors.setdefault(service.name, {})[name] = datetime.fromisoformat(time)
    return floors
