"""Application of events to the rows of a projection."""

from collections.abc import Mapping, Sequence

from pymongo import DeleteOne, ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from contracts.messages import ReadModelRow
from libs.documents import Document
from libs.eventstore.decider import AnyEvent
from libs.service.declaration import AnyProjection, Context
from libs.subscriptions.checkpoints import CHECKPOINTS, COMPLETE


def projection_collection(projection: AnyProjection) -> str:
    return f"view_{projection.name}_v{projection.version}"


async def is_complete(ctx: Context, projection: AnyProjection) -> bool:
    """Return whether the projection has had all events since it was created or emptied. Later it may lag a little."""
    checkpoint = {"_id": projection_collection(projection), COMPLETE: True}
    return await ctx.collection(CHECKPOINTS).find_one(checkpoint, {"_id": 1}) is not None


async def apply_batch(
    collection: AsyncCollection[Document],
    projection: AnyProjection,
    events: Sequence[AnyEvent],
    session: AsyncClientSession | None,
) -> None:
    """Load the rows of the events, apply the events, and write the rows."""
    rows: dict[str, ReadModelRow] = {}
    await apply_events(collection, projection, events, rows, session)
    await write_rows(collection, projection, rows, session)


async def apply_events(
    collection: AsyncCollection[Document],
    projection: AnyProjection,
    events: Sequence[AnyEvent],
    rows: dict[str, ReadModelRow],
    session: AsyncClientSession | None = None,
) -> None:
    """Apply events to `rows`, loading missing rows from the collection."""
    keyed = [(key, recorded) for recorded in events if (key := projection.row_key(recorded)) is not None]
    missing = {key for key, _ in keyed} - rows.keys()
    if missing:
        async for document in collection.find({"_id": {"$in": list(missing)}}, session=session):
            rows[document["_id"]] = type(projection.initial_row).model_validate(document["row"])
    for key, recorded in keyed:
        rows[key] = projection.apply(rows.get(key, projection.initial_row), recorded)


async def write_rows(
    collection: AsyncCollection[Document],
    projection: AnyProjection,
    rows: Mapping[str, ReadModelRow],
    session: AsyncClientSession | None = None,
) -> None:
    """Write the rows, and delete those that the projection considers deleted."""
    writes = [
        DeleteOne({"_id": key})
        if projection.is_deleted(row)
        else ReplaceOne({"_id": key}, {"row": row.model_dump()}, upsert=True)
        for key, row in rows.items()
    ]
    if writes:
        await collection.bulk_write(writes, ordered=False, session=session)
