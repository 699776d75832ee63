"""Declared indexes of a MongoDB database: create them, and find those that are missing or differ."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from libs.documents import Document

OPTIONS_CONFLICT_CODES = {85, 86}  # MongoDB error codes: IndexOptionsConflict, IndexKeySpecsConflict
NAMESPACE_NOT_FOUND = 26
NAMESPACE_EXISTS = 48
INDEX_NOT_FOUND = 27
COMPARED_OPTIONS = ("unique", "expireAfterSeconds", "partialFilterExpression")


class Index(NamedTuple):
    collection: str
    fields: tuple[str, ...]  # names; a leading "-" means descending
    options: Mapping[str, Any] = {}

    @property
    def keys(self) -> list[tuple[str, int]]:
        return [(name.removeprefix("-"), DESCENDING if name.startswith("-") else ASCENDING) for name in self.fields]

    def __str__(self) -> str:
        return f"{self.collection}({', '.join(self.fields)})"


async def create_collection(database: AsyncDatabase[Document], name: str) -> None:
    """Create a collection, unless it exists."""
    try:
        await database.create_collection(name, check_exists=False)
    except OperationFailure as error:
        if error.code != NAMESPACE_EXISTS:
            raise


async def ensure_indexes(database: AsyncDatabase[Document], indexes: Iterable[Index]) -> None:
    """Create the indexes of each collection with one command, which reads the documents once.

    If an index exists with other options, MongoDB rejects the whole command, and the indexes are created one by one.
    """
    by_collection = defaultdict[str, list[Index]](list)
    for index in indexes:
        if index not in by_collection[index.collection]:
            by_collection[index.collection].append(index)
    for name, declared in by_collection.items():
        try:
            await database[name].create_indexes([IndexModel(index.keys, **index.options) for index in declared])
        except OperationFailure as error:
            if error.code not in OPTIONS_CONFLICT_CODES:
                raise
            for index in declared:
                await _ensure_index(database, index)


async def _ensure_index(database: AsyncDatabase[Document], index: Index) -> None:
    """Create the index. An index with the same keys and other options is replaced, or made unique in place."""
    collection = database[index.collection]
    try:
        await collection.create_index(index.keys, **index.options)
    except OperationFailure as error:
        if error.code not in OPTIONS_CONFLICT_CODES:
            raise
        if index.options == {"unique": True}:
            await _make_unique(collection, index)
        else:
            await drop_index(collection, index.keys)
            await collection.create_index(index.keys, **index.options)


async def drop_index(collection: AsyncCollection[Document], index: str | Sequence[tuple[str, int]]) -> None:
    """Drop the index with this name or these keys. A concurrent migration may have dropped it already."""
    try:
        await collection.drop_index(index)
    except OperationFailure as error:
        if error.code != INDEX_NOT_FOUND:
            raise


async def _make_unique(collection: AsyncCollection[Document], index: Index) -> None:
    """Make an existing index unique while queries use it. From the first command on, new duplicates are rejected."""
    change = {"keyPattern": dict(index.keys)}
    await collection.database.command("collMod", collection.name, index={**change, "prepareUnique": True})
    await _remove_duplicates(collection, index)
    await collection.database.command("collMod", collection.name, index={**change, "unique": True})


async def _remove_duplicates(collection: AsyncCollection[Document], index: Index) -> None:
    """Delete all but one of the documents with the same unique key. They were written by retries of one request."""
    names = [name for name, _ in index.keys]
    pipeline: list[Document] = [
        {"$group": {"_id": {name: f"${name}" for name in names}, "ids": {"$push": "$_id"}}},
        {"$match": {"ids.1": {"$exists": True}}},
    ]
    async for copies in await collection.aggregate(pipeline, allowDiskUse=True, hint=dict(index.keys)):
        await collection.delete_many({"_id": {"$in": copies["ids"][1:]}})


async def find_differing_indexes(database: AsyncDatabase[Document], declared: Sequence[Index]) -> list[Index]:
    """Return the declared indexes that are missing or exist with other options."""
    found: dict[str, list[Document]] = {}
    for name in {index.collection for index in declared}:
        found[name] = await _list_indexes(database, name)
    return [index for index in declared if not any(_matches(existing, index) for existing in found[index.collection])]


async def _list_indexes(database: AsyncDatabase[Document], collection: str) -> list[Document]:
    """List indexes with the database's codec options, which the driver's own method ignores."""
    try:
        found = await database.command("listIndexes", collection, codec_options=database.codec_options)
    except OperationFailure as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise
        return []
    indexes: list[Document] = found["cursor"]["firstBatch"]  # a collection has at most 64, which fit into one batch
    return indexes


def _matches(found: Document, index: Index) -> bool:
    settings = {name: found[name] for name in COMPARED_OPTIONS if found.get(name, False) is not False}
    return list(found["key"].items()) == index.keys and settings == dict(index.options)
