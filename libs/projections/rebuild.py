"""Rebuilding of read model rows and projections from the log while the service runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

from nats.aio.client import Client
from pymongo import ASCENDING, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from contracts.messages import ReadModelRow
from libs.backoff import backoff_delays
from libs.documents import Document
from libs.eventstore.decider import AnyCategory
from libs.eventstore.indexes import ensure_indexes
from libs.eventstore.mapping import from_document, is_tombstone
from libs.messaging import cloudevents
from libs.messaging.stream_reader import StreamReader, are_next_events
from libs.projections.projector import apply_events, projection_collection, write_rows
from libs.projections.schema import list_projection_indexes
from libs.retention.balances import copy_balance
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import AnyProjection
from libs.subscriptions.checkpoints import CHECKPOINTS, REBUILDING, Checkpoint
from libs.subscriptions.event_log import LogReader

ProgressCallback = Callable[[int, int], None]  # arguments: commits or events done, and their total as far as known

BATCH_SIZE = 1000
FETCH_TIMEOUT_SECONDS = 10.0
MAX_RESTARTS = 6  # how often a projection's rebuild starts over because its stream loses events
MAX_BUFFERED_ROWS = 20_000  # rows of a projection that are kept in memory before they are written


class EventsRemoved(Exception):
    """Events to be applied are missing in the stream, because it was trimmed, or emptied by a relay."""


class RebuiltRow(NamedTuple):
    """A row rebuilt from its stream's log, and the version of the stream that the row reflects."""

    stream: str
    version: int
    row: ReadModelRow


def no_progress(_done: int, _total: int) -> None:
    pass


async def rebuild_rows(
    database: AsyncDatabase[Document],
    category: AnyCategory,
    vault: Encryption | None = None,
    progress: ProgressCallback = no_progress,
) -> int:
    """Rebuild and store the rows of all streams of a category. Return the number of rebuilt rows.

    Each row is replaced atomically, unless its stream has changed since it was read; then the row is rebuilt again.
    Rows of other versions have their own fields.
    """
    streams = {"$gte": f"{category.name}-", "$lt": f"{category.name}."}
    total = await database["commits"].count_documents({"stream": streams})
    done, rebuilt_count = 0, 0
    batch: list[RebuiltRow] = []
    changed: set[str] = set()
    async for rebuilt in _rebuild_streams(database, category, streams, vault):
        batch.append(rebuilt)
        done, rebuilt_count = done + rebuilt.version, rebuilt_count + 1
        if len(batch) == BATCH_SIZE:
            changed |= await _replace_rows(database, category, batch)
            batch = []
            progress(done, total)
    changed |= await _replace_rows(database, category, batch)
    # again for streams that changed in between: a writer of an older release writes only its own row version
    while changed:
        batch = [row for stream in changed async for row in _rebuild_streams(database, category, stream, vault)]
        changed = await _replace_rows(database, category, batch)
    progress(total, total)
    return rebuilt_count


async def backfill_rows(
    database: AsyncDatabase[Document], category: AnyCategory, vault: Encryption | None = None
) -> None:
    """Rebuild the rows of at most BATCH_SIZE streams that a replica of an older release has written.

    Such a replica writes only its own row version. A partial index contains just these streams, so the search is cheap
    if there are none.
    """
    outdated = {category.row_version_field: {"$lt": category.row_version}}
    heads = await database["streams"].find(outdated, {"_id": 1}, limit=BATCH_SIZE).to_list()
    rows = [row for head in heads async for row in _rebuild_streams(database, category, head["_id"], vault)]
    await _replace_rows(database, category, rows)


async def backfill_row(
    database: AsyncDatabase[Document], category: AnyCategory, vault: Encryption | None, stream: str
) -> ReadModelRow | None:
    """Rebuild and return the row of one stream. The row is stored unless the stream has changed.

    Return None if the stream does not exist or was deleted.
    """
    rebuilt = [row async for row in _rebuild_streams(database, category, stream, vault)]
    await _replace_rows(database, category, rebuilt)
    return next((row for _, _, row in rebuilt if not category.is_deleted(row)), None)


async def _rebuild_streams(
    database: AsyncDatabase[Document], category: AnyCategory, streams: str | Document, vault: Encryption | None
) -> AsyncIterator[RebuiltRow]:
    """Yield the rebuilt row of one stream, or of each stream whose name matches a filter, except removed streams."""
    stream, version, row = "", 0, category.initial_row
    cursor = database["commits"].find({"stream": streams}).sort([("stream", ASCENDING), ("version", ASCENDING)])
    removed = ""
    async for document in cursor:
        if is_tombstone(document):
            removed = document["stream"]
        if document["stream"] == removed:
            continue
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
    database: AsyncDatabase[Document], category: AnyCategory, batch: Sequence[RebuiltRow]
) -> set[str]:
    """Store the rows of streams that have not changed. Return the names of the other streams."""
    if not batch:
        return set()
    writes = [
        UpdateOne(
            {"_id": stream, "version": version},
            {
                "$set": _row_fields(category, row),
                "$unset": dict.fromkeys(list_obsolete_fields(category), ""),
                "$max": {category.row_version_field: category.row_version},
            },
        )
        for stream, version, row in batch
    ]
    result = await database["streams"].bulk_write(writes, ordered=False)
    if result.matched_count == len(batch):
        return set()
    versions = {stream: version for stream, version, _ in batch}
    heads = database["streams"].find({"_id": {"$in": list(versions)}}, {"version": 1})
    return {head["_id"] async for head in heads if head["version"] != versions[head["_id"]]}


def _row_fields(category: AnyCategory, row: ReadModelRow) -> Document:
    """Return the row in the versions of this release and of the previous one."""
    visible = None if category.is_deleted(row) else row
    fields = {category.row_field: visible.model_dump() if visible else None}
    if previous := category.previous_row:
        fields[previous.field_name(category.name)] = previous.convert(visible).model_dump() if visible else None
    return fields


def list_obsolete_fields(category: AnyCategory) -> list[str]:
    """Return the fields of row versions that neither this release nor the previous one reads."""
    oldest = category.previous_row.version if category.previous_row else category.row_version
    return [f"{category.name}_v{version}" for version in range(1, oldest)]


async def rebuild_projection(
    database: AsyncDatabase[Document],
    projection: AnyProjection,
    nats: Client,
    log: LogReader,
    progress: ProgressCallback = no_progress,
) -> int:
    """Rebuild a projection in a staging collection and swap it in. Return the number of rows.

    The rebuild starts over if the stream loses events during it, at most MAX_RESTARTS times. Raises EventsRemoved after
    that, and TimeoutError if the stream delivers no events. `log`: the event log of the projection's source, for events
    that were trimmed from the stream.
    """
    for delay in islice(backoff_delays(0.5), MAX_RESTARTS):
        try:
            return await _rebuild_projection(database, projection, nats, log, progress)
        except EventsRemoved:
            await asyncio.sleep(delay)
    return await _rebuild_projection(database, projection, nats, log, progress)


async def _rebuild_projection(
    database: AsyncDatabase[Document],
    projection: AnyProjection,
    nats: Client,
    log: LogReader,
    progress: ProgressCallback,
) -> int:
    js = nats.jetstream()
    name = projection_collection(projection)
    staging = database[f"{name}_{REBUILDING}"]
    await staging.drop()
    await database.create_collection(staging.name)
    log_end = None
    if projection.is_cumulative or (await js.stream_info(projection.source)).state.first_seq > 1:
        log_end = await _apply_log(log, staging, projection, progress)
    apply_range = partial(_apply_stream, nats, staging, projection, log_end)
    info = await js.stream_info(projection.source)
    first = max(info.state.first_seq, 1)
    last, last_id = await apply_range(first, info.state.last_seq, progress)
    await ensure_indexes(database, list_projection_indexes(projection, staging.name))
    # from here on, this checkpoint makes the projection's subscription stop and wait
    checkpoints = database[CHECKPOINTS]
    await checkpoints.replace_one({"_id": name}, Checkpoint(REBUILDING, last).to_document(), upsert=True)
    end = (await js.stream_info(projection.source)).state.last_seq
    if end > last:
        last, last_id = await apply_range(last + 1, end, progress)
    await staging.rename(name, dropTarget=True)
    checkpoint = Checkpoint(str(info.created), last, last_id, log_end)
    await checkpoints.replace_one({"_id": name}, checkpoint.to_document(), upsert=True)
    return await database[name].count_documents({})


async def _apply_log(
    log: LogReader, staging: AsyncCollection[Document], projection: AnyProjection, progress: ProgressCallback
) -> datetime:
    """Apply the events of the log. Return the time before which the log had all events."""
    rows: dict[str, ReadModelRow] = {}
    await copy_balance(staging.database, projection, staging)
    page, done = await log.read(""), 0
    while True:
        await apply_events(staging, projection, page.events, rows)
        if page.end or len(rows) > MAX_BUFFERED_ROWS:
            await write_rows(staging, projection, rows)
            rows.clear()
        done += len(page.events)
        progress(done, done)
        if page.end:
            return page.end
        page = await log.read(page.next)


async def _apply_stream(
    nats: Client,
    staging: AsyncCollection[Document],
    projection: AnyProjection,
    since: datetime | None,
    first: int,
    last: int,
    progress: ProgressCallback,
) -> tuple[int, str]:
    """Apply the events of a range of sequence numbers whose times are not before `since`.

    Return the last sequence number and event id. Raises EventsRemoved or TimeoutError.
    """
    reached, last_id = first - 1, ""
    if last < first:
        return reached, last_id
    rows: dict[str, ReadModelRow] = {}
    reader = await StreamReader.open(nats, projection.source, after=reached, batch_size=BATCH_SIZE)
    async with aclosing(reader):
        while reached < last:
            messages = await reader.fetch(FETCH_TIMEOUT_SECONDS)
            if not messages:
                if (await nats.jetstream().stream_info(projection.source)).state.first_seq > reached + 1:
                    raise EventsRemoved(projection.source)
                raise TimeoutError(f"no event of {projection.source} within {FETCH_TIMEOUT_SECONDS:g} s")
            if not are_next_events(messages, reached):
                raise EventsRemoved(projection.source)
            events = [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
            due = [recorded for recorded in events if since is None or recorded.at >= since]
            await apply_events(staging, projection, due, rows)
            if len(rows) > MAX_BUFFERED_ROWS:
                await write_rows(staging, projection, rows)
                rows.clear()
            reached, last_id = messages[-1].metadata.sequence.stream, events[-1].id
            progress(min(reached, last) - first + 1, last - first + 1)
    await write_rows(staging, projection, rows)
    return reached, last_id
