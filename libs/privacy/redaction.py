"""Removal of names of users from recorded events: when a user is erased, and from events of releases up to 0.2.0."""

from collections.abc import Callable, Iterator, Sequence

from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from contracts.messages import EVENTS, erasable_fields, omitted_fields
from libs.documents import Document
from libs.eventstore.indexes import Index

BATCH_SIZE = 500
CHUNK_SIZE = 20_000  # commits that one command searches, so that it ends within the driver's timeout
HAS_TEXT: Document = {"$gt": ""}
NAMED_ACTORS: Document = {"actor.id": {"$gt": 0}, "actor.name": HAS_TEXT}


async def empty_stream(commits: AsyncCollection[Document], streams: AsyncCollection[Document], stream: str) -> None:
    """Empty the erasable fields of a stream's events, and remove all versions of its row. It must get no new events."""
    async for commit in commits.find({"stream": stream}):
        if changes := dict(_empty_fields(commit, erasable_fields)):
            await commits.update_one({"_id": commit["_id"]}, {"$set": changes})
    head = await streams.find_one({"_id": stream}) or {}
    if rows := {name: None for name, value in head.items() if isinstance(value, dict)}:
        await streams.update_one({"_id": stream}, {"$set": rows})


async def update_commits(
    commits: AsyncCollection[Document], condition: Document, changes: Document, array_filters: Sequence[Document]
) -> None:
    """Change all commits that match a condition that no index covers, in chunks. Idempotent if `changes` are."""
    last: str = ""
    stream: str | None = ""
    while stream is not None:
        following = commits.find({"stream": {"$gt": last}}, {"_id": 0, "stream": 1}).sort("stream")
        boundary = await following.skip(CHUNK_SIZE).limit(1).to_list()
        stream = boundary[0]["stream"] if boundary else None
        streams = {"$gt": last} if stream is None else {"$gt": last, "$lte": stream}
        await commits.update_many({"stream": streams, **condition}, changes, array_filters=array_filters)
        last = stream or last


def list_name_indexes(service: str) -> Iterator[Index]:
    """Yield an index for each field in which earlier releases recorded names. It has only commits with such names."""
    yield Index("commits", ("actor.name",), {"partialFilterExpression": NAMED_ACTORS})
    for condition in _omitted_conditions(service):
        yield Index("commits", tuple(condition), {"partialFilterExpression": condition})


async def empty_recorded_names(database: AsyncDatabase[Document], service: str) -> int:
    """Remove the names of users from the events of releases up to 0.2.0. Return the number of changed commits.

    Replicas of 0.2.0 can read events without names. Names that they record during a rolling upgrade are removed by the
    next run.
    """
    changed = 0
    for condition in (NAMED_ACTORS, *_omitted_conditions(service)):
        while commits := await database["commits"].find(condition, limit=BATCH_SIZE).to_list():
            writes = [UpdateOne({"_id": commit["_id"]}, {"$set": _empty_names(commit)}) for commit in commits]
            await database["commits"].bulk_write(writes, ordered=False)
            changed += len(commits)
    return changed


def _omitted_conditions(service: str) -> list[Document]:
    names = {name for event in EVENTS.values() if event.service == service for name in event.omitted}
    return [{f"events.data.{name}": HAS_TEXT} for name in sorted(names)]


def _empty_names(commit: Document) -> Document:
    actor = {"actor.name": ""} if commit["actor"]["id"] else {}
    return actor | dict(_empty_fields(commit, omitted_fields))


def _empty_fields(commit: Document, fields_of: Callable[[str], frozenset[str]]) -> Iterator[tuple[str, str]]:
    for index, event in enumerate(commit["events"]):
        for name in sorted(fields_of(event["name"])):
            if event["data"].get(name):
                yield f"events.{index}.data.{name}", ""
