"""The collections of a service's database that a backup contains: those that cannot be derived from the event log."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from libs.retention.removal_hold import HOLDS
from libs.service.restore_cutoffs import RESTORE_CUTOFFS

Query = dict[str, Any]

COMMITS = "commits"
DATA_KEYS = "data_keys"
RESTORE_MARKER_ID = "restore"
RESTORE_MARKERS = "restoring"  # collection of the first service, which has a document until the restore is complete
SCAN_COLLECTIONS = {"lease_looks", "presence_looks"}
DERIVED_COLLECTIONS = {
    "streams",
    "views",
    "followers",
    "relay",
    "replicas",
    HOLDS,
    *SCAN_COLLECTIONS,
    RESTORE_CUTOFFS,
    RESTORE_MARKERS,
}
PROJECTION_PREFIX = "view_"
LOG_COLLECTIONS = {"log_chunks"}
ARTIFACT_COLLECTIONS = {"file_pieces"}

# Append-only collections with the field that dates a document. Documents older than MAX_CLOCK_SKEW before the snapshot
# no longer change, so they can be read after the snapshot has expired.
APPEND_ONLY_FIELDS: Mapping[str, str] = {COMMITS: "at", "log_chunks": "_id", "file_pieces": "_id"}


def select_collections(names: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """Return the collections to back up: data keys first, to detect a wrong master key early; large ones last."""
    without = (
        DERIVED_COLLECTIONS
        | (LOG_COLLECTIONS if "logs" in excluded else set())
        | (ARTIFACT_COLLECTIONS if "artifacts" in excluded else set())
    )
    chosen = [name for name in names if name not in without and not name.startswith((PROJECTION_PREFIX, "system."))]
    return sorted(chosen, key=lambda name: (name != DATA_KEYS, name in APPEND_ONLY_FIELDS, name))


def recent_filter(collection: str, since: datetime) -> Query:
    """Return a filter for the documents to read in the snapshot: recent ones, or all of a mutable collection."""
    match APPEND_ONLY_FIELDS.get(collection):
        case None:
            return {}
        case "_id":
            return {"_id": {"$gte": ObjectId.from_datetime(since)}}
        case name:
            return {name: {"$gte": since}}


def older_filter(collection: str, since: datetime) -> Query:
    name = APPEND_ONLY_FIELDS[collection]
    return {name: {"$lt": ObjectId.from_datetime(since) if name == "_id" else since}}


async def is_restore_interrupted(first_database: AsyncDatabase[Query]) -> bool:
    """Return whether a restore was started and not completed."""
    return await first_database[RESTORE_MARKERS].find_one({"_id": RESTORE_MARKER_ID}) is not None
