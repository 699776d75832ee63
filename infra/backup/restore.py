"""Restore of a backup into an empty installation. Derived data is rebuilt from the event logs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bson import decode
from bson.raw_bson import RawBSONDocument
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError
from pymongo import WriteConcern
from pymongo.asynchronous.database import AsyncDatabase

from contracts.history import GetHistory
from infra.backup import erasures
from infra.backup.erasures import Erasure
from infra.backup.file_format import BackupError, Section, split_documents
from infra.backup.file_reader import BackupReader
from infra.backup.scope import COMMITS, DATA_KEYS, RESTORE_MARKER_ID, RESTORE_MARKERS, is_restore_interrupted
from infra.local.process import OperatorError
from libs.documents import Document
from libs.eventstore.change_stream import MAX_CLOCK_SKEW
from libs.eventstore.mongo import create_schema
from libs.retention.stream_removal import purge_removed_streams
from libs.security.envelope_encryption import DecryptionFailed, MasterKeyMissing, MasterKeys

Databases = Mapping[str, AsyncDatabase[Document]]
ProgressReport = Callable[[int, int], None]  # arguments: bytes read, size of the file

# Writes are acknowledged by one member. The final write, which removes the restore marker, is acknowledged by a
# majority and so covers them all.
FAST_WRITES = WriteConcern(1)
HEADS_BATCH_SIZE = 1000
OCCUPIED_COLLECTIONS = (COMMITS, DATA_KEYS, "counters")  # all contain documents once a system has been started


@dataclass
class CheckResult:
    """The result of the verification of a backup file."""

    sections: Sequence[Section]
    data_keys: int = 0
    keys_verified: bool = False  # false: no master key was given
    services: set[str] = field(default_factory=set)


def check_backup(reader: BackupReader, master: MasterKeys | None, report: ProgressReport) -> CheckResult:
    """Verify the whole file. Raises BackupError if it is damaged or the master keys do not decrypt its data keys."""
    result = CheckResult(())
    for section, content in reader.read_documents():
        report(reader.position, reader.size)
        if section.collection == DATA_KEYS:
            for document in map(decode, split_documents(content)):
                result.data_keys += 1
                if master is not None:
                    _check_data_key(master, document)
    result.sections = reader.sections
    result.services = {section.service for section in reader.sections}
    result.keys_verified = master is not None
    return result


def _check_data_key(master: MasterKeys, data_key: Document) -> None:
    try:
        master.unwrap(data_key["kid"], data_key["_id"], data_key["wrapped"])
    except MasterKeyMissing as missing:
        raise BackupError(
            f"The backup's data keys are wrapped by the master key {missing.key_id}, which HEADRACE_MASTER_KEY does "
            "not "
            "contain. Set it to the master key of the backed-up system, or append that key after a comma."
        ) from missing
    except DecryptionFailed as broken:
        raise BackupError(f"The data key of {data_key['_id']} is damaged; the backup cannot be restored.") from broken


async def require_empty_system(databases: Databases, nats: Client, *, purge: bool) -> bool:
    """Check that no service runs and no data exists. Return whether an earlier restore was interrupted.

    Raises OperatorError otherwise. Accepts data of an interrupted restore and, with `purge`, events in JetStream.
    """
    for service in databases:
        if await _is_service_running(nats, GetHistory.subject_at(service)):
            raise OperatorError(
                f"The service {service} is running. Stop all services first (`headrace server down`, or scale them to "
                "zero), and start them after the restore."
            )
    interrupted = await is_restore_interrupted(next(iter(databases.values())))
    if not interrupted:
        for database in databases.values():
            for name in OCCUPIED_COLLECTIONS:
                if await database[name].find_one({}, {"_id": 1}) is not None:
                    raise OperatorError(
                        f"The database {database.name} is not empty, and a restore needs an empty system. "
                        "Select another server or data folder, or drop the databases if they are not needed."
                    )
    for service in databases:
        if (events := await _count_events(nats, service)) and not purge:
            raise OperatorError(
                f"JetStream still contains {events} events of {service} from a previous system. "
                "Delete them with --purge-streams; the restored services fill the streams from their logs."
            )
    return interrupted


async def _is_service_running(nats: Client, subject: str) -> bool:
    try:
        await nats.request(subject, b"", timeout=1)
    except NoRespondersError:
        return False
    except (NatsError, TimeoutError):
        return True  # there is a responder, but it is slow
    return True


async def _count_events(nats: Client, service: str) -> int:
    try:
        return (await nats.jetstream().stream_info(service)).state.messages
    except NotFoundError:
        return 0


async def load_backup(
    databases: Databases, nats: Client, reader: BackupReader, known: Sequence[Erasure], report: ProgressReport
) -> None:
    """Drop all collections, purge the services' streams, and write the documents of the backup.

    Only the restore marker stays: after a crash, it makes the next restore start over. It also keeps the erasures since
    the backup, which are read from JetStream before the streams are purged. `known`: further erasures.
    """
    first = next(iter(databases.values()))
    later = erasures.to_documents([*known, *await erasures.read_stream(nats)], reader.header.moment - MAX_CLOCK_SKEW)
    marker = {"$set": {"backup": reader.header.backup}, "$addToSet": {"erasures": {"$each": later}}}
    await first[RESTORE_MARKERS].update_one({"_id": RESTORE_MARKER_ID}, marker, upsert=True)
    for database in databases.values():
        for name in await database.list_collection_names():
            if name != RESTORE_MARKERS:
                await database[name].drop()
    for service in databases:
        if await _count_events(nats, service):
            await nats.jetstream().purge_stream(service)
    for section, content in reader.read_documents():
        target = databases[section.service].get_collection(section.collection, write_concern=FAST_WRITES)
        await target.insert_many([RawBSONDocument(document) for document in split_documents(content)], ordered=False)
        report(reader.position, reader.size)


async def finish_restore(databases: Databases) -> None:
    """Rebuild the stream heads from the event logs, and move the erasures from the restore marker to `identity`.

    Then the marker is removed, and the migration can run.
    """
    await asyncio.gather(*(_rebuild_heads(database) for database in databases.values()))
    first = next(iter(databases.values()))
    marker = await first[RESTORE_MARKERS].find_one({"_id": RESTORE_MARKER_ID}) or {}
    await erasures.store(databases[erasures.IDENTITY], marker.get("erasures", ()))
    await first[RESTORE_MARKERS].delete_one({"_id": RESTORE_MARKER_ID})


async def _rebuild_heads(database: AsyncDatabase[Document]) -> None:
    await create_schema(database)
    await purge_removed_streams(database, {"$exists": True})
    newest = {"version": {"$first": "$version"}, "commit": {"$first": "$_id"}}
    pipeline: list[Document] = [
        {"$sort": {"stream": -1, "version": -1}},  # sorted so that MongoDB reads one index entry per stream
        {"$group": {"_id": "$stream", **newest}},
        {"$out": "streams"},
    ]
    await (await database[COMMITS].aggregate(pipeline, allowDiskUse=True)).to_list()
    tombstones = database[COMMITS].find({"version": 1, "events": []}, {"stream": 1})
    while batch := await tombstones.to_list(HEADS_BATCH_SIZE):
        await database["streams"].delete_many({"_id": {"$in": [tombstone["stream"] for tombstone in batch]}})


async def count_interrupted_jobs(database: AsyncDatabase[Document]) -> int:
    """Return about how many jobs were running at the time of the backup.

    It counts unfinished attempts. These include short-lived placeholders, which prevent attempts of returned claims.
    """
    return await database["attempts"].count_documents({"finished": False})
