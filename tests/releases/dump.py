"""The databases of all services as one file: every document with its database and collection, as BSON, compressed.

With JetStream beside them they are restored so that whoever follows a stream goes on where it was. Three things cannot
be kept and are put right: streams were created at another time; the oplog, which relays go on in, is another one; and
documents that MongoDB forgets at a time would be old.
"""

import gzip
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from infra.entrypoints import SERVICES
from libs.service.connections import CODEC_OPTIONS, get_database
from libs.settings import Settings
from tests.releases.jetstream import restore_streams
from tests.support import read_event_ids

Document = dict[str, Any]

DATABASES_FILE, STREAMS_FILE = "databases.bson.gz", "streams.bson.gz"  # names of files; 0.1.0 has no streams
EXPIRY_FIELD = "gone_at"  # the field by which documents are forgotten
EXPIRY_EXTENSION = timedelta(days=1)


async def write_dump(file: Path, client: AsyncMongoClient[Document], settings: Settings) -> None:
    """Without dates of the writing in it: the same databases make the same file."""
    with file.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        for service in SERVICES:
            database = get_database(client, settings, service)
            for name in sorted(await database.list_collection_names()):
                indexes = [dict(one) async for one in await database[name].list_indexes()]
                packed.write(bson.encode({"service": service, "collection": name, "indexes": indexes}))
                async for document in database[name].find({}).sort("_id", 1):
                    packed.write(bson.encode({"service": service, "collection": name, "document": document}))


def read_documents(file: Path) -> Iterator[tuple[str, str, Document]]:
    return ((one["service"], one["collection"], one["document"]) for one in _read_entries(file) if "document" in one)


def read_indexes(file: Path) -> Iterator[tuple[str, str, list[Document]]]:
    """Of 0.1.0 they were not kept."""
    return ((one["service"], one["collection"], one["indexes"]) for one in _read_entries(file) if "indexes" in one)


def _read_entries(file: Path) -> list[Document]:
    with gzip.open(file) as packed:
        return bson.decode_all(packed.read(), CODEC_OPTIONS)


async def restore_dump(folder: Path, client: AsyncMongoClient[Document], settings: Settings, bus: Client) -> None:
    """Databases, and JetStream where it was recorded."""
    recorded = (folder / STREAMS_FILE).exists()
    created = await restore_streams(folder / STREAMS_FILE, bus) if recorded else {}
    for service, collection, kept in read_indexes(folder / DATABASES_FILE):
        await get_database(client, settings, service).command("createIndexes", collection, indexes=kept)
    found: dict[tuple[str, str], list[Document]] = {}
    for service, collection, document in read_documents(folder / DATABASES_FILE):
        found.setdefault((service, collection), []).append(_adapt_document(document, created))
    for (service, collection), several in found.items():
        if collection != "commits":
            await get_database(client, settings, service)[collection].insert_many(several)
    for service in SERVICES:
        published = tuple(await read_event_ids(bus, service)) if recorded else ()
        await _restore_log(get_database(client, settings, service), found[service, "commits"], published)


def _adapt_document(document: Document, created: Mapping[str, str]) -> Document:
    changed = dict(document)
    if "incarnation" in document:
        changed["incarnation"] = created.get(document["incarnation"], document["incarnation"])
    if EXPIRY_FIELD in document:
        changed[EXPIRY_FIELD] = max(document[EXPIRY_FIELD], datetime.now(UTC) + EXPIRY_EXTENSION)
    return changed


async def _restore_log(database: AsyncDatabase[Document], commits: list[Document], published: tuple[str, ...]) -> None:
    """The published part first, then a mark for the relay, as it makes one itself, then the rest."""
    commits.sort(key=lambda one: (one["at"], one["version"], one["_id"]))
    places = {event.rpartition(".")[0] for event in published}  # of the form stream@version
    known = [one for one in commits if f"{one['stream']}@{one['version']}" in places]
    rest = [one for one in commits if f"{one['stream']}@{one['version']}" not in places]
    if known:
        await database["commits"].insert_many(known)
        mark = {
            "sequence": len(published),
            "event": published[-1],
            "token": await _get_resume_token(database["commits"]),
        }
        await database["relay"].replace_one({"_id": "position"}, mark, upsert=True)
    if rest:
        await database["commits"].insert_many(rest)


async def _get_resume_token(commits: AsyncCollection[Document]) -> str:
    """Where a change stream goes on behind what is there."""
    async with await commits.watch(max_await_time_ms=1) as changes:
        await changes.try_next()
        assert changes.resume_token is not None
        token: str = changes.resume_token["_data"]
        return token
