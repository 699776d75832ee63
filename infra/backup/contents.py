"""What a backup holds of a service's database: all that does not follow from the log."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from libs.handled import HANDLED

Query = dict[str, Any]

LOG = "commits"
DATA_KEYS = "data_keys"
NOTE = "restore"
RESTORING = "restoring"  # a note in the first service's database while a restore is not over
LOOKS = {"lease_looks", "presence_looks"}
DERIVED = {"streams", "views", "followers", "relay", "replicas", *LOOKS, HANDLED, RESTORING}
FOLLOWED = "view_"  # begins the names of followed views
LOGS = {"log_chunks"}
ARTIFACTS = {"file_pieces"}

# collections that only grow, and the field that tells when a document came: what is older than the clocks may
# differ is there for good, so it need not be read while the database still remembers the moment of the backup
GROWING: Mapping[str, str] = {LOG: "at", "log_chunks": "_id", "file_pieces": "_id"}


def kept(names: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Keys first: who restores with the wrong one is told at once. The log last: it is the longest."""
    without = DERIVED | (LOGS if "logs" in left_out else set()) | (ARTIFACTS if "artifacts" in left_out else set())
    chosen = [name for name in names if name not in without and not name.startswith((FOLLOWED, "system."))]
    return sorted(chosen, key=lambda name: (name != DATA_KEYS, name in GROWING, name))


def recent(collection: str, since: datetime) -> Query:
    """Of a growing collection what may have come around the moment of the backup; of all others everything."""
    match GROWING.get(collection):
        case None:
            return {}
        case "_id":
            return {"_id": {"$gte": ObjectId.from_datetime(since)}}
        case name:
            return {name: {"$gte": since}}


def older(collection: str, since: datetime) -> Query:
    name = GROWING[collection]
    return {name: {"$lt": ObjectId.from_datetime(since) if name == "_id" else since}}


async def interrupted_restore(first: AsyncDatabase[Query]) -> bool:
    """Whether a restore has begun and not come to its end; the database of the first service knows."""
    return await first[RESTORING].find_one({"_id": NOTE}) is not None
