"""Sizes of a service's data, and the free space of the database's disk."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document

EVENT_LOG, ROWS, PROJECTIONS, OTHER, STREAM = "event_log", "rows", "projections", "other", "stream"
KINDS = {"commits": EVENT_LOG, "streams": ROWS}
GROWTH_PERIOD = timedelta(days=7)  # the growth of this period is averaged
# append-only collections that hold most of the data -> field with the time of a document
GROWING_COLLECTIONS: Mapping[str, str] = {"commits": "at", "log_chunks": "_id", "file_pieces": "_id"}


@dataclass(frozen=True)
class DiskSpace:
    """Space on the file system of the database server."""

    free_bytes: float
    total_bytes: float


async def measure_collections(database: AsyncDatabase[Document]) -> Mapping[str, int]:
    """Return the bytes on disk by kind, including indexes and the space of deleted documents, which MongoDB keeps."""
    sizes = Counter({EVENT_LOG: 0, ROWS: 0, PROJECTIONS: 0, OTHER: 0})
    for name in await database.list_collection_names(filter={"type": "collection"}):
        if not name.startswith("system."):
            stats = await _read_statistics(database, name)
            kind = PROJECTIONS if name.startswith("view_") else KINDS.get(name, OTHER)
            sizes[kind] += stats["storageSize"] + stats["totalIndexSize"]
    return sizes


async def measure_disk(database: AsyncDatabase[Document]) -> DiskSpace:
    stats = await database.command("dbStats", freeStorage=0)
    return DiskSpace(stats["fsTotalSize"] - stats["fsUsedSize"], stats["fsTotalSize"])


async def estimate_daily_growth(database: AsyncDatabase[Document], now: datetime) -> float:
    """Return the average bytes per day of data that was added in GROWTH_PERIOD and still exists."""
    since, growth = now - GROWTH_PERIOD, 0.0
    for name in set(await database.list_collection_names()) & GROWING_COLLECTIONS.keys():
        field = GROWING_COLLECTIONS[name]
        start = ObjectId.from_datetime(since) if field == "_id" else since
        added = await database[name].count_documents({field: {"$gte": start}})
        stats = await _read_statistics(database, name)
        growth += added * (stats["storageSize"] + stats["totalIndexSize"]) / max(stats["count"], 1)
    return growth / GROWTH_PERIOD.days


async def _read_statistics(database: AsyncDatabase[Document], collection: str) -> Document:
    [found] = await (await database[collection].aggregate([{"$collStats": {"storageStats": {}}}])).to_list()
    statistics: Document = found["storageStats"]
    return statistics
