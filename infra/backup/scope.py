"""What a backup holds of a service's database: all that does not follow from the log."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from libs.service.restore_cutoffs import RESTORE_CUTOFFS

Query = dict[str, Any]

COMMITS = "commits"
DATA_KEYS = "data_keys"
RESTORE_MARKER_ID = "restore"
RESTORE_MARKERS = "restoring"  # a note in the first service's database while a restore is not over
SCAN_COLLECTIONS = {"lease_looks", "presence_looks"}
DERIVED_COLLECTIONS = {
    "streams",
    "views",
    "followers",
    "relay",
    "replicas",
    *SCAN_COLLECTIONS,
    RESTORE_CUTOFFS,
    RESTORE_MARKERS,
}
PROJECTION_PREFIX = "view_"  # begins the names of followed views
LOG_COLLECTIONS = {"log_chunks"}
ARTIFACT_COLLECTIONS = {"file_pieces"}

# collections that only grow, and the field that tells when a document came: what is older than the clocks may
# differ is there for good, so it need not be read while the database still remembers the moment of the backup
APPEND_ONLY_FIELDS: Mapping[str, str] = {COMMITS: "at", "log_chunks": "_id", "file_pieces": "_id"}


def select_collections(names: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """Keys first: who restores with the wrong one is told at once. The log last: it is the longest."""
    without = (
        DERIVED_COLLECTIONS
        | (LOG_COLLECTIONS if "logs" in excluded else set())
        | (ARTIFACT_COLLECTIONS if "artifacts" in excluded else set())
    )
    chosen = [name for name in names if name not in without and not name.startswith((PROJECTION_PREFIX, "system."))]
    return sorted(chosen, key=lambda name: (name != DATA_KEYS, name in APPEND_ONLY_FIELDS, name))


def recent_filter(collection: str, since: datetime) -> Query:
    """Of a growing collection what may have come around the moment of the backup; of all others everything."""
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
    """Whether a restore has begun and not come to its end; the database of the first service knows."""
    return await first_database[RESTORE_MARKERS].find_one({"_id": RESTORE_MARKER_ID}) is not None
