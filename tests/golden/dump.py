"""The databases of all services as one file: every document with its database and collection, as BSON, compressed."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
from pymongo import AsyncMongoClient

from infra.entry import SERVICES
from libs.connections import CODECS, database_of
from libs.settings import Settings

Document = dict[str, Any]


async def write_dump(file: Path, client: AsyncMongoClient[Document], settings: Settings) -> None:
    """Without dates of the writing in it: the same databases make the same file."""
    with file.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        for service in SERVICES:
            database = database_of(client, settings, service)
            for name in sorted(await database.list_collection_names()):
                async for document in database[name].find({}).sort("_id", 1):
                    packed.write(bson.encode({"service": service, "collection": name, "document": document}))


def documents(file: Path) -> Iterator[tuple[str, str, Document]]:
    with gzip.open(file) as packed:
        for one in bson.decode_all(packed.read(), CODECS):
            yield one["service"], one["collection"], one["document"]


async def restore(file: Path, client: AsyncMongoClient[Document], settings: Settings) -> None:
    for service, collection, document in documents(file):
        await database_of(client, settings, service)[collection].insert_one(document)
