"""Dump and restore of the databases of all services, as one compressed BSON file.

A dump holds all documents and indexes, by service and collection. It is restored together with JetStream, so that
subscriptions continue at their last position.

The restore changes three things: checkpoints get the new creation time of their stream, the relay gets a resume token
of the new oplog, and the expiry times of TTL collections move into the future.
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

from infra.service_catalog import SERVICES
from libs.service.connections import CODEC_OPTIONS, get_database
from libs.settings import Settings
from tests.releases.jetstream import restore_streams
from tests.support import read_event_ids

Document = dict[str, Any]

DATABASES_FILE, STREAMS_FILE = "databases.bson.gz", "streams.bson.gz"  # the dump of 0.1.0 has no STREAMS_FILE
EXPIRY_FIELD = "gone_at"
EXPIRY_EXTENSION = timedelta(days=1)


async def write_dump(file: Path, client: AsyncMongoClient[Document], settings: Settings) -> None:
    """Write all databases to a file. Equal databases give equal bytes."""
    with file.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        for service in SERVICES:
            database = get_database(client, settings, service)
            for name in sorted(await database.list_collection_names()):
                indexes = [dict(index) async for index in await database[name].list_indexes()]
                packed.write(bson.encode({"service": service, "collection": name, "indexes": indexes}))
                async for document in database[name].find({}).sort("_id", 1):
                    packed.write(bson.encode({"service": service, "collection": name, "document": document}))


def read_documents(file: Path) -> Iterator[tuple[str, str, Document]]:
    return (
        (entry["service"], entry["collection"], entry["document"])
        for entry in _read_entries(file)
        if "document" in entry
    )


def read_indexes(file: Path) -> Iterator[tuple[str, str, list[Document]]]:
    """Yield service, collection and indexes. The dump of 0.1.0 has no indexes."""
    return (
        (entry["service"], entry["collection"], entry["indexes"]) for entry in _read_entries(file) if "indexes" in entry
    )


def _read_entries(file: Path) -> list[Document]:
    with gzip.open(file) as packed:
        return bson.decode_all(packed.read(), CODEC_OPTIONS)


async def restore_dump(folder: Path, client: AsyncMongoClient[Document], settings: Settings, bus: Client) -> None:
    """Restore the databases, and JetStream if the dump includes it."""
    recorded = (folder / STREAMS_FILE).exists()
    created = await restore_streams(folder / STREAMS_FILE, bus) if recorded else {}
    for service, collection, index_models in read_indexes(folder / DATABASES_FILE):
        await get_database(client, settings, service).command("createIndexes", collection, indexes=index_models)
    documents_by_collection: dict[tuple[str, str], list[Document]] = {}
    for service, collection, document in read_documents(folder / DATABASES_FILE):
        documents_by_collection.setdefault((service, collection), []).append(_adapt_document(document, created))
    for (service, collection), several in documents_by_collection.items():
        if collection != "commits":
            await get_database(client, settings, service)[collection].insert_many(several)
    for service in SERVICES:
        published = tuple(await read_event_ids(bus, service)) if recorded else ()
        await _restore_log(
            get_database(client, settings, service), documents_by_collection[service, "commits"], published
        )


def _adapt_document(document: Document, created: Mapping[str, str]) -> Document:
    changed = dict(document)
    if "incarnation" in document:
        changed["incarnation"] = created.get(document["incarnation"], document["incarnation"])
    if EXPIRY_FIELD in document:
        changed[EXPIRY_FIELD] = max(document[EXPIRY_FIELD], datetime.now(UTC) + EXPIRY_EXTENSION)
    return changed


async def _restore_log(database: AsyncDatabase[Document], commits: list[Document], published: tuple[str, ...]) -> None:
    """Insert the published commits, store a resume token for the relay, then insert the unpublished commits."""
    commits.sort(key=lambda commit: (commit["at"], commit["version"], commit["_id"]))
    published_versions = {event.rpartition(".")[0] for event in published}  # entries are stream@version
    published_commits = [
        commit for commit in commits if f"{commit['stream']}@{commit['version']}" in published_versions
    ]
    unpublished_commits = [
        commit for commit in commits if f"{commit['stream']}@{commit['version']}" not in published_versions
    ]
    if published_commits:
        await database["commits"].insert_many(published_commits)
        position = {
            "sequence": len(published),
            "event": published[-1],
            "token": await _get_resume_token(database["commits"]),
        }
        await database["relay"].replace_one({"_id": "position"}, position, upsert=True)
    if unpublished_commits:
        await database["commits"].insert_many(unpublished_commits)


async def _get_resume_token(commits: AsyncCollection[Document]) -> str:
    """Return a change stream token that resumes after the existing commits."""
    async with await commits.watch(max_await_time_ms=1) as changes:
        await changes.try_next()
        assert changes.resume_token is not None
        token: str = changes.resume_token["_data"]
        return token
