"""Removal of row versions, their indexes and projections that neither this release nor the previous one reads.

Versions above those of this release stay: they belong to a later release that was rolled back.
"""

import re

from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore.decider import AnyCategory
from libs.eventstore.indexes import drop_index
from libs.projections.rebuild import list_obsolete_fields
from libs.service.declaration import Service
from libs.subscriptions.checkpoints import CHECKPOINTS

BATCH_SIZE = 1000
PROJECTION_COLLECTION = re.compile(r"view_(?P<name>.+)_v(?P<version>\d+)")


async def remove_obsolete_data(service: Service, database: AsyncDatabase[Document]) -> list[str]:
    """Remove row versions and projections of older releases. Idempotent. Return a description of each removal."""
    fields = {field for category in service.categories for field in list_obsolete_fields(category)}
    changes = await _drop_row_indexes(service.name, database, fields)
    for category in service.categories:
        if count := await _unset_rows(database, category):
            changes.append(f"older rows of {service.name}.{category.name} removed: {count}")
    return changes + await _drop_projections(service, database)


async def _drop_row_indexes(service: str, database: AsyncDatabase[Document], fields: set[str]) -> list[str]:
    """Drop the indexes on obsolete row fields. Called before the rows are removed, which would update the indexes."""
    changes = []
    for name, index in (await database["streams"].index_information()).items():
        if any(key.partition(".")[0] in fields for key, _ in index["key"]):
            await drop_index(database["streams"], name)
            changes.append(f"index {name} of {service} removed")
    return changes


async def _unset_rows(database: AsyncDatabase[Document], category: AnyCategory) -> int:
    """Remove the rows of obsolete versions from the heads of a category. Return the number of changed heads."""
    fields = list_obsolete_fields(category)
    changed, last = 0, f"{category.name}-"
    present = {"$or": [{field: {"$exists": True}} for field in fields]}
    while fields:
        due = {"_id": {"$gt": last, "$lt": f"{category.name}."}, **present}
        heads = await database["streams"].find(due, {"_id": 1}).sort("_id").limit(BATCH_SIZE).to_list()
        if not heads:
            break
        last = heads[-1]["_id"]
        ids = {"_id": {"$in": [head["_id"] for head in heads]}}
        await database["streams"].update_many(ids, {"$unset": dict.fromkeys(fields, "")})
        changed += len(heads)
    return changed


async def _drop_projections(service: Service, database: AsyncDatabase[Document]) -> list[str]:
    oldest = {projection.name: projection.previous_version or projection.version for projection in service.projections}
    changes = []
    for name in await database.list_collection_names():
        found = PROJECTION_COLLECTION.fullmatch(name)
        if found and int(found["version"]) < oldest.get(found["name"], 0):
            await database.drop_collection(name)
            await database[CHECKPOINTS].delete_one({"_id": name})
            changes.append(f"collection {name} of {service.name} removed")
    return changes
