"""Rebuilding: rows of a service's own streams, and followed views, made anew from the log while the service runs."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pymongo import ASCENDING, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from libs import cloudevents
from libs.deciding import Category, Recorded
from libs.eventstore.documents import Document, from_document
from libs.eventstore.streams import Folded
from libs.following import REBUILDING
from libs.runtime import fold_into, view_collection
from libs.security.sealing import Sealing
from libs.service import FollowedView

Progress = Callable[[int, int], None]  # done, of how many

AT_ONCE = 1000


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
    field = f"{category.name}_v{category.row_version}"
    names = {"$gte": f"{category.name}-", "$lt": f"{category.name}."}
    total = await database["commits"].count_documents({"stream": names})
    done, rows = 0, 0
    writes: list[UpdateOne] = []
    async for stream, folded, commits in _folded_streams(database, category, names, vault):
        row = None if category.gone(folded.row) else folded.row.model_dump()
        writes.append(UpdateOne({"_id": stream, "version": folded.version}, {"$set": {field: row}}))
        done, rows = done + commits, rows + 1
        if len(writes) == AT_ONCE:
            await database["streams"].bulk_write(writes, ordered=False)
            writes = []
            progress(done, total)
    if writes:
        await database["streams"].bulk_write(writes, ordered=False)
    progress(total, total)
    return rows


async def _folded_streams(
    database: AsyncDatabase[Document], category: Category[Any, Any, Any, Any], names: Document, vault: Sealing | None
) -> AsyncIterator[tuple[str, Folded, int]]:
    empty = Folded(0, category.decider.initial, category.row)
    stream, history, commits = "", list[Recorded[Any]](), 0
    cursor = database["commits"].find({"stream": names}).sort([("stream", ASCENDING), ("version", ASCENDING)])
    async for document in cursor:
        if document["stream"] != stream:
            if stream:
                yield stream, empty.after(category, history), commits
            stream, history, commits = document["stream"], [], 0
        history += await from_document(document, vault)
        commits += 1
    if stream:
        yield stream, empty.after(category, history), commits


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
    while reached < last:
        messages = await subscription.fetch(min(AT_ONCE, last - reached), timeout=10)
        news = [cloudevents.from_message(message.headers or {}, message.data) for message in messages]
        await fold_into(beside, view, news, None)
        reached, last_id = messages[-1].metadata.sequence.stream, news[-1].id
        progress(reached - first + 1, last - first + 1)
    await subscription.unsubscribe()
    return reached, last_id
