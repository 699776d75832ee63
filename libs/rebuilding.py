"""Rebuilding: rows of a service's own streams, and followed views, made anew from the log while the service runs."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pymongo import ASCENDING, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from contracts.messages import Row
from libs import cloudevents
from libs.deciding import Category
from libs.eventstore.documents import Document, from_document
from libs.following import REBUILDING
from libs.indexes import ensure_index
from libs.schema import indexes_of_view
from libs.security.sealing import Sealing
from libs.service import FollowedView
from libs.views import fold_rows, view_collection, write_rows

Progress = Callable[[int, int], None]  # done, of how many

AT_ONCE = 1000
KEPT = 20_000  # rows of a view in memory


class Built(NamedTuple):
    """A row as its stream's log makes it, and up to which version."""

    stream: str
    version: int
    row: Row


def silent(_done: int, _total: int) -> None:
    """No progress bar."""


async def rebuild_rows(
    database: AsyncDatabase[Document],
    category: Category[Any, Any, Any, Any],
    vault: Sealing | None = None,
    progress: Progress = silent,
) -> int:
    """Fold every stream of the category and replace its row where the head still has the folded version.

    Each row changes at once from the old to the new; a stream that moves meanwhile is written by its own writer.
    Rows of another version stand in their own field until no code reads them.
    """
    names = {"$gte": f"{category.name}-", "$lt": f"{category.name}."}
    total = await database["commits"].count_documents({"stream": names})
    done, built = 0, 0
    batch: list[Built] = []
    moved: set[str] = set()
    async for one in _built(database, category, names, vault):
        batch.append(one)
        done, built = done + one.version, built + 1
        if len(batch) == AT_ONCE:
            moved |= await _replace(database, category, batch)
            batch = []
            progress(done, total)
    moved |= await _replace(database, category, batch)
    # a writer of an older release writes its own row only: these streams are folded again
    while moved:
        batch = [one for name in moved async for one in _built(database, category, name, vault)]
        moved = await _replace(database, category, batch)
    progress(total, total)
    return built


async def complete_rows(
    database: AsyncDatabase[Document], category: Category[Any, Any, Any, Any], vault: Sealing | None = None
) -> None:
    """Make the rows that a replica of an older release did not write, since it knew only those of its own version.

    An index holds just these streams, so that looking for them costs nothing where there are none.
    """
    behind = {category.written_field: {"$lt": category.row_version}}
    heads = await database["streams"].find(behind, {"_id": 1}, limit=AT_ONCE).to_list()
    await _replace(
        database, category, [one for head in heads async for one in _built(database, category, head["_id"], vault)]
    )


async def complete_row(
    database: AsyncDatabase[Document],
    category: Category[Any, Any, Any, Any],
    vault: Sealing | None,
    stream: str,
) -> Row | None:
    """Return the row of one stream as its log makes it; store it unless the stream has moved on meanwhile."""
    built = [one async for one in _built(database, category, stream, vault)]
    await _replace(database, category, built)
    return next((one.row for one in built if not category.gone(one.row)), None)


async def _built(
    database: AsyncDatabase[Document],
    category: Category[Any, Any, Any, Any],
    streams: str | Document,
    vault: Sealing | None,
) -> AsyncIterator[Built]:
    stream, version, row = "", 0, category.row
    cursor = database["commits"].find({"stream": streams}).sort([("stream", ASCENDING), ("version", ASCENDING)])
    async for document in cursor:
        if document["stream"] != stream:
            if stream:
                yield Built(stream, version, row)
            stream, row = document["stream"], category.row
        version = document["version"]
        for recorded in await from_document(document, vault):
            row = category.fold(row, recorded)
    if stream:
        yield Built(stream, version, row)


async def _replace(
    database: AsyncDatabase[Document], category: Category[Any, Any, Any, Any], batch: Sequence[Built]
) -> set[str]:
    """Write the rows whose stream has not moved on; answers the names of the others."""
    if not batch:
        return set()
    writes = [
        UpdateOne(
            {"_id": one.stream, "version": one.version},
            {
                "$set": {category.row_field: None if category.gone(one.row) else one.row.model_dump()},
                "$max": {category.written_field: category.row_version},
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


async def rebuild_view(
    database: AsyncDatabase[Document], view: FollowedView, nats: Client, progress: Progress = silent
) -> int:
    """Build a followed view beside the one in use, then put it in its place and let its follower go on from there."""
    js = nats.jetstream()
    name = view_collection(view)
    beside = database[f"{name}_{REBUILDING}"]
    await beside.drop()
    await database.create_collection(beside.name)
    info = await js.stream_info(view.source)
    first = max(info.state.first_seq, 1)
    reached, last_id = await _fill(js, beside, view, first, info.state.last_seq, progress)
    for index in indexes_of_view(view, beside.name):
        await ensure_index(database, index)
    # from here its follower stands still: it finds that its position is no longer its own
    incarnation = str(info.created)
    await database["followers"].replace_one(
        {"_id": name}, {"incarnation": REBUILDING, "sequence": reached, "event_id": ""}, upsert=True
    )
    end = (await js.stream_info(view.source)).state.last_seq
    if end > reached:
        reached, last_id = await _fill(js, beside, view, reached + 1, end, progress)
    await beside.rename(name, dropTarget=True)
    await database["followers"].replace_one(
        {"_id": name}, {"incarnation": incarnation, "sequence": reached, "event_id": last_id}, upsert=True
    )
    return await database[name].count_documents({})


async def _fill(js: Any, beside: Any, view: FollowedView, first: int, last: int, progress: Progress) -> tuple[int, str]:
    reached, last_id = first - 1, ""
    if last < first:
        return reached, last_id
    subscription = await js.pull_subscribe(
        f"evt.{view.source}.>",
        stream=view.source,
        config=ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=first,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
            mem_storage=True,
        ),
    )
    rows: dict[str, Row] = {}
    while reached < last:
        messages = await subscription.fetch(min(AT_ONCE, last - reached), timeout=10)
        news = [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
        await fold_rows(beside, view, news, rows)
        if len(rows) > KEPT:
            await write_rows(beside, view, rows)
            rows.clear()
        reached, last_id = messages[-1].metadata.sequence.stream, news[-1].id
        progress(reached - first + 1, last - first + 1)
    await write_rows(beside, view, rows)
    await subscription.unsubscribe()
    return reached, last_id
