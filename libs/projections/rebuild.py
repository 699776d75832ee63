"""Rebuilding: rows of a service's own streams, and followed views, made anew from the log while the service runs."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pymongo import ASCENDING, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from contracts.messages import ReadModelRow
from libs.eventstore.decider import Category
from libs.eventstore.indexes import ensure_index
from libs.eventstore.mapping import Document, from_document
from libs.messaging import cloudevents
from libs.messaging.subscription import REBUILDING
from libs.projections.projector import apply_events, projection_collection, write_rows
from libs.projections.schema import list_projection_indexes
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import Projection

ProgressCallback = Callable[[int, int], None]  # done, of how many

BATCH_SIZE = 1000
MAX_BUFFERED_ROWS = 20_000  # rows of a view in memory


class RebuiltRow(NamedTuple):
    """A row as its stream's log makes it, and up to which version."""

    stream: str
    version: int
    row: ReadModelRow


def no_progress(_done: int, _total: int) -> None:
    """No progress bar."""


async def rebuild_rows(
    database: AsyncDatabase[Document],
    category: Category[Any, Any, Any, Any],
    vault: Encryption | None = None,
    progress: ProgressCallback = no_progress,
) -> int:
    """Fold every stream of the category and replace its row where the head still has the folded version.

    Each row changes at once from the old to the new; a stream that moves meanwhile is written by its own writer.
    Rows of another version stand in their own field until no code reads them.
    """
    names = {"$gte": f"{category.name}-", "$lt": f"{category.name}."}
    total = await database["commits"].count_documents({"stream": names})
    done, built = 0, 0
    batch: list[RebuiltRow] = []
    moved: set[str] = set()
    async for one in _rebuild_streams(database, category, names, vault):
        batch.append(one)
        done, built = done + one.version, built + 1
        if len(batch) == BATCH_SIZE:
            moved |= await _replace_rows(database, category, batch)
            batch = []
            progress(done, total)
    moved |= await _replace_rows(database, category, batch)
    # a writer of an older release writes its own row only: these streams are folded again
    while moved:
        batch = [one for name in moved async for one in _rebuild_streams(database, category, name, vault)]
        moved = await _replace_rows(database, category, batch)
    progress(total, total)
    return built


async def backfill_rows(
    database: AsyncDatabase[Document], category: Category[Any, Any, Any, Any], vault: Encryption | None = None
) -> None:
    """Make the rows that a replica of an older release did not write, since it knew only those of its own version.

    An index holds just these streams, so that looking for them costs nothing where there are none.
    """
    behind = {category.row_version_field: {"$lt": category.row_version}}
    heads = await database["streams"].find(behind, {"_id": 1}, limit=BATCH_SIZE).to_list()
    await _replace_rows(
        database,
        category,
        [one for head in heads async for one in _rebuild_streams(database, category, head["_id"], vault)],
    )


async def backfill_row(
    database: AsyncDatabase[Document],
    category: Category[Any, Any, Any, Any],
    vault: Encryption | None,
    stream: str,
) -> ReadModelRow | None:
    """Return the row of one stream as its log makes it; store it unless the stream has moved on meanwhile."""
    built = [one async for one in _rebuild_streams(database, category, stream, vault)]
    await _replace_rows(database, category, built)
    return next((one.row for one in built if not category.is_deleted(one.row)), None)


async def _rebuild_streams(
    database: AsyncDatabase[Document],
    category: Category[Any, Any, Any, Any],
    streams: str | Document,
    vault: Encryption | None,
) -> AsyncIterator[RebuiltRow]:
    stream, version, row = "", 0, category.initial_row
    cursor = database["commits"].find({"stream": streams}).sort([("stream", ASCENDING), ("version", ASCENDING)])
    async for document in cursor:
        if document["stream"] != stream:
            if stream:
                yield RebuiltRow(stream, version, row)
            stream, row = document["stream"], category.initial_row
        version = document["version"]
        for recorded in await from_document(document, vault):
            row = category.apply(row, recorded)
    if stream:
        yield RebuiltRow(stream, version, row)


async def _replace_rows(
    database: AsyncDatabase[Document], category: Category[Any, Any, Any, Any], batch: Sequence[RebuiltRow]
) -> set[str]:
    """Write the rows whose stream has not moved on; answers the names of the others."""
    if not batch:
        return set()
    writes = [
        UpdateOne(
            {"_id": one.stream, "version": one.version},
            {
                "$set": {category.row_field: None if category.is_deleted(one.row) else one.row.model_dump()},
                "$max": {category.row_version_field: category.row_version},
            },
        )
        for one in batch
    ]
    result = await database["streams"].bulk_write(writes, ordered=False)
    if result.matched_count == len(batch):
        return set()
    versions = {one.stream: one.version for one in batch}
    heads = database["streams"].find({"_id": {"$in": list(versions)}}, {"version": 1})
    return {head["_id"] async for head in heads if head["version"] != versions[head["_id"]]}


async def rebuild_projection(
    database: AsyncDatabase[Document], projection: Projection, nats: Client, progress: ProgressCallback = no_progress
) -> int:
    """Build a followed view beside the one in use, then put it in its place and let its follower go on from there."""
    js = nats.jetstream()
    name = projection_collection(projection)
    beside = database[f"{name}_{REBUILDING}"]
    await beside.drop()
    await database.create_collection(beside.name)
    info = await js.stream_info(projection.source)
    first = max(info.state.first_seq, 1)
    reached, last_id = await _apply_stream(js, beside, projection, first, info.state.last_seq, progress)
    for index in list_projection_indexes(projection, beside.name):
        await ensure_index(database, index)
    # from here its follower stands still: it finds that its position is no longer its own
    incarnation = str(info.created)
    await database["followers"].replace_one(
        {"_id": name}, {"incarnation": REBUILDING, "sequence": reached, "event_id": ""}, upsert=True
    )
    end = (await js.stream_info(projection.source)).state.last_seq
    if end > reached:
        reached, last_id = await _apply_stream(js, beside, projection, reached + 1, end, progress)
    await beside.rename(name, dropTarget=True)
    await database["followers"].replace_one(
        {"_id": name}, {"incarnation": incarnation, "sequence": reached, "event_id": last_id}, upsert=True
    )
    return await database[name].count_documents({})


async def _apply_stream(
    js: Any, staging: Any, projection: Projection, first: int, last: int, progress: ProgressCallback
) -> tuple[int, str]:
    reached, last_id = first - 1, ""
    if last < first:
        return reached, last_id
    subscription = await js.pull_subscribe(
        f"evt.{projection.source}.>",
        stream=projection.source,
        config=ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=first,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
            mem_storage=True,
        ),
    )
    rows: dict[str, ReadModelRow] = {}
    while reached < last:
        messages = await subscription.fetch(min(BATCH_SIZE, last - reached), timeout=10)
        news = [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
        await apply_events(staging, projection, news, rows)
        if len(rows) > MAX_BUFFERED_ROWS:
            await write_rows(staging, projection, rows)
            rows.clear()
        reached, last_id = messages[-1].metadata.sequence.stream, news[-1].id
        progress(reached - first + 1, last - first + 1)
    await write_rows(staging, projection, rows)
    await subscription.unsubscribe()
    return reached, last_id
