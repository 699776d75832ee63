"""Followed views: events of another service, folded into one row per key."""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import DeleteOne, ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from contracts.messages import ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.eventstore.mapping import Document
from libs.service.declaration import Projection


def projection_collection(projection: Projection) -> str:
    return f"view_{projection.name}_v{projection.version}"


async def apply_batch(
    collection: AsyncCollection[Document],
    projection: Projection,
    events: Sequence[RecordedEvent[Any]],
    session: AsyncClientSession | None,
) -> None:
    """Read the rows that the events belong to, fold, write them back."""
    rows: dict[str, ReadModelRow] = {}
    await apply_events(collection, projection, events, rows, session)
    await write_rows(collection, projection, rows, session)


async def apply_events(
    collection: AsyncCollection[Document],
    projection: Projection,
    events: Sequence[RecordedEvent[Any]],
    rows: dict[str, ReadModelRow],
    session: AsyncClientSession | None = None,
) -> None:
    """Fold events into `rows`, which gets from the collection what it lacks."""
    keyed = [(key, recorded) for recorded in events if (key := projection.row_key(recorded)) is not None]
    missing = {key for key, _ in keyed} - rows.keys()
    if missing:
        async for found in collection.find({"_id": {"$in": list(missing)}}, session=session):
            rows[found["_id"]] = type(projection.initial_row).model_validate(found["row"])
    for key, recorded in keyed:
        rows[key] = projection.apply(rows.get(key, projection.initial_row), recorded)


async def write_rows(
    collection: AsyncCollection[Document],
    projection: Projection,
    rows: Mapping[str, ReadModelRow],
    session: AsyncClientSession | None = None,
) -> None:
    writes = [
        DeleteOne({"_id": key})
        if projection.is_deleted(row)
        else ReplaceOne({"_id": key}, {"row": row.model_dump()}, upsert=True)
        for key, row in rows.items()
    ]
    if writes:
        await collection.bulk_write(writes, ordered=False, session=session)
