"""Restoring: an empty system becomes the one that was backed up; what follows from the log is built anew."""

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
from infra.backup.file_format import BackupError, BackupReader, Section, split_documents
from infra.backup.scope import COMMITS, DATA_KEYS, RESTORE_MARKER_ID, RESTORE_MARKERS, is_restore_interrupted
from infra.local.process import OperatorError
from libs.eventstore.mapping import Document
from libs.eventstore.mongo import create_schema
from libs.security.envelope_encryption import DecryptionFailed, MasterKeyMissing, MasterKeys

Databases = Mapping[str, AsyncDatabase[Document]]
ProgressReport = Callable[[int, int], None]  # bytes of the file done, of how many

FAST_WRITES = WriteConcern(
    1
)  # the note that all is over is written safely, and whatever was written before is safe then, too
OCCUPIED_COLLECTIONS = (COMMITS, DATA_KEYS, "counters")  # what a system that was ever started has


@dataclass
class CheckResult:
    """What a look through the whole file has shown."""

    sections: Sequence[Section]
    data_keys: int = 0
    keys_verified: bool = False  # with the master keys at hand
    services: set[str] = field(default_factory=set)


def check_backup(reader: BackupReader, master: MasterKeys | None, report: ProgressReport) -> CheckResult:
    """Read it all. Raises BackupError where a byte is wrong, or where the master keys do not open the data keys."""
    found = CheckResult(())
    for section, content in reader.read_documents():
        report(reader.position, reader.size)
        if section.collection == DATA_KEYS:
            for document in map(decode, split_documents(content)):
                found.data_keys += 1
                if master is not None:
                    _check_data_key(master, document)
    found.sections = reader.sections
    found.services = {one.service for one in reader.sections}
    found.keys_verified = master is not None
    return found


def _check_data_key(master: MasterKeys, data_key: Document) -> None:
    try:
        master.unwrap(data_key["kid"], data_key["_id"], data_key["wrapped"])
    except MasterKeyMissing as missing:
        raise BackupError(
            f"The backup's data keys are wrapped by the master key {missing.key_id}, and HEADRACE_MASTER_KEY does not "
            "hold it: set it to the master key of the system that was backed up, or append that one after a comma."
        ) from missing
    except DecryptionFailed as broken:
        raise BackupError(f"The data key of {data_key['_id']} is damaged; the backup cannot be used.") from broken


async def require_empty_system(databases: Databases, nats: Client, *, purge: bool) -> bool:
    """Raises StackError where something runs or lies here already; answers whether a restore was interrupted."""
    for service in databases:
        if await _is_service_running(nats, GetHistory.subject_at(service)):
            raise OperatorError(
                f"The service {service} runs; stop all services first (`headrace down`, or scale them to zero), "
                "and start them when the restore is over."
            )
    interrupted = await is_restore_interrupted(next(iter(databases.values())))
    if not interrupted:
        for database in databases.values():
            for name in OCCUPIED_COLLECTIONS:
                if await database[name].find_one({}, {"_id": 1}) is not None:
                    raise OperatorError(
                        f"The database {database.name} is not empty; a backup is restored into an empty system only. "
                        "Name another server or data folder, or drop the databases of this one if nobody needs them."
                    )
    for service in databases:
        if (events := await _count_events(nats, service)) and not purge:
            raise OperatorError(
                f"JetStream still holds {events} events of {service}, of the system that was here before; "
                "they follow from the log and are filled in again: run it with --purge-streams."
            )
    return interrupted


async def _is_service_running(nats: Client, subject: str) -> bool:
    try:
        await nats.request(subject, b"", timeout=1)
    except NoRespondersError:
        return False
    except (NatsError, TimeoutError):
        return True  # somebody is there, and slow
    return True


async def _count_events(nats: Client, service: str) -> int:
    try:
        return (await nats.jetstream().stream_info(service)).state.messages
    except NotFoundError:
        return 0


async def load_backup(databases: Databases, nats: Client, reader: BackupReader, report: ProgressReport) -> None:
    """Fill the databases and JetStream's place; a crash leaves the note, and the next restore begins again."""
    first, *others = databases.values()
    for database in (*others, first):  # the one with the note last
        await database.client.drop_database(database.name)
    await first[RESTORE_MARKERS].insert_one({"_id": RESTORE_MARKER_ID, "backup": reader.header.backup})
    for service in databases:
        if await _count_events(nats, service):
            await nats.jetstream().purge_stream(service)
    for section, content in reader.read_documents():
        target = databases[section.service].get_collection(section.collection, write_concern=FAST_WRITES)
        await target.insert_many([RawBSONDocument(one) for one in split_documents(content)], ordered=False)
        report(reader.position, reader.size)


async def finish_restore(databases: Databases) -> None:
    """Heads of the streams, from the log; then it is no restore any more, but a system that waits for its migration."""
    await asyncio.gather(*(_rebuild_heads(database) for database in databases.values()))
    first = next(iter(databases.values()))
    await first[RESTORE_MARKERS].delete_one({"_id": RESTORE_MARKER_ID})


async def _rebuild_heads(database: AsyncDatabase[Document]) -> None:
    await create_schema(database)
    newest = {"version": {"$first": "$version"}, "commit": {"$first": "$_id"}}
    pipeline: list[Document] = [
        {"$sort": {"stream": -1, "version": -1}},  # in this form MongoDB skips from stream to stream in its index
        {"$group": {"_id": "$stream", **newest}},
        {"$out": "streams"},
    ]
    await (await database[COMMITS].aggregate(pipeline, allowDiskUse=True)).to_list()


async def count_interrupted_jobs(database: AsyncDatabase[Document]) -> int:
    """Jobs that ran at the moment of the backup."""
    return await database["attempts"].count_documents({"finished": False})
